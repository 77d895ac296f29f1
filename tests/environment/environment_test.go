// Package environment runs the command itself, with tasks that are given arguments and an environment, and that are asked to end.
package environment

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/tests/machine"
)

// output is what a command prints.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	came chan struct{} // has something when there may be more
}

func newOutput() *output { return &output{came: make(chan struct{}, 1)} }

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.came <- struct{}{}:
	default:
	}
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.ReplaceAll(o.text.String(), "\r", "")
}

// command is "kapsel run" with arguments, bounded in time. What it prints is shown by a failure.
func command(t *testing.T, args ...string) (*exec.Cmd, *output) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, machine.File(t, "kapsel"), append([]string{"run", "--accel", machine.Accelerator(t)}, args...)...)
	out := newOutput()
	cmd.Stdout, cmd.Stderr = out, out
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(out)
		}
	})
	return cmd, out
}

// run runs a command to its end.
func run(t *testing.T, args ...string) (status int, out string) {
	t.Helper()
	cmd, o := command(t, args...)
	require.NoError(t, cmd.Start())
	cmd.Wait()
	return cmd.ProcessState.ExitCode(), o.String()
}

// TestTaskWithoutImage: a task alone runs on the kernel that lies beside the command, and no other comes with it.
func TestTaskWithoutImage(t *testing.T) {
	machine.File(t, "bare.elf")
	status, out := run(t, machine.File(t, "hello.tbf"))
	assert.Equal(t, 0, status)
	assert.Equal(t, 1, strings.Count(out, "Terminated"), "tasks that ended")
}

// told are the lines by which tasks tell what they read, in one task's words.
func told(out, argument, variable string) (lines []string) {
	return regexp.MustCompile(`(?m)^(`+argument+`|`+variable+`) <.*>$`).FindAllString(out, -1)
}

// TestArguments: a task in Go and one in C have them all, in order, byte for byte, and print them as they are.
func TestArguments(t *testing.T) {
	for _, bits := range []string{"", "32"} { // each in a machine of its own, as what they print would be mixed
		status, out := run(t, "--env", "CODE=7", machine.File(t, "test/argues"+bits+".tbf"), "--env=A=", "--env=B=c=d", "--", "a", "", "b c", "--mem", "--", "ä")
		assert.Equal(t, 0, status)
		var want []string
		for _, a := range []string{"a", "", "b c", "--mem", "--", "ä"} {
			want = append(want, fmt.Sprintf("argument%s <%s>", bits, a))
		}
		for _, v := range []string{"CODE=7", "A=", "B=c=d"} {
			want = append(want, fmt.Sprintf("variable%s <%s>", bits, v))
		}
		assert.Equal(t, want, told(out, "argument"+bits, "variable"+bits))
		assert.Contains(t, out, "COD is not there")
		assert.Equal(t, bits == "32", strings.Contains(out, "no room for arguments"))
	}
}

// TestNoArguments: where none are given there are none, and nothing else is different.
func TestNoArguments(t *testing.T) {
	for _, name := range []string{"argues", "argues32"} {
		status, out := run(t, machine.File(t, "test/"+name+".tbf"))
		assert.Equal(t, 0, status)
		assert.Empty(t, told(out, "argument(32)?", "variable(32)?"))
		assert.Contains(t, out, name+": read")
	}
}

// TestMostArguments: as much as there can be, in more pieces than one.
func TestMostArguments(t *testing.T) {
	const half = abi.EnvironmentMax/2 - 1
	status, out := run(t, "--env", "A="+strings.Repeat("y", half-2), machine.File(t, "test/argues.tbf"), "--", strings.Repeat("x", half))
	assert.Equal(t, 0, status)
	assert.Equal(t, []string{"argument <many x>", "variable <many y>"}, told(out, "argument", "variable"))
	status, out = run(t, "--env", "A="+strings.Repeat("x", 12000), "--env", "CODE=3", machine.File(t, "test/argues32.tbf"), "--", "a")
	assert.Equal(t, 0, status)
	assert.Equal(t, []string{"argument32 <a>"}, told(out, "argument32", "variable32"))
	assert.Contains(t, out, "much environment")
}

// TestTerminate: what SIGTERM does, and the status.
func TestTerminate(t *testing.T) {
	const deaf = "a kernel that cannot be asked"
	argues, argues32, spinner := "test/argues.tbf", "test/argues32.tbf", "test/spinner.tbf"
	for _, tt := range []struct {
		name   string
		args   []string // before tasks, with --env CODE=7
		tasks  []string
		word   string
		until  []string // what is printed before the signal
		then   string   // and before a second one; "": there is none
		status int
		says   string
	}{
		{"a task ends as it wants", []string{"--ask"}, []string{argues}, "wait", []string{"argues: waits"}, "", 7, "argues: asked to end"},
		{"a task of 32 bits", []string{"--ask"}, []string{argues32}, "wait", []string{"argues32: waits"}, "", 7, "argues32: asked to end"},
		{"with the last that was told the machine ends", []string{"--ask"}, []string{argues, spinner, argues32}, "wait", []string{"argues: waits", "argues32: waits"}, "", 7, "argues: asked to end"},
		{"a task that stays, and a second signal", []string{"--ask"}, []string{argues}, "stay", []string{"argues: waits"}, "argues: asked to end", 143, "ended by signal: terminated"},
		{"a task that is asked before it says for the second time what it does", []string{"--ask"}, []string{argues}, "twice", []string{"argues: spins"}, "", 7, "argues: asked to end"},
		{"nobody listens", []string{"--ask"}, []string{spinner}, "wait", []string{"spinning"}, "", 143, "ended by signal: terminated"},
		{"nobody asks", nil, []string{argues}, "wait", []string{"argues: waits"}, "", 143, "ended by signal: terminated"},
		{deaf, []string{"--ask", machine.File(t, "test/minimal/minimal.elf")}, []string{spinner}, "wait", []string{"spinning"}, "", 143, "ended by signal: terminated"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == deaf && machine.InRig() {
				t.Skip("5 seconds of the rig's are 5,000,000,000 instructions")
			}
			args := append([]string{"--env=CODE=7"}, tt.args...)
			for _, name := range tt.tasks {
				args = append(args, machine.File(t, name))
			}
			cmd, out := command(t, append(args, "--", tt.word)...)
			require.NoError(t, cmd.Start())
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				cmd.Wait()
			}()
			await := func(text string) {
				t.Helper()
				for !strings.Contains(out.String(), text) {
					select {
					case <-out.came:
					case <-ended:
						require.Contains(t, out.String(), text, "the command has ended")
					}
				}
			}
			for _, text := range tt.until {
				await(text)
			}
			require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
			if tt.then != "" {
				await(tt.then)
				require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
			}
			<-ended
			assert.Equal(t, tt.status, cmd.ProcessState.ExitCode())
			assert.Contains(t, out.String(), tt.says)
		})
	}
}

// TestAskEndsWithoutTasks: a machine that can ask ends as any other when its tasks have.
func TestAskEndsWithoutTasks(t *testing.T) {
	status, out := run(t, "--ask", machine.File(t, "hello.tbf"))
	assert.Equal(t, 0, status)
	assert.Contains(t, out, "greeting 10 of 10")
}
