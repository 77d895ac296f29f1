package amd64

import (
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/format"
)

// PrintRegisters implements kernel.CPU.
func (c *CPU) PrintRegisters(slot int, w kernel.Writer) {
	x := contexts[slot]
	if x.vector == cameBySyscall {
		x.completeSyscall()
	}
	x.print(w)
}

// completeSyscall fills in what the entry code of SYSCALL did not keep, as it would be behind
// the call.
func (x *context) completeSyscall() {
	x.rax, x.rcx, x.r8, x.r9, x.r11 = 0, x.rip, 0, 0, flagsFixed|flagIF
	x.rdi, x.rsi, x.rdx, x.r10 = x.results[0], x.results[1], x.results[2], x.results[3]
	x.cs, x.ss, x.rflags = userCode, userData, flagsFixed|flagIF
}

// print writes the registers.
func (x *context) print(w kernel.Writer) {
	format.Print(w, "  RAX 0x%16x  RBX 0x%16x  RCX 0x%16x  RDX 0x%16x\n"+
		"  RSI 0x%16x  RDI 0x%16x  RBP 0x%16x  RSP 0x%16x\n"+
		"  R8  0x%16x  R9  0x%16x  R10 0x%16x  R11 0x%16x\n"+
		"  R12 0x%16x  R13 0x%16x  R14 0x%16x  R15 0x%16x\n"+
		"  RIP 0x%16x  CS  0x%16x  RFL 0x%16x  SS  0x%16x\n",
		x.rax, x.rbx, x.rcx, x.rdx, x.rsi, x.rdi, x.rbp, x.rsp,
		x.r8, x.r9, x.r10, x.r11, x.r12, x.r13, x.r14, x.r15,
		x.rip, x.cs, x.rflags, x.ss)
}
