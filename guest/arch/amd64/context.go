package amd64

import (
	"unsafe"

	"kapsel/guest/kernel"
)

// A context is everything of a task that the CPU holds while it runs, and what else the machine layer knows of it. Contexts are 16-byte
// aligned, for FXSAVE and because the CPU aligns the stack that it pushes to.
type context struct {
	registers

	space *addressSpace // of its slot

	// memory is a 32-bit task's, nil for a 64-bit task: so the two are told apart.
	memory *kernel.Memory
	// owed says that a 32-bit task's stack lacks the results.
	owed bool
	// stackLost says that a 32-bit task had no writeable stack for its first words.
	stackLost bool
	shortID   uint32 // its application's, 0: it is no other's
}

// A record is a page with what is known of a task: by the machine layer its context, by the kernel
// the rest. It begins on a page.
type record struct {
	_       [strayFrame]byte // below the context
	context context
	task    kernel.Task
}

// A record fits a page, and its context is aligned: else this does not compile.
const (
	_ = uint(pageSize - unsafe.Sizeof(record{}))
	_ = -(unsafe.Offsetof(record{}.context) % 16)
)

// strayFrame is the room, in bytes, for the frame that kernelTrap makes on the stack it finds.
// While the entry code's stack pointer is in a context, no interrupt can come: interrupts
// are off. Nested monitors under QEMU were seen to deliver one all the same. With this
// room below every context it does no harm: its line is served later. While the stack pointer goes
// through the context on the way to ring 3, the frame is where registers were that the processor has by then.
const strayFrame = 192

// What says how a task goes back is above all that: else this does not compile.
const _ = uint(unsafe.Offsetof(registers{}.came) - contextTop)

// contexts are in the tasks' records, by slot; nil where there is none.
var contexts [kernel.MaxTasks]*context

// Offsets in a context, for the entry code.
const (
	results    = unsafe.Offsetof(context{}.results)
	contextTop = unsafe.Offsetof(context{}.fx) // the end of the hardware's part: RSP0
)

// Written in trap_amd64.s or read there.
var (
	running  *context       // the task's that runs, or ran last and whose state the processor still holds, or nobody
	attached *kernel.Kernel // serves system calls
	pending  uint64         // interrupt lines that wait, by number
)

// nobody is running while the processor holds no task's state, or that of one that is over.
var nobody context

// release makes nobody running. What the bases are then is not known, and so they are not said to be 0.
func release() {
	running, nobody.fsBase = &nobody, ^uint64(0)
}

// ready is the context that can be gone on with as it is, or nil: SYSRET and IRET would fault in
// ring 0, the one with the task's stack, if its RIP were not canonical. A task goes back
//   - behind SYSCALL or INT 0x40: that lies in a page that ring 3 can execute, and so not in the
//     last one of the low half, which Reserve never gives, nor in compatibility mode above 4 GiB;
//   - to where an interrupt found it, which may be anywhere: classify looks there;
//   - to an address that the kernel has put into its context: by Upcall, which looks there, or by
//     Start or Clear, or to where it was before another task ran: Switch looks there.
//
// Behind any other trap its run is over. The entry code reads it.
var ready *context
