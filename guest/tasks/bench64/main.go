//go:build kapsel_task

// Command bench64 measures every way into the kernel and back, from ring 3, and prints the
// samples, for kapsel bench to read. Beside it run benchpeer, and bench32, the 32-bit task that
// measures Tock's convention for x86. The kernel has the benchmark capsule (guest/abi,
// "Commands of the benchmark capsule").
//
// Of each path it prints
//
//	bench NAME OPERATIONS unit=ticks [base=none] TICKS*COUNT TICKS*COUNT ...
//
// in lines of at most 256 bytes, each a write of its own, so that no message of the kernel's
// gets between; or "bench NAME skipped: REASON". The end is "bench done". There is one sample
// for each operation. It is what package measure's Call says, Empty's to be taken off; with
// base=none it is the difference of two instants of the path itself.
//
// In a machine that has a disk it measures devices, and nothing else (devices.go); in one that has a network, a web server (web.go); in one with
// services, calls of them (service.go).
//
// Around the operations the capsule marks begin and end. Nothing is printed between, but by
// the operations themselves.
package main

import (
	"unsafe"

	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/guest/tasks/measure"
)

//kapsel:entry first

// firstTick is the time-stamp counter at this task's first instruction (first_amd64.s).
var firstTick uint64

// Numbers of other drivers (docs/abi.md, section 6).
const (
	alarmRelative = 5 // command
	consoleWrite  = 1 // command, read-only allow and subscribe number
	notifyService = 2 // command of IPC
)

// The buffers that the benchmark capsule and the console get.
var (
	shared [64]byte
	text   [4096]byte
	flag   [8]byte // of Yield-NoWait
)

// What there is to measure with.
var (
	instrumented bool // the kernel has the benchmark capsule
	peer         uint32
	peered       bool // there is benchpeer
	page         *measure.Shared
	lent         []byte // page, as it is lent

	ticksPerMicro uint64
)

func main() {
	task.Sleep(50) // what the kernel says at boot is printed by then
	switch {
	case task.Command(abi.DriverRawBlock, 0, 0, 0).Err() == nil:
		prepare()
		devices()
	case task.Command(abi.DriverEthernetTap, 0, 0, 0).Err() == nil:
		prepare()
		web()
	case task.Command(abi.DriverService, 0, 0, 0).Err() == nil:
		prepare()
		services()
	default:
		boot()
		prepare()
		machine()
	}
	task.Print("bench done\n")
	task.Exit(0)
}

// boot tells when booting came to what.
func boot() {
	task.Print("bench-boot entered " + bootTick(abi.BootEntered) + " main " + bootTick(abi.BootMain) +
		" loaded " + bootTick(abi.BootLoaded) + "\n")
	task.Print("bench-boot first-task " + task.Decimal(firstTick) + "\n")
}

// machine measures a machine without devices.
func machine() {
	systemCalls()
	tasks()
	interrupts()
	console("Console")
	exits()
	drivers()
	cache()
	tasks32()
	if peered {
		page.Role = measure.RoleEnd
		task.Lend(peer, lent)
		task.NotifyService(peer)
		task.WaitForPeer(peer) // until then the page is there
	}
}

// bootTick is when booting came to a stage.
func bootTick(stage uint32) string {
	return task.Decimal(task.Command(abi.DriverBenchmark, abi.BenchmarkBoot, stage, 0).Words[0])
}

// prepare finds out what there is.
func prepare() {
	instrumented = task.Command(abi.DriverBenchmark, 0, 0, 0).Err() == nil
	var err error
	peer, err = task.Discover("benchpeer")
	peered = err == nil
	lent = task.Pages(1)
	page = (*measure.Shared)(unsafe.Pointer(unsafe.SliceData(lent)))
	for i := range text {
		text[i] = '.'
		if i%64 == 63 {
			text[i] = '\n'
		}
	}
	begin, at := measure.Stamp(), now()
	task.Sleep(10)
	ticksPerMicro = max((measure.Stamp()-begin)/uint64(now()-at), 1)
}

