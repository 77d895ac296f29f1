// Package namespace starts a process in the namespaces that an OCI configuration lists (opencontainers/runtime-spec, config-linux.md, Namespaces): new ones, and
// ones that are there already.
package namespace

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// flags are the namespaces' types as clone(2) and setns(2) have them.
var flags = map[specs.LinuxNamespaceType]int{
	specs.PIDNamespace:     unix.CLONE_NEWPID,
	specs.NetworkNamespace: unix.CLONE_NEWNET,
	specs.MountNamespace:   unix.CLONE_NEWNS,
	specs.IPCNamespace:     unix.CLONE_NEWIPC,
	specs.UTSNamespace:     unix.CLONE_NEWUTS,
	specs.UserNamespace:    unix.CLONE_NEWUSER,
	specs.CgroupNamespace:  unix.CLONE_NEWCGROUP,
	specs.TimeNamespace:    unix.CLONE_NEWTIME,
}

// joinOrder is the order in which namespaces are joined: the one of mounts last, for the paths are ours.
var joinOrder = []specs.LinuxNamespaceType{
	specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.PIDNamespace, specs.CgroupNamespace, specs.MountNamespace,
}

// A Set is the namespaces of a container. Those that it does not list are the caller's.
type Set struct {
	paths   map[specs.LinuxNamespaceType]string // of each that is listed; empty: a new one
	uids    []syscall.SysProcIDMap
	gids    []syscall.SysProcIDMap
	offsets map[string]specs.LinuxTimeOffset
}

// Parse reads the namespaces of a configuration, which may be nil. It refuses what no process of several threads can do: join a user or a time namespace.
func Parse(l *specs.Linux) (*Set, error) {
	s := &Set{paths: map[specs.LinuxNamespaceType]string{}}
	if l == nil {
		return s, nil
	}
	for i, n := range l.Namespaces {
		_, known := flags[n.Type]
		_, twice := s.paths[n.Type]
		where := fmt.Sprintf("linux.namespaces[%d]", i)
		switch {
		case !known:
			return nil, fmt.Errorf("%s.type %.80q: want pid, network, mount, ipc, uts, user, cgroup or time", where, n.Type)
		case twice:
			return nil, fmt.Errorf("%s.type %q stands there twice: want each type once", where, n.Type)
		case n.Path == "":
		case !filepath.IsAbs(n.Path) || strings.ContainsRune(n.Path, 0):
			return nil, fmt.Errorf("%s.path %.200q: want an absolute path", where, n.Path)
		case n.Type == specs.UserNamespace, n.Type == specs.TimeNamespace:
			return nil, fmt.Errorf("%s.path %.200q: a %s namespace that exists cannot be joined, only made, for Go has several threads, and setns(2) wants one: leave the path out, or the namespace, and start the engine in it by nsenter(1)", where, n.Path, n.Type)
		}
		s.paths[n.Type] = n.Path
	}
	return s, s.parseMappings(l)
}

// parseMappings reads what belongs to new namespaces of users and of time.
func (s *Set) parseMappings(l *specs.Linux) error {
	s.uids, s.gids, s.offsets = mappings(l.UIDMappings), mappings(l.GIDMappings), l.TimeOffsets
	switch mapped := len(s.uids) > 0 || len(s.gids) > 0; {
	case mapped && !s.Has(specs.UserNamespace):
		return errors.New("linux.uidMappings and gidMappings are for a new user namespace: want one among linux.namespaces")
	case s.Has(specs.UserNamespace) && (len(s.uids) == 0 || len(s.gids) == 0):
		return errors.New("a new user namespace wants linux.uidMappings and linux.gidMappings: nobody is in it otherwise")
	case s.Has(specs.UserNamespace) && !(maps(s.uids, 0) && maps(s.gids, 0)):
		return errors.New("linux.uidMappings and linux.gidMappings: want containerID 0 in both, who makes the container")
	case len(s.offsets) > 0 && !s.Has(specs.TimeNamespace):
		return errors.New("linux.timeOffsets are for a new time namespace: want one among linux.namespaces")
	}
	for clock := range s.offsets {
		if clock != "monotonic" && clock != "boottime" {
			return fmt.Errorf("linux.timeOffsets: %.80q: want monotonic or boottime", clock)
		}
	}
	return nil
}

func mappings(list []specs.LinuxIDMapping) []syscall.SysProcIDMap {
	var m []syscall.SysProcIDMap
	for _, e := range list {
		m = append(m, syscall.SysProcIDMap{ContainerID: int(e.ContainerID), HostID: int(e.HostID), Size: int(e.Size)})
	}
	return m
}

// Has says whether the container has a namespace of the type that need not be the caller's.
func (s *Set) Has(t specs.LinuxNamespaceType) bool {
	_, ok := s.paths[t]
	return ok
}

