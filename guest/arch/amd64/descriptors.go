package amd64

// gdt is the global descriptor table (SDM vol. 3, 3.4.5). A 64-bit TSS takes two entries.
var gdt = [8]uint64{
	kernelCode / 8: 0x00af9b00_0000ffff, // 64-bit code, ring 0
	kernelData / 8: 0x00cf9300_0000ffff, // data, ring 0
	userCode32 / 8: 0x00cffb00_0000ffff, // 32-bit code, ring 3
	userData / 8:   0x00cff300_0000ffff, // data, ring 3
	userCode / 8:   0x00affb00_0000ffff, // 64-bit code, ring 3
}

// istStacks holds the PVH door's page tables until the final ones are in place: three, from the
// first page boundary on (entry_amd64.s).
var istStacks [istCount][istSize]byte

// tss is the task state segment (SDM vol. 3, 8.7): RSP0 at byte 4, IST1 to IST7 from byte 36.
// Its 64-bit fields are not aligned. The I/O map base is behind its end: no port for ring 3.
var tss [26]uint32

const (
	tssRSP0  = 1
	tssIST1  = 9
	tssIOMap = 25
)

func setTSS(index int, addr uint64) {
	tss[index] = uint32(addr)
	tss[index+1] = uint32(addr >> 32)
}

var idt [vectorCount]gate

// tablePointer is the operand of LGDT and LIDT, aligned so that the base is.
type tablePointer struct {
	_     [3]uint16
	limit uint16
	base  uint64
}

// loadDescriptors makes the CPU use the tables above, sets up SYSCALL, and switches off what
// ring 3 could reach and a monitor or firmware may have left: a local descriptor table, breakpoints,
// SYSENTER. What else they leave ring 3 can neither read nor feel: PAT and MTRRs say how memory is
// cached, counters and the trace of branches are ring 0's while CR4.PCE is clear, and without
// CR4.OSXSAVE, FSGSBASE and PKE there is no instruction for XCR0, the bases and PKRU.
func loadDescriptors() {
	for i := range istStacks {
		setTSS(tssIST1+2*i, addressOf(&istStacks[i][0])+istSize)
	}
	tss[tssIOMap] = uint32(len(tss)*4) << 16

	base, limit := addressOf(&tss[0]), uint64(len(tss)*4-1)
	gdt[taskState/8] = limit | base&0xffffff<<16 | 0x89<<40 | base>>24&0xff<<56
	gdt[taskState/8+1] = base >> 32
	lgdt(&tablePointer{limit: uint16(len(gdt)*8 - 1), base: addressOf(&gdt[0])})
	loadSegments()
	ltr(taskState)
	lldt(0) // at reset it has a limit of 64 KiB from address 0 (SDM vol. 3, table 9-1)
	writeDR7(dr7)

	stubs := trapStubsAddress()
	for v := range idt {
		idt[v].set(stubs+uint64(v*stubSize), 0, 0)
	}
	for i := range specialGates {
		g := &specialGates[i]
		idt[g.vector].set(stubs+uint64(g.vector)*stubSize, uint64(g.ist), uint64(g.ring))
	}
	lidt(&tablePointer{limit: uint16(len(idt)*16 - 1), base: addressOf(&idt[0])})

	// SYSRET takes its selectors from 16 and 8 above the upper field (SDM vol. 2, SYSRET).
	wrmsr(msrSTAR, kernelCode<<32|uint64(userCode32)<<48)
	wrmsr(msrLSTAR, syscallEntryAddress())
	wrmsr(msrCSTAR, compatSyscallEntryAddress())
	wrmsr(msrFMASK, flagTF|flagIF|flagDF|flagIOPL|flagNT|flagAC)
	wrmsr(msrSysenterCS, 0) // SYSENTER faults (SDM vol. 2, SYSENTER)
}
