package fleet

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
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

// TestDetachLogsInspect: a container runs by itself; the engine knows that it does, what it prints, and which process its machine is.
func TestDetachLogsInspect(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		e.start(t, container{name: "detached", args: []string{"stay"}})
		printed(t, e, "detached", "staying")
		running, pid := e.inspect(t, "detached")
		assert.True(t, running)
		assert.Regexp(t, `^kapsel\x00run\x00.*\x00--\x00stay\x00$`, commandLine(t, pid))
		e.kill(t, "detached")
		e.wait(t, "detached")
		e.remove(t, "detached")
	})
}

// TestStop: a container that is stopped is asked to end, and ends as it wants to.
func TestStop(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		status, log := endOf(t, e, "wait", "waiting", e.stop)
		assert.Equal(t, 7, status)
		assert.Contains(t, log, "asked to end\n")
	})
}

// TestStopOfOneThatDoesNotListen: a container whose tasks do not want to be asked ends at once, by SIGTERM.
func TestStopOfOneThatDoesNotListen(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		status, _ := endOf(t, e, "stay", "staying", e.stop)
		assert.Equal(t, 128+int(unix.SIGTERM), status)
	})
}

// TestKill: a container that is killed ends at once, by SIGKILL.
func TestKill(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		status, log := endOf(t, e, "wait", "waiting", e.kill)
		assert.Equal(t, 128+int(unix.SIGKILL), status)
		assert.NotContains(t, log, "asked to end")
	})
}

// endOf starts a container, has it ended when it has printed the words, and returns its status and log.
func endOf(t *testing.T, e engine, verb, words string, end func(t *testing.T, name string)) (status int, log string) {
	t.Helper()
	name := strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-")) // its log is a file of its own
	e.start(t, container{name: name, args: []string{verb}})
	printed(t, e, name, words)
	end(t, name)
	status, log = e.wait(t, name), e.logs(t, name)
	e.remove(t, name)
	return status, log
}

// TestLimits: a container's limits are those of the cgroup in which its machine is, and the guest has the memory that they leave.
func TestLimits(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		const limit = 128 << 20
		e.start(t, container{name: "limited", args: []string{"wait"}, memory: limit, cpus: 0.5})
		printed(t, e, "limited", "waiting")
		_, pid := e.inspect(t, "limited")
		assert.Equal(t, strconv.Itoa(limit), cgroupFile(t, pid, "memory", "memory.limit_in_bytes", "memory.max"))
		quota := cgroupFile(t, pid, "cpu", "cpu.cfs_quota_us", "cpu.max")
		assert.Contains(t, []string{"50000", "50000 100000"}, quota)
		memory, _, found := strings.Cut(e.logs(t, "limited"), " KiB of memory")
		require.True(t, found)
		kib, err := strconv.Atoi(memory[strings.LastIndex(memory, " ")+1:])
		require.NoError(t, err)
		assert.Less(t, kib, limit>>10, "the monitor needs some, too")
		assert.Greater(t, kib, limit>>10/2)
		e.kill(t, "limited")
		e.wait(t, "limited")
		e.remove(t, "limited")
	})
}

// TestForwardedPort: a web server in a guest is reached at a port of the host's, by the network that the engine gave its container, and by the monitor's own.
func TestForwardedPort(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		for i, image := range []string{httpd, httpdUser} {
			if _, without := e.(ctr); without && image == httpd { // ctr makes no network
				continue
			}
			c := container{name: "web", image: image, port: 8081 + i}
			t.Run(path.Base(image), func(t *testing.T) {
				e.start(t, c)
				printed(t, e, c.name, "httpd: ")
				assert.Contains(t, fetch(t, fmt.Sprintf("http://127.0.0.1:%d/", c.port)), "Kapsel")
				e.kill(t, c.name)
				e.wait(t, c.name)
				e.remove(t, c.name)
			})
		}
	})
}

// fetch fetches a page, as soon as there is a server.
func fetch(t *testing.T, url string) (page string) {
	t.Helper()
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	var last error
	eventually(t, func() string { return fmt.Sprintf("%s: %v", url, last) }, func() bool {
		var answer *http.Response
		if answer, last = client.Get(url); last != nil {
			return false
		}
		defer answer.Body.Close()
		var b []byte
		if b, last = io.ReadAll(answer.Body); last == nil && answer.StatusCode != http.StatusOK {
			last = errors.New(answer.Status)
		}
		page = string(b)
		return last == nil
	})
	return page
}

// commandLine is a process' command line, whose words end with zero bytes.
func commandLine(t *testing.T, pid int) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	require.NoError(t, err)
	return string(b)
}

// cgroupFile reads a file of the cgroup that a process is in: one of version 1, of the controller's hierarchy, else one of version 2.
func cgroupFile(t *testing.T, pid int, controller, v1, v2 string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup"))
	require.NoError(t, err)
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		path := ""
		switch {
		case slices.Contains(strings.Split(f[1], ","), controller):
			path = filepath.Join("/sys/fs/cgroup", f[1], f[2], v1)
		case f[1] == "":
			path = filepath.Join("/sys/fs/cgroup", f[2], v2)
		}
		if text, err := os.ReadFile(path); err == nil {
			assert.Contains(t, f[2], parent, "below the cgroup that was asked for")
			return strings.TrimSpace(string(text))
		}
	}
	t.Fatalf("%s of process %d is limited nowhere: %s", controller, pid, b)
	return ""
}

// TestTwoAtOnce: two containers of an image, begun at once, run beside each other.
func TestTwoAtOnce(t *testing.T) {
	each(t, func(t *testing.T, e engine) { atOnce(t, e, 2) })
}

// TestTwentyAtOnce: so do 20.
func TestTwentyAtOnce(t *testing.T) {
	each(t, func(t *testing.T, e engine) { atOnce(t, e, 20) })
}

// atOnce starts n containers at once, has all of them run, and stops them at once.
func atOnce(t *testing.T, e engine, n int) {
	t.Helper()
	name := func(i int) string { return fmt.Sprintf("one-of-%d-%d", n, i) }
	together(t, n, func(i int) { e.start(t, container{name: name(i), args: []string{"wait"}}) })
	for i := range n {
		printed(t, e, name(i), "waiting")
	}
	pids := map[int]bool{}
	for i := range n {
		running, pid := e.inspect(t, name(i))
		assert.True(t, running, name(i))
		pids[pid] = true
	}
	assert.Len(t, pids, n, "each has a machine of its own")
	together(t, n, func(i int) {
		e.stop(t, name(i))
		assert.Equal(t, 7, e.wait(t, name(i)))
		e.remove(t, name(i))
	})
}

// together calls f for 0 to n-1 at once, as many engines' users would. If one fails the test, it ends when all have ended.
func together(t *testing.T, n int, f func(i int)) {
	t.Helper()
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { f(i) })
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
}
