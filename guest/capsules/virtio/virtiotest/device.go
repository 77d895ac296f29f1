// Package virtiotest is a model of virtio devices behind registers, for tests of drivers on the host: it holds the driver to
// the specification, does what a test says, and breaks the protocol in whatever way a test wants.
package virtiotest

import (
	"bytes"
	"encoding/binary"
	"testing"

	"kapsel/guest/abi/virtio"
	library "kapsel/guest/capsules/virtio"
	"kapsel/guest/dma"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
	"kapsel/guest/mmio"
)

// Physical is the address of the memory that driver and device share.
const Physical = 0x1_2345_0000

// memorySize is how much of it there is, in bytes.
const memorySize = 256 << 10

// Base is where messages say that the device is.
const Base = 0xd000_0000

// Device is the model. Its exported fields may be changed at any time.
type Device struct {
	ID       uint32
	Magic    uint32
	Version  uint32
	Offered  uint64   // features
	QueueMax []uint32 // for each queue, how many descriptors it can have
	Config   []byte
	// OnRead, if not nil, is asked what the register at an offset reads instead of v, the truth.
	OnRead func(offset uint16, v uint32) uint32
	// OnNotify, if not nil, is called when the driver notifies a queue.
	OnNotify func(queue int)
	// Lenient holds the driver to nothing: where the device breaks the protocol so may what the driver does.
	Lenient bool

	// What the driver did.
	Accepted  uint64
	Status    uint32
	Interrupt uint32 // bits of InterruptStatus
	Queues    []*Queue
	Notified  []int // queues, one for each notification
	Resets    int
	Log       kerneltest.Log

	tb         testing.TB
	memory     []byte
	region     dma.Region
	generation uint32
	selected   struct{ device, driver, queue uint32 }
}

// New makes a device of a kind with such queues, which offers these features and VERSION_1 and EVENT_IDX.
func New(tb testing.TB, id uint32, features uint64, queueMax ...uint32) *Device {
	d := &Device{ID: id, Magic: virtio.Magic, Version: virtio.Version, QueueMax: queueMax, tb: tb,
		Offered: features | virtio.FeatureVersion1 | virtio.FeatureEventIndex}
	d.memory = bytes.Repeat([]byte{0xa5}, memorySize)
	d.region = dma.NewRegion(new(dma.Store), d.memory, Physical, capability.Mint().Hardware)
	for i := range queueMax {
		d.Queues = append(d.Queues, &Queue{device: d, number: i})
	}
	return d
}

// Place is what the board would give to the device's driver. Nobody watches that the device answers.
func (d *Device) Place() library.Place {
	return library.Place{
		Registers: mmio.NewDevice[library.MMIO](d, capability.Mint().Hardware),
		Base:      Base,
		Memory:    d.region,
		Log:       &d.Log,
	}
}

// Refused counts the driver's accesses to buffers that the device had.
func (d *Device) Refused() uint64 { return d.region.Refused() }

// ChangeConfig gives the device another configuration, and has it say so.
func (d *Device) ChangeConfig(config []byte) {
	d.Config = config
	d.generation++
	d.Interrupt |= virtio.InterruptConfig
}

// breach tells the test that the driver does not keep to the specification.
func (d *Device) breach(format string, args ...any) {
	if !d.Lenient {
		d.tb.Helper()
		d.tb.Errorf("the driver: "+format, args...)
	}
}

// at is n bytes of the shared memory at a physical address, or nil.
func (d *Device) at(address, n uint64) []byte {
	offset := address - Physical
	if offset > uint64(len(d.memory)) || n > uint64(len(d.memory))-offset {
		return nil
	}
	return d.memory[offset : offset+n]
}

// Read implements mmio.Bus. Only the configuration has registers of less than 32 bits.
func (d *Device) Read(offset, width uint16) uint32 {
	if offset < virtio.RegConfig && width != 4 {
		d.breach("reads register %#x by %d bytes", offset, width)
	}
	v := d.register(offset) & (1<<(8*width) - 1)
	if d.OnRead != nil {
		v = d.OnRead(offset, v)
	}
	return v
}

