package boot

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/tests/machine"
)

// minimal is the image of guest/board/minimal, without tasks.
const minimal = "test/minimal/minimal.elf"

// TestMinimal: the minimal board runs console and alarm for two tasks that take turns, and ends.
func TestMinimal(t *testing.T) {
	out := machine.Boot(t, machine.Guest{
		Image: minimal, Modules: [][]byte{machine.Object(t, "hello.tbf"), machine.Object(t, "counter.tbf")}, Cmdline: "boot-ticks",
	})
	ended(t, out, abi.ExitOK)
	assert.Regexp(t, `^Kapsel .* KiB of memory\nMitigations: .*\ntask 1 hello: .*\ntask 2 counter: .*\n`, out.Console)
	inOrder(t, out.Console, "hello: greeting 1 of 10\n", "hello: greeting 10 of 10\n")
	inOrder(t, out.Console, "counter: 1\n", "counter: 10\n")
	assert.Regexp(t, `\nboot: entered at tick \d+, tasks loaded at tick \d+\n`, out.Console[strings.Index(out.Console, "counter: 10\n"):],
		"the first task has not waited for it")
	for _, task := range []string{"hello", "counter"} {
		assert.Regexp(t, `(?m)^ *\d+ +`+task+` +Terminated .* exit with code 0$`, out.Console)
	}
}

// TestMinimalIPC: the minimal board lends memory, tells of a fault with registers and memory map, and
// ends with its status.
func TestMinimalIPC(t *testing.T) {
	out := machine.Boot(t, machine.Guest{
		Image: minimal, Cmdline: "fault=stop",
		Modules: [][]byte{machine.Object(t, "test/rot13.tbf"), machine.Object(t, "test/client.tbf")},
	})
	ended(t, out, abi.ExitTaskFault)
	inOrder(t, out.Console, "client: Hello World!\n", "client: Uryyb Jbeyq!\n", "rot13: looking at what is not lent any more\n",
		"rot13 faulted: page fault: read where no page is at 0x7f820000,", "\n  RAX 0x", " bytes  grants\n")
	assert.Regexp(t, `client +Terminated .* exit with code 0\n`, out.Console)
}

// TestMinimalPanics: a panic of the minimal board says function, file and line, and has the tasks.
func TestMinimalPanics(t *testing.T) {
	out := machine.Boot(t, machine.Guest{
		Image: minimal, Cmdline: "fault=panic no-dump", Modules: [][]byte{machine.Object(t, "intruder.tbf")},
	})
	ended(t, out, abi.ExitPanic)
	inOrder(t, out.Console, "\nkapsel: kernel panic: kernel: a task faulted, and the board's policy is to panic\n",
		"  kapsel/guest/kernel.(*Kernel).fault\n      kapsel/guest/kernel/fault.go:", "  main.main\n      kapsel/guest/board/minimal/main.go:",
		"intruder ")
}

// TestMinimalRefusesWords: words that only the other board has are named, and a machine without tasks ends.
func TestMinimalRefusesWords(t *testing.T) {
	out := machine.Boot(t, machine.Guest{Image: minimal, Cmdline: "scheduler=mlfq no-dump console"})
	ended(t, out, abi.ExitNoTask)
	for _, word := range []string{"scheduler=mlfq", "console"} {
		assert.Contains(t, out.Console, "command line: unknown word: "+word+" (want boot-ticks, no-dump, fault=stop, fault=panic, "+
			"mitigations=off, auto or full)\n")
	}
	assert.NotContains(t, out.Console, "unknown word: no-dump")
	assert.Contains(t, out.Console, "no task to run: ")
}
