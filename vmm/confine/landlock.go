package confine

import (
	"fmt"
	"path/filepath"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// landlockVersion is what is asked for, as far as the host has it: files, TCP, ioctl of devices, signals and abstract sockets. What is behind it
// would take a peer's socket from --net unix=.
const landlockVersion = 6

// rules are what landlock leaves of the file system to what is not open yet.
func (o *Options) rules() (rules []landlock.Rule) {
	for _, path := range o.Remove {
		rules = append(rules, landlock.PathAccess(ll.AccessFSRemoveFile, filepath.Dir(path)))
	}
	if len(o.Read) > 0 {
		rules = append(rules, landlock.ROFiles(o.Read...))
	}
	if len(o.Write) > 0 {
		rules = append(rules, landlock.PathAccess(writeDirectories, o.Write...))
	}
	if len(o.Rename) > 0 {
		rules = append(rules, landlock.PathAccess(ll.AccessFSMakeDir|ll.AccessFSRemoveDir, o.Rename...))
	}
	if o.Network {
		rules = append(rules, landlock.ROFiles(resolverFiles()...).IgnoreIfMissing(), landlock.RODirs(resolverDirectories()...).IgnoreIfMissing())
	}
	if o.Machines {
		rules = append(rules, landlock.RWFiles(kvmDevice).WithIoctlDev())
	}
	return rules
}

// writeDirectories are the rights in directories that are written. Nothing in them is executed, and there are no devices, pipes, sockets or links.
const writeDirectories = ll.AccessFSReadFile | ll.AccessFSReadDir | ll.AccessFSWriteFile |
	ll.AccessFSMakeReg | ll.AccessFSMakeDir | ll.AccessFSRemoveFile | ll.AccessFSRemoveDir

// kvmDevice is what a machine is made by (vmm.DefaultKVM).
const kvmDevice = "/dev/kvm"

// resolvConf says where names are looked up (resolv.conf(5)).
const resolvConf = "/etc/resolv.conf"

// resolverFiles are what package net reads to look up names.
func resolverFiles() []string {
	return []string{resolvConf, "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/proc/sys/net/core/somaxconn"}
}

// resolverDirectories is the directory that resolvConf is a link into, as systemd-resolved makes it: the file there is another one when the network changes.
// A file in /etc itself opens no directory.
func resolverDirectories() []string {
	real, err := filepath.EvalSymlinks(resolvConf)
	if err != nil || filepath.Dir(real) == filepath.Dir(resolvConf) {
		return nil
	}
	return []string{filepath.Dir(real)}
}

// landlock leaves the process nothing of the file system, of TCP and of other processes but what is open and what its options name.
func (o *Options) landlock() error {
	if Landlock() == 0 {
		return nil
	}
	c := landlock.V6
	if o.Network {
		c.HandledAccessNet = 0
	}
	if o.Sockets {
		c.Scoped &^= ll.ScopeAbstractUnixSocket // as which a peer of --net unix= is known
	}
	if o.Child != 0 {
		c.Scoped = 0 // it was there before, so is not of this domain, and would get no signal
	}
	if err := c.BestEffort().Restrict(o.rules()...); err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	o.Log("landlock: ABI %d of the host, of which version %d is used", Landlock(), min(Landlock(), landlockVersion))
	return nil
}
