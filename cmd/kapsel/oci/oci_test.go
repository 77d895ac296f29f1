package oci

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"kapsel/cmd/kapsel/oci/namespace"
)

// A result is what a call of the command came to.
type result struct {
	status    int
	err       error
	out, errs string
	log       []record
}

// invoke is "kapsel oci ARGS" with a root and a log of the folder.
func invoke(t *testing.T, folder string, args ...string) result {
	t.Helper()
	open := func(name string) *os.File {
		f, err := os.Create(filepath.Join(folder, name))
		require.NoError(t, err)
		t.Cleanup(func() { f.Close() })
		return f
	}
	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer null.Close()
	out, errs, log := open("out"), open("err"), filepath.Join(folder, "log")
	os.Remove(log)
	var r result
	r.status, r.err = Main(append([]string{"--root", filepath.Join(folder, "root"), "--log", log, "--log-format", "json"}, args...), Stdio{null, out, errs})
	text := func(name string) string {
		b, _ := os.ReadFile(name)
		return string(b)
	}
	r.out, r.errs = text(out.Name()), text(errs.Name())
	for line := range strings.Lines(text(log)) {
		var l record
		require.NoError(t, json.Unmarshal([]byte(line), &l), line)
		r.log = append(r.log, l)
	}
	return r
}

// What is wrong is returned, for standard error, and in the log in the engines' format.
func TestErrors(t *testing.T) {
	long := strings.Repeat("x", maxID+1)
	for _, tt := range []struct {
		name, want string
		args       []string
	}{
		{"no verb", "want a verb: create,", nil},
		{"another verb", `no verb "exec"`, []string{"exec", "a", "sh"}},
		{"no ID", "state: want the ID of a container, found none", []string{"state"}},
		{"an ID that leaves the root", `container ID "../a": want 1 to 255 of the characters`, []string{"delete", "--force", "../a"}},
		{"dots", `container ID ".."`, []string{"kill", "..", "9"}},
		{"a long ID", "...", []string{"start", long}},
		{"a NUL", `container ID "a\x00"`, []string{"start", "a\x00"}},
		{"an argument too much", `start: unexpected argument "b"`, []string{"start", "a", "b"}},
		{"an unknown flag", "kill: no flag --x", []string{"kill", "-x", "a"}},
		{"no container to tell of", `container "a" does not exist`, []string{"state", "a"}},
		{"no container to start", `container "a" does not exist`, []string{"start", "a"}},
		{"no container to kill", `container "a" does not exist`, []string{"kill", "a", "KILL"}},
		{"no container to delete", `container "a" does not exist`, []string{"delete", "a"}},
		{"no signal", `signal "NONE": want a number from 1 to 64 or a name`, []string{"kill", "a", "NONE"}},
		{"no bundle", "config.json: no such file", []string{"create", "--bundle", "/nonexistent", "a"}},
		{"a format", "--format \"xml\": want table or json", []string{"list", "--format", "xml"}},
		{"init by hand", "init is not for people", []string{"init"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := invoke(t, t.TempDir(), tt.args...)
			assert.Equal(t, statusFailed, r.status)
			assert.ErrorContains(t, r.err, tt.want)
			if assert.Len(t, r.log, 1) {
				assert.Equal(t, levelError, r.log[0].Level)
				assert.Equal(t, r.err.Error(), r.log[0].Msg)
				_, err := time.Parse(time.RFC3339, r.log[0].Time)
				assert.NoError(t, err)
			}
		})
	}
}

