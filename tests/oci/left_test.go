package oci

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// look lists what a runtime can leave behind: processes, which are all descendants of this one, mounts, network interfaces, cgroups of containers of
// these tests, files. Standard streams and the log, which are in dir as well, are left out.
func look(dir string) map[string]bool {
	seen := map[string]bool{}
	for _, pid := range descendants(os.Getpid()) {
		command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		seen[fmt.Sprintf("process %d: %s", pid, strings.ReplaceAll(string(command), "\x00", " "))] = true
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		seen["mount "+strings.TrimSpace(line)] = true
	}
	interfaces, _ := net.Interfaces()
	for _, i := range interfaces {
		seen["network interface "+i.Name] = true
	}
	mine := fmt.Sprintf("kapsel-test-%s-", os.Getenv(apart))
	walk("/sys/fs/cgroup", func(path string, e fs.DirEntry) {
		if e.IsDir() && strings.Contains(path, mine) {
			seen["cgroup "+path] = true
		}
	})
	for _, folder := range append([]string{dir}, volatile...) {
		walk(folder, func(path string, e fs.DirEntry) {
			if !strings.HasPrefix(path, filepath.Join(dir, "streams")) && path != filepath.Join(dir, "log") {
				seen["file "+path] = true
			}
		})
	}
	return seen
}

// walk calls f for each file and folder below a folder. What goes away meanwhile is passed by.
func walk(folder string, f func(path string, e fs.DirEntry)) {
	filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
		if err == nil {
			f(path, e)
		}
		return nil
	})
}

// left is what is there that was not before the test, nor was made by it. No call of the runtime may be under way.
func (r *runtime) left() []string { return r.since(r.before) }

// since is what was not there before. The folder of the runtime's containers may be, as long as it is empty.
func (r *runtime) since(before map[string]bool) []string {
	r.t.Helper()
	reap(r.t)
	var found []string
	for what := range look(r.dir) {
		if !before[what] && what != "file "+r.root && what != "file "+r.root+"/@kapsel" {
			found = append(found, what)
		}
	}
	slices.Sort(found)
	return found
}

// descendants are the processes below one.
func descendants(pid int) []int {
	var all []int
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range threads {
		text, _ := os.ReadFile(file)
		for field := range strings.FieldsSeq(string(text)) {
			child, err := strconv.Atoi(field)
			if err == nil {
				all = append(append(all, child), descendants(child)...)
			}
		}
	}
	return all
}

// reap takes the exit statuses of children that have ended or are about to: of containers whose process is told to end, and of what a killed runtime left behind.
// What does not end is for the caller to find. No call of the runtime may be under way.
func reap(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(patience / 3)
	for time.Now().Before(deadline) {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if err == syscall.ECHILD {
			return
		}
		require.NoError(t, err)
		if pid == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}
