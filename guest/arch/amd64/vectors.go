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

// Interrupt stacks: one for each event that may come where no other stack can be trusted.
const (
	istDebug = 1 + iota // #DB: after MOV SS it may wait until the kernel's first instruction
	istNMI
	istDoubleFault
	istMachineCheck
	istCount = iota

	istSize = 4 << 10
)

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

// set makes it a gate that enters ring 0 at handler with interrupts off, on the
// stack ist, or, if that is 0, on RSP0 when it comes from ring 3. INT instructions may use
// it from rings up to ring.
func (g *gate) set(handler, ist, ring uint64) {
	const presentInterrupt = 0x8e
	g[0] = handler&0xffff | kernelCode<<16 | ist<<32 | (presentInterrupt|ring<<5)<<40 | handler>>16&0xffff<<48
	g[1] = handler >> 32
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
