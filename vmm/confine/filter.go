package confine

import (
	"errors"
	"fmt"
	"os"
	"slices"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"

	"kapsel/vmm/kvm"
)

// kept are the system calls that a process always keeps: those of the Go runtime, and what is done with open files.
var kept = []string{
	// Open files; fcntl below.
	"read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "lseek", "fstat", "close",
	"splice", "sendfile", "copy_file_range", "pipe2", "eventfd2", "epoll_create1", "epoll_ctl", "epoll_pwait",
	// Memory; mmap and mprotect below.
	"munmap", "madvise", "mincore",
	// Threads and signals; clone and tgkill below.
	"futex", "exit", "exit_group", "gettid", "getpid", "sched_yield", "sched_getaffinity", "set_robust_list", "rseq",
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall",
	// Time and random bytes.
	"nanosleep", "clock_nanosleep", "clock_gettime", "gettimeofday", "getrandom",
}

// What options keep.
var (
	fileCalls    = []string{"fsync", "fdatasync", "ftruncate", "fallocate"}
	socketCalls  = []string{"accept4", "recvfrom", "recvmsg", "sendto", "sendmsg", "shutdown", "getsockopt", "setsockopt", "getsockname", "getpeername"}
	packetCalls  = []string{"recvmsg"} // by which Linux tells of VLANs; frames are sent by write
	networkCalls = []string{"connect", "bind", "openat", "newfstatat", "uname", "getdents64"}
	machineCalls = []string{"openat", "memfd_create", "ftruncate"}
	readCalls    = []string{"openat", "newfstatat", "flock", "fstatfs"}
	writeCalls   = []string{"openat", "newfstatat", "getdents64", "mkdirat", "renameat", "renameat2", "unlinkat", "fsync"}
	childCalls   = []string{"wait4", "waitid", "shutdown", "recvfrom", "recvmsg", "sendto", "sendmsg"}
)

// call is a system call that is kept with some arguments alone: all conditions of one of the sets.
func call(name string, conditions ...seccomp.Condition) seccomp.NameWithConditions {
	return seccomp.NameWithConditions{Name: name, Conditions: conditions}
}

// argument is a condition: an argument is a value.
func argument(n uint32, value uint64) seccomp.Condition {
	return seccomp.Condition{Argument: n, Operation: seccomp.Equal, Value: value}
}

// without is a condition: an argument has none of the bits.
func without(n uint32, bits uint64) seccomp.Condition {
	return seccomp.Condition{Argument: n, Operation: seccomp.BitsNotSet, Value: bits}
}

// conditional are the system calls that are kept with some arguments.
func (o *Options) conditional() []seccomp.NameWithConditions {
	self := uint64(os.Getpid())
	calls := []seccomp.NameWithConditions{
		// No memory becomes executable.
		call("mmap", without(2, unix.PROT_EXEC)),
		call("mprotect", without(2, unix.PROT_EXEC)),
		// A thread, and no process.
		call("clone", seccomp.Condition{Argument: 0, Operation: seccomp.BitsSet, Value: unix.CLONE_THREAD}),
		// Signals go to the process's own threads: the runtime's, and those that end KVM_RUN.
		call("tgkill", argument(0, self)),
		// The runtime names its memory.
		call("prctl", argument(0, unix.PR_SET_VMA)),
	}
	for _, command := range o.fileCommands() {
		calls = append(calls, call("fcntl", argument(1, uint64(command))))
	}
	for _, request := range o.requests() {
		calls = append(calls, call("ioctl", argument(1, uint64(request))))
	}
	if o.Network {
		for _, family := range []uint64{unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK} { // netlink tells the host's own addresses
			calls = append(calls, call("socket", argument(0, family)))
		}
	}
	if o.Child != 0 {
		calls = append(calls, call("kill", argument(0, uint64(-int64(o.Child))), argument(1, uint64(unix.SIGKILL))))
	}
	return calls
}

// fileCommands are the commands of fcntl that are kept: the Go runtime's, and of files in memory their sealing. By F_SETOWN and F_SETSIG any signal
// could be sent to any process of the user's.
func (o *Options) fileCommands() []int {
	all := []int{unix.F_DUPFD_CLOEXEC, unix.F_GETFD, unix.F_SETFD, unix.F_GETFL, unix.F_SETFL, unix.F_SETPIPE_SZ}
	if o.Snapshots || o.Machines {
		all = append(all, unix.F_ADD_SEALS)
	}
	return all
}

// requests are the ioctl numbers that are kept.
func (o *Options) requests() []uintptr {
	all := kvm.RunRequests()
	if o.Snapshots || o.Machines {
		all = append(all, kvm.SnapshotRequests()...)
	}
	if o.Machines {
		all = append(all, kvm.MakeRequests()...)
	}
	if o.Terminal {
		all = append(all, unix.TCGETS, unix.TCSETS, unix.TIOCGWINSZ)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// names are the system calls that are kept with whatever arguments.
func (o *Options) names() []string {
	all := slices.Clone(kept)
	for _, group := range []struct {
		needed bool
		calls  []string
	}{
		{o.Files, fileCalls}, {o.Sockets || o.Network, socketCalls}, {o.Packets, packetCalls}, {o.Network, networkCalls},
		{o.Snapshots || o.Machines, machineCalls[1:]}, {o.Machines, machineCalls}, {o.Child != 0, childCalls},
		{len(o.Remove) > 0, []string{"unlinkat"}}, {len(o.Read) > 0, readCalls}, {len(o.Write) > 0, writeCalls},
	} {
		if group.needed {
			all = append(all, group.calls...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// policy is the filter: what is not kept fails with EPERM. clone3 is not there, so that the C library, in a program with cgo, makes its threads by clone.
func (o *Options) policy() seccomp.Policy {
	return seccomp.Policy{
		DefaultAction: seccomp.ActionErrno,
		Syscalls: []seccomp.SyscallGroup{
			{Names: o.names(), NamesWithCondtions: o.conditional(), Action: seccomp.ActionAllow},
			{Names: []string{"clone3"}, Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS)},
		},
	}
}

// filter gives all threads the filter, and looks whether it works: what the library does not tell is that a thread with a filter of its own keeps all from getting it.
func (o *Options) filter() error {
	if !Seccomp() {
		return nil
	}
	err := seccomp.LoadFilter(seccomp.Filter{NoNewPrivs: true, Flag: seccomp.FilterFlagTSync, Policy: o.policy()})
	if err != nil {
		return fmt.Errorf("seccomp: %w", err)
	}
	const query = 0xffff_ffff // of personality(2): changes nothing
	if _, _, errno := unix.RawSyscall(unix.SYS_PERSONALITY, query, 0, 0); errno != unix.EPERM {
		return errors.New("seccomp: the filter is not there: a thread of this process has one of its own")
	}
	o.Log("seccomp: %d system calls are left, %d by their arguments, with %d requests of ioctl", len(o.names()), len(o.conditional())-len(o.requests())-len(o.fileCommands()), len(o.requests()))
	return nil
}