// What is wrong with the global flags is in the log that they name before it or behind it.
func TestErrorsOfGlobalFlags(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		args       []string
	}{
		{"behind", "oci: no flag --quick", []string{"--log", "LOG", "--log-format", "json", "--quick", "state", "a"}},
		{"before", "oci: no flag --quick", []string{"--quick", "--log", "LOG", "--log-format", "json", "state", "a"}},
		{"before, with a value", "oci: no flag --cpu", []string{"--cpu", "7", "--log=LOG", "--log-format=json", "state", "a"}},
		{"no value", "oci: flag needs an argument: -root", []string{"--log", "LOG", "--log-format", "json", "--root"}},
		{"rootless", `--rootless "perhaps": want true, false or auto`, []string{"--rootless", "perhaps", "--log", "LOG", "--log-format", "json", "state", "a"}},
		{"no root", "--root is empty", []string{"--root", "", "--log", "LOG", "--log-format", "json", "state", "a"}},
		{"a format", `--log-format "xml": want text or json`, []string{"--log", "LOG", "--log-format", "xml", "state", "a"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log := filepath.Join(t.TempDir(), "log")
			for i := range tt.args {
				tt.args[i] = strings.ReplaceAll(tt.args[i], "LOG", log)
			}
			status, err := Main(tt.args, Stdio{os.Stdin, os.Stdout, os.Stderr})
			assert.Equal(t, statusFailed, status)
			require.ErrorContains(t, err, tt.want)
			text, err := os.ReadFile(log)
			require.NoError(t, err)
			if tt.name == "a format" {
				assert.Contains(t, string(text), "level=error msg=")
				return
			}
			var l record
			require.NoError(t, json.Unmarshal(text, &l), "%s", text)
			assert.Equal(t, levelError, l.Level)
			assert.Contains(t, l.Msg, tt.want)
		})
	}
}

func TestDeleteForceOfNoContainer(t *testing.T) {
	r := invoke(t, t.TempDir(), "delete", "--force", "a")
	assert.NoError(t, r.err)
	assert.Equal(t, statusDone, r.status)
}

func TestVersion(t *testing.T) {
	for _, flag := range []string{"--version", "-v"} {
		assert.Regexp(t, `^kapsel version \S+\nspec: 1\.3\.0\n$`, invoke(t, t.TempDir(), flag).out)
	}
}

func TestFeatures(t *testing.T) {
	var f features.Features
	require.NoError(t, json.Unmarshal([]byte(invoke(t, t.TempDir(), "features").out), &f))
	assert.Equal(t, "1.0.0", f.OCIVersionMin)
	assert.Equal(t, specs.Version, f.OCIVersionMax)
	for _, name := range f.Linux.Namespaces {
		_, err := namespace.Parse(&specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.LinuxNamespaceType(name), Path: "relative"}}})
		assert.ErrorContains(t, err, "absolute", name)
	}
	_, unknown := parseCapabilities(&specs.LinuxCapabilities{Bounding: f.Linux.Capabilities})
	assert.Empty(t, unknown)
}

func TestLogFormats(t *testing.T) {
	text, object := journal{}, journal{json: true}
	r := record{levelError, "a \"word\"\nand a line", "2026-01-02T03:04:05Z"}
	assert.Equal(t, `time="2026-01-02T03:04:05Z" level=error msg="a \"word\"\nand a line"`+"\n", string(text.line(r)))
	assert.Equal(t, `{"level":"error","msg":"a \"word\"\nand a line","time":"2026-01-02T03:04:05Z"}`+"\n", string(object.line(r)))
	assert.ErrorContains(t, object.open("", "xml", false), "want text or json")
}

func TestSignals(t *testing.T) {
	for text, want := range map[string]unix.Signal{"9": unix.SIGKILL, "TERM": unix.SIGTERM, "SIGINT": unix.SIGINT, "sigusr1": unix.SIGUSR1, "64": 64, "0": 0, "65": 0, "-1": 0, "": 0, "SIG": 0} {
		got, err := parseSignal(text)
		assert.Equal(t, want, got, text)
		assert.Equal(t, want == 0, err != nil, text)
	}
}

// A process is no other one that has its number, and none that has ended.
func TestProcess(t *testing.T) {
	cmd := exec.Command("sleep", "100")
	require.NoError(t, cmd.Start())
	p, err := identify(cmd.Process.Pid)
	require.NoError(t, err)
	assert.True(t, p.alive())
	assert.NoError(t, p.signal(0))
	another := process{p.PID, p.Start + 1}
	assert.False(t, another.alive())
	assert.ErrorIs(t, another.signal(unix.SIGKILL), errGone)
	assert.NoError(t, another.end())
	assert.True(t, p.alive())

	assert.NoError(t, p.end())
	assert.False(t, p.alive(), "it has ended, and nobody has asked for its status")
	assert.ErrorIs(t, p.signal(0), errGone)
	cmd.Wait()
	assert.NoError(t, p.end())
	assert.False(t, process{}.alive())
}

// callAt is a call with a root of the test's.
func callAt(t *testing.T) *call {
	return &call{root: t.TempDir(), log: &journal{err: os.Stderr}}
}

