package fleet

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestRun: a container runs to its end, and has its arguments and environment.
func TestRun(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		output, status := e.run(t, container{name: "run", args: []string{"tell", "one", "two words"}, env: []string{"CARGO=tea"}})
		assert.Zero(t, status)
		assert.Contains(t, output, "arguments: one two words\n")
		assert.Contains(t, output, "CARGO is tea\n")
	})
}

// TestExitStatus: a guest's exit status is the container's.
func TestExitStatus(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		_, status := e.run(t, container{name: "exit", args: []string{"exit", "42"}})
		assert.Equal(t, 42, status)
	})
}

// TestStandardInput: what is written to the container's standard input comes to the guest's console.
func TestStandardInput(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		output, status := e.attach(t, container{name: "input", args: []string{"copy"}, stdin: true}, "copying", "one\ntwo\nend\n")
		assert.Zero(t, status)
		assert.Contains(t, output, "[one]")
		assert.Contains(t, output, "[two]")
	})
}

// TestTerminal: a container with a terminal.
func TestTerminal(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		output, status := e.attach(t, container{name: "terminal", args: []string{"copy"}, tty: true, stdin: true}, "copying", "one\nend\n")
		assert.Zero(t, status)
		assert.Contains(t, output, "[one]")
	})
}

// TestDetachLogsInspect: a container runs by itself; the engine knows that it does, what it prints and which process it is.
func TestDetachLogsInspect(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		e.start(t, container{name: "detached", args: []string{"wait"}})
		printed(t, e, "detached", "waiting")
		running, pid := e.inspect(t, "detached")
		assert.True(t, running)
		assert.DirExists(t, procDir(pid))
		e.kill(t, "detached")
		assert.Equal(t, 137, e.wait(t, "detached"))

		e.remove(t, "detached")
	})
}
