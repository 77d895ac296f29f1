// Package confine takes from a process what it does not need any more: when a machine is made, its monitor opens nothing, connects to
// nothing and starts nothing, so that who breaks out of the guest into the monitor finds a process that can do little but go on. What is
// open stays usable. A feature that needs more names it in Options. It is a package of its own as it links go-seccomp-bpf and go-landlock:
// who uses package vmm alone has neither.
package confine

import (
	"errors"
	"fmt"
	"runtime"

	seccomp "github.com/elastic/go-seccomp-bpf"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// Options are what a process needs beside what it always keeps: to read, write and close what is open, memory that is not executable, threads, time,
// random bytes, and the KVM calls of a machine that was made (kvm.RunRequests). The zero value needs nothing else.
type Options struct {
	Terminal  bool // the modes and the size of an open terminal are read and set
	Files     bool // open files are flushed to disk, made shorter or longer, and have holes made
	Sockets   bool // open sockets are accepted from, or have messages sent and received, as by --control and --net unix=
	Packets   bool // an open packet socket is read, as by --net link=
	Network   bool // internet sockets are made, and names looked up, as by --net user
	Snapshots bool // snapshots are taken, and machines go back to them (vmm.Machine.Snapshot, Reset)
	Machines  bool // machines are made (vmm.New, vmm.Fork): KVM's device is opened

	// Remove are files that the process removes at its end: its sockets. Others that lie below their directories can be removed as well.
	Remove []string
	// Read are files that are opened to be read, and locked: the disks of machines that are made.
	Read []string
	// Write are directories in which files and directories are made, written, read and removed, as a snapshot is saved (snapshot.Place).
	Write []string
	// Rename are directories in which directories are made, removed and renamed, however deep.
	Rename []string
	// Child is the leader of a process group that was started before, which is waited for and killed; 0 for none.
	Child int

	// Warn takes a line for each thing that the host lacks. If it is nil such a thing is an error, and the process is not confined.
	Warn func(format string, args ...any)
	// Log takes what else was done and not, for who wants to know; nil discards it.
	Log func(format string, args ...any)
}

// Add has the process keep beside what more names. Warn and Log stay.
func (o *Options) Add(more Options) {
	o.Terminal = o.Terminal || more.Terminal
	o.Files = o.Files || more.Files
	o.Sockets = o.Sockets || more.Sockets
	o.Packets = o.Packets || more.Packets
	o.Network = o.Network || more.Network
	o.Snapshots = o.Snapshots || more.Snapshots
	o.Machines = o.Machines || more.Machines
	o.Remove = append(o.Remove, more.Remove...)
	o.Read = append(o.Read, more.Read...)
	o.Write = append(o.Write, more.Write...)
	o.Rename = append(o.Rename, more.Rename...)
	o.Child = max(o.Child, more.Child)
}

// A MissingError says what a host lacks to confine a process.
type MissingError struct{ What string }

// Error says what to do about it.
func (e *MissingError) Error() string {
	return e.What + ": this host's kernel cannot confine the process by it; a newer one can, or one with another configuration"
}

// maxFiles is how many files a confined process can have open: those of a network in user mode with all its connections, several times.
const maxFiles = 4096

// Process confines the process, all its threads, for ever. In this order: limits, speculation, capabilities over networks, landlock, seccomp. After an error it
// may be confined in part, and is to end.
//
// A system call that is not kept fails with EPERM, and a file that landlock keeps from it with EACCES. The Go runtime does not need more; CGO does, where it
// loads libraries.
func Process(o Options) error {
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	if err := o.missing(Landlock(), Seccomp()); err != nil {
		return err
	}
	runtime.LockOSThread() // no_new_privs is the thread's, until the filter makes it all threads'
	defer runtime.UnlockOSThread()
	if err := limit(); err != nil {
		return err
	}
	if err := o.speculation(); err != nil {
		return err
	}
	o.shareNoCore()
	if err := o.giveUpNetworking(); err != nil {
		return err
	}
	if err := o.landlock(); err != nil {
		return err
	}
	return o.filter()
}

// missing says what a host lacks that has a version of landlock, or 0, and seccomp or not.
func (o *Options) missing(landlock int, seccomp bool) error {
	var missing []error
	if landlock == 0 {
		missing = append(missing, &MissingError{"landlock"})
	}
	if !seccomp {
		missing = append(missing, &MissingError{"seccomp"})
	}
	if o.Warn == nil {
		return errors.Join(missing...)
	}
	for _, err := range missing {
		o.Warn("%v", err)
	}
	return nil
}

// Landlock returns the version of the host's landlock ABI, 0 if there is none.
func Landlock() int {
	version, err := ll.LandlockGetABIVersion()
	if err != nil {
		return 0
	}
	return version
}

// Seccomp reports whether the host has seccomp with filters for all threads.
func Seccomp() bool { return seccomp.Supported() }

// limit lowers the limits of what a process can use, for ever.
func limit() error {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	most := min(files.Max, maxFiles)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: most, Max: most}); err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("no core files: %w", err)
	}
	return nil
}

// Speculation controls (linux/uapi/linux/prctl.h, Documentation/userspace-api/spec_ctrl.rst).
const (
	specStoreBypass    = 0
	specIndirectBranch = 1
	specByPrctl        = 1 << 0 // can be set for a thread
	specDisable        = 1 << 2
	specForceDisable   = 1 << 3 // for ever
)

// speculation has the processor not speculate past stores in this process, nor by what others have taught its indirect branches, where the host offers that.
// The guest's own choice of store bypass is its own.
func (o *Options) speculation() error {
	for _, control := range []struct {
		number uintptr
		name   string
	}{{specStoreBypass, "speculative store bypass"}, {specIndirectBranch, "indirect branch speculation"}} {
		state, err := unix.PrctlRetInt(unix.PR_GET_SPECULATION_CTRL, control.number, 0, 0, 0)
		if err != nil || state&specByPrctl == 0 || state&(specDisable|specForceDisable) != 0 {
			o.Log("%s: not this process's to set, or set already", control.name)
			continue
		}
		if err := ll.AllThreadsPrctl(unix.PR_SET_SPECULATION_CTRL, control.number, specForceDisable, 0, 0); err != nil {
			return fmt.Errorf("%s: %w", control.name, err)
		}
		o.Log("%s: off for this process", control.name)
	}
	return nil
}

// shareNoCore has no thread of another process run beside this one's on a core (Documentation/admin-guide/hw-vuln/core-scheduling.rst).
func (o *Options) shareNoCore() {
	const create, threadGroup = 1, 1 // PR_SCHED_CORE_CREATE, PIDTYPE_TGID
	if err := unix.Prctl(unix.PR_SCHED_CORE, create, 0, threadGroup, 0); err != nil {
		o.Log("core scheduling: not on this host: %v", err)
		return
	}
	o.Log("core scheduling: cores are shared with no other process")
}
