package fleet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stage is the environment variable that says in which of its processes the test is. The first makes namespaces, and removes what they cannot hold. The second is
// their first process: when it ends, all others do. The third runs the tests.
const (
	stage      = "KAPSEL_FLEET_STAGE"
	stageInit  = "init"
	stageTests = "tests"
)

// parents begins the names of the cgroups below which all containers of a run are; the first process' number follows.
const parents = "kapsel-fleet-"

// parent is this run's.
var parent = parents + strconv.Itoa(os.Getpid())

// TestMain runs the tests where they can leave nothing behind: in namespaces of mounts, processes and networks.
func TestMain(m *testing.M) {
	var status int
	var err error
	switch os.Getenv(stage) {
	case "":
		status, err = isolate(m)
	case stageInit:
		status, err = beInit()
	case stageTests:
		parent = os.Getenv("KAPSEL_FLEET_CGROUP")
		status = m.Run()
		stopEngines()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tests/fleet:", err)
		status = 1
	}
	os.Exit(status)
}

// isolate runs the program anew in namespaces of its own, and removes the cgroups that it leaves. Where it may not, the tests skip themselves.
func isolate(m *testing.M) (int, error) {
	if os.Getuid() != 0 {
		return m.Run(), nil
	}
	if err := removeStale(); err != nil {
		return 0, err
	}
	c := again(stageInit)
	c.Env = append(c.Env, "KAPSEL_FLEET_CGROUP="+parent)
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Pdeathsig:  unix.SIGKILL,
	}
	err := c.Run()
	if removal := removeCgroups(parent); err == nil {
		err = removal
	}
	return ended(err)
}

// again is the program once more, with the same arguments.
func again(next string) *exec.Cmd {
	c := exec.Command("/proc/self/exe", os.Args[1:]...)
	c.Env = append(os.Environ(), stage+"="+next)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	return c
}

// ended is the status of a process, and the error where it has none.
func ended(err error) (int, error) {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// beInit prepares the namespaces, runs the tests in a process of their own, and takes in the orphans that they leave.
func beInit() (int, error) {
	if err := prepare(); err != nil {
		return 0, err
	}
	c := again(stageTests)
	c.Env = append(c.Env, "TMPDIR=/run/tmp", "XDG_RUNTIME_DIR=/run/user")
	if err := c.Start(); err != nil {
		return 0, err
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, err
		case pid == c.Process.Pid && status.Exited():
			return status.ExitStatus(), nil
		case pid == c.Process.Pid:
			return 0, fmt.Errorf("the tests were ended by signal %v", status.Signal())
		}
	}
}

// prepare gives the namespaces what they need. Engines keep their files below /run and /var/lib, whatever they are told, which are empty here and gone at the end.
func prepare() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mounts of its own: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("/proc: %w", err)
	}
	for _, dir := range []string{"/run", "/var/lib"} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("an empty %s: %w", dir, err)
		}
	}
	for _, dir := range []string{"/run/tmp", "/run/user", "/run/lock"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	return loopback()
}

// loopback turns the network namespace's loopback interface on.
func loopback() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, r)
}

// findCgroups finds cgroups by name, in each hierarchy: the one of version 2 may be below those of version 1 or in their place.
func findCgroups(name string) (found []string, err error) {
	for _, root := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		dirs, err := filepath.Glob(root + name)
		if err != nil {
			return nil, err
		}
		found = append(found, dirs...)
	}
	return found, nil
}

// removeStale removes the cgroups of runs that were killed before they could.
func removeStale() error {
	dirs, err := findCgroups(parents + "*")
	for i := 0; err == nil && i < len(dirs); i++ {
		name := filepath.Base(dirs[i])
		if _, running := os.Stat("/proc/" + strings.TrimPrefix(name, parents)); errors.Is(running, fs.ErrNotExist) {
			err = removeCgroups(name)
		}
	}
	return err
}

// removeCgroups removes the cgroup of a run from each hierarchy. Its processes are dead, but the kernel may still be at it.
func removeCgroups(name string) error {
	var left []string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		left = nil
		found, err := findCgroups(name)
		if err != nil {
			return err
		}
		for _, dir := range found {
			if err := removeTree(dir); err != nil {
				left = append(left, err.Error())
			}
		}
		if left == nil {
			return nil
		}
	}
	return fmt.Errorf("cgroups that cannot be removed: %s", strings.Join(left, "; "))
}

// removeTree removes a cgroup with those below it.
func removeTree(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	for i := len(dirs) - 1; err == nil && i >= 0; i-- {
		err = os.Remove(dirs[i])
	}
	return err
}
