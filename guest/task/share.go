package task

import (
	"unsafe"

	"kapsel/guest/abi"
)

// Allow shares a buffer with a driver, which may write to it, until another takes its
// place. The buffer must stay where it is: a variable, or from the heap.
func Allow(driver, number uint32, buffer []byte) error {
	return share(abi.AllowReadWrite, driver, number, unsafe.SliceData(buffer), len(buffer))
}

// AllowReadOnly shares bytes with a driver, which may read them.
func AllowReadOnly(driver, number uint32, bytes []byte) error {
	return share(abi.AllowReadOnly, driver, number, unsafe.SliceData(bytes), len(bytes))
}

// AllowUserspaceReadable shares a buffer that a driver writes at any time, for the task to
// read without a call. The buffer must stay where it is: a variable, or from the heap.
func AllowUserspaceReadable(driver, number uint32, buffer []byte) error {
	return share(abi.AllowUserspaceReadable, driver, number, unsafe.SliceData(buffer), len(buffer))
}

func share(class abi.Class, driver, number uint32, p *byte, n int) error {
	v, a, _, _ := Raw(class, uint64(driver), uint64(number), uint64(uintptr(unsafe.Pointer(p))), uint64(n))
	return failure(abi.Variant(v), a)
}

// An Upcall is a function that a driver has the kernel call, during a Yield.
type Upcall struct {
	F func(a, b, c uint32)
}

// Subscribe has u called for a driver's event from now on; nil calls nobody. u must stay
// where it is: a variable, or from the heap.
func Subscribe(driver, number uint32, u *Upcall) error {
	fn := uint64(0)
	if u != nil {
		fn = upcallAddress()
	}
	v, a, _, _ := Raw(abi.Subscribe, uint64(driver), uint64(number), fn, uint64(uintptr(unsafe.Pointer(u))))
	return failure(abi.Variant(v), a)
}

// upcallAddress is the code that the kernel calls with an Upcall as userdata.
func upcallAddress() uint64

// called runs in an upcall.
//
//lint:ignore U1000 upcallEntry calls it, in assembly
func called(u *Upcall, a, b, c uint32) { u.F(a, b, c) }

// Yield waits until an upcall has run.
func Yield() { yield(abi.YieldWait, 0, 0) }

// YieldNoWait runs an upcall if one waits, and reports whether one did.
func YieldNoWait() bool {
	yield(abi.YieldNoWait, uint64(uintptr(unsafe.Pointer(&ran))), 0)
	return ran != 0
}

// ran is where the kernel says whether an upcall ran.
var ran byte

// WaitFor waits for a driver's event and returns its three words. No upcall runs.
func WaitFor(driver, number uint32) (a, b, c uint32) {
	return yield(abi.YieldWaitFor, uint64(driver), uint64(number))
}

// yield makes a Yield, during which the kernel may run an upcall on this stack.
func yield(kind, arg0, arg1 uint64) (a, b, c uint32)