func TestReserve(t *testing.T) {
	r := callAt(t)
	l, err := r.reserve("a")
	require.NoError(t, err)
	_, err = r.reserve("a")
	assert.ErrorContains(t, err, `container "a" exists already`)
	assert.True(t, locked(r.dirOf("a")))
	l.Close()
	assert.False(t, locked(r.dirOf("a")))
}

// Whoever waits for a container's lock that is removed meanwhile finds none, and whoever then makes one of the ID has that.
func TestLockOfWhatIsRemoved(t *testing.T) {
	r := callAt(t)
	first, err := r.reserve("a")
	require.NoError(t, err)
	waited := make(chan error)
	go func() {
		_, err := r.lock("a", false)
		waited <- err
	}()
	select {
	case err := <-waited:
		t.Fatalf("two have the lock: %v", err)
	case <-time.After(20 * time.Millisecond): // most likely it waits now
	}
	require.NoError(t, os.RemoveAll(r.dirOf("a")))
	second, err := r.reserve("a")
	require.NoError(t, err)
	defer second.Close()
	assert.ErrorIs(t, <-waited, fs.ErrNotExist, "the first is still at it, as a delete in a hook")
	first.Close()
}

func TestStatus(t *testing.T) {
	r := callAt(t)
	l, err := r.reserve("a")
	require.NoError(t, err)
	c, err := r.load("a")
	require.NoError(t, err)
	assert.Equal(t, specs.StateCreating, c.status(), "create has the lock")
	l.Close()
	assert.Equal(t, specs.StateStopped, c.status(), "create has ended")

	me, err := identify(os.Getpid())
	require.NoError(t, err)
	c.Complete, c.Process, c.Cgroup, c.Annotations = true, me, "/a", map[string]string{"a": "b"}
	require.NoError(t, c.save())
	c, err = r.load("a")
	require.NoError(t, err)
	assert.Equal(t, specs.StateRunning, c.status())
	assert.Equal(t, specs.State{Version: specs.Version, ID: "a", Status: "running", Pid: me.PID, Annotations: map[string]string{"a": "b"}}, c.report().State)
	c.Process.Start++
	assert.Equal(t, specs.StateStopped, c.status())
	assert.Zero(t, c.report().Pid)
	assert.ErrorIs(t, c.kill(unix.SIGTERM, false), errNotRunning)
}

// A state, or a process number, that is written aside lies where delete --force removes it, whatever TMPDIR is.
func TestWrittenAside(t *testing.T) {
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	r := callAt(t)
	l, err := r.reserve("a")
	require.NoError(t, err)
	defer l.Close()
	long := time.Unix(1, 0)
	require.NoError(t, os.Chtimes(temporary, long, long))
	c, err := r.load("a")
	require.NoError(t, err)
	require.NoError(t, c.save())
	require.NoError(t, c.replace(filepath.Join(t.TempDir(), "pid"), []byte("7"), 0o644))
	info, err := os.Stat(temporary)
	require.NoError(t, err)
	assert.Equal(t, long.Unix(), info.ModTime().Unix(), "nothing was made there")
	elsewhere, err := os.MkdirTemp("/dev/shm", "kapsel-test-")
	require.NoError(t, err)
	defer os.RemoveAll(elsewhere)
	require.NoError(t, c.replace(filepath.Join(elsewhere, "pid"), []byte("8"), 0o644))
	text, err := os.ReadFile(filepath.Join(elsewhere, "pid"))
	require.NoError(t, err)
	assert.Equal(t, "8", string(text))
}

// The container's directory is removed by --force whatever is in it.
func TestDeleteForceOfWhatIsLeft(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"the directory alone":        {},
		"a state that is none":       {stateFile: "{"},
		"a state of another program": {stateFile: `{"id":7}`},
		"half a write":               {".state.json123": "{"},
		"no process yet":             {stateFile: `{"ociVersion":"1.3.0","id":"a","bundle":"/b"}`, startFIFO: ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := callAt(t)
			l, err := r.reserve("a")
			require.NoError(t, err)
			l.Close()
			for file, text := range files {
				require.NoError(t, os.WriteFile(filepath.Join(r.dirOf("a"), file), []byte(text), 0o600))
			}
			assert.NoError(t, r.delete("a", true))
			assert.NoDirExists(t, r.dirOf("a"))
		})
	}
}

