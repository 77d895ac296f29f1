package vmm

import (
	"fmt"
	"strconv"

	"kapsel/vmm/disk"
	"kapsel/vmm/virtio"
)

// Disk is a block device whose sectors are a raw image's: a file or a block device of the host, which is locked until Close.
// The first one's identity is disk0, and so on.
type Disk struct {
	Path     string
	ReadOnly bool
}

// String returns "disk" and the path.
func (d Disk) String() string { return "disk " + strconv.Quote(d.Path) }

func (d Disk) open(m *Machine) (virtio.Device, error) {
	image, err := disk.Open(d.Path, d.ReadOnly)
	if err != nil {
		return nil, err
	}
	before := 0
	for _, other := range m.config.Devices[:len(m.places)] {
		if _, ok := other.(Disk); ok {
			before++
		}
	}
	log := func(format string, args ...any) { m.config.Log(d.String()+": "+format, args...) }
	return virtio.NewBlock(image, fmt.Sprintf("disk%d", before), log), nil
}
