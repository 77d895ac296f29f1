package boot

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/tests/machine"
)

// TestTableOfTasks: the final table begins on a line of its own, keeps a long name apart from the
// state, and has completion codes with their signs.
func TestTableOfTasks(t *testing.T) {
	const text = "no newline at the end"
	out := machine.Boot(t, machine.Guest{Image: "bare.elf", Modules: [][]byte{
		program32(t, "a name of more than eighteen letters", func(a *asm32) {
			addr := a.function(func() { a.bytes([]byte(text)...) })
			a.call(abi.AllowReadOnly, []uint32{1, 1, addr, uint32(len(text))}, uint32(abi.Success2U32), 0, 0, 0)
			a.call(abi.Command, []uint32{1, 1, uint32(len(text))}, uint32(abi.Success))
			a.call(abi.Yield, []uint32{abi.YieldWaitFor, 1, 1}, uint32(len(text)), 0, 0, 0)
			a.exit(1<<32 - 2)
		}),
	}})
	ended(t, out, 99)
	assert.Contains(t, out.Console, text+"\nPID   Name ")
	assert.Regexp(t, `(?m)^ +1  a name of more than eighteen letters Terminated +0 +\d+ +0 +\d+  exit with code -2$`, out.Console)
}

// TestTableBehindALine: there is no empty line in front of the table.
func TestTableBehindALine(t *testing.T) {
	out := machine.Boot(t, machine.Guest{Image: "bare.elf", Modules: [][]byte{machine.Object(t, "hello.tbf")}})
	ended(t, out, abi.ExitOK)
	assert.Contains(t, out.Console, "hello: greeting 10 of 10\nPID   Name ")
}

// TestNoTask: a machine without a task that may run says so and has a status of its own.
func TestNoTask(t *testing.T) {
	const none = "no task to run: the image holds none that may run, and none came with it\n"
	for _, test := range []struct {
		name, cmdline string
		modules       [][]byte
	}{
		{"none at all", "", nil},
		{"none that may run", "credentials=required", [][]byte{machine.Object(t, "hello.tbf")}},
	} {
		t.Run(test.name, func(t *testing.T) {
			out := machine.Boot(t, machine.Guest{Image: "bare.elf", Modules: test.modules, Cmdline: test.cmdline})
			ended(t, out, abi.ExitNoTask)
			assert.True(t, strings.HasSuffix(out.Console, none), "it is the last line")
		})
	}
}
