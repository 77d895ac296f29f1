package oci

import (
	"flag"
	"math/rand/v2"
	"os"
	"os/exec"
	goruntime "runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

var seed = flag.Uint64("kill-seed", 0, "the seed of the points at which TestKilledAtRandomPoints kills; 0 takes one from the clock")

// verbs are those that are killed. forced is a delete --force of a machine that runs.
var verbs = []string{"create", "start", "delete", forced}

const forced = "delete --force"

// TestKilledAtRandomPoints kills the runtime's process in the midst of create, start and delete: at a random one of its system calls, before
// the call or behind it. What `delete --force` leaves of the container then is nothing, and its ID can be created again. By night at 200 points.
func TestKilledAtRandomPoints(t *testing.T) {
	points := 40
	if os.Getenv("KAPSEL_NIGHTLY") != "" {
		points = 200
	}
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("%d points with -kill-seed %d", points, *seed)
	random := rand.New(rand.NewPCG(*seed, 0))
	r := start(t)
	b := r.sleeper().hooked(nil) // hooks, too, may be under way
	stops := map[string]int{}
	for _, verb := range verbs {
		stops[verb] = r.killed(b, verb, -1)
		t.Logf("%s: %d stops at system calls", verb, stops[verb])
		require.Greater(t, stops[verb], 100, "%s makes system calls", verb)
	}
	for i := range points {
		verb := verbs[i%len(verbs)]
		// Of two runs one may make a few calls more; a point that is not reached would show nothing.
		at := random.IntN(stops[verb] * 9 / 10)
		r.killed(b, verb, at)
		if t.Failed() {
			t.Fatalf("%s killed at stop %d of about %d", verb, at, stops[verb])
		}
	}
}

// killed brings a container to where the verb is called and kills that call at a stop, or lets it end for -1. Then it holds the runtime to
// what it promises, and returns how many stops there were.
func (r *runtime) killed(b *bundle, verb string, at int) (stops int) {
	r.t.Helper()
	id := r.name()
	b.write(id)
	before := look(r.dir)
	call := creation(id, b)
	if verb != "create" {
		r.succeeds(call...)
		call = []string{verb, id}
	}
	switch verb {
	case "delete":
		r.succeeds("start", id)
		r.succeeds("kill", id, "KILL")
		reap(r.t)
	case forced:
		r.succeeds("start", id)
		(&container{runtime: r, id: id}).prints(asleep)
		call = []string{"delete", "--force", id}
	}
	stops = r.traced(at, call...)
	r.succeeds("delete", "--force", id)
	assert.Empty(r.t, r.since(before), "%s killed at stop %d leaves this behind delete --force", verb, at)
	r.fails("state", id)
	if at >= 0 && at%8 == 0 { // the ID is free, and what comes next works
		r.succeeds(creation(id, b)...)
		r.succeeds("delete", "--force", id)
		assert.Empty(r.t, r.since(before))
	}
	return stops
}

// traced calls the runtime and kills it at a stop of its threads before or behind a system call, or not at all if that is -1. It returns the number of stops
// until then. What the runtime starts is not traced and stays alive.
func (r *runtime) traced(at int, args ...string) (stops int) {
	r.t.Helper()
	goruntime.LockOSThread() // a tracer is a thread
	defer goruntime.UnlockOSThread()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	require.NoError(r.t, err)
	defer null.Close()
	cmd := exec.Command(r.command, r.arguments(args)...)
	cmd.Dir, cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = r.dir, r.environment(), null, null, null
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	require.NoError(r.t, cmd.Start())
	defer cmd.Process.Release()
	main := cmd.Process.Pid
	deadline := time.Now().Add(patience)
	configured := false
	for {
		require.True(r.t, time.Now().Before(deadline), "kapsel oci %v does not end", args)
		var status syscall.WaitStatus
		// Of this thread's children alone: those that the runtime leaves behind come to another, or are not traced.
		thread, err := syscall.Wait4(-1, &status, syscall.WALL|unix.WNOTHREAD, nil)
		if err == syscall.EINTR {
			continue
		}
		require.NoError(r.t, err)
		signal := 0
		switch {
		case status.Exited() || status.Signaled():
			if thread == main {
				return stops
			}
			continue
		case !status.Stopped():
			continue
		case !configured: // behind its execve
			require.NoError(r.t, syscall.PtraceSetOptions(thread, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_EXITKILL))
			configured = true
		case status.StopSignal() == syscall.SIGTRAP|0x80:
			if stops == at {
				require.NoError(r.t, syscall.Kill(main, syscall.SIGKILL))
				continue
			}
			stops++
		case status.StopSignal() != syscall.SIGTRAP && status.StopSignal() != syscall.SIGSTOP:
			signal = int(status.StopSignal())
		}
		if err := syscall.PtraceSyscall(thread, signal); err != nil && err != syscall.ESRCH {
			require.NoError(r.t, err)
		}
	}
}
