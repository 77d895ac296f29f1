package virtiotest

import (
	"encoding/binary"

	"kapsel/guest/abi/virtio"
	"kapsel/guest/abi/virtio/hostile"
	"kapsel/guest/dma"
	"kapsel/guest/kernel/capability"
)

// Attacker has a device attack its driver, by scripts of package hostile.
type Attacker struct {
	Reads int // of registers, by the driver

	device *Device
	lies   map[uint16]uint32 // what registers read
}

// NewAttacker makes a device hostile, which had better be new.
func NewAttacker(d *Device) *Attacker {
	a := &Attacker{device: d, lies: map[uint16]uint32{}}
	d.Lenient = true
	d.OnRead = func(offset uint16, v uint32) uint32 {
		a.Reads++
		if lie, ok := a.lies[offset]; ok {
			return lie
		}
		return v
	}
	return a
}

// Restart makes the device one for another driver, in a part of its memory. That driver finds the registers as the script left
// them.
func (a *Attacker) Restart() {
	d := a.device
	d.reset()
	d.region = dma.NewRegion(new(dma.Store), d.memory[:64<<10], Physical, capability.Mint().Hardware)
}

// Forget lets the registers read the truth again.
func (a *Attacker) Forget() { clear(a.lies) }

// Do does a step of a script, but Serve. Behind Notify and Reset the driver's interrupt is due.
func (a *Attacker) Do(s hostile.Step) {
	d := a.device
	q := d.Queues[int(s.Queue)%len(d.Queues)]
	var value [8]byte
	binary.LittleEndian.PutUint64(value[:], s.Value)
	switch s.Act {
	case hostile.Write:
		overwrite(a.area(q, s.Area), s.Offset, value[:s.Width])
	case hostile.Point:
		binary.LittleEndian.PutUint64(value[:], s.Value+Physical)
		overwrite(a.area(q, s.Area), s.Offset, value[:])
	case hostile.Register:
		a.lies[s.Offset] = uint32(s.Value)
	case hostile.Notify:
		d.Interrupt = uint32(s.Value)
	case hostile.Use:
		q.SetUsedIndex(q.used + uint16(s.Value))
	case hostile.Reset:
		d.Status |= virtio.StatusNeedsReset
		d.Interrupt |= virtio.InterruptConfig
	}
}

// area is memory that the device can write: it may write all that it shares with the driver, lent or not.
func (a *Attacker) area(q *Queue, area hostile.Area) []byte {
	switch area {
	case hostile.Descriptors:
		return q.Descriptors()
	case hostile.Available:
		return q.Available()
	case hostile.Used:
		return q.Used()
	}
	return a.device.memory
}

// overwrite writes p at an offset, if that is there.
func overwrite(area []byte, offset uint16, p []byte) {
	if int(offset) < len(area) {
		copy(area[offset:], p)
	}
}
