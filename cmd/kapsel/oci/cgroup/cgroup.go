// Package cgroup makes, fills and removes a container's control group: of version 2 (Linux, admin-guide/cgroup-v2.rst), of version 1 (admin-guide/cgroup-v1),
// whose controllers have hierarchies of their own, or of both at once. It writes the files by itself: systemd is not asked, and finds the group as one that others made.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Group is a container's control group: a directory in each hierarchy.
type Group struct {
	tree tree
	dirs []dir
}

// dir is the group's directory in a hierarchy.
type dir struct {
	hierarchy
	path string
}

// tree is where groups are made.
type tree struct {
	hierarchies  []hierarchy
	mkdir, rmdir func(path string) error // the files of a directory come and go with it
}

// host is this machine's tree.
func host() (tree, error) {
	hierarchies, err := find("/proc/self/mountinfo")
	return tree{hierarchies, func(path string) error { return os.Mkdir(path, 0o755) }, unix.Rmdir}, err
}

// Make makes the group and the groups above it that are missing, and sets its limits, which may be nil. The path is one from the root of each hierarchy, whether or not it
// begins with a slash, and with systemd SLICE:PREFIX:NAME. A group that is there already is taken if it is empty. After an error nothing is left of what was made.
// A hierarchy that the user may not write to is left out if no limit needs it.
func Make(path string, systemd bool, r *specs.LinuxResources) (*Group, error) {
	t, err := host()
	if err != nil {
		return nil, err
	}
	return t.make(path, systemd, r)
}

// Open returns the group that Make has made, or what is left of it.
func Open(path string, systemd bool) (*Group, error) {
	t, err := host()
	if err != nil {
		return nil, err
	}
	return t.open(path, systemd)
}

func (t tree) open(path string, systemd bool) (*Group, error) {
	name, err := clean(path, systemd)
	if err != nil {
		return nil, err
	}
	g := &Group{tree: t}
	for _, h := range t.hierarchies {
		d := dir{h, filepath.Join(h.root, name)}
		if _, err := os.Lstat(d.path); err == nil {
			g.dirs = append(g.dirs, d)
		}
	}
	return g, nil
}

func (t tree) make(path string, systemd bool, r *specs.LinuxResources) (_ *Group, err error) {
	name, err := clean(path, systemd)
	if err != nil {
		return nil, err
	}
	limits := limitsOf(r)
	g := &Group{tree: t}
	var made []string
	defer func() {
		if err != nil {
			for _, path := range slices.Backward(made) {
				t.rmdir(path)
			}
		}
	}()
	for _, h := range t.hierarchies {
		fresh, err := t.makeDir(h, name)
		made = append(made, fresh...)
		if mayNot(err) && !slices.ContainsFunc(limits, func(l limit) bool { _, ok := l.in(h); return ok }) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("making cgroup %q: %w", name, err)
		}
		g.dirs = append(g.dirs, dir{h, filepath.Join(h.root, name)})
	}
	pids, err := g.Pids()
	if err == nil && len(pids) > 0 {
		err = fmt.Errorf("cgroup %q has %d processes already: want one that is new or empty: delete the container that has it", name, len(pids))
	}
	if err != nil {
		return nil, err
	}
	for _, l := range limits {
		if err := g.set(l); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// mayNot reports whether an error says that the user may not do something.
func mayNot(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS)
}

// makeDir makes a group's directory and those above it, and returns those that are new, from the top on.
func (t tree) makeDir(h hierarchy, name string) (made []string, err error) {
	at := h.root
	for _, element := range strings.Split(strings.TrimPrefix(name, "/"), "/") {
		if h.v2 {
			delegate(at)
		}
		above := at
		at = filepath.Join(at, element)
		switch err := t.mkdir(at); {
		case errors.Is(err, fs.ErrExist):
		case err != nil:
			return made, err
		default:
			made = append(made, at)
		}
		if slices.Contains(h.controllers, "cpuset") && !h.v2 {
			if err := inheritSet(above, at); err != nil {
				return made, err
			}
		}
	}
	return made, nil
}

// delegate gives the groups below one all controllers that it has, as far as it may. What is lacking is told when a limit needs it.
func delegate(path string) {
	have, err := os.ReadFile(filepath.Join(path, "cgroup.controllers"))
	if err != nil {
		return
	}
	for _, controller := range strings.Fields(string(have)) { // one by one: a single one that fails refuses all of a write
		write(path, "cgroup.subtree_control", "+"+controller)
	}
}

