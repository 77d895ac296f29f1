package kernel

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel/format"
)

// CPU is what the kernel asks of the machine layer. guest/arch/amd64 is the real one;
// host tests use a fake. The CPU owns each task's registers and page tables and knows
// tasks by slot alone (0 to MaxTasks-1); the kernel owns everything else.
//
// Ring 0 runs with interrupts off: no method is interrupted, and Switch alone calls back.
type CPU interface {
	// Attach says whose SystemCall the tasks' system calls go to. It is called once, first.
	Attach(k *Kernel)
	// Switch runs the task in slot from where it stands until it cannot go on by itself, and
	// says why. Meanwhile it hands each system call of the task's to SystemCall, and goes
	// on with the task if that says so, and nothing else was changed of what the task is to go on
	// with. A 32-bit task gets what Narrow makes of the results; where its stack cannot take
	// them, Switch reports a fault.
	// Precondition: Start was called for slot since it was last Clear.
	Switch(slot int) TrapReason
	// Fault is the fault that the last Switch reported. It belongs to the CPU, and holds until the
	// next Switch.
	Fault() *Fault
	// Results are the result words of the system call behind which the task in slot does not go on
	// at once: from when SystemCall has returned to when the task runs again they may be
	// changed. They have 32 bits each for a 32-bit task. They are always in the same place.
	Results(slot int) *[4]uint64

	// NewTask makes room in ram for what the CPU keeps of a task in slot, and for the kernel's
	// record of a task, which it returns, empty. It returns nil if there is none. It is called
	// once for each slot, before any other method is with that slot.
	NewTask(slot int, ram *RAM) *Task
	// Start gives the task in slot its first registers: it will run the init function
	// s describes; every other register is 0, vector and x87 state are reset.
	Start(slot int, s StartState)
	// Upcall makes the task continue in u.Fn with an ordinary call frame, so that its
	// return lands behind the Yield. If that is the system call that is being served it does not go
	// on at once. It writes the return address through mem and
	// reports false, changing nothing, if the stack is not writable there: a fault.
	Upcall(slot int, mem *Memory, u *Upcall) bool
	// SetSegmentBase sets the task's FS base (MemopSetFSBase) or GS base (MemopSetGSBase).
	// The kernel has checked addr < abi.UserMax.
	SetSegmentBase(slot int, op uint32, addr uint64)
	// PrintRegisters writes the task's registers to w, for a fault dump.
	PrintRegisters(slot int, w Writer)

	// Reserve prepares the slot's address space for the page-aligned range
	// [addr, addr+size), so that Map and Unmap within it cannot fail. It reports false
	// if memory for page tables ran out, or the range reaches into the last page below
	// abi.UserMax, which stays empty: behind its last instruction no task could go on. What
	// is reserved already may be reserved again. Memory for page tables comes from the RAM that
	// NewTask was given.
	Reserve(slot int, addr, size uint64) bool
	// Map gives the task the pages at addr, backed by mem (whole pages: both addr and
	// len(mem) are page multiples, mem from the slices that the board handed the kernel),
	// replacing what was there. The range was reserved.
	Map(slot int, addr uint64, mem []byte, rights Rights)
	// Unmap takes the pages of [addr, addr+size) from the task.
	Unmap(slot int, addr, size uint64)
	// Clear forgets the slot's registers. Mappings stay.
	Clear(slot int)

	PageTables

	// SetSlice begins a slice of that length in microseconds, in place of the one before: at
	// its end an interrupt comes, so that Switch returns then at the latest; 0: none.
	SetSlice(micros uint64)
	// SliceOver reports whether the slice has ended. Then there is none any more.
	SliceOver() bool
	// SliceLeft is what is left of the slice in microseconds, 0 if there is none.
	SliceLeft() uint64
	// BeginWork and EndWork are called around kernel work: the slice, if there is one, does not
	// go on meanwhile. BeginWork is SliceOver besides. EndWork returns when both were called, by
	// a clock of ticks. Where it is not called the slice does not go on: SetSlice begins another.
	BeginWork() (sliceOver bool)
	EndWork() (began, ended uint64)

	// TicksIn is how many ticks so many microseconds are.
	TicksIn(micros uint64) uint64
	// Rest reports whether the clock has not come to that tick yet. If so, an interrupt comes
	// when it does, and lines that wait hold back neither that nor the end of a slice.
	Rest(until uint64) bool

	// Interrupts is a word that is not 0 while an interrupt line waits to be served. It is
	// always the same one. Lines begin to wait while a task runs, in Idle and in Poll.
	Interrupts() *uint64
	// NextInterrupt takes the waiting interrupt line that comes first, or reports false.
	NextInterrupt() (line int, ok bool)
	// Idle sleeps until an interrupt waits. It returns at once if one does already.
	Idle()
	// Poll is called between the pieces of long work, so that what waits can come in between:
	// interrupts that came meanwhile wait from now on, and a watchdog sees that the kernel
	// goes on. A piece takes less than a millisecond, but where the processor is emulated.
	Poll()
}

// MaxTasks is the number of task slots: a power of two, so that a remainder is a slot.
const MaxTasks = abi.MaxTasks

// TrapReason says why a task stopped running.
type TrapReason uint8

// Reasons.
const (
	TrapInterrupt TrapReason = iota // a device or the slice timer: the kernel runs first
	TrapSyscall                     // SystemCall has served one
	TrapFault                       // CPU.Fault says which
)

// Fault describes an exception that a task caused.
type Fault struct {
	_       notComparable
	Vector  uint8  // x86 exception vector (Intel SDM vol. 3, table 6-1)
	Code    uint64 // error code, 0 where the exception has none
	Address uint64 // faulting address (CR2) of a page fault, else 0
	PC      uint64 // the instruction
	Name    string // the exception in words: "page fault: write to a read-only page"
}

// StartState is what a task starts with (docs/abi.md, section 1, "Start").
type StartState struct {
	_ notComparable

	Entry        uint64 // the init function
	AppStart     uint64 // first address behind the protected region of its flash
	RAMStart     uint64
	RAMSize      uint64 // bytes, grant region included
	InitialBreak uint64
	ShortID      uint32 // its application's, 0: it is no other's

	// Bits32 says that the task is a 32-bit one: it begins in compatibility mode, and its
	// system calls follow Tock's x86 convention (docs/abi.md, section 1, "32-bit tasks").
	Bits32 bool
	// Memory is the task's memory, for the words that a 32-bit task passes on its stack.
	Memory *Memory
}

// Upcall is a function of a task's with its arguments.
type Upcall struct {
	_        notComparable
	Fn       uint64
	Args     [3]uint32
	Userdata uint64
}

// Rights are what a task may do with a page.
type Rights uint8

// Rights: there is no writeable and executable page.
const (
	ReadExecute Rights = iota
	ReadWrite
)

// Page is a page that page tables map, of 4 KiB or larger (PageTables.NextPage).
type Page struct {
	Addr, Size           uint64 // virtual address and bytes
	Frame                uint64 // physical address
	User, Write, Execute bool   // what may be done with it besides reading; User: by ring 3
}

// NoVector is the Vector of a fault that the kernel found, not the CPU.
const NoVector = 0xff

// Writer takes text for a person.
type Writer = format.Writer
