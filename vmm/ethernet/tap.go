package ethernet

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// tunDevice is where Linux offers TAP interfaces (Linux, Documentation/networking/tuntap.rst).
const tunDevice = "/dev/net/tun"

// OpenTAP connects to a TAP interface of the host that exists and that nobody else uses. The host
// decides what is reached by it. An interface of another user, or none, needs CAP_NET_ADMIN.
func OpenTAP(name string) (Backend, error) {
	if _, err := net.InterfaceByName(name); err != nil {
		return nil, fmt.Errorf("no TAP interface %q here: %s", name, makeTAP(name))
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, fmt.Errorf("TAP interface %q: %w", name, err)
	}
	// Before TUNSETIFF the file is in no interface, and polling it fails: the runtime gets it afterwards.
	fd, err := unix.Open(tunDevice, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, tunError(err)
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		unix.Close(fd)
		return nil, tapError(name, err)
	}
	return &frameFile{os.NewFile(uintptr(fd), tunDevice)}, nil
}

// tunError says what to do where tunDevice cannot be opened.
func tunError(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV):
		return fmt.Errorf("no %s here: load the module (modprobe tun), or give the device to this container", tunDevice)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s may not be opened (%w): want read and write access to it", tunDevice, err)
	}
	return fmt.Errorf("%s: %w", tunDevice, err)
}

// tapError says what to do where an interface cannot be had.
func tapError(name string, err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("TAP interface %q belongs to another user: %s", name, makeTAP(name))
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("TAP interface %q is in use by another program", name)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("interface %q is no TAP interface, or one of several queues: %s", name, makeTAP(name))
	}
	return fmt.Errorf("TAP interface %q: %w", name, err)
}

// makeTAP says how to make an interface for this user.
func makeTAP(name string) string {
	return fmt.Sprintf("make it by ip tuntap add dev %s mode tap user %d && ip link set %[1]s up, as root", name, os.Getuid())
}
