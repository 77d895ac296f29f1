//go:build kapsel_task

// Command scribe writes line by line what follows from all lines before: from its memory, and from vector registers. In between it lends a page to the
// task patron, and notifies it.
package main

import (
	"unsafe"

	"kapsel/guest/abi"
	"kapsel/guest/task"
)

var (
	past   [2048]uint64
	told   uint64
	patron uint32
	page   []byte
)

// notified is called when the patron has notified it, and uses what that lends.
var notified = task.Upcall{F: func(_, length, addr uint32) {
	if told++; length != 0 {
		lent := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(nil), uintptr(addr))), length)
		lent[1]++
	}
}}

func main() {
	page = task.Pages(1)
	for {
		var err error
		if patron, err = task.Discover("patron"); err == nil {
			break
		}
		task.Sleep(1)
	}
	check(task.Lend(patron, page))
	check(task.Subscribe(abi.DriverIPC, patron, &notified))
	for step := uint64(0); ; step++ {
		sum := next(step)
		page[0]++
		check(task.NotifyService(patron))
		task.Print("scribe: " + task.Decimal(step) + ": " + task.Hex(sum) + "\n")
		task.Sleep(3)
		if step%3 == 2 { // until then they queue
			task.YieldNoWait()
		}
	}
}

// next is the sum of a step, which takes a while.
func next(step uint64) uint64 {
	x := 1.0
	for range 5000 {
		x = x*1.0009765625 + float64(step&7)
		if x > 1e9 {
			x -= 1e9
		}
	}
	last := past[(step+uint64(len(past))-1)%uint64(len(past))]
	sum := (last^uint64(x))*0x9e3779b97f4a7c15 + step
	past[step%uint64(len(past))] = sum
	return sum
}

func check(err error) {
	if err != nil {
		task.Print("scribe: " + err.Error() + "\n")
		task.Exit(1)
	}
}
