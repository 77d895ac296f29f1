package task

import "kapsel/guest/abi"

// Storage is one of the task's regions of bytes that are kept while the machine is off, at offsets from 0 up. The tasks of one write
// identifier share a region; nobody else sees it. The task's object needs storage permissions (//kapsel:storage write=ID read=ID
// modify=ID). A region is zeroes until it is written.
//
// Methods return the error of a machine without a disk for tasks, abi.NODEVICE; abi.NOSUPPORT of a task without the permission, which
// has to name its own identifier among those to read and to modify as well; abi.NOMEM if the disk has no room for a region; abi.INVAL
// for bytes behind the region's end; and abi.FAIL if the disk fails. Of a disk that can only be read, what would change it fails with
// abi.NOSUPPORT for Isolated and with abi.FAIL for Nonvolatile, whose driver tells no reasons; so does the first read, which makes
// the region.
type Storage uint32

// The regions, by their driver numbers.
const (
	Nonvolatile Storage = abi.DriverNonvolatileStorage  // its first 4 GiB can be reached
	Isolated    Storage = abi.DriverIsolatedNonvolatile // all of it
)

// Numbers of both drivers.
const (
	storageBuffer = 0 // allow, read-only for what is written
	storageSize   = 1 // command
	storageRead   = 2
	storageWrite  = 3
	storageSized  = 0 // subscribe number of Isolated
)

// Size is how many bytes the region has, or will have once it is used.
func (s Storage) Size() (uint64, error) {
	r := Command(uint32(s), storageSize, 0, 0)
	if err := r.Err(); err != nil || s == Nonvolatile {
		return r.Words[0], err
	}
	status, low, high := WaitFor(uint32(s), storageSized)
	return uint64(high)<<32 | uint64(low), failed(status)
}

// ReadAt fills b with what is stored from an offset on, and returns how many bytes it read: all of them, or fewer and an error.
func (s Storage) ReadAt(b []byte, offset uint64) (n int, err error) {
	if len(b) == 0 {
		return 0, nil
	}
	if err := Allow(uint32(s), storageBuffer, b); err != nil {
		return 0, err
	}
	n, err = s.transfer(storageRead, len(b), offset)
	Allow(uint32(s), storageBuffer, nil)
	return n, err
}

// WriteAt stores b from an offset on, and returns how many bytes are kept from then on whatever happens to the machine: all of them,
// or fewer and an error; then some of b may be stored.
func (s Storage) WriteAt(b []byte, offset uint64) (n int, err error) {
	if len(b) == 0 {
		return 0, nil
	}
	if err := AllowReadOnly(uint32(s), storageBuffer, b); err != nil {
		return 0, err
	}
	n, err = s.transfer(storageWrite, len(b), offset)
	AllowReadOnly(uint32(s), storageBuffer, nil)
	return n, err
}

// transfer gives a command about the buffer that is shared, and waits for its end.
func (s Storage) transfer(command uint32, length int, offset uint64) (n int, err error) {
	a0, a1, done := uint32(offset), uint32(offset>>32), command-1
	if s == Nonvolatile {
		if a1 != 0 {
			return 0, errors[abi.INVAL]
		}
		a1, done = uint32(length), command-2
	}
	if err := Command(uint32(s), command, a0, a1).Err(); err != nil {
		return 0, err
	}
	status, moved, _ := WaitFor(uint32(s), done)
	if s == Nonvolatile { // which has no status
		status, moved = 0, status
	}
	if err := failed(status); err != nil {
		return int(moved), err
	}
	if int(moved) != length {
		return int(moved), errors[abi.FAIL]
	}
	return length, nil
}

// failed returns nil for the status of what succeeded, else the error.
func failed(status uint32) error {
	if status == 0 {
		return nil
	}
	return failure(abi.Failure, uint64(status))
}
