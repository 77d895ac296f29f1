//go:build kapsel_task

package task

import (
	_ "unsafe" // for linkname

	"kapsel/guest/abi"
	"kapsel/guest/functab"
)

// PanicCode is the completion code of a task that panicked.
const PanicCode = 99

// die takes the panics of package runtime: it says where, and ends the task.
//
//go:linkname die kapsel.die
func die(message string, pc, fp uintptr) {
	if !dying {
		dying = true
		last.add("panic: ", message, "\n")
		var p functab.Place
		if functab.Here(uint64(pc), &p) {
			last.add("  ", p.Function.Prefix, p.Function.Type, p.Function.Rest, "\n      ", p.File.Prefix, p.File.Rest, ":")
			var digits [20]byte
			last.n += copy(last.text[last.n:], decimal(&digits, uint64(p.Line)))
			last.add("\n")
		}
		Write(last.text[:last.n])
		if len(message) >= len(memoryOut) && message[:len(memoryOut)] == memoryOut {
			Command(abi.DriverService, serviceUsedUp, 0, 0) // its callers are told so
		}
	}
	Exit(PanicCode)
}

var dying bool

// memoryOut begins the message of a panic for a heap that is used up (guest/runtime/heap_task.go).
const memoryOut = "out of memory"

// last holds what a task says when it panics: its heap may be used up. What has no room is left out.
var last words

type words struct {
	text [512]byte
	n    int
}

func (w *words) add(pieces ...string) {
	for _, p := range pieces {
		w.n += copy(w.text[w.n:], p)
	}
}

//go:linkname boundsCode kapsel.boundsCode
func boundsCode(pc uintptr) int {
	var p functab.Place
	functab.Here(uint64(pc), &p)
	return p.Bounds
}
