package vmm

import "fmt"

// Reason is the kind of a machine's end.
type Reason int

// Reasons.
const (
	// GuestExit: the guest wrote a status to the debug exit port, or Linux powered the machine off.
	GuestExit Reason = iota + 1
	// Shutdown: the processor shut down, as after a triple fault.
	Shutdown
	// Cancelled: the context ended, or Close was called.
	Cancelled
	// Breakpoint: the guest was about to execute the instruction at one of
	// Config.Breakpoints.
	Breakpoint
	// Failed: KVM could not go on; Run's error says why.
	Failed
	// Hung: the kernel does not return to its main loop, and the watchdog's NMI did not make
	// it end either.
	Hung
	// Reset: Linux reset the machine by ACPI's register. A machine runs once.
	Reset
	// Paused: somebody called Pause. The guest goes on with the next Run or Resume.
	Paused
)

// String returns the reason in words.
func (r Reason) String() string {
	switch r {
	case GuestExit:
		return "the guest ended"
	case Shutdown:
		return "the guest's processor shut down (triple fault)"
	case Cancelled:
		return "cancelled"
	case Breakpoint:
		return "breakpoint"
	case Failed:
		return "KVM failed"
	case Hung:
		return "the kernel hangs, and the watchdog's NMI did not end it"
	case Reset:
		return "the guest reset the machine, which is not booted again"
	case Paused:
		return "paused"
	}
	return fmt.Sprintf("unknown reason %d", int(r))
}

// Exit says how a machine ended.
type Exit struct {
	Reason Reason
	// Status is what the guest wrote, 0 to abi.ExitStatusMax; larger values count as
	// abi.ExitStatusMax. Power off is 0. Only a GuestExit has one.
	Status int
	// Address is the breakpoint that was reached. Only a Breakpoint has one.
	Address uint64
}

// String returns the exit in words.
func (e Exit) String() string {
	switch e.Reason {
	case GuestExit:
		return fmt.Sprintf("%v with status %d", e.Reason, e.Status)
	case Breakpoint:
		return fmt.Sprintf("%v at %#x", e.Reason, e.Address)
	}
	return e.Reason.String()
}