// now is the alarm's clock, in microseconds.
func now() uint32 {
	t, _ := task.Ticks()
	return t
}

// systemCalls measures the classes, and the ways of an upcall.
func systemCalls() {
	const driver = abi.DriverBenchmark
	own := uint64(address(&shared[0]))
	function := measure.UpcallAddress()
	waits := [3]uint64{abi.YieldWaitFor, driver, 0}

	null := measure.Command(driver, 0, 0, 0)
	path{name: "Empty", n: many, op: func() bool {
		measure.Empty(&null)
		return record(null.Ticks())
	}}.run()
	path{name: "NullCommand", n: many, op: once(measure.Command(abi.DriverAlarm, 0, 0, 0))}.run()
	path{name: "CapsuleCommand", n: many, needs: capsule, op: once(measure.Command(driver, abi.BenchmarkEnter, 0, 0))}.run()

	yield := measure.Call{Class: abi.Yield, Args: [4]uint64{abi.YieldNoWait, uint64(address(&flag[0]))}}
	path{name: "YieldNoWait", n: many, op: func() bool {
		measure.Once(&yield)
		return record(yield.Ticks())
	}}.run()
	path{name: "Subscribe", n: many, needs: capsule,
		op: once(measure.Call{Class: abi.Subscribe, Args: [4]uint64{driver, 0, function, 1}})}.run()
	path{name: "AllowReadWrite", n: many, needs: capsule,
		op: once(measure.Call{Class: abi.AllowReadWrite, Args: [4]uint64{driver, 0, own, uint64(len(shared))}})}.run()
	path{name: "AllowReadOnly", n: many, needs: capsule,
		op: once(measure.Call{Class: abi.AllowReadOnly, Args: [4]uint64{driver, 0, own, uint64(len(shared))}})}.run()
	path{name: "Memop", n: many, op: once(measure.Call{Class: abi.Memop, Args: [4]uint64{abi.MemopRAMStart}})}.run()

	// The event is answered to a Yield-WaitFor, which calls no function; and then it is a call of
	// the function, during a Yield-Wait.
	task.Subscribe(driver, 0, nil)
	trip := measure.Command(driver, abi.BenchmarkEvent, 1, 2)
	trip.Yield = waits
	path{name: "UpcallRoundTrip", n: many, needs: capsule, op: func() bool {
		measure.Twice(&trip)
		return trip.Results[0] == 1 && record(trip.Ticks())
	}}.run()
	task.Raw(abi.Subscribe, driver, 0, function, 0)
	trip.Yield = [3]uint64{abi.YieldWait}
	path{name: "UpcallFunction", n: many, needs: capsule, op: func() bool {
		measure.Twice(&trip)
		return record(trip.Ticks())
	}}.run()
}

// tasks measures what takes two tasks.
func tasks() {
	notify := measure.Command(abi.DriverIPC, notifyService, uint64(peer), 0)
	notify.Yield = [3]uint64{abi.YieldWaitFor, abi.DriverIPC, uint64(peer)}

	// There and back are two switches: each is a half of the time, and an operation.
	path{name: "TaskSwitch", n: 2 * many, base: none, needs: other, op: func() bool {
		measure.Twice(&notify)
		half := notify.Ticks() / 2
		return record(half) && record(notify.Ticks()-half)
	}}.run()

	task.Lend(peer, lent)
	path{name: "IPCBuffer", n: many, base: none, needs: other, op: func() bool {
		page.Role = measure.RoleAnswer
		for i := range page.Data {
			page.Data[i] = byte(i)
		}
		measure.Twice(&notify)
		for i, b := range page.Data {
			if b != byte(i)+1 {
				return false
			}
		}
		return record(notify.Ticks())
	}}.run()

	path{name: "Preemption", n: 30, base: none, needs: other, op: preempted}.run()
	path{name: "FaultToDeadTask", n: 24, base: none, needs: other, op: survived}.run()
}

