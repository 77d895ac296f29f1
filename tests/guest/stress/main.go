//go:build kapsel_task

// Command stress makes system calls with random classes and words, most of them near the
// edges of what is allowed, and compares every answer with what docs/abi.md says. It has
// many lives: each ends with something fatal, or with a restart. What outlives them is in
// its flash region, where it also finds how many calls to make.
//
// A call that succeeds and by which it would hurt itself later (a function that is none, a
// buffer over its own variables) it takes back at once.
package main

//kapsel:flash 4096
//kapsel:heap 131072

import (
	"unsafe"

	"kapsel/guest/abi"
	"kapsel/guest/task"
)

// A progress is the start of the flash region. Whoever starts the task writes the first
// three words.
type progress struct {
	wanted    uint64 // calls to make
	seed      uint64
	protected uint64 // size of the object's protected region
	made      uint64 // calls made
	lives     uint64 // lives begun
	succeeded uint64 // calls that did not fail
	ran       uint64 // upcalls that ran
}

// livesWanted is below the number of restarts that the board allows.
const livesWanted = 25

var (
	done    *progress
	reserve []byte
)

func main() {
	done = (*progress)(pointer(ask(abi.MemopRegionStart, 0)))
	done.lives++
	random = done.seed*0x9e3779b97f4a7c15 + done.lives | 1
	reserve = make([]byte, 1024) // takes a step of the heap, which what is printed needs later
	if done.lives == 1 {
		task.Print("stress: begins\n")
	}
	settle()
	for done.made < done.wanted {
		step()
		if done.lives < livesWanted && done.made >= done.lives*done.wanted/livesWanted {
			die(done.lives)
		}
	}
	say("stress: " + task.Decimal(done.made) + " calls in " + task.Decimal(done.lives) + " lives, " +
		task.Decimal(done.succeeded) + " succeeded, " + task.Decimal(done.ran) + " upcalls\n")
	task.Exit(0)
}

// step makes one random call, and sometimes a few that belong together.
func step() {
	switch n := next() % 1024; {
	case n == 0:
		wait()
	case n < 200:
		subscribe(word(drivers[:]), word(numbers[:]), address(), next())
	case n < 400:
		command(word(drivers[:]), word(commands[:]), word(numbers[:]))
	case n < 700:
		share(abi.AllowReadWrite+abi.Class(next()%2), word(drivers[:]), word(numbers[:]))
	case n < 740:
		share(abi.AllowUserspaceReadable, word(drivers[:]), word(numbers[:]))
	case n < 900:
		memop(word(operations[:]), address())
	case n < 930:
		exit(next())
	default:
		yieldNoWait(address(), next())
	}
}

// die ends this life. It does not return.
func die(way uint64) {
	switch way % 5 {
	case 0:
		perform(8+next()%248, 0, 0, 0, 0) // no such class
	case 1:
		task.Restart(uint32(way))
	case 2:
		await()
		lose()
	case 3:
		await()
		task.Raw(abi.Subscribe, abi.DriverAlarm, 0, ramStart, 0) // RAM is not executable
		arm()
		for range 4 { // what the console still had to do may end first
			perform(uint64(abi.Yield), abi.YieldWait, 0, 0, 0)
		}
	case 4:
		*(*byte)(pointer(grants)) = 1
	}
	fail("it lived on after what should have ended it, way", way%5, 0)
}

// fail says what is wrong and ends the task for good.
func fail(what string, got, want uint64) {
	say("stress: WRONG: " + what + ": " + task.Hex(got) + ", want " + task.Hex(want) + ", after " + task.Decimal(done.made) + " calls, " +
		task.Decimal(done.ran) + " upcalls\n")
	task.Exit(1)
}

// say prints a text when the console is idle: a random command may still have it write. It returns when the text is sent.
func say(text string) {
	const write = 1 // command and read-only allow number
	task.AllowReadOnly(abi.DriverConsole, write, append(reserve[:0], text...))
	for task.Command(abi.DriverConsole, write, uint32(len(text)), 0).Err() == abi.BUSY {
		task.Sleep(1)
	}
	for task.Command(abi.DriverConsole, write, 0, 0).Err() == abi.BUSY {
		task.Sleep(1)
	}
}

func pointer(addr uint64) unsafe.Pointer { return unsafe.Add(unsafe.Pointer(nil), uintptr(addr)) }
