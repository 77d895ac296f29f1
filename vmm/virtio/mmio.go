package virtio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"kapsel/guest/abi/virtio"
)

// MMIO is a device's transport by memory-mapped I/O, version 2 (4.2): a device.MMIO. It is safe for concurrent use.
type MMIO struct {
	device   Device
	memory   Memory
	edge     func()
	log      func(format string, args ...any)
	bell     func()   // nil: not in step
	features uint64   // offered
	queueMax []uint16 // of each queue
	counters counters

	interrupts atomic.Uint32           // InterruptStatus
	broken     atomic.Bool             // DEVICE_NEEDS_RESET
	generation atomic.Uint32           // ConfigGeneration
	live       atomic.Pointer[session] // the session, while it is served

	access  sync.Mutex // held during an access, and while a session begins or ends; who serves a session does not take it
	driver  driver     // guarded by access, as is all behind it
	session *session   // nil: none
	paused  bool
	changed bool // the configuration, while the device was paused: the driver is to be told
	closed  bool
}

// driver is what a driver has written since the last reset.
type driver struct {
	status                         uint32 // without DEVICE_NEEDS_RESET
	featuresSelect, acceptedSelect uint32
	accepted                       uint64
	unknown                        bool // it accepted features from bit 64 on
	queueSelect                    uint32
	queues                         []queueRegisters
}

// queueRegisters are what a driver has written of a queue.
type queueRegisters struct {
	size                                 uint32
	descriptors, availableRing, usedRing uint64 // addresses
	ready                                bool
}

// NewMMIO makes a device's transport. memory is the guest's. edge makes an edge on the device's interrupt line; it is
// called from several goroutines, and may not call the transport. log takes a line when a driver first does what it should not.
//
// If bell is nil a goroutine serves the device. Else it is in step: it is served by who notifies it, within that write to a
// register, and what comes otherwise waits for Serve. Of that bell tells, on any goroutine, that of the write among them; it has the
// processor's thread leave the guest and call Serve, and may not call the transport itself.
func NewMMIO(d Device, memory Memory, edge func(), log func(format string, args ...any), bell func()) *MMIO {
	m := &MMIO{device: d, memory: memory, edge: edge, log: log, bell: bell, queueMax: d.QueueMax(),
		features: d.Features() | virtio.FeatureVersion1 | virtio.FeatureEventIndex}
	m.forget()
	return m
}

// forget makes the registers those of a device after reset.
func (m *MMIO) forget() { m.driver = driver{queues: make([]queueRegisters, len(m.queueMax))} }

// Queues is how many queues the device has.
func (m *MMIO) Queues() int { return len(m.queueMax) }

// Counters returns the device's counters.
func (m *MMIO) Counters() Counters { return m.counters.load() }

// Notify is what a write of a queue's number to QueueNotify does. It may be called from any goroutine, which serves a
// device in step.
func (m *MMIO) Notify(queue int) {
	m.counters.notifications.Add(1)
	if s := m.live.Load(); s != nil && queue < len(s.queues) { // before DRIVER_OK nothing hears it, and then all queues are served
		s.notify(queue)
	}
}

// Serve serves a device in step, if there is something to do for it: a bounded part of that, and the bell tells of the rest. Others
// have a goroutine for that.
func (m *MMIO) Serve() {
	if s := m.live.Load(); m.bell != nil && s != nil && s.pending.Load() != 0 {
		s.step()
	}
}

// ConfigChanged tells the driver that the configuration is another now. It may be called from any goroutine but one that
// serves the device.
func (m *MMIO) ConfigChanged() {
	m.access.Lock() // a session that ends meanwhile would leave the interrupt to the next driver, or to nobody after Close
	defer m.access.Unlock()
	m.generation.Add(1)
	switch {
	case m.session == nil:
	case m.paused:
		m.changed = true
	default:
		m.interrupt(virtio.InterruptConfig)
	}
}

// interrupt sets a bit of InterruptStatus. If it was not set the line gets an edge: a driver acknowledges, then looks.
func (m *MMIO) interrupt(bit uint32) {
	if m.interrupts.Or(bit)&bit == 0 {
		m.counters.interrupts.Add(1)
		m.edge()
	}
}

// breakDevice makes the device need a reset. In a session the driver is interrupted (2.1.2).
func (m *MMIO) breakDevice(err error, inSession bool) {
	if m.broken.Swap(true) {
		return
	}
	if m.counters.broken.Add(1) == 1 {
		m.log("the driver broke the rules, and has to reset the device: %v", err)
	}
	if inSession {
		m.interrupt(virtio.InterruptConfig)
	}
}

