package boot

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/tests/machine"
)

// TestProcessConsole drives the process console from the serial line: a task that never
// lets the CPU go is stopped, started, made to fault, ended and booted again, and the
// machine stays up when no task is left.
func TestProcessConsole(t *testing.T) {
	typist := machine.NewTypist(
		machine.Step{On: "spinner: spinning\n", Keys: "list\r"},
		machine.Step{On: "kapsel$ ", Keys: "stop spiner\x1b[D\x1b[Dn\r"}, // with the cursor keys
		machine.Step{On: "kapsel$ ", Keys: "list\r"},
		machine.Step{On: "kapsel$ ", Keys: "process spinner\r"},
		machine.Step{On: "kapsel$ ", Keys: "start spinner\r"},
		machine.Step{On: "kapsel$ ", Keys: "fault spinner\r"},
		machine.Step{On: "kapsel$ ", Keys: "terminate spinner\r"},
		machine.Step{On: "kapsel$ ", Keys: "status\r"},
		machine.Step{On: "kapsel$ ", Keys: "boot spinner\r"},
		machine.Step{On: "spinner: spinning\n", Keys: "kernel\r"},
		machine.Step{On: "kapsel$ ", Keys: "reset\r"},
	)
	out := machine.Boot(t, machine.Guest{
		Image: "bare.elf", Modules: [][]byte{machine.Object(t, "test/spinner.tbf")}, Cmdline: "console no-dump",
		Input: typist.Keys, Console: typist,
	})
	ended(t, out, abi.ExitOK)
	console := strings.NewReplacer("\b", "", "\x1b[K", "").Replace(out.Console)
	assert.Regexp(t, `(?s)Welcome to the process console\..*`+
		`\n PID    ShortID    Name +Quanta  Syscalls  Restarts  Grants  State\n   1    Unique     spinner .* Running\n.*`+
		`\ntask spinner, PID 1: stopped\n.*`+
		`\n   1    Unique     spinner .* Stopped\(Running\)\n.*`+
		`\nTask: spinner, PID 1\n State: Stopped\(Running\); .*  flash, protected header\n.*`+
		`\ntask spinner, PID 1: started\n.*`+
		`\ntask 1 spinner faulted: told to by the process console; restarting\ntask spinner, PID 2: faulted\n.*`+
		`\ntask spinner, PID 2: terminated\n.*`+
		`\nTotal processes: 1\nActive processes: 0\n.*`+
		`\n(task spinner, PID 3: booted\n.*spinner: spinning\n|spinner: spinning\n.*task spinner, PID 3: booted\n).*`+ // two clients of the line
		`\nKapsel .*  code\n.*  constants\n.*  variables\n.*  task objects\n.*reset\n$`, console)
}

func TestProcessConsolePanics(t *testing.T) {
	typist := machine.NewTypist(machine.Step{On: "kapsel$ ", Keys: "panic\r"})
	out := machine.Boot(t, machine.Guest{Image: "bare.elf", Cmdline: "console", Input: typist.Keys, Console: typist})
	ended(t, out, abi.ExitPanic)
	inOrder(t, out.Console, "kernel panic: process console: told to panic\n", "processconsole.(*Console)")
}
