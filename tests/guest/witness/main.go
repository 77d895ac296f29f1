//go:build kapsel_task

// Command witness fills memory with a pattern and watches its checksum, until it is typed
// a byte: a task that does nothing wrong, beside others that do. It prints now and then,
// and at the end how often the checksum was right.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
)

// Numbers of the console driver.
const (
	read     = 2 // command and subscribe number
	readInto = 1 // read-write allow number
)

var (
	memory [64 << 10]byte
	key    [1]byte
	typed  bool
)

var onKey = task.Upcall{F: func(_, _, _ uint32) { typed = true }}

func main() {
	now, _ := task.Ticks()
	want := fill(uint64(now) | 1)
	task.Print("witness: watches\n")
	task.Subscribe(abi.DriverConsole, read, &onKey)
	task.Allow(abi.DriverConsole, readInto, key[:])
	for round := uint64(1); ; round++ {
		if got := sum(); got != want {
			task.Print("witness: WRONG: checksum " + task.Hex(got) + ", want " + task.Hex(want) + "\n")
			task.Exit(1)
		}
		if typed {
			task.Print("witness: " + task.Decimal(round) + " checksums right\n")
			task.Exit(0)
		}
		if round%128 == 0 {
			task.Print("witness: still right\n")
		}
		task.Command(abi.DriverConsole, read, 1, 0) // BUSY once it reads, or while another task does
		task.Sleep(2)
		task.YieldNoWait()
	}
}

// fill writes a pattern and returns its checksum.
func fill(seed uint64) uint64 {
	for i := range memory {
		seed = seed*6364136223846793005 + 1442695040888963407
		memory[i] = byte(seed >> 56)
	}
	return sum()
}

// sum is the FNV-1a checksum of memory (a public hash: fast, and no byte goes uncounted).
func sum() uint64 {
	h := uint64(14695981039346656037)
	for i := range memory {
		h = (h ^ uint64(memory[i])) * 1099511628211
	}
	return h
}
