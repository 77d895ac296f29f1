package processconsole

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

// bench is a machine with a process console.
type bench struct {
	*kerneltest.Machine
	Console
	resets int
}

// PrintKernel implements Machine.
func (b *bench) PrintKernel(w kernel.Writer) { w.WriteString("(kernel)\n") }

// PrintCapsules implements Machine.
func (b *bench) PrintCapsules(w kernel.Writer) { w.WriteString("(capsules)\n") }

// Reset implements Machine.
func (b *bench) Reset() { b.resets++ }
func (b *bench) Panic() { panic("process console: told to panic") }

func newBench(t *testing.T) *bench {
	b := &bench{Machine: kerneltest.New(t, capability.Mint())}
	b.Init(&b.Kernel, &b.Line, &b.Log, b, b.Capabilities.TaskManagement)
	require.Equal(t, abi.OK, b.Start())
	return b
}

// typed types keys, lets the machine run until it sleeps, and returns what was printed.
func (b *bench) typed(keys string) string {
	b.Log.Reset()
	b.Line.Type(keys)
	b.forever()
	return b.Log.String()
}

// forever runs the machine until it sleeps.
func (b *bench) forever() {
	type asleep struct{}
	b.CPU.OnIdle = func() { panic(asleep{}) }
	defer func() {
		if r := recover(); r != (asleep{}) {
			panic(r)
		}
	}()
	b.Kernel.RunForever(b.Capabilities.MainLoop)
}

// said is what a command printed: without the echo of the keys before and the prompt behind it.
func (b *bench) said(t *testing.T, command string) string {
	t.Helper()
	out := b.typed(command + "\r")
	_, out, found := strings.Cut(out, "\n")
	require.True(t, found)
	out, found = strings.CutSuffix(out, prompt)
	require.True(t, found, "no prompt behind %q", out)
	return out
}

func waits(k *kerneltest.Task) {
	for {
		k.Wait()
	}
}

func ends(*kerneltest.Task) {}

func TestGreeting(t *testing.T) {
	b := newBench(t)
	assert.Equal(t, "Welcome to the process console. Type help for its commands.\n"+prompt, b.Log.String())
}

func TestList(t *testing.T) {
	b := newBench(t)
	b.AddTask("waits", waits, nil)
	b.AddTask("ends", ends, func(s *tbfbuild.Spec) { s.ShortID = 0x1234 })
	b.AddTask("a name that is too long", waits, nil)
	b.Load()
	b.forever()
	assert.Equal(t, ` PID    ShortID    Name                Quanta  Syscalls  Restarts  Grants  State
   1    Unique     waits                    0         1         0    0/0  Yielded
   2    0x00001234 ends                     0         1         0    0/0  Terminated
   3    Unique     a name that is too long      0         1         0    0/0  Yielded
`, b.said(t, "list"))
	assert.Equal(t, "Total processes: 3\nActive processes: 2\nTimeslice expirations: 0\n", b.said(t, "status"))
}

func TestCommands(t *testing.T) {
	b := newBench(t)
	b.AddTask("twin", waits, nil)
	b.AddTask("twin", waits, nil)
	b.AddTask("my task", ends, nil)
	b.Load()
	b.forever()
	for _, c := range []struct{ command, says string }{
		{"", ""},
		{"   ", ""},
		{"help", help},
		{"kernel", "(kernel)\n"},
		{"capsules", "(capsules)\n"},
		{"hlep", "no command hlep: help lists them\n"},
		{"helpful", "no command helpful: help lists them\n"},
		{"stop", "want a task's name or PID behind it: list shows them\n"},
		{"stop nobody", "no task nobody: list shows them\n"},
		{"stop 4", "no task 4: list shows them\n"},
		{"stop 4294967297", "no task 4294967297: list shows them\n"},
		{"stop 99999999999999999999999999999", "no task 99999999999999999999999999999: list shows them\n"},
		{"stop twin", "task twin, PID 1: stopped\ntask twin, PID 2: stopped\n"},
		{"  stop   1  ", "task twin, PID 1: is stopped already\n"},
		{"start 2", "task twin, PID 2: started\n"},
		{"start twin", "task twin, PID 1: started\ntask twin, PID 2: is not stopped\n"},
		{"stop my task", "task my task, PID 3: has ended; boot starts it again\n"},
		{"boot twin", "task twin, PID 1: has not ended\ntask twin, PID 2: has not ended\n"},
		{"boot my task", "task my task, PID 4: booted\n"},
		{"terminate 1", "task twin, PID 1: terminated\n"},
		{"terminate 1", "task twin, PID 1: has ended; boot starts it again\n"},
		{"fault 2", "task 2 twin faulted: told to by the process console; stopped\ntask twin, PID 2: faulted\n"},
		{"boot twin", "task twin, PID 5: booted\ntask twin, PID 6: booted\n"},
	} {
		assert.Equal(t, c.says, b.said(t, c.command), "command %q", c.command)
	}
	assert.Regexp(t, `(?s)^Task: my task, PID 4\n State: Terminated; ended by: exit with code 0\n.*flash, protected header\n$`, b.said(t, "process my task"))
}

func TestResetAndPanic(t *testing.T) {
	b := newBench(t)
	b.said(t, "reset")
	assert.Equal(t, 1, b.resets)
	assert.PanicsWithValue(t, "process console: told to panic", func() { b.typed("panic\r") })
}

func TestLineThatRefuses(t *testing.T) {
	b := &bench{Machine: kerneltest.New(t, capability.Mint())}
	b.Init(&b.Kernel, &b.Line, &b.Log, b, b.Capabilities.TaskManagement)
	b.Line.Refuse = abi.OFF
	assert.Equal(t, abi.OFF, b.Start())
	assert.Empty(t, b.Log.String())

	b = newBench(t)
	b.Line.Refuse = abi.OFF
	assert.Contains(t, b.typed("x"), "the line receives no more")
}

func TestNeedsTheCapability(t *testing.T) {
	b := &bench{Machine: kerneltest.New(t, capability.Mint())}
	assert.Panics(t, func() { b.Init(&b.Kernel, &b.Line, &b.Log, b, capability.TaskManagement{}) })
}
