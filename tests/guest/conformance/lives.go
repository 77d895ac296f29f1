//go:build kapsel_task

package main

import (
	"unsafe"

	"kapsel/guest/abi"
	"kapsel/guest/task"
)

// attempts end the task by a fault each. The test knows what the kernel says of each.
var attempts = [...]func(){
	func() { call(8, 0, 0, 0, 0) },
	func() { call(255, 0, 0, 0, 0) },
	func() { jump(0) },
	func() { poke(0x1234_5678_9000) },
	func() { poke(recorder()) },
	func() { poke(memop(abi.MemopFlashStart, 0)) },
	func() { command(abi.DriverAlarm, alarmStop, 0, 0); poke(memop(abi.MemopGrantStart, 0)) },
	func() { poke(abi.KernelBase + 0x20_0000) },
	func() { poke(abi.DirectMap + 0x40_0000) },
	func() { poke(abi.RAMStart) }, // where tasks have their RAM that ask for no address
	func() { upcallOnStack(memop(abi.MemopRAMStart, 0)) },
	func() { upcallOnStack(abi.KernelBase + 0x20_0000) },
}

// 22: whatever a task does, it alone is stopped, and the board's policy followed. Each life
// makes one attempt; part s makes the first in each of its lives, for there are too many.
func faults() {
	if rolePart == 's' {
		attempts[0]()
	}
	n := *life()
	*life()++
	if n < uint64(len(attempts)) {
		attempts[n]()
		fail("an attempt was not stopped", 0, n)
	}
}

func poke(addr uint64) { *(*byte)(pointer(addr)) = 0x5a }

// upcallOnStack runs an upcall with a stack that cannot take its return address.
func upcallOnStack(sp uint64) {
	subscribe(abi.DriverConsole, consoleWrote, recorder(), 1)
	consoleEvent()
	yieldOnStack(sp)
}

func yieldOnStack(sp uint64)
func jump(addr uint64)

// What a life finds in its memory.
var (
	initialised = uint64(0x1122_3344_5566_7788)
	zeroed      [64]uint64
)

// 23: a task restarts with fresh memory, and terminates with the code that it gives. An Exit of
// an unknown kind is NOSUPPORT.
func exits() {
	for _, kind := range [...]uint64{2, 99, 1<<32 - 1} {
		answers("Exit of an unknown kind", failure(abi.NOSUPPORT), call(abi.Exit, kind, 1, 0, 0))
	}
	fresh := appBreak()
	equal("initialised variable", 0x1122_3344_5566_7788, initialised)
	for _, v := range zeroed {
		equal("zeroed variable", 0, v)
	}
	brk(fresh + abi.PageSize)
	heap := bytesAt(fresh, abi.PageSize)
	equal("first byte of the heap that is not 0", abi.PageSize, firstNot(heap, 0))
	answers("Subscribe in a fresh life", was(0, 0), subscribe(abi.DriverAlarm, alarmFired, recorder(), 1))
	if failures != 0 {
		return
	}
	*life()++
	firstBreak := wordAt(memop(abi.MemopRegionStart, 0) + 8)
	if *life() == 1 {
		*firstBreak = fresh
		initialised = 0
		for i := range zeroed {
			zeroed[i] = ^uint64(0)
		}
		for i := range heap {
			heap[i] = 0xff
		}
		allowRO(abi.DriverConsole, spareBuffer, address(heap), abi.PageSize) // keeps the break up
		call(abi.Exit, abi.ExitRestart, 9, 0, 0)
	}
	equal("life", 2, *life())
	equal("break", *firstBreak, fresh)
}

// 24: a task that never calls the kernel.
func spins() {
	for {
		spun++
	}
}

// 25: a task in each of the states that the test stops it in: r runs, y waits for an upcall, f
// waits for an event.
func isStopped() {
	text := [...]byte{'2', '5', rolePart, '\n'}
	task.Write(text[:])
	switch rolePart {
	case 'y':
		yield(abi.YieldWait, 0, 0)
	case 'f':
		waitFor(absent, 0)
	default:
		spins()
	}
}

// addressOf is where a byte is.
func addressOf(p *byte) uint64 { return uint64(uintptr(unsafe.Pointer(p))) }
