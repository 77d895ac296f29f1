package amd64

import "kapsel/guest/abi"

// Segment selectors. The order is SYSRET's: user data behind 32-bit user code, 64-bit user
// code behind that (SDM vol. 3, 5.8.8).
const (
	kernelCode = 0x08
	kernelData = 0x10
	userCode32 = 0x18 | 3
	userData   = 0x20 | 3
	userCode   = 0x28 | 3
	taskState  = 0x30
)

// gdt is the global descriptor table (SDM vol. 3, 3.4.5). A 64-bit TSS takes two entries.
var gdt = [8]uint64{
	kernelCode / 8: 0x00af9b00_0000ffff, // 64-bit code, ring 0
	kernelData / 8: 0x00cf9300_0000ffff, // data, ring 0
	userCode32 / 8: 0x00cffb00_0000ffff, // 32-bit code, ring 3
	userData / 8:   0x00cff300_0000ffff, // data, ring 3
	userCode / 8:   0x00affb00_0000ffff, // 64-bit code, ring 3
}

// Interrupt stacks: one for each event that may come where no other stack can be trusted.
const (
	istDebug = 1 + iota // #DB: after MOV SS it may wait until the kernel's first instruction
	istNMI
	istDoubleFault
	istMachineCheck
	istCount = iota

	istSize = 4 << 10
)

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

// Vectors (SDM vol. 3, table 6-1). Device lines follow the exceptions.
const (
	vectorDebug        = 1
	vectorNMI          = 2
	vectorBreakpoint   = 3
	vectorOverflow     = 4
	vectorInvalidOp    = 6
	vectorDoubleFault  = 8
	vectorProtection   = 13
	vectorPageFault    = 14
	vectorMachineCheck = 18

	vectorLine0    = 32 // interrupt line n has vector vectorLine0+n
	vectorSpurious = 63

	vectorSyscall32 = abi.Vector32 // behind the lines
	vectorCount     = vectorSyscall32 + 1
	stubSize        = 8 // bytes of code of each entry (trap_amd64.s)
)

// A gate is an entry of the interrupt descriptor table (SDM vol. 3, 6.14.1).
type gate [2]uint64

// interruptGate makes a gate that enters ring 0 at handler with interrupts off, on the
// stack ist, or, if that is 0, on RSP0 when it comes from ring 3. INT instructions may use
// it from rings up to ring.
func interruptGate(handler uint64, ist, ring int) gate {
	const presentInterrupt = 0x8e
	return gate{
		handler&0xffff | kernelCode<<16 | uint64(ist)<<32 | uint64(presentInterrupt|ring<<5)<<40 | handler>>16&0xffff<<48,
		handler >> 32,
	}
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
		idt[v] = interruptGate(stubs+uint64(v*stubSize), 0, 0)
	}
	for i := range specialGates {
		g := &specialGates[i]
		idt[g.vector] = interruptGate(stubs+uint64(g.vector)*stubSize, int(g.ist), int(g.ring))
	}
	lidt(&tablePointer{limit: uint16(len(idt)*16 - 1), base: addressOf(&idt[0])})

	// SYSRET takes its selectors from 16 and 8 above the upper field (SDM vol. 2, SYSRET).
	wrmsr(msrSTAR, kernelCode<<32|uint64(userCode32)<<48)
	wrmsr(msrLSTAR, syscallEntryAddress())
	wrmsr(msrCSTAR, compatSyscallEntryAddress())
	wrmsr(msrFMASK, flagTF|flagIF|flagDF|flagIOPL|flagNT|flagAC)
	wrmsr(msrSysenterCS, 0) // SYSENTER faults (SDM vol. 2, SYSENTER)
}

// specialGates are the vectors with a stack of their own, and those that INT instructions may
// use in ring 3: INT1, INT3, INTO and system calls of 32-bit tasks work there, as Tock has
// it; others fault.
var specialGates = [...]struct{ vector, ist, ring uint8 }{
	{vectorDebug, istDebug, 3},
	{vectorNMI, istNMI, 0},
	{vectorBreakpoint, 0, 3},
	{vectorOverflow, 0, 3},
	{vectorDoubleFault, istDoubleFault, 0},
	{vectorMachineCheck, istMachineCheck, 0},
	{vectorSyscall32, 0, 3},
}
