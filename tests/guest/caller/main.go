//go:build kapsel_task

// Command caller gives each command of the drivers of nonvolatile storage as libtock-c does: subscribe, allow, command, and then
// Yield-Wait until the upcall ran, and once more with Yield-WaitFor. The region has 3 pages.
// tests/storage/testdata/storage32 is the same with 32 bits.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
)

//kapsel:storage write=1 read=1 modify=1

const (
	none   = 99 // no upcall
	region = 3 * 4096
	room   = 6000
)

// A row is a command with buffers of so many bytes, what it returns, and the upcall that then comes, if sn is not none.
type row struct {
	what            string
	command, a0, a1 uint32
	room            int
	variant         abi.Variant
	value           uint64
	sn, u0, u1      uint32
}

// nonvolatile are those of capsules/extra/src/nonvolatile_storage_driver.rs.
var nonvolatile = [...]row{
	{"0: exists", 0, 0, 0, 0, abi.Success, 0, none, 0, 0},
	{"1: size", 1, 0, 0, 0, abi.SuccessU32, region, none, 0, 0},
	{"3: write", 3, 100, room, room, abi.Success, 0, 1, room, 0},
	{"2: read", 2, 100, room, room, abi.Success, 0, 0, room, 0},
	{"2: no more than the buffer has", 2, 0, region, 10, abi.Success, 0, 0, 10, 0},
	{"3: nothing", 3, 0, 0, 10, abi.Success, 0, 1, 0, 0},
	{"2: behind the end", 2, region, 1, 10, abi.Failure, uint64(abi.INVAL), none, 0, 0},
	{"3: across the end", 3, 1, region, 10, abi.Failure, uint64(abi.INVAL), none, 0, 0},
	{"3: all numbers", 3, 1<<32 - 1, 1<<32 - 1, 10, abi.Failure, uint64(abi.INVAL), none, 0, 0},
	{"2: no buffer", 2, 0, 10, 0, abi.Failure, uint64(abi.RESERVE), none, 0, 0},
	{"3: no buffer", 3, 0, 10, 0, abi.Failure, uint64(abi.RESERVE), none, 0, 0},
	{"4: unknown", 4, 0, 0, 10, abi.Failure, uint64(abi.NOSUPPORT), none, 0, 0},
}

// isolated are those of capsules/extra/src/isolated_nonvolatile_storage_driver.rs.
var isolated = [...]row{
	{"0: exists", 0, 0, 0, 0, abi.Success, 0, none, 0, 0},
	{"1: size", 1, 0, 0, 0, abi.Success, 0, 0, 0, region},
	{"3: write", 3, 100, 0, room, abi.Success, 0, 2, 0, room},
	{"2: read", 2, 100, 0, room, abi.Success, 0, 1, 0, room},
	{"2: up to the end", 2, region - 10, 0, 10, abi.Success, 0, 1, 0, 10},
	{"2: across the end", 2, region - 9, 0, 10, abi.Success, 0, 1, uint32(abi.INVAL), 0},
	{"3: the high word", 3, 0, 1, 10, abi.Success, 0, 2, uint32(abi.INVAL), 0},
	{"3: all numbers", 3, 1<<32 - 1, 1<<32 - 1, 10, abi.Success, 0, 2, uint32(abi.INVAL), 0},
	{"2: no buffer", 2, 0, 0, 0, abi.Success, 0, 1, uint32(abi.RESERVE), 0},
	{"3: no buffer", 3, 0, 0, 0, abi.Success, 0, 2, uint32(abi.RESERVE), 0},
	{"4: unknown", 4, 0, 0, 10, abi.Failure, uint64(abi.NOSUPPORT), none, 0, 0},
}

var (
	in, out [room]byte
	fired   uint32
	told    [3]uint32
	upcall  = task.Upcall{F: func(a, b, c uint32) {
		fired++
		told = [3]uint32{a, b, c}
	}}
	failed bool
)

// fail says what is not as it should be.
func fail(driver uint32, what string) {
	task.Print("caller: " + task.Hex(uint64(driver)) + ", command " + what + ": FAILED\n")
	failed = true
}

// step makes the call of a row.
func step(driver uint32, r *row, waitsFor bool) {
	task.AllowReadOnly(driver, 0, out[:r.room])
	task.Allow(driver, 0, in[:r.room])
	fired = 0
	if r.sn != none && waitsFor {
		task.Subscribe(driver, r.sn, nil)
	} else if r.sn != none {
		task.Subscribe(driver, r.sn, &upcall)
	}
	got := task.Command(driver, r.command, r.a0, r.a1)
	switch {
	case got != task.Result{Variant: r.variant, Words: [3]uint64{r.value}}:
		fail(driver, r.what)
		return
	case r.sn == none:
		return
	case waitsFor:
		told[0], told[1], told[2] = task.WaitFor(driver, r.sn)
	default:
		for fired == 0 {
			task.Yield()
		}
	}
	if fired > 1 || told != [3]uint32{r.u0, r.u1} {
		fail(driver, r.what+", upcall")
	}
}

// keeps looks that what was written is what is read.
func keeps(driver uint32, write, read *row, seed byte) {
	for i := range out {
		out[i], in[i] = byte(i*7)+seed, 0
	}
	step(driver, write, true)
	step(driver, read, true)
	if in != out {
		fail(driver, "3 and 2: what is read is not what was written")
	}
}

func main() {
	for _, waitsFor := range [...]bool{false, true} {
		for i := range nonvolatile {
			step(abi.DriverNonvolatileStorage, &nonvolatile[i], waitsFor)
		}
		for i := range isolated {
			step(abi.DriverIsolatedNonvolatile, &isolated[i], waitsFor)
		}
	}
	keeps(abi.DriverNonvolatileStorage, &nonvolatile[2], &nonvolatile[3], 1)
	keeps(abi.DriverIsolatedNonvolatile, &isolated[2], &isolated[3], 2)
	if failed {
		task.Exit(1)
	}
	task.Print("caller: all is as it should be\n")
	task.Exit(0)
}
