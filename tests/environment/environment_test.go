// Package environment runs the command itself, with tasks that are given arguments and an environment, and that are asked to end.
package environment

import (
	"bytes"
	"context"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/tests/machine"
)

// command is "kapsel run" with arguments, bounded in time. What it prints goes to the buffer, which a failure shows.
func command(t *testing.T, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, machine.File(t, "kapsel"), append([]string{"run", "--accel", machine.Accelerator(t)}, args...)...)
	out := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(out.String())
		}
	})
	return cmd, out
}

// run runs a command to its end.
func run(t *testing.T, args ...string) (status int, out string) {
	t.Helper()
	cmd, b := command(t, args...)
	require.NoError(t, cmd.Start())
	cmd.Wait()
	return cmd.ProcessState.ExitCode(), b.String()
}

// TestTaskWithoutImage: a task alone runs on the kernel that lies beside the command, and no other comes with it.
func TestTaskWithoutImage(t *testing.T) {
	machine.File(t, "bare.elf")
	status, out := run(t, machine.File(t, "hello.tbf"))
	assert.Equal(t, 0, status)
	assert.Equal(t, 1, bytes.Count([]byte(out), []byte("Terminated")), "tasks that ended")
}
