package task

import "kapsel/guest/abi"

// Raw makes a system call: class and four words, answered by four words (docs/abi.md,
// section 1). Yield is not made with it.
func Raw(class abi.Class, r0, r1, r2, r3 uint64) (s0, s1, s2, s3 uint64)

// A Result is the answer to a Command: which variant it is, and its payload.
type Result struct {
	Variant abi.Variant
	Words   [3]uint64 // as the variant says; in a failure the first is the error
}

// Err returns nil if the call succeeded, else why it failed.
func (r Result) Err() error { return failure(r.Variant, r.Words[0]) }

func failure(v abi.Variant, word uint64) error {
	if v >= abi.Success {
		return nil
	}
	return errors[min(word, uint64(len(errors)-1))]
}

// errors are the error codes as interface values, so that returning one allocates nothing.
var errors = [...]error{
	abi.FAIL, abi.FAIL, abi.BUSY, abi.ALREADY, abi.OFF, abi.RESERVE, abi.INVAL, abi.SIZE,
	abi.CANCEL, abi.NOMEM, abi.NOSUPPORT, abi.NODEVICE, abi.UNINSTALLED, abi.NOACK,
}

// Command asks a driver to do something.
func Command(driver, command, arg0, arg1 uint32) Result {
	v, a, b, c := Raw(abi.Command, uint64(driver), uint64(command), uint64(arg0), uint64(arg1))
	return Result{abi.Variant(v), [3]uint64{a, b, c}}
}

// Exit ends the task with a completion code.
func Exit(code uint32) {
	Raw(abi.Exit, abi.ExitTerminate, uint64(code), 0, 0)
}

// Restart begins the task anew, with fresh memory.
func Restart(code uint32) {
	Raw(abi.Exit, abi.ExitRestart, uint64(code), 0, 0)
}

// Memop asks about the task's memory, or changes it. It returns 0 for operations without a value.
func Memop(op uint32, arg uint64) (uint64, error) {
	v, a, _, _ := Raw(abi.Memop, uint64(op), arg, 0, 0)
	if err := failure(abi.Variant(v), a); err != nil {
		return 0, err
	}
	return a, nil
}
