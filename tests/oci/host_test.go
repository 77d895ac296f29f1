package oci

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// ptr is a pointer to a value.
func ptr[T any](v T) *T { return &v }

// text is a number's.
func text(n int) string { return strconv.Itoa(n) }

// command is the command line of a process.
func command(pid int) string {
	b, _ := os.ReadFile("/proc/" + text(pid) + "/cmdline")
	return strings.ReplaceAll(string(b), "\x00", " ")
}

// users are the IDs of a user namespace of the tests'.
var users = []syscall.SysProcIDMap{{ContainerID: 0, HostID: 100000, Size: 1000}}

// sleep starts a process that waits in new namespaces until the test ends. In one of users the IDs are those of users.
func sleep(t *testing.T, namespaces uintptr) (pid int) {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   namespaces &^ unix.CLONE_NEWTIME, // which is a signal's bit there
		Unshareflags: namespaces & unix.CLONE_NEWTIME,  // for its children
		Pdeathsig:    syscall.SIGKILL,
	}
	if namespaces&syscall.CLONE_NEWUSER != 0 {
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = users, users
	}
	err := cmd.Start()
	if namespaces&syscall.CLONE_NEWUSER != 0 && (errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC)) {
		t.Skipf("no user namespace can be made: %v: sysctl user.max_user_namespaces or a policy forbids it", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd.Process.Pid
}

// statusOf is what /proc/PID/status says by that name.
func statusOf(t *testing.T, pid int, name string) []string {
	t.Helper()
	for line := range strings.Lines(read(t, "/proc/"+text(pid)+"/status")) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.Fields(value)
		}
	}
	return nil
}

// hierarchies are the mount points of cgroups, by controller; "" is version 2's.
func hierarchies(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for line := range strings.Lines(read(t, "/proc/self/mountinfo")) {
		before, after, _ := strings.Cut(line, " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		switch kind[0] {
		case "cgroup2":
			all[""] = fields[4]
		case "cgroup":
			for option := range strings.SplitSeq(kind[2], ",") {
				all[option] = fields[4]
			}
		}
	}
	return all
}

// quota is what the cgroup of that container's ID has as quota of processor time.
func quota(t *testing.T, id string) string {
	t.Helper()
	all := hierarchies(t)
	if dir, ok := all["cpu"]; ok {
		return read(t, filepath.Join(dir, group(id), "cpu.cfs_quota_us"))
	}
	return read(t, filepath.Join(all[""], group(id), "cpu.max"))
}

// inGroup tells whether a process is in a cgroup of that path.
func inGroup(t *testing.T, pid int, path string) bool {
	t.Helper()
	for line := range strings.Lines(read(t, "/proc/"+text(pid)+"/cgroup")) {
		if strings.HasSuffix(strings.TrimSpace(line), ":"+path) {
			return true
		}
	}
	return false
}

// makeGroup makes a cgroup in each hierarchy, until the test ends, and returns the folders.
func makeGroup(t *testing.T, path string) []string {
	t.Helper()
	var dirs []string
	for _, mount := range hierarchies(t) {
		dir := filepath.Join(mount, path)
		if os.Mkdir(dir, 0o755) == nil {
			dirs = append(dirs, dir)
		}
	}
	require.NotEmpty(t, dirs)
	t.Cleanup(func() {
		for _, dir := range dirs {
			os.Remove(dir)
		}
	})
	return dirs
}

// unknownController asks for what no cgroup has.
func unknownController() *specs.LinuxResources {
	return &specs.LinuxResources{Unified: map[string]string{"nosuch.max": "1"}}
}
