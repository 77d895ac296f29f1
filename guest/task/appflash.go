package task

import (
	"unsafe"

	"kapsel/guest/abi"
)

// Numbers of the app flash driver.
const (
	flashBuffer  = 0 // read-only allow
	flashWrite   = 1 // command
	flashWritten = 0 // subscribe
)

// Flash returns the first writeable flash region of the task's object (//kapsel:flash BYTES), which the task can write to by itself where
// it consists of whole pages, as that does. It is nil if the object has none.
func Flash() []byte {
	start, err := Memop(abi.MemopRegionStart, 0)
	end, err2 := Memop(abi.MemopRegionEnd, 0)
	if err != nil || err2 != nil {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(nil), uintptr(start))), int(end-start))
}

// WriteFlash writes b over the bytes of to, which lie in a writeable flash region of the task's object: else it returns abi.INVAL, as
// for a b that is longer. What is written outlives restarts of the task, but not the machine.
func WriteFlash(to, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if len(b) > len(to) {
		return errors[abi.INVAL]
	}
	if err := AllowReadOnly(abi.DriverAppFlash, flashBuffer, b); err != nil {
		return err
	}
	err := Command(abi.DriverAppFlash, flashWrite, uint32(uintptr(unsafe.Pointer(unsafe.SliceData(to)))), 0).Err()
	if err == nil {
		status, _, _ := WaitFor(abi.DriverAppFlash, flashWritten)
		err = failed(status)
	}
	AllowReadOnly(abi.DriverAppFlash, flashBuffer, nil)
	return err
}