// register is what a register reads.
func (d *Device) register(offset uint16) uint32 {
	switch offset {
	case virtio.RegMagic:
		return d.Magic
	case virtio.RegVersion:
		return d.Version
	case virtio.RegDeviceID:
		return d.ID
	case virtio.RegDeviceFeatures:
		return uint32(d.Offered >> (32 * d.selected.device))
	case virtio.RegQueueSizeMax:
		if q := d.queue(); q != nil {
			return d.QueueMax[q.number]
		}
		return 0
	case virtio.RegQueueReady:
		if q := d.queue(); q != nil && q.ready {
			return 1
		}
		return 0
	case virtio.RegInterruptStatus:
		return d.Interrupt
	case virtio.RegStatus:
		return d.Status
	case virtio.RegConfigGeneration:
		return d.generation
	}
	if offset >= virtio.RegConfig {
		var field [4]byte
		copy(field[:], d.field(offset))
		return binary.LittleEndian.Uint32(field[:])
	}
	d.breach("reads register %#x", offset)
	return 0
}

// queue is the one selected.
func (d *Device) queue() *Queue {
	if d.selected.queue < uint32(len(d.Queues)) {
		return d.Queues[d.selected.queue]
	}
	return nil
}

// field is the configuration from a register on.
func (d *Device) field(offset uint16) []byte {
	at := int(offset) - virtio.RegConfig
	if at < 0 || at >= len(d.Config) {
		d.breach("reads the configuration at %d, which has %d bytes", at, len(d.Config))
		return nil
	}
	return d.Config[at:]
}

// Write implements mmio.Bus.
func (d *Device) Write(offset, width uint16, v uint32) {
	if offset >= virtio.RegConfig {
		copy(d.field(offset), binary.LittleEndian.AppendUint32(nil, v)[:width])
		return
	}
	if width != 4 {
		d.breach("writes register %#x by %d bytes", offset, width)
	}
	switch offset {
	case virtio.RegDeviceFeaturesSel:
		d.selected.device = v & 1
	case virtio.RegDriverFeaturesSel:
		d.selected.driver = v & 1
	case virtio.RegQueueSel:
		d.selected.queue = v
	case virtio.RegDriverFeatures:
		d.accept(v)
	case virtio.RegStatus:
		d.setStatus(v)
	case virtio.RegInterruptACK:
		if v&^(d.Interrupt|virtio.InterruptUsed) != 0 || v == 0 { // used chains are seen in the ring, too
			d.breach("acknowledges %#x of the interrupts %#x", v, d.Interrupt)
		}
		d.Interrupt &^= v
	case virtio.RegQueueNotify:
		d.notify(int(v))
	default:
		if q := d.queue(); q == nil || !q.setUp(offset, v) {
			d.breach("writes %#x to register %#x", v, offset)
		}
	}
}

// accept takes a word of the features that the driver accepts.
func (d *Device) accept(v uint32) {
	if d.Status != virtio.StatusAcknowledge|virtio.StatusDriver {
		d.breach("accepts features with status %#x", d.Status)
	}
	shift := 32 * d.selected.driver
	d.Accepted = d.Accepted&^(0xffff_ffff<<shift) | uint64(v)<<shift
	if d.Accepted&^d.Offered != 0 {
		d.breach("accepts %#x of the features %#x", d.Accepted, d.Offered)
	}
}

// following is the status that a driver writes next (3.1.1).
var following = map[uint32]uint32{
	0:  virtio.StatusAcknowledge,
	1:  virtio.StatusAcknowledge | virtio.StatusDriver,
	3:  virtio.StatusAcknowledge | virtio.StatusDriver | virtio.StatusFeaturesOK,
	11: virtio.StatusAcknowledge | virtio.StatusDriver | virtio.StatusFeaturesOK | virtio.StatusDriverOK,
}

// setStatus takes what the driver writes to the status.
func (d *Device) setStatus(v uint32) {
	if v == 0 {
		d.reset()
		return
	}
	if v != following[d.Status] && v != d.Status|virtio.StatusFailed {
		d.breach("writes status %#x over %#x", v, d.Status)
	}
	d.Status = v
}

// reset makes the device as it was at first (2.4).
func (d *Device) reset() {
	d.Resets++
	d.Status, d.Accepted, d.Interrupt = 0, 0, 0
	for _, q := range d.Queues {
		*q = Queue{device: d, number: q.number}
	}
}

// notify takes a notification.
func (d *Device) notify(queue int) {
	if d.Status&virtio.StatusDriverOK == 0 {
		d.breach("notifies with status %#x", d.Status)
	}
	if queue >= len(d.Queues) || !d.Queues[queue].ready {
		d.breach("notifies queue %d, which is not ready", queue)
		return
	}
	d.Notified = append(d.Notified, queue)
	if d.OnNotify != nil {
		d.OnNotify(queue)
	}
}

// WriteBytes implements mmio.Bus.
func (d *Device) WriteBytes(offset uint16, b []byte) {
	d.breach("writes a string to register %#x", offset)
}
