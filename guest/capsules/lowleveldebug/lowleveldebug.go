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

// Init sets where the text goes. The writer queues, says what it had to drop, and
// leaves room for the kernel's messages.
func (l *LowLevelDebug) Init(out kernel.Writer) { l.out = out }

// Command implements kernel.Driver.
func (l *LowLevelDebug) Command(id kernel.TaskID, command, a0, a1 uint32) kernel.Result {
	text := ""
	switch command {
	case exists:
	case statusCode:
		text = "LowLevelDebug: App 0x%x status code 0x%x\n"
	case printOne:
		text = "LowLevelDebug: App 0x%x prints 0x%x\n"
	case printTwo:
		text = "LowLevelDebug: App 0x%x prints 0x%x 0x%x\n"
	default:
		return kernel.Failed(abi.NOSUPPORT)
	}
	format.Print(l.out, text, id.Number(), uint64(a0), uint64(a1))
	return kernel.Done()
}

// Slots implements kernel.Driver: there are neither upcalls nor buffers.
func (l *LowLevelDebug) Slots() *kernel.Slots { return nil }