// slice is the board's time slice in microseconds (kernel.DefaultSlice).
const slice = 10_000

// lead is how long before a slice's end preempted begins to look, in microseconds.
var lead = uint64(100)

// preempted measures from this task's last instruction, when its slice ends, to benchpeer's
// first. If the slice ended too early, it looks earlier the next time.
func preempted() bool {
	task.Sleep(1) // the CPU idles: behind that a slice begins
	begin := measure.Stamp()
	page.Role, page.Stamp = measure.RoleStamp, 0
	task.NotifyService(peer)
	measure.Delay(begin + (slice-lead)*ticksPerMicro)
	before, after := measure.Spin(&page.Stamp, ^uint64(0), begin+2*slice*ticksPerMicro)
	task.WaitForPeer(peer)
	if page.Stamp < before || page.Stamp > after {
		lead = min(2*lead, slice/2)
		return false
	}
	return record(page.Stamp - before)
}

// survived measures from an instruction of benchpeer that faults, while this task is ready, to
// this task's next. That includes what the kernel prints of it, and that it restarts the task.
func survived() bool {
	answer := measure.WaitFor(abi.DriverIPC, uint64(peer))
	page.Role, page.Stamp = measure.RoleFault, 0
	task.NotifyService(peer)
	measure.Once(&answer)
	stamp := page.Stamp
	task.Sleep(10) // the message is printed, and benchpeer waits again
	return stamp != 0 && record(answer.End-stamp)
}

// interrupts measures what the timer's interrupt does.
func interrupts() {
	shortest := ^uint64(0) // time that this task lost to an interrupt
	path{name: "InterruptToCapsule", n: 100, base: none, needs: capsule, op: func() bool {
		before, after, fired, _ := interrupted(^uint64(0))
		if fired < before || fired > after {
			return false
		}
		shortest = min(shortest, after-before)
		return record(fired - before)
	}}.run()

	// The task goes on after the interrupt, and takes the event that it made happen.
	path{name: "InterruptToTask", n: 100, base: none, needs: capsule, op: func() bool {
		before, after, fired, told := interrupted(shortest / 2)
		return before < fired && fired < after && record(told-before)
	}}.run()

	expires := measure.WaitFor(abi.DriverAlarm, 0)
	path{name: "AlarmLatency", n: 50, base: none, needs: capsule, op: func() bool {
		task.Command(abi.DriverAlarm, alarmRelative, 2000, 0)
		measure.Once(&expires)
		deadline := task.Command(abi.DriverBenchmark, abi.BenchmarkDeadline, 0, 0).Words[0]
		return record(expires.End - deadline)
	}}.run()
}

// distance is how far ahead interrupted sets the alarm, and window how long behind that it
// still looks, both in microseconds.
var distance, window = uint64(100), uint64(100)

// interrupted sets the alarm and reads the time-stamp counter until the interrupt has come, or
// a gap of limit ticks. It returns the counter before and after, when the alarm's handler was
// entered, and when this task had taken the alarm's event. If the interrupt came too early or
// too late, there is more time the next time.
func interrupted(limit uint64) (before, after, fired, told uint64) {
	event := measure.WaitFor(abi.DriverAlarm, 0)
	task.Command(abi.DriverAlarm, alarmRelative, uint32(distance), 0)
	begin := measure.Stamp()
	before, after = measure.Spin(new(uint64), limit, begin+(distance+window)*ticksPerMicro)
	measure.Once(&event)
	fired = task.Command(abi.DriverBenchmark, abi.BenchmarkFired, 0, 0).Words[0]
	switch {
	case fired < begin:
		distance = min(2*distance, slice/4)
	case fired > after:
		window = min(2*window, 2*slice)
	}
	return before, after, fired, event.End
}