// inheritSet gives a new group of version 1 the processors and memory nodes of the one above: without any it takes no process (cgroup-v1/cpusets.rst, section 1.2).
func inheritSet(above, at string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		have, err := os.ReadFile(filepath.Join(at, file))
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(have)) != "" {
			continue
		}
		value, err := os.ReadFile(filepath.Join(above, file))
		if err == nil {
			err = write(at, file, strings.TrimSpace(string(value)))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// write writes to a file of a group, which is there.
func write(dir, file, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(value)
	return err
}

// Add moves a process into the group. What it has started before stays where it is.
func (g *Group) Add(pid int) error {
	for _, d := range g.dirs {
		if err := write(d.path, "cgroup.procs", strconv.Itoa(pid)); err != nil {
			return fmt.Errorf("adding process %d to its cgroup: %w", pid, err)
		}
	}
	return nil
}

// FD opens the directory by which clone3(2), with CLONE_INTO_CGROUP, starts a process in the group: the caller closes it. It reports false where a process has to be
// moved by Add, since a controller has a hierarchy of its own.
func (g *Group) FD() (fd int, ok bool) {
	if len(g.dirs) != 1 || !g.dirs[0].v2 || len(g.tree.hierarchies) != 1 {
		return -1, false
	}
	fd, err := unix.Open(g.dirs[0].path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	return fd, err == nil
}

// Pids are the processes in the group and below it that this process can see, in order.
func (g *Group) Pids() ([]int, error) {
	var pids []int
	for _, d := range g.dirs {
		groups, err := below(d.path)
		if err != nil {
			return nil, err
		}
		for _, path := range groups {
			found, err := pidsIn(path)
			if err != nil {
				return nil, err
			}
			pids = append(pids, found...)
		}
	}
	slices.Sort(pids)
	return slices.Compact(pids), nil
}

// maxGroups bounds the groups that are looked at.
const maxGroups = 4096

// below are a group's directory and all those below it, each in front of what is below it; none if the group is gone.
func below(path string) (groups []string, err error) {
	err = filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case !entry.IsDir():
			return nil
		case len(groups) == maxGroups:
			return fmt.Errorf("more than %d groups in %q", maxGroups, path)
		}
		groups = append(groups, path)
		return nil
	})
	return groups, err
}

// pidsIn are the processes of one directory. A process of a namespace that is not to be seen from here is listed as 0.
func pidsIn(path string) ([]int, error) {
	text, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) { // the group is gone
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, word := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			return nil, fmt.Errorf("%q: want numbers of processes, found %.40q", path, word)
		}
		if pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// Bounds of what waits for processes to end, which the kernel may take a while for.
const (
	attempts = 200
	pause    = 10 * time.Millisecond
)

// eventually calls try until it reports that it is done, for about two seconds, and longer on a busy machine. It returns try's last error.
func eventually(try func() (done bool, err error)) error {
	var err error
	for range attempts {
		var done bool
		if done, err = try(); done {
			return err
		}
		time.Sleep(pause)
	}
	return err
}

// Kill ends all processes of the group by SIGKILL, and returns when they have left it.
func (g *Group) Kill() error {
	return eventually(func() (bool, error) {
		for _, d := range g.dirs {
			if d.v2 {
				write(d.path, "cgroup.kill", "1") // from Linux 5.14 on; without, one by one is enough
			}
		}
		pids, err := g.Pids()
		if err != nil || len(pids) == 0 {
			return true, err
		}
		for _, pid := range pids {
			g.kill(pid)
		}
		return false, fmt.Errorf("%d processes of a cgroup do not end, process %d is one: what the host waits for there, its /proc/%[2]d/stack says", len(pids), pids[0])
	})
}

// kill ends a process if it is still one of the group's: by then its number may be another's.
func (g *Group) kill(pid int) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return // it has ended
	}
	defer unix.Close(fd)
	if pids, err := g.Pids(); err == nil && slices.Contains(pids, pid) {
		unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	}
}

// Remove removes the group, which its processes are to leave first, in every hierarchy, and what is below it. What is gone already is no error. The groups above it stay.
func (g *Group) Remove() error {
	return eventually(func() (bool, error) {
		var first error
		for _, d := range g.dirs {
			if err := g.tree.remove(d.path); err != nil && first == nil {
				first = fmt.Errorf("removing cgroup %q: %w", d.path, err)
			}
		}
		return !errors.Is(first, unix.EBUSY), first
	})
}

// remove removes a directory and those below it.
func (t tree) remove(path string) error {
	groups, err := below(path)
	if err != nil {
		return err
	}
	for _, path := range slices.Backward(groups) {
		if err := t.rmdir(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
