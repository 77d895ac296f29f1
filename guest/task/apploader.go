package task

import "kapsel/guest/abi"

// Numbers of the app loader.
const (
	loaderSetUp    = 1 // commands
	loaderWrite    = 2
	loaderFinalize = 3
	loaderLoad     = 4
	loaderAbort    = 5
	loaderUnload   = 6
	loaderSource   = 0 // allow; the subscribe number of a command is one less than that
	loaderPiece    = 4096
)

// loaderBuffer is what the loader reads from.
var loaderBuffer [loaderPiece]byte

// LoadTask loads a task from an object of so many bytes. read is called for each of them in turn, 4096 at most at a time: it fills b with what
// stands in the object from an offset on. If it returns an error the object is given up. LoadTask returns that, abi.NODEVICE for a task
// that may not load others, abi.BUSY while another task does, abi.FAIL without room for the object or if it may not run (the kernel prints
// why), and abi.NOMEM without room for the task.
func LoadTask(size uint32, read func(b []byte, offset uint32) error) error {
	if err := loader(loaderSetUp, size, 0); err != nil {
		return err
	}
	if err := writeTask(size, read); err != nil {
		loader(loaderAbort, 0, 0)
		return err
	}
	if err := loader(loaderFinalize, 0, 0); err != nil {
		return err
	}
	return loader(loaderLoad, 0, 0)
}

// writeTask gives the loader all of an object.
func writeTask(size uint32, read func(b []byte, offset uint32) error) error {
	for at := uint32(0); at < size; at += loaderPiece {
		piece := loaderBuffer[:min(size-at, loaderPiece)]
		if err := read(piece, at); err != nil {
			return err
		}
		if err := AllowReadOnly(abi.DriverAppLoader, loaderSource, piece); err != nil {
			return err
		}
		err := loader(loaderWrite, at, uint32(len(piece)))
		AllowReadOnly(abi.DriverAppLoader, loaderSource, nil)
		if err != nil {
			return err
		}
	}
	return nil
}

// loader gives the app loader a command, and waits for its end.
func loader(command, a0, a1 uint32) error {
	if err := Command(abi.DriverAppLoader, command, a0, a1).Err(); err != nil {
		return err
	}
	status, _, _ := WaitFor(abi.DriverAppLoader, command-1)
	return failed(status)
}

// UnloadTask unloads the task with a ShortID, and waits until its memory is given back. It returns abi.INVAL if there is none,
// abi.NODEVICE for a task that may not unload others, and abi.BUSY while another task loads one.
func UnloadTask(shortID uint32) error { return loader(loaderUnload, shortID, 0) }