// console measures writes, to the end that the driver tells. The paths' names begin with that of the line.
func console(line string) {
	for _, w := range [...]struct {
		name string
		size uint64
		n    int
	}{{"Write1", 1, 200}, {"Write64", 64, 100}, {"Write4096", 4096, 10}} {
		write := measure.Command(abi.DriverConsole, consoleWrite, w.size, 0)
		write.Yield = [3]uint64{abi.YieldWaitFor, abi.DriverConsole, consoleWrite}
		path{name: line + w.name, n: w.n, base: none, prints: true, op: func() bool {
			measure.Twice(&write)
			return write.Results[0] == w.size && record(write.Ticks())
		}}.run()
	}
}

// exits measures commands that leave the machine once.
func exits() {
	const driver, n = abi.DriverBenchmark, 200
	path{name: "ExitPIO", n: n, needs: capsule, op: once(measure.Command(driver, abi.BenchmarkExitPIO, 1, 0))}.run()
	path{name: "ExitMMIO", n: n, needs: capsule, op: once(measure.Command(driver, abi.BenchmarkExitMMIO, 1, 0))}.run()
	path{name: "ExitIOEventFD", n: n, needs: capsule, op: once(measure.Command(driver, abi.BenchmarkExitFD, 1, 0))}.run()
}

// drivers measures what drivers do in ring 0: each the difference of a command that does it a hundred times more than
// another, divided. That is the thing itself and a loop around it, which PlainGo shows alone.
func drivers() {
	for _, d := range [...]struct {
		name string
		what uint64
	}{{"PlainGo", abi.RepeatPlain}, {"RegisterRead", abi.RepeatRegister}, {"CapsuleCall", abi.RepeatCall}, {"BufferHandOver", abi.RepeatBuffer},
		{"PlainCopy4096", abi.RepeatCopy}} {
		const more = 100
		often := measure.Command(abi.DriverBenchmark, abi.BenchmarkRepeat, 1+more, d.what)
		once := measure.Command(abi.DriverBenchmark, abi.BenchmarkRepeat, 1, d.what)
		path{name: d.name, n: 100, base: none, needs: capsule, op: func() bool {
			measure.Once(&often)
			measure.Once(&once)
			return often.Succeeded() && once.Succeeded() && often.Ticks() > once.Ticks() &&
				record((often.Ticks()-once.Ticks())/more)
		}}.run()
	}
}

// cache measures a read of a page that the buffer cache has, from the request to the call of who asked: like drivers, but that
// each read begins where the one before ends.
func cache() {
	const driver, more = abi.DriverBenchmark, 100
	task.Subscribe(driver, 0, nil)
	read := func(n uint64) *measure.Call {
		c := measure.Command(driver, abi.BenchmarkRepeat, n, abi.RepeatCached)
		c.Yield = [3]uint64{abi.YieldWaitFor, driver, 0}
		return &c
	}
	often, once := read(1+more), read(1)
	measure.Twice(once) // from then on it is there
	path{name: "CacheHit4096", n: 100, base: none, needs: capsule, op: func() bool {
		measure.Twice(often)
		measure.Twice(once)
		return often.Results[0] == 0 && once.Results[0] == 0 && often.Ticks() > once.Ticks() &&
			record((often.Ticks()-once.Ticks())/more)
	}}.run()
}

// tasks32 lets bench32 measure. It prints its paths by itself, if the kernel has the capsule.
func tasks32() {
	service, err := task.Discover("bench32")
	if err == nil {
		task.NotifyService(service)
		task.WaitForPeer(service)
	}
	if err == nil && instrumented {
		return
	}
	for _, name := range [...]string{"Empty32", "NullCommand32", "YieldNoWait32", "Subscribe32",
		"AllowReadWrite32", "Memop32", "UpcallRoundTrip32"} {
		skip(name, "no task bench32, or no benchmark capsule")
	}
}

// address is a variable's address.
func address(b *byte) uintptr { return uintptr(unsafe.Pointer(b)) }

// once is the operation of a path that is one call, which succeeds.
func once(c measure.Call) func() bool {
	call := new(measure.Call) // the compiler would copy c for each call of the function
	*call = c
	return func() bool {
		measure.Once(call)
		return call.Succeeded() && record(call.Ticks())
	}
}
