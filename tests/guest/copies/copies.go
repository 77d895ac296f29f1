//go:build kapsel_task

// Package copies is for tasks that load copies of themselves: each copy has a ShortID of its own, so that it is another application.
package copies

import (
	"unsafe"

	"kapsel/guest/abi"
	"kapsel/guest/task"
)

// Object is the task's own object, as the kernel mapped it.
func Object() []byte {
	start, _ := task.Memop(abi.MemopFlashStart, 0)
	end, _ := task.Memop(abi.MemopFlashEnd, 0)
	return unsafe.Slice((*byte)(unsafe.Pointer(uintptr(start))), end-start)
}

// Offsets and numbers of an object's header.
const (
	headerSizeAt, checksumAt, elements = 2, 12, 16
	typeShortID                        = 10
)

func word(b []byte, at int) uint32 {
	return uint32(b[at]) | uint32(b[at+1])<<8 | uint32(b[at+2])<<16 | uint32(b[at+3])<<24
}

func setWord(b []byte, at int, v uint32) {
	for i := range 4 {
		b[at+i] = byte(v >> (8 * i))
	}
}

// shortIDAt is where an object's header has its ShortID, or 0.
func shortIDAt(header []byte) int {
	size := int(header[headerSizeAt]) | int(header[headerSizeAt+1])<<8
	for at := elements; at < size; {
		head := word(header, at)
		if head&0xffff == typeShortID {
			return at + 4
		}
		at += 4 + int(head>>16+3)&^3
	}
	return 0
}

// ShortID is the task's own, or 0.
func ShortID() uint32 {
	if at := shortIDAt(Object()); at != 0 {
		return word(Object(), at)
	}
	return 0
}

// Source reads what read reads, of a task with a ShortID, with another in its place and the checksum that the header then has.
func Source(id uint32, read func(b []byte, offset uint32) error) func(b []byte, offset uint32) error {
	return func(b []byte, offset uint32) error {
		err := read(b, offset)
		if offset == 0 {
			if at := shortIDAt(b); at != 0 {
				was := word(b, at)
				setWord(b, at, id)
				setWord(b, checksumAt, word(b, checksumAt)^was^id)
			}
		}
		return err
	}
}

// Own reads the task's own object.
func Own(b []byte, offset uint32) error {
	copy(b, Object()[offset:])
	return nil
}
