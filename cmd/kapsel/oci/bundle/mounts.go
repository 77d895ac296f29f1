package bundle

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"kapsel/guest/abi"
)

// addDisks adds a disk for each mount of a file or a block device, in order.
func (b *Bundle) addDisks(c *Command) error {
	var passed []string
	disks := 0
	for _, m := range b.Spec.Mounts {
		if !isBind(m) || isEngines(m.Destination) {
			passed = append(passed, m.Destination)
			continue
		}
		if disks++; disks > abi.VirtioPlaces {
			return fmt.Errorf("mount %q: want at most %d mounts of files, each of which is a disk: a machine has no more devices", m.Destination, abi.VirtioPlaces)
		}
		f, err := b.openDisk(m)
		if err != nil {
			return fmt.Errorf("mount %q: %w", m.Destination, err)
		}
		flag := "--disk=" + c.add(f)
		if isReadOnly(m) {
			flag += ",ro"
		}
		c.Args = append(c.Args, flag)
	}
	if len(passed) > 0 {
		c.note("passed over, for a guest has no file system: mounts %q", passed)
	}
	return nil
}

// isBind reports whether a mount makes a file or directory of the host appear elsewhere.
func isBind(m specs.Mount) bool {
	return m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")
}

// isReadOnly reports whether a mount is read-only: of options that contradict each other, the last counts.
func isReadOnly(m specs.Mount) bool {
	ro := false
	for _, option := range m.Options {
		switch option {
		case "ro":
			ro = true
		case "rw":
			ro = false
		}
	}
	return ro
}

// engines are the files and directories that engines mount in every container, for programs that a guest has none of: what tells names and addresses, the
// kernel's file systems, and credentials of the pod.
var engines = []string{
	"/dev", "/proc", "/sys",
	"/etc/hostname", "/etc/hosts", "/etc/resolv.conf",
	"/run/.containerenv", "/run/secrets", "/var/run/secrets",
}

// isEngines reports whether a mount's place is one of engines or below it.
func isEngines(destination string) bool {
	at := path.Clean("/" + destination)
	return slices.ContainsFunc(engines, func(place string) bool { return at == place || strings.HasPrefix(at, place+"/") })
}

// openDisk opens a mount's source, which is a path of the host, relative to the bundle.
func (b *Bundle) openDisk(m specs.Mount) (*os.File, error) {
	source := m.Source
	if !filepath.IsAbs(source) {
		source = filepath.Join(b.Dir, source)
	}
	info, err := os.Stat(source)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%q: %w", source, withoutPath(err))
	case info.IsDir():
		return nil, fmt.Errorf("%q is a directory, and a guest has no file system: want a file, which becomes a disk, as kapsel disk format makes one, or a block device", source)
	case !info.Mode().IsRegular() && info.Mode().Type() != os.ModeDevice:
		return nil, fmt.Errorf("%q: want a file or a block device, found a file of another kind (%v)", source, info.Mode().Type())
	}
	flags := os.O_RDWR
	if isReadOnly(m) {
		flags = os.O_RDONLY
	}
	f, err := os.OpenFile(source, flags, 0)
	if errors.Is(err, os.ErrPermission) && flags == os.O_RDWR {
		return nil, fmt.Errorf("%q: %w: the guest would write to it: mount it with ro if it should not", source, withoutPath(err))
	}
	if err != nil {
		return nil, fmt.Errorf("%q: %w", source, withoutPath(err))
	}
	return f, nil
}
