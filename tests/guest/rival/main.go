//go:build kapsel_task

// Command rival does one thing without end, to keep the processor from the task victim. Its
// flash region begins with the name of what, a space, and, if it is to wait for a millisecond
// after each time, as a task does that cooperates, the word "waits".
package main

//kapsel:flash 4096
//kapsel:heap 327680

import (
	"unsafe"

	"kapsel/guest/abi"
	"kapsel/guest/task"
)

// Numbers of drivers (docs/abi.md, section 6).
const (
	alarmRelative = 5         // command
	consoleWrite  = 1         // command, and its read-only allow number and upcall
	debugNumber   = 2         // command
	longestOrder  = 32        // bytes
	longestText   = 8192      // bytes
	moved         = 128 << 10 // bytes that the break is moved by
)

// order is the flash region's beginning.
var order []byte

// attacks are what it can do, each a time.
var attacks = [...]struct {
	name string
	do   func()
}{
	{"nothing", func() { task.WaitFor(abi.DriverAlarm, 0) }},
	{"spin", spin},
	{"command", func() { task.Command(abi.DriverConsole, 0, 0, 0) }},
	{"yield", func() { task.YieldNoWait() }},
	{"notify", notify},
	{"write", write},
	{"debug", func() { task.Command(abi.DriverLowLevelDebug, debugNumber, 1, 0) }},
	{"alarm", alarm},
	{"lend", lend},
	{"revoke", lendAndTakeBack},
	{"break", moveBreak},
	{"restart", func() { task.Restart(1) }},
	{"fault", func() { *(*byte)(pointer(8)) = 1 }},
}

func main() {
	order = unsafe.Slice((*byte)(pointer(region())), longestOrder)
	what, rest := word(order)
	wait, _ := word(rest)
	for i := range attacks {
		if a := &attacks[i]; a.name == what {
			for {
				a.do()
				if wait == "waits" {
					task.Sleep(1)
				}
			}
		}
	}
	task.Print("rival: no such order: " + what + "\n")
	task.Exit(1)
}

// word splits off what stands before the first space.
func word(b []byte) (string, []byte) {
	for i, c := range b {
		if c == ' ' {
			return string(b[:i]), b[i+1:]
		}
	}
	return string(b), nil
}

func region() uint64 {
	start, err := task.Memop(abi.MemopRegionStart, 0)
	if err != nil {
		task.Print("rival: no flash region: " + err.Error() + "\n")
		task.Exit(1)
	}
	return start
}

// spin makes no system call for a millisecond or so.
func spin() {
	for i := range 1_000_000 {
		sum += i
	}
}

var sum int

// peer is the victim's slot.
func peer() uint32 {
	if found == 0 {
		for {
			p, err := task.Discover("victim")
			if err == nil {
				found = p + 1
				break
			}
			task.Sleep(1)
		}
	}
	return found - 1
}

var found uint32 // 1 above it; 0: not found yet

func notify() { task.NotifyService(peer()) }

var (
	text  []byte
	pages []byte
)

// write gives the console much to write, and waits for it.
func write() {
	if text == nil {
		text = make([]byte, longestText)
		for i := range text {
			text[i] = '.'
		}
		task.AllowReadOnly(abi.DriverConsole, consoleWrite, text)
	}
	if task.Command(abi.DriverConsole, consoleWrite, longestText, 0).Err() == nil {
		task.WaitFor(abi.DriverConsole, consoleWrite)
	}
}

// alarm has an alarm that is due at once.
func alarm() {
	if task.Command(abi.DriverAlarm, alarmRelative, 0, 0).Err() == nil {
		task.WaitFor(abi.DriverAlarm, 0)
	}
}

// lend lends memory with a notification, and takes it back at once or a little later.
func lend() {
	lendTo(peer())
	spin()
	task.Lend(peer(), nil)
}

// lendAndTakeBack is lend without a pause.
func lendAndTakeBack() {
	lendTo(peer())
	task.Lend(peer(), nil)
}

func lendTo(p uint32) {
	if pages == nil {
		pages = task.Pages(abi.LoanSize / abi.PageSize)
	}
	task.Lend(p, pages)
	task.NotifyService(p)
}

// moveBreak takes much memory and gives it back: the kernel clears it each time.
func moveBreak() {
	if old, err := task.Memop(abi.MemopSbrk, moved); err == nil {
		task.Memop(abi.MemopBrk, old)
	}
}

func pointer(addr uint64) unsafe.Pointer { return unsafe.Add(unsafe.Pointer(nil), uintptr(addr)) }
