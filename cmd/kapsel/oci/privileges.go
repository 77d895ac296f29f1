package oci

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"kapsel/cmd/kapsel/oci/namespace"
)

// kvmDevice is what the monitor opens whoever runs it.
const kvmDevice = "/dev/kvm"

// capabilities are sets of capabilities(7), a bit for each.
type capabilities struct{ Bounding, Effective, Inheritable, Permitted, Ambient uint64 }

// capabilityNames are the capabilities by number (linux/capability.h), without CAP_.
var capabilityNames = strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
	NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE
	SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF
	CHECKPOINT_RESTORE`)

// parseCapabilities reads process.capabilities; none are none. Names that are unknown, and so could not be granted, are returned for a warning.
func parseCapabilities(c *specs.LinuxCapabilities) (caps capabilities, unknown []string) {
	if c == nil {
		return caps, nil
	}
	set := func(names []string) (bits uint64) {
		for _, name := range names {
			short, prefixed := strings.CutPrefix(name, "CAP_")
			n := slices.Index(capabilityNames, short)
			if n < 0 || !prefixed {
				unknown = append(unknown, name)
				continue
			}
			bits |= 1 << n
		}
		return bits
	}
	caps = capabilities{set(c.Bounding), set(c.Effective), set(c.Inheritable), set(c.Permitted), set(c.Ambient)}
	return caps, unknown
}

// ownCapabilities are those that this process may pass on: what it is permitted, within its bounding set.
func ownCapabilities() (bits uint64, err error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0, fmt.Errorf("read the runtime's capabilities: %w", err)
	}
	bits = uint64(data[1].Permitted)<<32 | uint64(data[0].Permitted)
	for n := range uint(64) {
		if bounding, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0); err != nil || bounding != 1 { // an error: the kernel has no such capability
			bits &^= 1 << n
		}
	}
	return bits, nil
}

// grantable is what capset(2) and prctl(2) grant of the sets to the child of a process that has own, and left are the names of the others.
func (c capabilities) grantable(own uint64) (granted capabilities, left []string) {
	granted.Bounding, granted.Permitted = c.Bounding&own, c.Permitted&own
	granted.Inheritable = c.Inheritable & granted.Bounding
	granted.Effective = c.Effective & granted.Permitted
	granted.Ambient = c.Ambient & granted.Permitted & granted.Inheritable
	for _, set := range []struct {
		name string
		bits uint64
	}{
		{"bounding", c.Bounding &^ granted.Bounding},
		{"effective", c.Effective &^ granted.Effective},
		{"inheritable", c.Inheritable &^ granted.Inheritable},
		{"permitted", c.Permitted &^ granted.Permitted},
		{"ambient", c.Ambient &^ granted.Ambient},
	} {
		for n, name := range capabilityNames {
			if set.bits&(1<<n) != 0 {
				left = append(left, set.name+" CAP_"+name)
			}
		}
	}
	return granted, left
}

// linkCapabilities are what opening an interface of the container's network namespace takes (vmm/ethernet/link).
const linkCapabilities = 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_NET_RAW

// grant adds capabilities to all sets.
func (c *capabilities) grant(bits uint64) {
	for _, set := range []*uint64{&c.Bounding, &c.Effective, &c.Inheritable, &c.Permitted, &c.Ambient} {
		*set |= bits
	}
}

// monitorCapabilities are what kapsel run with these arguments needs, whatever process.capabilities are: those are about a program of the host.
func monitorCapabilities(args []string) (bits uint64) {
	for _, arg := range args {
		switch {
		case arg == "--": // what follows is the tasks'
			return bits
		case strings.HasPrefix(arg, "--net=link="), strings.HasPrefix(arg, "--net=tap="):
			bits |= linkCapabilities
		}
	}
	return bits
}

// drop gives up what the container's process is not to have, on the calling thread alone, which executes kapsel run next or only tries what that may do: first the bounding set, for which
// it needs a privilege, then the user.
func (s *settings) drop() error {
	for n := range uint(64) {
		if s.Capabilities.Bounding&(1<<n) != 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(n), 0, 0, 0); errors.Is(err, unix.EINVAL) {
			break // the kernel has no more
		} else if err != nil {
			return fmt.Errorf("process.capabilities: drop CAP_%s: %w", capabilityNames[min(n, uint(len(capabilityNames)-1))], err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("process.capabilities: %w", err)
	}
	if err := s.setUser(); err != nil {
		return err
	}
	if err := s.Capabilities.set(); err != nil {
		return fmt.Errorf("process.capabilities: %w: the monitor needs CAP_NET_ADMIN and CAP_NET_RAW if the guest has the container's interface, so the runtime has to have them", err)
	}
	if s.NoNewPrivileges {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("process.noNewPrivileges: %w", err)
		}
	}
	return nil
}

// setUser makes the thread the user's. It stays in the group of /dev/kvm, if that is what opens it; in a user namespace Start has seen to that.
func (s *settings) setUser() error {
	if !s.NewUsers {
		groups := kvmGroups()
		for _, g := range s.User.AdditionalGids {
			groups = append(groups, int(g))
		}
		if err := namespace.SetThreadGroups(groups); err != nil && (len(groups) > 0 || !errors.Is(err, unix.EPERM)) { // a rootless engine's may keep those that they have
			return fmt.Errorf("process.user: %w", err)
		}
	}
	uid, gid := uintptr(s.User.UID), uintptr(s.User.GID)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid); errno != 0 { // package syscall's are for all threads
		return fmt.Errorf("process.user.gid %d: %w", gid, errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); errno != 0 {
		return fmt.Errorf("process.user.uid %d: %w", uid, errno)
	}
	return nil
}

// kvmGroups is the group that may use /dev/kvm, as the host knows it, if not everybody may.
func kvmGroups() []int {
	info, err := os.Stat(kvmDevice)
	if err != nil {
		return nil
	}
	return groupOf(info.Mode(), int(info.Sys().(*syscall.Stat_t).Gid))
}

// groupOf is the group of a device if its members may read and write it, and not everybody may.
func groupOf(mode os.FileMode, gid int) []int {
	if mode&os.ModeCharDevice == 0 || mode&0o006 == 0o006 || mode&0o060 != 0o060 {
		return nil
	}
	return []int{gid}
}

// set gives the calling thread the sets.
func (c capabilities) set() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	for i := range data {
		shift := 32 * i
		data[i] = unix.CapUserData{Effective: uint32(c.Effective >> shift), Permitted: uint32(c.Permitted >> shift), Inheritable: uint32(c.Inheritable >> shift)}
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return err
	}
	for n := range uint(64) {
		if c.Ambient&(1<<n) == 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(n), 0, 0); err != nil {
			return err
		}
	}
	return nil
}
