// Package namespace starts a process in the namespaces that an OCI configuration lists (opencontainers/runtime-spec, config-linux.md, Namespaces): new ones, and
// ones that are there already.
package namespace

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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

// joinOrder is the order in which namespaces are joined: the one of mounts last, for the paths are ours. Those of users and of time nsenter joins (joinsAlone).
var joinOrder = []specs.LinuxNamespaceType{
	specs.UserNamespace, specs.TimeNamespace, specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.PIDNamespace, specs.CgroupNamespace, specs.MountNamespace,
}

// A Set is the namespaces of a container. Those that it does not list are the caller's.
type Set struct {
	paths   map[specs.LinuxNamespaceType]string // of each that is listed; empty: a new one
	uids    []syscall.SysProcIDMap
	gids    []syscall.SysProcIDMap
	offsets map[string]specs.LinuxTimeOffset
}

// Parse reads the namespaces of a configuration, which may be nil.
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
		}
		s.paths[n.Type] = n.Path
	}
	return s, s.parseMappings(l)
}

// parseMappings reads what belongs to new namespaces of users and of time. A user namespace that is joined has its mappings, which FindMappings reads.
func (s *Set) parseMappings(l *specs.Linux) error {
	s.uids, s.gids, s.offsets = mappings(l.UIDMappings), mappings(l.GIDMappings), l.TimeOffsets
	switch mapped := len(s.uids) > 0 || len(s.gids) > 0; {
	case mapped && !s.Has(specs.UserNamespace):
		return errors.New("linux.uidMappings and gidMappings are for a user namespace: want one among linux.namespaces")
	case s.Makes(specs.UserNamespace) && (len(s.uids) == 0 || len(s.gids) == 0):
		return errors.New("a new user namespace wants linux.uidMappings and linux.gidMappings: nobody is in it otherwise")
	case s.Makes(specs.UserNamespace) && !(maps(s.uids, 0) && maps(s.gids, 0)):
		return errors.New("linux.uidMappings and linux.gidMappings: want containerID 0 in both, who makes the container")
	case len(s.offsets) > 0 && !s.Makes(specs.TimeNamespace):
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

// Start starts a command in the namespaces, whose standard streams are files. A new cgroup namespace is left to the process itself, by UnshareCgroup, for it is to
// show the cgroup that the process is put into. In a user namespace the process is root, with the supplementary groups that are given, as the host has them.
func (s *Set) Start(cmd *exec.Cmd, groups []int) error {
	files, err := s.openPaths()
	defer closeAll(files)
	if err != nil {
		return err
	}
	s.setAttributes(cmd)
	return OnThread(func() error {
		if err := s.setGroups(groups); err != nil {
			return err
		}
		if s.joinsAlone() {
			return s.startByNsenter(cmd, files)
		}
		return startWithin(cmd, files, s.Makes(specs.TimeNamespace), s.offsets)
	})
}

// startWithin joins namespaces, makes the one of time if that is new, and starts a command in them. It runs on a thread of its own.
func startWithin(cmd *exec.Cmd, joined map[specs.LinuxNamespaceType]*os.File, newTime bool, offsets map[string]specs.LinuxTimeOffset) error {
	if err := enter(joined); err != nil {
		return err
	}
	if newTime {
		if err := makeTime(offsets); err != nil {
			return err
		}
	}
	return cmd.Start()
}

// setAttributes has the command make the namespaces that are new, and be root in that of users.
func (s *Set) setAttributes(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	for t := range s.paths {
		if s.Makes(t) && t != specs.CgroupNamespace && t != specs.TimeNamespace {
			cmd.SysProcAttr.Cloneflags |= uintptr(flags[t])
		}
	}
	if s.Makes(specs.UserNamespace) {
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = s.uids, s.gids
	}
	if s.Has(specs.UserNamespace) {
		cmd.SysProcAttr.Credential = &syscall.Credential{NoSetGroups: true} // else it has no privilege there once it executes
	}
}

// setGroups sets the thread's groups for a user namespace: within it the host's are nobody's, and cannot be set.
func (s *Set) setGroups(groups []int) error {
	if !s.Has(specs.UserNamespace) {
		return nil
	}
	return SetThreadGroups(groups)
}

func closeAll(files map[specs.LinuxNamespaceType]*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// openPaths opens the namespaces that are joined. After an error those that are open are returned.
func (s *Set) openPaths() (files map[specs.LinuxNamespaceType]*os.File, err error) {
	files = map[specs.LinuxNamespaceType]*os.File{}
	for _, t := range joinOrder {
		path := s.paths[t]
		if path == "" {
			continue
		}
		f, err := open(t, path)
		if err != nil {
			return files, err
		}
		files[t] = f
	}
	return files, nil
}

// open opens a namespace.
func open(t specs.LinuxNamespaceType, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe would wait
	if err != nil {
		return nil, fmt.Errorf("%s namespace: %w", t, err)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil || fs.Type != unix.NSFS_MAGIC {
		f.Close()
		return nil, fmt.Errorf("%s namespace: %q: want a file of one, as /proc/1/ns/%s, found another file", t, path, procName(t))
	}
	return f, nil
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

// enter has the thread join the namespaces: a process that it starts is in them.
func enter(files map[specs.LinuxNamespaceType]*os.File) error {
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
	return nil
}

// makeTime has the thread make a time namespace: a process that it starts is in it.
func makeTime(offsets map[string]specs.LinuxTimeOffset) error {
	if err := unix.Unshare(unix.CLONE_NEWTIME); err != nil {
		return fmt.Errorf("time namespace: %w", err)
	}
	for clock, o := range offsets {
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
