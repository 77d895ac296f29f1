package vmm

import (
	"kapsel/vmm/virtio"
)

// Device describes a virtio device that a machine is to have, for any accelerator: Entropy, ... Under KVM New makes a model
// of package vmm/virtio of it; under QEMU it becomes options.
type Device interface {
	// String returns the device in words, for messages: "disk /tmp/a".
	String() string
	// open makes the device for a machine of a configuration that was checked.
	open(c *Config) (virtio.Device, error)
}

// Entropy is a device that gives the guest random bytes of the host's.
type Entropy struct{}

// String returns "entropy".
func (Entropy) String() string { return "entropy" }

func (Entropy) open(*Config) (virtio.Device, error) { return virtio.NewEntropy(), nil }