// ReadMMIO reads a register. What is none, or not read, or not by such an access, reads 0.
func (m *MMIO) ReadMMIO(offset uint64, data []byte) {
	clear(data)
	m.access.Lock()
	defer m.access.Unlock()
	switch {
	case m.closed:
	case offset >= virtio.RegConfig && natural(offset, data):
		m.device.ReadConfig(offset-virtio.RegConfig, data)
	case offset < virtio.RegConfig && word(offset, data):
		value, ok := m.read(offset)
		if !ok {
			m.misused("a read of register %#x, which is not read", offset)
		}
		binary.LittleEndian.PutUint32(data, value)
	default:
		m.misused("a read of %d bytes at register %#x", len(data), offset)
	}
}

// WriteMMIO writes a register. What is none, or not written, or not by such an access, does nothing.
func (m *MMIO) WriteMMIO(offset uint64, data []byte) {
	m.access.Lock()
	defer m.access.Unlock()
	switch {
	case m.closed || m.paused:
	case offset >= virtio.RegConfig && natural(offset, data):
		m.device.WriteConfig(offset-virtio.RegConfig, data)
	case offset < virtio.RegConfig && word(offset, data):
		if !m.write(offset, binary.LittleEndian.Uint32(data)) {
			m.misused("a write to register %#x, which is not written", offset)
		}
	default:
		m.misused("a write of %d bytes at register %#x", len(data), offset)
	}
}

// natural reports whether an access is one to a configuration's field of 1, 2 or 4 bytes (4.2.2.2).
func natural(offset uint64, data []byte) bool {
	n := uint64(len(data))
	return (n == 1 || n == 2 || n == 4) && offset%n == 0
}

// word reports whether an access is one to a register.
func word(offset uint64, data []byte) bool { return len(data) == 4 && offset%4 == 0 }

// misused counts an access that does nothing, and logs the first.
func (m *MMIO) misused(format string, args ...any) {
	if m.counters.errors.Add(1) == 1 {
		m.log("the driver did what has no effect: "+format, args...)
	}
}

// read returns a register's value, and false if it has none to read.
func (m *MMIO) read(offset uint64) (uint32, bool) {
	switch offset {
	case virtio.RegMagic:
		return virtio.Magic, true
	case virtio.RegVersion:
		return virtio.Version, true
	case virtio.RegDeviceID:
		return m.device.ID(), true
	case virtio.RegVendorID:
		return vendor, true
	case virtio.RegDeviceFeatures:
		return word32(m.features, m.driver.featuresSelect), true
	case virtio.RegQueueSizeMax:
		if q := m.driver.queueSelect; q < uint32(len(m.queueMax)) {
			return uint32(m.queueMax[q]), true
		}
		return 0, true
	case virtio.RegQueueReady:
		if q := m.selected(); q != nil && q.ready {
			return 1, true
		}
		return 0, true
	case virtio.RegInterruptStatus:
		return m.interrupts.Load(), true
	case virtio.RegStatus:
		return m.status(), true
	case virtio.RegSHMLenLow, virtio.RegSHMLenHigh, virtio.RegSHMBaseLow, virtio.RegSHMBaseHigh:
		return 1<<32 - 1, true // no shared memory
	case virtio.RegConfigGeneration:
		return m.generation.Load(), true
	}
	return 0, false
}

// vendor is what VendorID reads: "KPSL".
const vendor = 0x4c53_504b

// word32 returns 32 bits of features, those that a driver selected.
func word32(features uint64, selected uint32) uint32 {
	if selected > 1 {
		return 0
	}
	return uint32(features >> (32 * selected))
}

// status is what Status reads.
func (m *MMIO) status() uint32 {
	if m.broken.Load() {
		return m.driver.status | virtio.StatusNeedsReset
	}
	return m.driver.status
}

// selected returns the registers of the queue that QueueSel names; nil if there is none.
func (m *MMIO) selected() *queueRegisters {
	if m.driver.queueSelect >= uint32(len(m.driver.queues)) {
		return nil
	}
	return &m.driver.queues[m.driver.queueSelect]
}

// write does what a write to a register does. It returns false if that is nothing.
func (m *MMIO) write(offset uint64, value uint32) bool {
	d := &m.driver
	switch offset {
	case virtio.RegStatus:
		m.setStatus(value)
	case virtio.RegDeviceFeaturesSel:
		d.featuresSelect = value
	case virtio.RegDriverFeaturesSel:
		d.acceptedSelect = value
	case virtio.RegDriverFeatures:
		m.accept(value)
	case virtio.RegQueueSel:
		d.queueSelect = value
	case virtio.RegQueueNotify:
		if value >= uint32(len(m.queueMax)) {
			return false
		}
		m.Notify(int(value))
	case virtio.RegInterruptACK:
		m.interrupts.And(^value)
	case virtio.RegQueueReady:
		return m.setReady(value)
	case virtio.RegQueueSize, virtio.RegQueueDescLow, virtio.RegQueueDescHigh, virtio.RegQueueDriverLow,
		virtio.RegQueueDriverHigh, virtio.RegQueueDeviceLow, virtio.RegQueueDeviceHigh:
		return m.setQueue(offset, value)
	case virtio.RegSHMSel:
	default:
		return false
	}
	return true
}

