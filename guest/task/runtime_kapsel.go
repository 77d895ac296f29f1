//go:build kapsel_task

package task

import _ "unsafe" // for linkname

// PanicCode is the completion code of a task that panicked.
const PanicCode = 99

// die takes the panics of package runtime: it says where, and ends the task.
//
//go:linkname die kapsel.die
func die(message string, pc, fp uintptr) {
	if !dying {
		dying = true
		text := "panic: " + message + "\n"
		if name, file, line, ok := frame(pc); ok {
			text += "  " + name + "\n      " + file + ":" + Decimal(uint64(line)) + "\n"
		}
		Print(text)
	}
	Exit(PanicCode)
}

var dying bool

//go:linkname frame kapsel.frame
func frame(pc uintptr) (name, file string, line int, ok bool)