// A state that is damaged has a copy, which has what is to be undone.
func TestDamagedState(t *testing.T) {
	for name, text := range map[string]string{"cut off": `{"ociVersion":"1`, "empty": "", "another's": `{"id":"b","cgroup":"/b"}`, "no cgroup": `{"id":"a"}`} {
		t.Run(name, func(t *testing.T) {
			r := callAt(t)
			l, err := r.reserve("a")
			require.NoError(t, err)
			defer l.Close()
			c, err := r.load("a")
			require.NoError(t, err)
			c.Cgroup, c.HasCgroup = "/somewhere/a", true
			require.NoError(t, c.save())
			require.NoError(t, os.WriteFile(filepath.Join(c.dir, stateFile), []byte(text), 0o600))
			c, err = r.load("a")
			require.NoError(t, err)
			assert.Equal(t, "/somewhere/a", c.Cgroup)
			assert.True(t, c.HasCgroup)
			require.NoError(t, os.Remove(filepath.Join(c.dir, stateCopy)))
			_, err = r.load("a")
			assert.ErrorContains(t, err, "delete --force removes what is known of it")
		})
	}
}

// Whoever waits for a lock that is not let go says so in the end, and by force its holder ends.
func TestLockThatIsHeld(t *testing.T) {
	patient, forbearing := lockPatience, lockGrace
	lockPatience, lockGrace = 50*time.Millisecond, 0
	t.Cleanup(func() { lockPatience, lockGrace = patient, forbearing })
	r := callAt(t)
	l, err := r.reserve("a")
	require.NoError(t, err)
	_, err = r.lock("a", false)
	assert.ErrorContains(t, err, fmt.Sprintf("process %d has been at it for more than 50ms, perhaps in a hook", os.Getpid()))
	require.NoError(t, l.Close())

	lockPatience = patient
	holds := exec.Command("flock", "-o", r.dirOf("a"), "sh", "-c", "echo held; sleep 1000")
	out, err := holds.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, holds.Start())
	defer holds.Wait()
	defer holds.Process.Kill()
	_, err = out.Read(make([]byte, 8))
	require.NoError(t, err)
	p, err := identify(holds.Process.Pid)
	require.NoError(t, err)
	text, err := json.Marshal(p)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(r.dirOf("a"), holderFile), text, 0o600))
	l, err = r.lock("a", true)
	require.NoError(t, err)
	assert.NoError(t, l.Close())
	assert.False(t, p.alive())
}

func TestLeastLimits(t *testing.T) {
	for _, tt := range []struct {
		name  string
		limit limit
		want  string
	}{
		{"addresses", limit{"RLIMIT_AS", unix.RLIMIT_AS, unix.Rlimit{Cur: 2 << 30, Max: 4 << 30}}, "process.rlimits RLIMIT_AS 2147483648: want 2214592512 or more for the monitor and 64M of guest memory"},
		{"room for addresses", limit{"RLIMIT_AS", unix.RLIMIT_AS, unix.Rlimit{Cur: 2<<30 + 64<<20}}, ""},
		{"data", limit{"RLIMIT_DATA", unix.RLIMIT_DATA, unix.Rlimit{Cur: 64 << 20}}, "want 201326592 or more"},
		{"a stack", limit{"RLIMIT_STACK", unix.RLIMIT_STACK, unix.Rlimit{Cur: 8 << 10}}, "want 131072 or more"},
		{"files", limit{"RLIMIT_NOFILE", unix.RLIMIT_NOFILE, unix.Rlimit{Max: 63}}, "want 64 or more"},
		{"files that Go gives itself", limit{"RLIMIT_NOFILE", unix.RLIMIT_NOFILE, unix.Rlimit{Cur: 8, Max: 64}}, ""},
		{"threads", limit{"RLIMIT_NPROC", unix.RLIMIT_NPROC, unix.Rlimit{Cur: 31}}, "want 32 or more: user 70000 has 0 threads"},
		{"no signals", limit{"RLIMIT_SIGPENDING", unix.RLIMIT_SIGPENDING, unix.Rlimit{}}, "want 64 or more"},
		{"no dumps", limit{"RLIMIT_CORE", unix.RLIMIT_CORE, unix.Rlimit{}}, ""},
		{"all", limit{"RLIMIT_AS", unix.RLIMIT_AS, unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := checkLimits([]limit{tt.limit}, 64<<20, 70000)
			if tt.want == "" {
				assert.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, tt.want)
		})
	}
	assert.NoError(t, checkLimits([]limit{{"RLIMIT_NPROC", unix.RLIMIT_NPROC, unix.Rlimit{}}}, 64<<20, 0), "root's threads are not limited")
	threads, err := threadsOf(os.Getuid())
	require.NoError(t, err)
	assert.Greater(t, threads, uint64(1), "of this program alone there are several")
}

