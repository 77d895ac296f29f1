package kvm

import (
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// apiVersion is the version of the interface since Linux 2.6.22; it never changes again.
const apiVersion = 12

// Device is an open KVM device.
type Device struct{ fd int }

// Open opens the KVM device at path and checks its version. The error says in words what
// is missing: the device, the permission, or the version.
func Open(path string) (*Device, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, openError(path, err)
	}
	d := &Device{fd}
	version, err := ioctl(fd, getAPIVersion, 0)
	if err == nil && version != apiVersion {
		err = fmt.Errorf("%s speaks version %d of the KVM interface, version %d is needed", path, version, apiVersion)
	}
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func openError(path string, err error) error {
	hint := ""
	switch {
	case errors.Is(err, fs.ErrNotExist):
		hint = ": load the kvm_intel or kvm_amd module, or enable virtualization (nested, in a virtual machine)"
	case errors.Is(err, fs.ErrPermission):
		hint = ": add yourself to the group that owns the device, usually kvm"
	}
	return fmt.Errorf("cannot open %s: %w%s", path, err, hint)
}

// Close closes the device. VMs live on. Calling it again does nothing.
func (d *Device) Close() error { return closeFD(&d.fd, "KVM device") }

// Extension asks for a capability: 0 is no, a positive answer is yes or a number that the
// capability defines.
func (d *Device) Extension(c Cap) (int, error) {
	return ioctl(d.fd, checkExtension, uintptr(c))
}

// SupportedCPUID returns the CPUID leaves that host and KVM can offer a guest.
func (d *Device) SupportedCPUID() ([]CPUIDEntry, error) {
	t := &cpuidTable{Count: maxCPUID}
	if _, err := ioctlPointer(d.fd, getSupportedCPUID, unsafe.Pointer(t)); err != nil {
		return nil, err
	}
	return t.Entries[:min(t.Count, maxCPUID)], nil
}

// FeatureMSR returns what a model-specific register that tells features says that host and KVM can
// offer a guest. It reports false if KVM does not tell.
func (d *Device) FeatureMSR(index uint32) (uint64, bool, error) {
	have, err := d.Extension(CapGetMSRFeatures)
	if err != nil || have == 0 {
		return 0, false, err
	}
	t := &msrTable{Count: 1, Entries: [maxMSRs]MSR{{Index: index}}}
	n, err := ioctlPointer(d.fd, getMSRs, unsafe.Pointer(t))
	if errors.Is(err, unix.EINVAL) { // KVM does not know the register
		return 0, false, nil
	}
	return t.Entries[0].Data, n == 1, err
}

// CreateVM makes an empty VM: no memory, no processor, no interrupt controller.
func (d *Device) CreateVM() (*VM, error) {
	runSize, err := ioctl(d.fd, getVCPUMmapSize, 0)
	if err != nil {
		return nil, err
	}
	fd, err := ioctl(d.fd, createVM, 0)
	if err != nil {
		return nil, err
	}
	return &VM{handle: handle{fd, new(atomic.Uint64)}, runSize: runSize}, nil
}