// Why a driver broke its device by registers.
var (
	errCleared  = errors.New("it cleared bits of the status, which only a reset does")
	errSequence = errors.New("it set bits of the status out of their sequence")
	errFeatures = errors.New("it wrote features outside of their negotiation")
	errQueue    = errors.New("it wrote to a queue's registers outside of the time between FEATURES_OK and DRIVER_OK, or while the queue was ready")
	errSize     = errors.New("its size is no power of two up to the largest")
	errRing     = errors.New("a part of it is not aligned, or not RAM")
	errOverlap  = errors.New("parts of queues overlap")
)

// stages are the bits of the status in the sequence of a driver's (3.1.1).
var stages = []uint32{virtio.StatusAcknowledge, virtio.StatusDriver, virtio.StatusFeaturesOK, virtio.StatusDriverOK}

// setStatus takes what the driver writes to Status. While the device is broken, or given up, only a reset counts.
func (m *MMIO) setStatus(value uint32) {
	d := &m.driver
	if value == 0 {
		m.reset()
		return
	}
	if m.broken.Load() || d.status&virtio.StatusFailed != 0 {
		return
	}
	if d.status&^value != 0 {
		m.violated(errCleared)
		return
	}
	if value&virtio.StatusFailed != 0 {
		m.endSession(phaseEnding)
		d.status |= virtio.StatusFailed
		return
	}
	for i, bit := range stages {
		switch {
		case value&bit == 0 || d.status&bit != 0:
		case i > 0 && d.status&stages[i-1] == 0:
			m.violated(errSequence)
			return
		case bit == virtio.StatusFeaturesOK && !m.acceptable():
			return // the driver reads it back (3.1.1)
		default:
			d.status |= bit
			if bit == virtio.StatusDriverOK {
				m.beginSession()
			}
		}
	}
}

// violated breaks the device for what the driver wrote to a register.
func (m *MMIO) violated(err error) { m.breakDevice(err, m.session != nil) }

// acceptable reports whether the device can do with the features that the driver accepted: only such as it offers, and
// that of version 1.
func (m *MMIO) acceptable() bool {
	a := m.driver.accepted
	return !m.driver.unknown && a&^m.features == 0 && a&virtio.FeatureVersion1 != 0
}

// accept takes 32 bits of the features that the driver accepts.
func (m *MMIO) accept(value uint32) {
	d := &m.driver
	switch {
	case m.broken.Load():
	case d.status&^virtio.StatusAcknowledge != virtio.StatusDriver:
		m.violated(errFeatures)
	case d.acceptedSelect > 1:
		d.unknown = d.unknown || value != 0
	default:
		shift := 32 * d.acceptedSelect
		d.accepted = d.accepted&^(0xffff_ffff<<shift) | uint64(value)<<shift
	}
}

// setQueue takes a queue's size or an address. It returns false if there is no such queue.
func (m *MMIO) setQueue(offset uint64, value uint32) bool {
	q := m.selected()
	switch {
	case q == nil:
		return false
	case m.broken.Load():
		return true
	case !m.settingUp() || q.ready:
		m.violated(errQueue)
		return true
	}
	switch offset {
	case virtio.RegQueueSize:
		q.size = value
	case virtio.RegQueueDescLow, virtio.RegQueueDescHigh:
		setHalf(&q.descriptors, offset == virtio.RegQueueDescHigh, value)
	case virtio.RegQueueDriverLow, virtio.RegQueueDriverHigh:
		setHalf(&q.availableRing, offset == virtio.RegQueueDriverHigh, value)
	default:
		setHalf(&q.usedRing, offset == virtio.RegQueueDeviceHigh, value)
	}
	return true
}

// settingUp reports whether the driver may set up queues: it negotiated features, and has not said that it is done.
func (m *MMIO) settingUp() bool {
	return m.driver.status == virtio.StatusAcknowledge|virtio.StatusDriver|virtio.StatusFeaturesOK
}

func setHalf(address *uint64, high bool, value uint32) {
	if high {
		*address = uint64(value)<<32 | *address&0xffff_ffff
	} else {
		*address = *address&^0xffff_ffff | uint64(value)
	}
}

