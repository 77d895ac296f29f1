package kernel

// Driver is the face of a capsule towards tasks: what answers system calls for one
// driver number.
type Driver interface {
	// Command serves system call class Command. It returns at once; long work ends with
	// an upcall. Command number 0 asks whether the driver is there; an unknown number is
	// answered with abi.NOSUPPORT. Each command has one success and one failure variant.
	Command(id TaskID, command, a0, a1 uint32) Result
	// Slots is the driver's grant as the kernel needs it to serve Subscribe and Allow:
	// the Slots of its Grant. It is nil for a driver that has neither upcalls nor buffers.
	Slots() *Slots
}

// Platform is what the kernel asks of the board.
type Platform interface {
	// Driver finds the driver with that number, or returns nil.
	Driver(number uint32) Driver
	// Interrupt serves an interrupt line that CPU.NextInterrupt named: one bounded piece of
	// work. A driver whose device asks for more by then sets a deferred call.
	Interrupt(line int)
}