func FuzzState(f *testing.F) {
	f.Add([]byte(`{"ociVersion":"1.3.0","id":"a","bundle":"/b","process":{"pid":1,"start":2},"complete":true,"hooks":{"poststop":[{"path":"/x"}]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r := callAt(t)
		require.NoError(t, os.MkdirAll(r.dirOf("a"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(r.dirOf("a"), stateFile), text, 0o600))
		if c, err := r.load("a"); err == nil {
			c.report()
		}
	})
}

// A container's process tells start what fails, and by the end of the FIFO that it has executed kapsel run.
func TestRelease(t *testing.T) {
	for _, tt := range []struct {
		name, script, want string
		warnings           []string
	}{
		{"it starts", `echo '{"ready":true}' >&3; exec 3>&-; exec sleep 100`, "", nil},
		{"it starts and ends at once", `echo '{"ready":true}' >&3`, "", nil},
		{"it starts with a warning", `echo '{"warnings":["no network"]}' >&3; echo '{"ready":true}' >&3`, "", []string{"no network"}},
		{"it warns and fails", `echo '{"warnings":["no network"]}' >&3; echo '{"error":"execute"}' >&3`, "execute", []string{"no network"}},
		{"it warns and ends", `echo '{"warnings":["no network"]}' >&3`, "ended before it was kapsel run", []string{"no network"}},
		{"a hook fails", `echo '{"error":"hook startContainer[0]: no"}' >&3`, "hook startContainer[0]: no", nil},
		{"it cannot be executed", `echo '{"error":"execute"}' >&3`, "execute", nil},
		{"it ends before", `:`, "ended before it was kapsel run", nil},
		{"it talks", `while :; do echo '{"ready":true}'; done >&3`, "want at most", nil},
		{"it says what nobody knows", `echo x >&3`, "ended before it was kapsel run", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &container{dir: t.TempDir()}
			fifo := filepath.Join(c.dir, startFIFO)
			require.NoError(t, unix.Mkfifo(fifo, 0o600))
			cmd := exec.Command("sh", "-c", `exec 3>"$0"; `+tt.script, fifo)
			require.NoError(t, cmd.Start())
			defer cmd.Wait()
			defer cmd.Process.Kill()
			var err error
			c.Process, err = identify(cmd.Process.Pid)
			require.NoError(t, err)
			warnings, err := c.release()
			assert.Equal(t, tt.warnings, warnings)
			if tt.want == "" {
				assert.NoError(t, err)
				assert.NoFileExists(t, fifo)
				return
			}
			assert.ErrorContains(t, err, tt.want)
		})
	}
}

// A process that ends without opening the FIFO keeps nobody waiting.
func TestReleaseOfWhatHasEnded(t *testing.T) {
	c := &container{dir: t.TempDir()}
	require.NoError(t, unix.Mkfifo(filepath.Join(c.dir, startFIFO), 0o600))
	cmd := exec.Command("sleep", "0.05")
	require.NoError(t, cmd.Start())
	defer cmd.Wait()
	var err error
	c.Process, err = identify(cmd.Process.Pid)
	require.NoError(t, err)
	_, err = c.release()
	assert.Error(t, err)
}

func TestSysctls(t *testing.T) {
	all, err := namespace.Parse(&specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: "network"}, {Type: "ipc"}}})
	require.NoError(t, err)
	none, err := namespace.Parse(nil)
	require.NoError(t, err)
	for _, tt := range []struct{ name, file, want string }{
		{"net.ipv4.ip_forward", "net/ipv4/ip_forward", ""},
		{"net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding", ""},
		{"net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding", ""},
		{"kernel.shmmax", "kernel/shmmax", ""},
		{"fs.mqueue.msg_max", "fs/mqueue/msg_max", ""},
		{"kernel.core_pattern", "", "the whole host's"},
		{"net/../kernel/core_pattern", "", "the whole host's"},
		{"net.//.kernel.core_pattern", "", "the whole host's"},
		{"net..a", "", "the whole host's"},
		{"net", "", "the whole host's"},
		{"", "", "the whole host's"},
	} {
		files, err := parseSysctls(map[string]string{tt.name: "1"}, all)
		if tt.want != "" {
			assert.ErrorContains(t, err, tt.want, tt.name)
			continue
		}
		assert.NoError(t, err)
		assert.Equal(t, map[string]string{tt.file: "1"}, files)
		_, err = parseSysctls(map[string]string{tt.name: "1"}, none)
		assert.ErrorContains(t, err, "would be the host's", tt.name)
	}
}

func FuzzSysctlFile(f *testing.F) {
	f.Add("net.ipv4.ip_forward")
	f.Add("net/../kernel/x")
	f.Fuzz(func(t *testing.T, name string) {
		file := sysctlFile(name)
		if sysctlNamespace(file) != "" {
			assert.Equal(t, "/proc/sys/"+file, path.Clean("/proc/sys/"+file))
		}
	})
}

// limitedTo is a limit of processes.
func limitedTo(n int64) *specs.Linux {
	return &specs.Linux{Resources: &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &n}}}
}

func TestSettings(t *testing.T) {
	no, high, mask := -1001, 5, uint32(0o1000)
	for _, tt := range []struct {
		name string
		spec specs.Spec
		want string
	}{
		{"nothing", specs.Spec{}, ""},
		{"a host's name", specs.Spec{Hostname: "a"}, "would be the host's"},
		{"a host's domain", specs.Spec{Domainname: "a"}, "would be the host's"},
		{"its own name", specs.Spec{Hostname: "a", Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: "uts"}}}}, ""},
		{"limits", specs.Spec{Process: &specs.Process{Rlimits: []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Soft: 1, Hard: 2}}}}, ""},
		{"an unknown limit", specs.Spec{Process: &specs.Process{Rlimits: []specs.POSIXRlimit{{Type: "RLIMIT_X"}}}}, "want one of setrlimit(2)"},
		{"a limit twice", specs.Spec{Process: &specs.Process{Rlimits: []specs.POSIXRlimit{{Type: "RLIMIT_AS"}, {Type: "RLIMIT_AS"}}}}, "twice"},
		{"soft above hard", specs.Spec{Process: &specs.Process{Rlimits: []specs.POSIXRlimit{{Type: "RLIMIT_AS", Soft: 2, Hard: 1}}}}, "want soft at most hard"},
		{"no room for threads", specs.Spec{Linux: limitedTo(leastThreads - 1)}, "linux.resources.pids.limit 31: want 32 or more, or none"},
		{"room for threads", specs.Spec{Linux: limitedTo(leastThreads)}, ""},
		{"any number of threads", specs.Spec{Linux: limitedTo(-1)}, ""},
		{"a score", specs.Spec{Process: &specs.Process{OOMScoreAdj: &high}}, ""},
		{"a score beyond", specs.Spec{Process: &specs.Process{OOMScoreAdj: &no}}, "want -1000 to 1000"},
		{"a mask beyond", specs.Spec{Process: &specs.Process{User: specs.User{Umask: &mask}}}, "want at most 0777"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			spaces, err := namespace.Parse(tt.spec.Linux)
			require.NoError(t, err)
			_, warnings, err := parseSettings(&tt.spec, spaces)
			assert.Empty(t, warnings)
			if tt.want == "" {
				assert.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, tt.want)
		})
	}
}

func TestCapabilities(t *testing.T) {
	c, unknown := parseCapabilities(&specs.LinuxCapabilities{Bounding: []string{"CAP_CHOWN", "CAP_NET_RAW", "NET_RAW", "CAP_FLY"}, Ambient: []string{"CAP_CHECKPOINT_RESTORE"}})
	assert.Equal(t, capabilities{Bounding: 1<<unix.CAP_CHOWN | 1<<unix.CAP_NET_RAW, Ambient: 1 << unix.CAP_CHECKPOINT_RESTORE}, c)
	assert.Equal(t, []string{"NET_RAW", "CAP_FLY"}, unknown)
	assert.Len(t, capabilityNames, unix.CAP_LAST_CAP+1)

	assert.Zero(t, monitorCapabilities([]string{"run", "--net=user", "--", "--net=link=eth0"}))
	bits := monitorCapabilities([]string{"run", "--net=link=eth0"})
	assert.Equal(t, uint64(1<<unix.CAP_NET_ADMIN|1<<unix.CAP_NET_RAW), bits)
	c.grant(bits)
	assert.Equal(t, bits, c.Effective)
}

// What the kernel would refuse is left out and told, so that the rest is granted (config.md, Linux Process): ambient capabilities that are not inheritable are in
// the configuration that runc spec 1.1 writes.
func TestCapabilitiesThatCannotBeGranted(t *testing.T) {
	const kill, chown, boot = 1 << unix.CAP_KILL, 1 << unix.CAP_CHOWN, 1 << unix.CAP_SYS_BOOT
	for _, tt := range []struct {
		name        string
		asked, want capabilities
		left        []string
	}{
		{"none", capabilities{}, capabilities{}, nil},
		{"in all sets", capabilities{kill, kill, kill, kill, kill}, capabilities{kill, kill, kill, kill, kill}, nil},
		{"effective, not permitted", capabilities{Effective: kill}, capabilities{}, []string{"effective CAP_KILL"}},
		{"inheritable, not bounding", capabilities{Inheritable: kill, Permitted: kill}, capabilities{Permitted: kill}, []string{"inheritable CAP_KILL"}},
		{"ambient, not inheritable", capabilities{Bounding: kill, Effective: kill, Permitted: kill, Ambient: kill | chown}, capabilities{Bounding: kill, Effective: kill, Permitted: kill},
			[]string{"ambient CAP_CHOWN", "ambient CAP_KILL"}},
		{"not the runtime's", capabilities{boot, boot, boot, boot, boot}, capabilities{},
			[]string{"bounding CAP_SYS_BOOT", "effective CAP_SYS_BOOT", "inheritable CAP_SYS_BOOT", "permitted CAP_SYS_BOOT", "ambient CAP_SYS_BOOT"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			granted, left := tt.asked.grantable(kill | chown)
			assert.Equal(t, tt.want, granted)
			assert.Equal(t, tt.left, left)
		})
	}
	own, err := ownCapabilities()
	require.NoError(t, err)
	assert.Zero(t, own>>len(capabilityNames), "no capability is without a name")
}

// A user gets the group of /dev/kvm just if that is what opens it.
func TestGroupOfTheDevice(t *testing.T) {
	const device = os.ModeDevice | os.ModeCharDevice
	assert.Equal(t, []int{104}, groupOf(device|0o660, 104))
	assert.Empty(t, groupOf(device|0o666, 104), "everybody may")
	assert.Empty(t, groupOf(device|0o600, 0), "root alone may")
	assert.Empty(t, groupOf(device|0o640, 104), "the group may read alone")
	assert.Empty(t, groupOf(0o660, 104), "no device")
}

func TestConsole(t *testing.T) {
	terminal := &specs.Process{Terminal: true, ConsoleSize: &specs.Box{Height: 1 << 16}}
	assert.ErrorContains(t, checkConsole(&specs.Process{Terminal: true}, ""), "want --console-socket")
	assert.ErrorContains(t, checkConsole(&specs.Process{}, "/x"), "there is no terminal to send")
	assert.ErrorContains(t, checkConsole(nil, "/x"), "there is no terminal to send")
	assert.ErrorContains(t, checkConsole(terminal, "/x"), "want at most 65535 rows")

	c, err := openConsole(&specs.Box{Height: 33, Width: 77}, os.Getuid())
	require.NoError(t, err)
	size, err := unix.IoctlGetWinsize(int(c.slave.Fd()), unix.TIOCGWINSZ)
	require.NoError(t, err)
	assert.Equal(t, unix.Winsize{Row: 33, Col: 77}, *size)
	assert.ErrorContains(t, c.send(filepath.Join(t.TempDir(), "none")), "want a socket that somebody listens on")
}

func TestNowhereToWrite(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	defer full.Close()
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, ourRoot, "a"), 0o700))
	for _, words := range []string{"list", "list -q", "list --format json", "state a", "features", "--version"} {
		for name, out := range map[string]*os.File{"nothing": nil, "a full disk": full} {
			status, err := Main(append([]string{"--root", root}, strings.Fields(words)...), Stdio{Out: out})
			assert.Equal(t, statusFailed, status, "%s to %s", words, name)
			assert.Error(t, err, "%s to %s", words, name)
		}
	}
}
