// Package processconsole lets a person at the serial line look at tasks and control them:
// a prompt, commands, line editing and a history, as Tock's process console.
package processconsole

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
)

// Machine is what the process console asks of the board.
type Machine interface {
	// PrintKernel writes the kernel's version, and where its parts lie in memory.
	PrintKernel(w kernel.Writer)
	// PrintCapsules writes the list of capsules.
	PrintCapsules(w kernel.Writer)
	// Reset ends the machine.
	Reset()
	// Panic ends the machine with a kernel panic: one of the console's own would be contained.
	Panic()
}

// Console is the process console. It listens all the time: what is typed goes to it, and
// also to a task that reads just then. While it is on, input does not wait for a task.
type Console struct {
	kernel  *kernel.Kernel
	tasks   capability.TaskManagement
	machine Machine
	line    hil.Receiver
	out     kernel.Writer
	key     [1]byte     // what the line fills
	seen    kernel.Task // a copy of the task that a command is about
	editor  editor
}

// Init ties the console to its line, of which it is the only receive client, and to what
// takes its text: the writer of the kernel's messages, so that both come in order.
func (c *Console) Init(k *kernel.Kernel, line hil.Receiver, out kernel.Writer, m Machine, tasks capability.TaskManagement) {
	tasks.Require()
	c.kernel, c.line, c.out, c.machine, c.tasks = k, line, out, m, tasks
	c.editor.out = out
	line.SetReceiveClient(c)
}

const prompt = "kapsel$ "

// Start greets and begins to listen. Without it the console is silent and takes nothing
// from the line. It returns the line's error if that does not receive.
func (c *Console) Start() abi.ErrorCode {
	if e := c.line.Receive(c.key[:], 1); e != abi.OK {
		return e
	}
	c.out.WriteString("Welcome to the process console. Type help for its commands.\n")
	c.out.WriteString(prompt)
	return abi.OK
}

// Received implements hil.ReceiveClient: one key.
func (c *Console) Received(buf []byte, n int, _ abi.ErrorCode) {
	if n == 1 && c.editor.press(buf[0]) {
		c.obey(c.editor.take())
		c.out.WriteString(prompt)
	}
	if c.line.Receive(c.key[:], 1) != abi.OK {
		c.out.WriteString("\nprocess console: the line receives no more\n")
	}
}
