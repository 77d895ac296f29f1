package amd64

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/format"
)

// registers are a task's while it does not run. The first part is what a trap pushes, from its end downwards: the hardware the last
// five words, the entry code the rest (trap_amd64.s).
type registers struct {
	r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8 uint64
	rax, rcx, rdx, rsi, rdi                        uint64
	vector, code                                   uint64 // as the stub and the processor push them; vector is the number in a frame of ring 0 alone
	rip, cs, rflags, rsp, ss                       uint64

	fx             [512]byte // FXSAVE64 area (SDM vol. 1, 10.5.1)
	fsBase, gsBase uint64
	ds, es, fs, gs uint16 // selectors: nothing depends on them in 64-bit mode, but they would be seen

	came    uint64    // by which vector the task did, or as below
	results [4]uint64 // of the system call behind which it goes on
}

// Values of registers.came beyond the CPU's own vectors: how the task came in, and so goes back. It is not kept in vector, close below the frame that IRET
// takes: a stray frame would be there (strayFrame).
const (
	// cameBySyscall: back by SYSRET. What a system call does not keep is not in the context: R8,
	// R9, R11, RCX, whose value is in rip, and what takes the results.
	cameBySyscall = 256
	// cameByInt40: a 32-bit task's system call, back by IRET.
	cameByInt40 = 257
	// leavesByIRET: into an upcall, by IRET because RCX matters.
	leavesByIRET = 258
)

// completeSyscall fills in what the entry code of SYSCALL did not keep, as it would be behind
// the call.
func (x *registers) completeSyscall() {
	x.rax, x.rcx, x.r8, x.r9, x.r11 = 0, x.rip, 0, 0, flagsFixed|flagIF
	x.rdi, x.rsi, x.rdx, x.r10 = x.results[0], x.results[1], x.results[2], x.results[3]
	x.cs, x.ss, x.rflags = userCode, userData, flagsFixed|flagIF
}

// print writes the registers.
func (x *registers) print(w kernel.Writer) {
	format.Print(w, "  RAX 0x%16x  RBX 0x%16x  RCX 0x%16x  RDX 0x%16x\n"+
		"  RSI 0x%16x  RDI 0x%16x  RBP 0x%16x  RSP 0x%16x\n"+
		"  R8  0x%16x  R9  0x%16x  R10 0x%16x  R11 0x%16x\n"+
		"  R12 0x%16x  R13 0x%16x  R14 0x%16x  R15 0x%16x\n"+
		"  RIP 0x%16x  CS  0x%16x  RFL 0x%16x  SS  0x%16x\n",
		x.rax, x.rbx, x.rcx, x.rdx, x.rsi, x.rdi, x.rbp, x.rsp,
		x.r8, x.r9, x.r10, x.r11, x.r12, x.r13, x.r14, x.r15,
		x.rip, x.cs, x.rflags, x.ss)
}

// Where words are in kernel.Registers, in bytes; general registers come first.
const (
	savedRIP       = 15 * 8
	savedCS        = 16 * 8
	savedFlags     = 17 * 8
	savedRSP       = 18 * 8
	savedFSBase    = 19 * 8
	savedGSBase    = 20 * 8
	savedSelectors = 21 * 8
	savedCall      = 22 * 8 // 1 if it is to go on behind a system call, with the results, else 0
	savedResults   = 23 * 8
	savedFX        = 27 * 8
)

// There is room for all of it: else this does not compile.
const _ = uint(kernel.RegistersSize - savedFX - 512)

// general are the general registers but RSP, in the order of kernel.Registers.
func (x *registers) general() [15]*uint64 {
	return [...]*uint64{&x.rax, &x.rbx, &x.rcx, &x.rdx, &x.rsi, &x.rdi, &x.rbp, &x.r8, &x.r9, &x.r10, &x.r11, &x.r12, &x.r13, &x.r14, &x.r15}
}

