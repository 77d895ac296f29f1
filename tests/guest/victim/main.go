//go:build kapsel_task

// Command victim works and serves, and says how much of the processor it got beside whatever
// else runs. It has an alarm of 1 ms again and again, and after each 5 ms of work it takes the
// upcalls that wait; or, if its flash region begins with "sleeps", it then waits for the alarm.
// Its upcalls as a service read and write what clients lend to it.
//
// Work is done in pieces that are all the same. The shortest is what a piece costs alone; its
// share is the pieces that it did, at that cost, of the time that went by. What a piece or a
// sleep took longer than it should is time that it was kept from running.
package main

//kapsel:flash 4096

import (
	"unsafe"

	"kapsel/guest/abi"
	"kapsel/guest/task"
)

const (
	duration    = 200_000 // of all, in microseconds
	working     = 5_000   // between two looks at upcalls, in microseconds
	sleeping    = 1       // in milliseconds
	calibration = 2_000   // in microseconds
	mostUpcalls = 16      // taken at a time
)

// Numbers of the alarm driver (docs/abi.md, section 6).
const (
	alarmRelative = 5 // command
	alarmFired    = 0 // upcall
)

// ticks reads the time-stamp counter.
func ticks() uint64

// What was measured, in ticks of the time-stamp counter.
var (
	pieces            uint64
	shortest, longest uint64 = ^uint64(0), 0
	woken, served     uint64
	lent              uint64 // notifications that came with memory
)

func main() {
	sleeps := beginsWith("sleeps")
	serve()
	second := perSecond()
	micros := func(t uint64) uint64 { return t * 1_000_000 / second }
	if !sleeps {
		must(task.Subscribe(abi.DriverAlarm, alarmFired, &fired), "an alarm")
		arm()
	}
	begin := ticks()
	for micros(ticks()-begin) < duration {
		for from := ticks(); micros(ticks()-from) < working; {
			work()
		}
		if sleeps {
			from := ticks()
			task.Sleep(sleeping)
			longest = max(longest, shortest+ticks()-from-second*sleeping/1000)
			woken++
		}
		for i := 0; i < mostUpcalls && task.YieldNoWait(); i++ {
		}
	}
	took := ticks() - begin
	report("share", pieces*shortest*1000/took)
	report("gap", micros(longest-shortest))
	report("woken", woken)
	report("served", served)
	report("lent", lent)
	task.Print("victim: lives\n")
	task.Exit(0)
}

// beginsWith reports whether the flash region does.
func beginsWith(order string) bool {
	start, err := task.Memop(abi.MemopRegionStart, 0)
	must(err, "a flash region")
	return string(unsafe.Slice((*byte)(pointer(start)), len(order))) == order
}

// fired counts the alarm, and sets the next.
var fired = task.Upcall{F: func(_, _, _ uint32) {
	woken++
	arm()
}}

var alarmTicks uint32 // of a sleep

// arm sets the alarm.
func arm() {
	must(task.Command(abi.DriverAlarm, alarmRelative, alarmTicks, 0).Err(), "an alarm")
}

func report(what string, v uint64) { task.Print("victim: " + what + " " + task.Decimal(v) + "\n") }

// perSecond measures the time-stamp counter against the alarm's clock.
func perSecond() uint64 {
	clock, frequency := task.Ticks()
	alarmTicks = frequency / 1000 * sleeping
	begin := ticks()
	for {
		now, _ := task.Ticks()
		if t := ticks() - begin; uint64(now-clock)*1_000_000 >= calibration*uint64(frequency) {
			return t * uint64(frequency) / uint64(now-clock)
		}
	}
}

var state uint64

// work does a piece of work.
func work() {
	begin := ticks()
	for range 500 {
		state = state*6364136223846793005 + 1442695040888963407
	}
	t := ticks() - begin
	shortest, longest = min(shortest, t), max(longest, t)
	pieces++
}

var upcall = task.Upcall{F: func(_, length, addr uint32) {
	served++
	if length != 0 {
		lent++
		for at := uint32(0); at < length; at += abi.PageSize {
			*(*uint64)(pointer(uint64(addr + at)))++
		}
	}
}}

// serve makes the task a service, known by its name.
func serve() {
	own, err := task.Discover("victim")
	must(err, "a name")
	must(task.Subscribe(abi.DriverIPC, own, &upcall), "clients")
}

// must ends the task if it cannot have something.
func must(err error, what string) {
	if err != nil {
		task.Print("victim: cannot have " + what + ": " + err.Error() + "\n")
		task.Exit(1)
	}
}

func pointer(addr uint64) unsafe.Pointer { return unsafe.Add(unsafe.Pointer(nil), uintptr(addr)) }
