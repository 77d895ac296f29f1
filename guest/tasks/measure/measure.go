// Package measure is what the tasks that measure share: system calls between two reads of
// the time-stamp counter, and the page that one task lends to the other.
package measure

import (
	"unsafe"

	"kapsel/guest/abi"
)

// A Call is a system call to measure, with a Yield behind it for Twice.
//
// The counter is read between LFENCEs: what comes before has ended, what comes behind has
// not begun (Intel SDM vol. 2, RDTSC). End-Begin of Once, less that of Empty, is exactly what
// passes from the SYSCALL, which counts, to the task's next instruction. Where an instruction
// is a tick, as under QEMU's -icount, it is their number.
type Call struct {
	Class abi.Class
	_     [7]byte
	Args  [4]uint64
	Yield [3]uint64 // kind, driver and subscribe number

	Begin, End uint64    // ticks
	Results    [3]uint64 // r0 to r2 of the last call
}

// Command is a Call of class Command.
func Command(driver, command, a0, a1 uint64) Call {
	return Call{Class: abi.Command, Args: [4]uint64{driver, command, a0, a1}}
}

// WaitFor is a Call of class Yield that waits for an event.
func WaitFor(driver, number uint64) Call {
	return Call{Class: abi.Yield, Args: [4]uint64{abi.YieldWaitFor, driver, number}}
}

// Ticks is how long the call took.
func (c *Call) Ticks() uint64 { return c.End - c.Begin }

// Succeeded reports whether the last call did, where it answers with a variant.
func (c *Call) Succeeded() bool { return abi.Variant(c.Results[0]) >= abi.Success }

// Empty does what Once does, but for the call.
//
//go:noescape
func Empty(c *Call)

// Once makes the call. It must not run an upcall.
//
//go:noescape
func Once(c *Call)

// Twice makes the call, and then the Yield, which may run an upcall.
//
//go:noescape
func Twice(c *Call)

// Until makes the call, and then the Yield, a Yield-NoWait, until it has run an upcall, or most times. It returns how
// often.
//
//go:noescape
func Until(c *Call, most uint64) (yields uint64)

// Echo makes the call, which answers a notification, and then the Yield, which waits for the
// next, again and again while they come without a page. The call's results are the last one's.
//
//go:noescape
func Echo(c *Call)

// Stamp is the time-stamp counter.
func Stamp() uint64

// Delay returns when the counter has come to until. It looks seldom.
func Delay(until uint64)

// Spin reads the counter without a pause, until it finds that somebody has made flag another
// than 0, and returns the reads before and after that. If nobody does, it returns those with
// the longest time between, once that is limit at the least or the counter has come to until.
// What came between took less, by at most a round of the loop: eleven instructions.
//
//go:noescape
func Spin(flag *uint64, limit, until uint64) (before, after uint64)

// StampAndFault stores the counter, and its next instruction faults.
//
//go:noescape
func StampAndFault(stamp *uint64)

// UpcallAddress is a function for Subscribe that returns at once.
func UpcallAddress() uint64

// Shared is the page that the task bench64 lends to the task benchpeer.
type Shared struct {
	Role  uint32 // what benchpeer is to do
	_     uint32
	Stamp uint64   // the time-stamp counter, by benchpeer
	Data  [64]byte // a question, and its answer
}

// Roles of benchpeer. Notified without a page, it only answers, by Echo.
const (
	RoleAnswer = iota + 1 // add 1 to each byte of Data, and answer
	RoleStamp             // store in Stamp when it was woken, and answer
	RoleFault             // answer, store in Stamp when it faults, and fault
	RoleEnd               // answer, and end
)

// SharedAt is the page at an address.
func SharedAt(addr uint64) *Shared {
	return *(**Shared)(unsafe.Pointer(&addr))
}
