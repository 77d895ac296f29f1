//go:build kapsel_task

package task

import (
	_ "unsafe" // for linkname

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
		text := "panic: " + message + "\n"
		var p functab.Place
		if functab.Here(uint64(pc), &p) {
			text += "  " + p.Function.Prefix + p.Function.Rest + "\n      " + p.File.Prefix + p.File.Rest + ":" + Decimal(uint64(p.Line)) + "\n"
		}
		Print(text)
	}
	Exit(PanicCode)
}

var dying bool

//go:linkname boundsCode kapsel.boundsCode
func boundsCode(pc uintptr) int {
	var p functab.Place
	functab.Here(uint64(pc), &p)
	return p.Bounds
}
