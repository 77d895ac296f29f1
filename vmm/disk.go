package vmm

import (
	"fmt"
	"strconv"

	"kapsel/vmm/disk"
	"kapsel/vmm/virtio"
)

// Disk is a block device whose sectors are a raw image's: a file or a block device of the host, which is locked until Close.
// The first one's identity is disk0, and so on. A machine with a disk that is neither ReadOnly nor Private has no snapshots: nothing takes its file back.
type Disk struct {
	Path     string
	ReadOnly bool
	// Private, if not 0, gives the guest a disk of its own. It begins as the file, which is only read; what the guest writes stays in the memory of this process,
	// at most so many bytes in pages of disk.PageSize, and is part of a snapshot. Only machines under KVM have it.
	Private uint64
}

// String returns "disk" and the path.
func (d Disk) String() string { return "disk " + strconv.Quote(d.Path) }

// Written reports whether the guest writes to the file.
func (d Disk) Written() bool { return !d.ReadOnly && d.Private == 0 }

// check says in words why this cannot be a machine's disk; nil if it can.
func (d Disk) check() error {
	switch {
	case d.ReadOnly && d.Private != 0:
		return fmt.Errorf("%v is read-only and private: want one of them", d)
	case d.Private != 0 && d.Private < disk.PageSize:
		return fmt.Errorf("%v is private, of %d bytes: want at least %d", d, d.Private, disk.PageSize)
	}
	return nil
}

func (d Disk) open(m *Machine) (virtio.Device, error) {
	image, err := disk.Open(d.Path, !d.Written())
	if err != nil {
		return nil, err
	}
	before := 0
	for _, other := range m.config.Devices[:len(m.places)] {
		if _, ok := other.(Disk); ok {
			before++
		}
	}
	var storage virtio.Storage = image
	if d.Private != 0 {
		overlay := disk.NewOverlay(image, d.Private)
		m.overlays = append(m.overlays, overlay)
		storage = overlay
	}
	log := func(format string, args ...any) { m.config.Log(d.String()+": "+format, args...) }
	return virtio.NewBlock(storage, fmt.Sprintf("disk%d", before), log), nil
}

// saveDisks returns what the private disks have of their own, for a snapshot. The devices are paused.
func (m *Machine) saveDisks() (layers []*disk.Layer) {
	for _, o := range m.overlays {
		layers = append(layers, o.Freeze())
	}
	return layers
}

// checkDisks says why the private disks cannot have a snapshot's; nil if they can. Which devices are private disks was compared.
func (m *Machine) checkDisks(layers []*disk.Layer) error {
	if len(layers) != len(m.overlays) {
		return fmt.Errorf("the snapshot has what was written to %d private disks, this machine has %d of them", len(layers), len(m.overlays))
	}
	for i, o := range m.overlays {
		if err := o.Check(layers[i]); err != nil {
			return fmt.Errorf("private disk %d: %w", i, err)
		}
	}
	return nil
}

// restoreDisks gives the private disks what a snapshot has of them.
func (m *Machine) restoreDisks(layers []*disk.Layer) {
	for i, o := range m.overlays {
		o.Revert(layers[i])
	}
}

// checkKept says which disk keeps the machine from having snapshots; nil if none does.
func checkKept(devices []Device) error {
	for _, d := range devices {
		if d, ok := d.(Disk); ok && d.Written() {
			return fmt.Errorf("no snapshots: what the guest writes to %v stays in its file, whatever becomes of the machine: make it read-only, or private", d)
		}
	}
	return nil
}
