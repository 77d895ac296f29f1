// Package lowleveldebug is driver 8: it prints numbers for tasks that have nothing else
// to print with. Texts and commands are Tock's (capsules/core, low_level_debug).
package lowleveldebug

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/format"
)

// Commands.
const (
	exists     = 0
	statusCode = 1 // status code a0
	printOne   = 2 // a0
	printTwo   = 3 // a0, a1
)

// LowLevelDebug is the driver.
type LowLevelDebug struct {
	out kernel.Writer
}

// Init sets where the text goes. The writer queues, and says what it had to drop.
func (l *LowLevelDebug) Init(out kernel.Writer) { l.out = out }

// Command implements kernel.Driver.
func (l *LowLevelDebug) Command(id kernel.TaskID, command, a0, a1 uint32) kernel.Result {
	switch command {
	case exists:
	case statusCode:
		l.print(id, " status code ", a0)
		l.out.WriteString("\n")
	case printOne:
		l.print(id, " prints ", a0)
		l.out.WriteString("\n")
	case printTwo:
		l.print(id, " prints ", a0)
		l.out.WriteString(" ")
		format.Hex(l.out, uint64(a1))
		l.out.WriteString("\n")
	default:
		return kernel.Failed(abi.NOSUPPORT)
	}
	return kernel.Done()
}

// Slots implements kernel.Driver: there are neither upcalls nor buffers.
func (l *LowLevelDebug) Slots() *kernel.Slots { return nil }

func (l *LowLevelDebug) print(id kernel.TaskID, what string, n uint32) {
	l.out.WriteString("LowLevelDebug: App ")
	format.Hex(l.out, uint64(id.Number()))
	l.out.WriteString(what)
	format.Hex(l.out, uint64(n))
}
