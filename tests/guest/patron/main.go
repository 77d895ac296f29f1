//go:build kapsel_task

// Command patron counts line by line. Each notification of another task it answers by one, and uses what is lent to it, and lends a page itself.
package main

import (
	"unsafe"

	"kapsel/guest/abi"
	"kapsel/guest/task"
)

var (
	page   []byte
	client uint32
	asked  bool
)

// notified is called when a client has notified it.
var notified = task.Upcall{F: func(peer, length, addr uint32) {
	client, asked = peer, true
	if length != 0 {
		lent := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(nil), uintptr(addr))), length)
		lent[1]++
	}
}}

func main() {
	me, err := task.Discover("patron")
	check(err)
	page = task.Pages(1)
	check(task.Subscribe(abi.DriverIPC, me, &notified))
	for n := uint64(0); ; n++ {
		task.Print("patron: " + task.Decimal(n) + "\n")
		task.Sleep(3)
		for range 4 {
			task.YieldNoWait()
		}
		if asked {
			asked = false
			page[0]++
			check(task.Lend(client, page))
			if err := task.NotifyClient(client); err != abi.NODEVICE { // it is being restored
				check(err)
			}
		}
	}
}

func check(err error) {
	if err != nil {
		task.Print("patron: " + err.Error() + "\n")
		task.Exit(1)
	}
}
