package oci

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"kapsel/cmd/kapsel/oci/namespace"
)

// limits are the resources of setrlimit(2).
var limits = map[string]int{
	"RLIMIT_AS": unix.RLIMIT_AS, "RLIMIT_CORE": unix.RLIMIT_CORE, "RLIMIT_CPU": unix.RLIMIT_CPU, "RLIMIT_DATA": unix.RLIMIT_DATA,
	"RLIMIT_FSIZE": unix.RLIMIT_FSIZE, "RLIMIT_LOCKS": unix.RLIMIT_LOCKS, "RLIMIT_MEMLOCK": unix.RLIMIT_MEMLOCK, "RLIMIT_MSGQUEUE": unix.RLIMIT_MSGQUEUE,
	"RLIMIT_NICE": unix.RLIMIT_NICE, "RLIMIT_NOFILE": unix.RLIMIT_NOFILE, "RLIMIT_NPROC": unix.RLIMIT_NPROC, "RLIMIT_RSS": unix.RLIMIT_RSS,
	"RLIMIT_RTPRIO": unix.RLIMIT_RTPRIO, "RLIMIT_RTTIME": unix.RLIMIT_RTTIME, "RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING, "RLIMIT_STACK": unix.RLIMIT_STACK,
}

// ipcSysctls are the sysctls that an IPC namespace has its own of, besides fs.mqueue.*.
var ipcSysctls = []string{"kernel/msgmax", "kernel/msgmnb", "kernel/msgmni", "kernel/sem", "kernel/shmall", "kernel/shmmax", "kernel/shmmni", "kernel/shm_rmid_forced"}

// parseSettings reads and checks what the container's process is to give itself. The warnings are of what cannot be had and does no harm.
func parseSettings(spec *specs.Spec, spaces *namespace.Set) (s settings, warnings []string, err error) {
	s = settings{
		NewMounts: spaces.Makes(specs.MountNamespace), NewProcesses: spaces.Makes(specs.PIDNamespace), NewCgroup: spaces.Makes(specs.CgroupNamespace), NewUsers: spaces.Has(specs.UserNamespace),
		Hostname: spec.Hostname, Domainname: spec.Domainname,
	}
	if (s.Hostname != "" || s.Domainname != "") && !spaces.Has(specs.UTSNamespace) {
		return s, nil, fmt.Errorf("hostname and domainname would be the host's: want a uts namespace among linux.namespaces")
	}
	if spec.Linux != nil {
		if err := checkUnsupported(spec.Linux); err != nil {
			return s, nil, err
		}
		if err := checkThreads(spec.Linux.Resources); err != nil {
			return s, nil, err
		}
		if s.Sysctls, err = parseSysctls(spec.Linux.Sysctl, spaces); err != nil {
			return s, nil, err
		}
	}
	p := spec.Process
	if p == nil {
		return s, nil, nil
	}
	s.User, s.OOMScore, s.NoNewPrivileges = p.User, p.OOMScoreAdj, p.NoNewPrivileges
	if s.Capabilities, warnings, err = readCapabilities(p.Capabilities, s.NewUsers); err != nil {
		return s, nil, err
	}
	if s.OOMScore != nil && (*s.OOMScore < -1000 || *s.OOMScore > 1000) {
		return s, nil, fmt.Errorf("process.oomScoreAdj %d: want -1000 to 1000", *s.OOMScore)
	}
	if s.User.Umask != nil && *s.User.Umask > 0o777 {
		return s, nil, fmt.Errorf("process.user.umask %#o: want at most 0777", *s.User.Umask)
	}
	s.Limits, err = parseLimits(p.Rlimits)
	return s, warnings, err
}

// readCapabilities reads process.capabilities, and warns of what cannot be granted. In a user namespace of its own a process has them all.
func readCapabilities(c *specs.LinuxCapabilities, newUsers bool) (granted capabilities, warnings []string, err error) {
	own := ^uint64(0)
	if !newUsers {
		if own, err = ownCapabilities(); err != nil {
			return granted, nil, err
		}
	}
	asked, unknown := parseCapabilities(c)
	if len(unknown) > 0 {
		warnings = append(warnings, fmt.Sprintf("process.capabilities: unknown, so not granted: %q", unknown))
	}
	granted, left := asked.grantable(own)
	if len(left) > 0 {
		warnings = append(warnings, "process.capabilities: not granted: "+strings.Join(left, ", ")+
			": effective ones have to be permitted, inheritable ones bounding, ambient ones permitted and inheritable, and all the runtime's own")
	}
	return granted, warnings, nil
}