// Makes says whether the container has a new namespace of the type.
func (s *Set) Makes(t specs.LinuxNamespaceType) bool {
	path, ok := s.paths[t]
	return ok && path == ""
}

// HostUser is who a user of the container is outside of it.
func (s *Set) HostUser(uid, gid uint32) (int, int, error) {
	if !s.Has(specs.UserNamespace) {
		return int(uid), int(gid), nil
	}
	u, found := host(s.uids, uid)
	g, foundGroup := host(s.gids, gid)
	if !found || !foundGroup {
		return 0, 0, fmt.Errorf("process.user %d:%d: want one that linux.uidMappings and linux.gidMappings have", uid, gid)
	}
	return u, g, nil
}

func maps(m []syscall.SysProcIDMap, id uint32) bool {
	_, ok := host(m, id)
	return ok
}

func host(m []syscall.SysProcIDMap, id uint32) (int, bool) {
	for _, e := range m {
		if at := int(id) - e.ContainerID; at >= 0 && at < e.Size {
			return e.HostID + at, true
		}
	}
	return 0, false
}

// Start starts a command in the namespaces. A new cgroup namespace is left to the process itself, by UnshareCgroup, for it is to show the cgroup that the process
// is put into. In a new user namespace the process is root, with the supplementary groups that are given, as the host has them.
func (s *Set) Start(cmd *exec.Cmd, groups []int) error {
	files, err := s.openPaths()
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if err != nil {
		return err
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	for t := range s.paths {
		if s.Makes(t) && t != specs.CgroupNamespace && t != specs.TimeNamespace {
			cmd.SysProcAttr.Cloneflags |= uintptr(flags[t])
		}
	}
	if s.Has(specs.UserNamespace) {
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = s.uids, s.gids
		cmd.SysProcAttr.Credential = &syscall.Credential{NoSetGroups: true} // else it has no privilege there once it executes
	}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this function
		err := s.enter(files)
		if err == nil && s.Has(specs.UserNamespace) {
			err = SetThreadGroups(groups)
		}
		if err == nil {
			err = cmd.Start()
		}
		started <- err
	}()
	return <-started
}

// openPaths opens the namespaces that are joined, in joinOrder.
func (s *Set) openPaths() (files map[specs.LinuxNamespaceType]*os.File, err error) {
	files = map[specs.LinuxNamespaceType]*os.File{}
	for _, t := range joinOrder {
		path := s.paths[t]
		if path == "" {
			continue
		}
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe would wait
		if err != nil {
			return files, fmt.Errorf("%s namespace: %w", t, err)
		}
		files[t] = f
		var fs unix.Statfs_t
		if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil || fs.Type != unix.NSFS_MAGIC {
			return files, fmt.Errorf("%s namespace: %q: want a file of one, as /proc/1/ns/%s, found another file", t, path, procName(t))
		}
	}
	return files, nil
}

// procName is a type's name below /proc/PID/ns.
func procName(t specs.LinuxNamespaceType) string {
	switch t {
	case specs.NetworkNamespace:
		return "net"
	case specs.MountNamespace:
		return "mnt"
	}
	return string(t)
}

// enter has the thread join the namespaces, and make the one of time: a process that it starts is in them.
func (s *Set) enter(files map[specs.LinuxNamespaceType]*os.File) error {
	for _, t := range joinOrder {
		f := files[t]
		if f == nil {
			continue
		}
		if t == specs.MountNamespace { // setns(2): not while root and working directory are shared with other threads
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return fmt.Errorf("mount namespace: unshare: %w", err)
			}
		}
		if err := unix.Setns(int(f.Fd()), flags[t]); err != nil {
			return fmt.Errorf("%s namespace: join %q: %w: want one of that type, and the right to join it", t, f.Name(), err)
		}
	}
	if !s.Makes(specs.TimeNamespace) {
		return nil
	}
	if err := unix.Unshare(unix.CLONE_NEWTIME); err != nil {
		return fmt.Errorf("time namespace: %w", err)
	}
	for clock, o := range s.offsets {
		line := fmt.Sprintf("%s %d %d\n", clock, o.Secs, o.Nanosecs)
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/timens_offsets", unix.Gettid()), []byte(line), 0); err != nil {
			return fmt.Errorf("linux.timeOffsets: %w", err)
		}
	}
	return nil
}

// SetThreadGroups sets the supplementary groups of this thread alone.
func SetThreadGroups(groups []int) error {
	ids := make([]uint32, len(groups)+1) // one more, for its address
	for i, g := range groups {
		ids[i] = uint32(g)
	}
	return setgroups(ids[:len(groups)], &ids[0])
}

// UnshareCgroup makes a cgroup namespace for the calling thread, whose root is the cgroup that it is in.
func UnshareCgroup() error {
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("cgroup namespace: %w", err)
	}
	return nil
}