// setReady takes what the driver writes to QueueReady. It returns false if that means nothing. What stops a queue of a
// session waits until the device has let go of it, and the session of the others goes on.
func (m *MMIO) setReady(value uint32) bool {
	q := m.selected()
	switch {
	case q == nil || value > 1:
		return false
	case m.broken.Load() || q.ready == (value == 1):
	case value == 0:
		s := m.session
		m.endSession(phaseEnding)
		q.ready = false
		if s != nil {
			s.queues[m.driver.queueSelect].ready = false
			m.startSession(s.queues)
		}
	case !m.settingUp():
		m.violated(errQueue)
	default:
		if err := m.checkQueue(m.driver.queueSelect); err != nil {
			m.violated(fmt.Errorf("queue %d: %w", m.driver.queueSelect, err))
			return true
		}
		q.ready = true
	}
	return true
}

// part is one of the three parts of a queue (2.7).
type part struct{ address, size, align uint64 }

// parts returns a queue's descriptor table, available ring and used ring.
func (q *queueRegisters) parts() [3]part {
	n := uint16(q.size)
	return [3]part{
		{q.descriptors, virtio.DescriptorsBytes(n), virtio.DescriptorAlign},
		{q.availableRing, virtio.AvailableBytes(n), virtio.AvailableAlign},
		{q.usedRing, virtio.UsedBytes(n), virtio.UsedAlign},
	}
}

// checkQueue says why a queue cannot be used beside those that are; nil if it can.
func (m *MMIO) checkQueue(index uint32) error {
	q := &m.driver.queues[index]
	if q.size == 0 || q.size&(q.size-1) != 0 || q.size > uint32(m.queueMax[index]) {
		return errSize
	}
	var others []part
	for i := range m.driver.queues {
		if other := &m.driver.queues[i]; other.ready {
			parts := other.parts()
			others = append(others, parts[:]...)
		}
	}
	for _, p := range q.parts() {
		if _, ok := m.memory.At(p.address, p.size); !ok || p.address%p.align != 0 {
			return errRing
		}
		for _, o := range others {
			if p.address < o.address+o.size && o.address < p.address+p.size { // neither sum overflows: both are RAM
				return errOverlap
			}
		}
		others = append(others, p)
	}
	return nil
}

// beginSession makes the queues, and begins to serve them.
func (m *MMIO) beginSession() { m.startSession(m.newQueues()) }

func (m *MMIO) newQueues() []*Queue {
	queues := make([]*Queue, len(m.queueMax))
	for i := range m.driver.queues {
		queues[i] = m.newQueue(i, &m.driver.queues[i])
	}
	return queues
}

// newQueue makes the queue that a driver has set up, or one that is never filled.
func (m *MMIO) newQueue(index int, r *queueRegisters) *Queue {
	q := &Queue{index: index, memory: m.memory, transport: m, counters: &m.counters, ready: r.ready}
	if !r.ready {
		return q
	}
	q.size = uint16(r.size)
	q.eventIndex = m.driver.accepted&virtio.FeatureEventIndex != 0
	parts := r.parts() // they were checked, and memory does not go away
	q.descriptors, _ = m.memory.At(parts[0].address, parts[0].size)
	q.availableRing, _ = m.memory.At(parts[1].address, parts[1].size)
	q.usedRing, _ = m.memory.At(parts[2].address, parts[2].size)
	q.usedAddress = parts[2].address
	q.inFlight = make([]bool, q.size)
	return q
}

// startSession begins to serve queues.
func (m *MMIO) startSession(queues []*Queue) {
	m.session = newSession(m, queues)
	m.device.Activate(m.driver.accepted, queues)
	m.live.Store(m.session)
	m.session.begin()
	m.Serve()
}

// endSession ends the session, if there is one, and returns when the device has let go of the guest's memory.
func (m *MMIO) endSession(phase uint32) {
	s := m.session
	if s == nil {
		return
	}
	m.session = nil
	m.live.Store(nil)
	s.leave(phase)
	m.device.Reset()
	for _, q := range s.queues {
		q.drop()
	}
}

// reset makes the device as it was made.
func (m *MMIO) reset() {
	m.endSession(phaseEnding)
	m.forget()
	m.broken.Store(false)
	m.changed = false
	m.interrupts.Store(0)
}

// Finish ends the session after the device has served what the driver filled. The guest does not run.
func (m *MMIO) Finish() {
	m.access.Lock()
	defer m.access.Unlock()
	m.endSession(phaseFinishing)
}

// Close ends the session, if there is one, and closes the device. From its return on nothing of the guest's memory is
// touched, and registers do nothing. Calling it again does nothing.
func (m *MMIO) Close() error {
	m.access.Lock()
	defer m.access.Unlock()
	if m.closed {
		return nil
	}
	m.endSession(phaseEnding)
	m.closed = true
	return m.device.Close()
}
