package vmm

import (
	"strconv"

	"kapsel/vmm/virtio"
)

// BlockDevice is a block device that keeps its sectors where a test wants it to.
type BlockDevice struct{ Storage virtio.Storage }

func (BlockDevice) String() string { return "block device" }

func (d BlockDevice) open(m *Machine) (virtio.Device, error) {
	return virtio.NewBlock(d.Storage, "disk"+strconv.Itoa(len(m.places)), m.config.Log), nil
}
