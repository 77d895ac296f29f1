//go:build kapsel_task

package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
)

// What the task has to say is kept until its end: to print is to use a driver, its grant
// and its upcalls, which would show in what the task looks at. For the same reason
// nothing here allocates, which would move the break.
var (
	name     string
	report   [4096]byte
	reported int
	failures int
)

// nameBytes holds name.
var nameBytes = [...]byte{'0', '0', 0}

func behaviourName(number int, part byte) string {
	nameBytes = [...]byte{byte('0' + number/10), byte('0' + number%10), part}
	n := 2
	if part != 0 {
		n++
	}
	return stringOf(nameBytes[:n])
}

// say adds text to the report. What does not fit is dropped, but the report ends its line.
func say(text string) {
	reported += copy(report[reported:], text)
	if reported == len(report) {
		report[reported-1] = '\n'
	}
}

func sayHex(v uint64) {
	say("0x")
	shift := 60
	for shift > 0 && v>>shift == 0 {
		shift -= 4
	}
	for ; shift >= 0; shift -= 4 {
		digit := v >> shift & 15
		say("0123456789abcdef"[digit : digit+1])
	}
}

// fail reports one thing that is not as it should be.
func fail(what string, want, found uint64) {
	failHead(what)
	say(": want ")
	sayHex(want)
	say(", found ")
	sayHex(found)
	say("\n")
}

func failHead(what string) {
	failures++
	say("conformance: ")
	say(name)
	say(" FAILED: ")
	say(what)
}

// equal wants a number.
func equal(what string, want, found uint64) {
	if want != found {
		fail(what, want, found)
	}
}

// isTrue wants a condition.
func isTrue(what string, holds bool) {
	if !holds {
		failHead(what)
		say("\n")
	}
}

// answers wants the answer of a system call.
func answers(what string, want, found words) {
	if want == found {
		return
	}
	failHead(what)
	say(": want")
	sayWords(want)
	say(", found")
	sayWords(found)
	say("\n")
}

func sayWords(w words) {
	for _, v := range w {
		say(" ")
		sayHex(v)
	}
}

// finish prints the report and ends the task.
func finish() {
	if failures == 0 {
		say("conformance: ")
		say(name)
		say(" ok\n")
	}
	subscribe(abi.DriverConsole, consoleWrote, 0, 0) // nothing of what was tested is left there
	task.Write(report[:reported])
	task.Exit(uint32(min(failures, 1)))
}
