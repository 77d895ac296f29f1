//go:build kapsel_task

// Command onlooker reads what the kernel writes into its memory (driver 9): after the call
// that shares the buffer it makes none until it has seen its turns counted and the time go
// on. It ends with 0, or with 1 if that cannot be.
package main

import (
	"unsafe"

	"kapsel/guest/abi"
	"kapsel/guest/task"
)

// Layout of the buffer (docs/abi.md, section 6).
const (
	turns = 0 // u32
	ticks = 8 // u64
	size  = 16

	version = 1 // command
)

// enough is how many changes of the buffer it waits for.
const enough = 5

var buffer [size / 8]uint64

func main() {
	if r := task.Command(abi.DriverReadOnlyState, version, 0, 0); r.Err() != nil || r.Words[0] != 1 {
		fail("the driver is not there, or has another layout")
	}
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(&buffer)), size)
	if err := task.AllowUserspaceReadable(abi.DriverReadOnlyState, 0, bytes); err != nil {
		fail("the buffer cannot be shared: " + err.Error())
	}
	first, before := turn(), buffer[ticks/8]
	for last := first; last-first < enough; {
		if now := turn(); now != last {
			if buffer[ticks/8] <= before {
				fail("the time did not go on")
			}
			last, before = now, buffer[ticks/8]
		}
	}
	task.Print("onlooker: saw " + task.Decimal(enough) + " turns without a call\n")
	task.Exit(0)
}

// turn reads memory each time it is called.
//
//go:noinline
func turn() uint32 { return uint32(buffer[turns/8]) }

func fail(why string) {
	task.Print("onlooker: " + why + "\n")
	task.Exit(1)
}