// checkUnsupported refuses what would be something else without it: what only a program of the host could tell is passed over.
func checkUnsupported(l *specs.Linux) error {
	switch {
	case len(l.NetDevices) > 0:
		return errors.New("linux.netDevices: no device is moved: want none, and have the engine put them into the network namespace, as CNI does")
	case l.IntelRdt != nil:
		return errors.New("linux.intelRdt: no class of service is given: want none")
	case l.MemoryPolicy != nil:
		return errors.New("linux.memoryPolicy: memory is where the host's kernel puts it: want none, or linux.resources.cpu.mems")
	}
	return nil
}

// leastThreads is the least limit of threads with which a container starts: each call of the monitor's that waits is a thread, and without one its program fails.
const leastThreads = 32

// checkThreads refuses a limit of processes, which threads count as, that the monitor has no room in.
func checkThreads(r *specs.LinuxResources) error {
	if r == nil || r.Pids == nil || r.Pids.Limit == nil || *r.Pids.Limit <= 0 || *r.Pids.Limit >= leastThreads {
		return nil
	}
	return fmt.Errorf("linux.resources.pids.limit %d: want %d or more, or none: the monitor's threads count", *r.Pids.Limit, leastThreads)
}

// parseLimits reads process.rlimits.
func parseLimits(list []specs.POSIXRlimit) (parsed []limit, err error) {
	for i, l := range list {
		resource, known := limits[l.Type]
		twice := slices.ContainsFunc(parsed, func(p limit) bool { return p.Name == l.Type })
		switch {
		case !known:
			return nil, fmt.Errorf("process.rlimits[%d].type %s: want one of setrlimit(2), as RLIMIT_NOFILE", i, short(l.Type))
		case twice:
			return nil, fmt.Errorf("process.rlimits[%d].type %s stands there twice: want each once", i, l.Type)
		case l.Soft > l.Hard:
			return nil, fmt.Errorf("process.rlimits[%d], %s: want soft at most hard, found %d and %d", i, l.Type, l.Soft, l.Hard)
		}
		parsed = append(parsed, limit{l.Type, resource, unix.Rlimit{Cur: l.Soft, Max: l.Hard}})
	}
	return parsed, nil
}

// parseSysctls returns the sysctls by their files. It takes those alone that the container's namespaces have their own of.
func parseSysctls(sysctls map[string]string, spaces *namespace.Set) (map[string]string, error) {
	files := map[string]string{}
	for name, value := range sysctls {
		file := sysctlFile(name)
		space := sysctlNamespace(file)
		switch {
		case space == "":
			return nil, fmt.Errorf("linux.sysctl %s is the whole host's: want one that a namespace has its own of: net.*, fs.mqueue.*, kernel.msg*, kernel.sem, kernel.shm*", short(name))
		case !spaces.Has(space):
			return nil, fmt.Errorf("linux.sysctl %s would be the host's: want a %s namespace among linux.namespaces", short(name), space)
		}
		files[file] = value
	}
	return files, nil
}

// sysctlFile is a sysctl's file below /proc/sys, as sysctl(8) has it: its first separator, which is . or /, stands for /, and the other one for a dot in a name.
func sysctlFile(name string) string {
	if at := strings.IndexAny(name, "./"); at < 0 || name[at] == '/' {
		return name
	}
	return strings.NewReplacer(".", "/", "/", ".").Replace(name)
}

// sysctlNamespace is the type of the namespaces that have a sysctl each, or empty.
func sysctlNamespace(file string) specs.LinuxNamespaceType {
	for part := range strings.SplitSeq(file, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsRune(part, 0) {
			return ""
		}
	}
	switch {
	case strings.HasPrefix(file, "net/"):
		return specs.NetworkNamespace
	case strings.HasPrefix(file, "fs/mqueue/"), slices.Contains(ipcSysctls, file):
		return specs.IPCNamespace
	}
	return ""
}