// save writes the registers of a task of which the processor holds nothing that is not in them.
func (x *registers) save(to *kernel.Registers) {
	if x.came == cameBySyscall {
		x.completeSyscall()
	}
	for i, r := range x.general() {
		to.SetWord(8*i, *r)
	}
	to.SetWord(savedRIP, x.rip)
	to.SetWord(savedCS, x.cs)
	to.SetWord(savedFlags, x.rflags)
	to.SetWord(savedRSP, x.rsp)
	to.SetWord(savedFSBase, x.fsBase)
	to.SetWord(savedGSBase, x.gsBase)
	to.SetWord(savedSelectors, uint64(x.ds)|uint64(x.es)<<16|uint64(x.fs)<<32|uint64(x.gs)<<48)
	to.SetWord(savedCall, 0)
	if x.came == cameBySyscall || x.came == cameByInt40 {
		to.SetWord(savedCall, 1)
	}
	for i, r := range x.results {
		to.SetWord(savedResults+8*i, r)
	}
	copy(to[savedFX:], x.fx[:])
}

// restore gives a task that is to begin these registers, which it may have.
func (x *registers) restore(from *kernel.Registers) {
	for i, r := range x.general() {
		*r = from.Word(8 * i)
	}
	x.rip, x.cs, x.rflags, x.rsp = from.Word(savedRIP), from.Word(savedCS), from.Word(savedFlags), from.Word(savedRSP)
	x.fsBase, x.gsBase = from.Word(savedFSBase), from.Word(savedGSBase)
	s := from.Word(savedSelectors)
	x.ds, x.es, x.fs, x.gs = uint16(s), uint16(s>>16), uint16(s>>32), uint16(s>>48)
	for i := range x.results {
		x.results[i] = from.Word(savedResults + 8*i)
	}
	copy(x.fx[:], from[savedFX:])
	switch {
	case from.Word(savedCall) == 0:
	case x.cs == userCode32:
		x.came = cameByInt40
	default:
		x.came = cameBySyscall
	}
}

// userFlags are what ring 3 can have of RFLAGS: CF, PF, AF, ZF, SF, TF, DF, OF, NT, RF, AC, ID, besides those that it always has (SDM vol. 1, 3.4.3).
const userFlags = flagsFixed | flagIF | flagTF | flagDF | flagNT | flagAC | 1<<0 | 1<<2 | 1<<4 | 1<<6 | 1<<7 | 1<<11 | 1<<16 | 1<<21

// mayHave reports whether a task can have these registers: no way back to ring 3 with them faults in ring 0, and none leads elsewhere. FXRSTOR faults
// for reserved bits of MXCSR alone: the upper half, with processors of 64 bits (SDM vol. 1, 10.5.1.2 and 11.6.6).
func mayHave(r *kernel.Registers, bits32 bool) bool {
	rip, cs, flags, call := r.Word(savedRIP), r.Word(savedCS), r.Word(savedFlags), r.Word(savedCall)
	switch {
	case call > 1 || rip >= abi.UserMax,
		cs != userCode && cs != userCode32, cs == userCode32 && rip > 0xffff_ffff,
		call == 1 && (cs == userCode32) != bits32, // as a system call of such a task comes
		flags&^userFlags != 0 || flags&(flagsFixed|flagIF) != flagsFixed|flagIF,
		r.Word(savedFSBase) >= abi.UserMax || r.Word(savedGSBase) >= abi.UserMax,
		r.Word(savedFX+24)&0xffff_0000 != 0:
		return false
	}
	for s := r.Word(savedSelectors); s != 0; s >>= 16 {
		if !mayLoad(uint16(s)) {
			return false
		}
	}
	return !bits32 || resultsAreNarrow(r)
}

// mayLoad reports whether ring 3 can have a selector in a data segment register: none, or a segment of its own.
func mayLoad(selector uint16) bool {
	const requested = 3 // privilege level
	switch selector | requested {
	case requested, userCode32, userData, userCode:
		return true
	}
	return false
}

// resultsAreNarrow reports whether the results are words of 32 bits.
func resultsAreNarrow(r *kernel.Registers) bool {
	upper := uint64(0)
	for i := range 4 {
		upper |= r.Word(savedResults+8*i) >> 32
	}
	return upper == 0
}
