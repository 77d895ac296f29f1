package virtiotest

import (
	"encoding/binary"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"kapsel/guest/abi/virtio"
)

// Registers are a device's: virtio.MMIO has them.
type Registers interface {
	ReadMMIO(offset uint64, data []byte)
	WriteMMIO(offset uint64, data []byte)
}

// Driver drives a device. What it fills into queues and registers is the test's affair, so it breaks the rules as readily
// as it keeps them.
type Driver struct {
	T         testing.TB
	Memory    *Memory
	Registers Registers
	Queues    []*Queue
	Features  uint64 // that were accepted
}

// Queue is a queue as its driver has it: all of it lies in memory from Base on, a page apart from the next one.
type Queue struct {
	Number int
	Size   uint16

	Descriptors, Available, Used uint64 // addresses

	driver *Driver
	next   uint16 // the descriptor that Add takes next
	filled uint16 // the available index
	seen   uint16 // the used index up to which WaitUsed has looked
}

// QueueBase is where the first queue's parts lie; QueueStride how far each is from the one before. Requests lie from Buffers on.
const (
	QueueBase   = 0x1000
	QueueStride = 0x8000
	Buffers     = 0x80000
)

// NewDriver makes a driver for a device that was not touched yet.
func NewDriver(t testing.TB, memory *Memory, r Registers) *Driver {
	return &Driver{T: t, Memory: memory, Registers: r}
}

// Read reads a register of 32 bits.
func (d *Driver) Read(offset uint64) uint32 {
	var p [4]byte
	d.Registers.ReadMMIO(offset, p[:])
	return binary.LittleEndian.Uint32(p[:])
}

// Write writes one.
func (d *Driver) Write(offset uint64, value uint32) {
	var p [4]byte
	binary.LittleEndian.PutUint32(p[:], value)
	d.Registers.WriteMMIO(offset, p[:])
}

// Config reads n bytes of the configuration, one by one.
func (d *Driver) Config(offset uint64, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		d.Registers.ReadMMIO(virtio.RegConfig+offset+uint64(i), p[i:i+1])
	}
	return p
}

// Status reads Status.
func (d *Driver) Status() uint32 { return d.Read(virtio.RegStatus) }

// AddStatus sets bits of Status.
func (d *Driver) AddStatus(bits uint32) { d.Write(virtio.RegStatus, d.Status()|bits) }

// Broken reports whether the device needs a reset.
func (d *Driver) Broken() bool { return d.Status()&virtio.StatusNeedsReset != 0 }

// Offered reads the features that the device offers.
func (d *Driver) Offered() uint64 {
	d.Write(virtio.RegDeviceFeaturesSel, 1)
	high := d.Read(virtio.RegDeviceFeatures)
	d.Write(virtio.RegDeviceFeaturesSel, 0)
	return uint64(high)<<32 | uint64(d.Read(virtio.RegDeviceFeatures))
}

// Negotiate resets the device and accepts what it offers of the features, and that of version 1.
func (d *Driver) Negotiate(features uint64) {
	d.T.Helper()
	require.EqualValues(d.T, virtio.Magic, d.Read(virtio.RegMagic))
	require.EqualValues(d.T, virtio.Version, d.Read(virtio.RegVersion))
	d.Write(virtio.RegStatus, 0)
	require.Zero(d.T, d.Status())
	d.AddStatus(virtio.StatusAcknowledge)
	d.AddStatus(virtio.StatusDriver)
	d.Accept(d.Offered() & (features | virtio.FeatureVersion1))
	d.AddStatus(virtio.StatusFeaturesOK)
	require.NotZero(d.T, d.Status()&virtio.StatusFeaturesOK, "the device refuses the features")
}

// Accept writes the features that the driver accepts.
func (d *Driver) Accept(features uint64) {
	d.Features = features
	for i := range uint32(2) {
		d.Write(virtio.RegDriverFeaturesSel, i)
		d.Write(virtio.RegDriverFeatures, uint32(features>>(32*i)))
	}
}

// AddQueue makes the next queue, of a size, and sets it up.
func (d *Driver) AddQueue(size uint16) *Queue {
	q := d.PlaceQueue(len(d.Queues), size)
	d.Queues = append(d.Queues, q)
	d.Setup(q)
	return q
}

// PlaceQueue says where a queue's parts lie, and clears them.
func (d *Driver) PlaceQueue(number int, size uint16) *Queue {
	base := QueueBase + QueueStride*uint64(number)
	q := &Queue{Number: number, Size: size, driver: d, Descriptors: base}
	q.Available = q.Descriptors + virtio.DescriptorsBytes(size)
	q.Used = (q.Available + virtio.AvailableBytes(size) + 3) &^ 3
	clear(d.Memory.Bytes(d.T, base, QueueStride))
	return q
}

// Setup tells the device of a queue.
func (d *Driver) Setup(q *Queue) {
	d.Write(virtio.RegQueueSel, uint32(q.Number))
	d.Write(virtio.RegQueueSize, uint32(q.Size))
	d.WriteAddress(virtio.RegQueueDescLow, q.Descriptors)
	d.WriteAddress(virtio.RegQueueDriverLow, q.Available)
	d.WriteAddress(virtio.RegQueueDeviceLow, q.Used)
	d.Write(virtio.RegQueueReady, 1)
}

// WriteAddress writes an address to two registers.
func (d *Driver) WriteAddress(low uint64, address uint64) {
	d.Write(low, uint32(address))
	d.Write(low+4, uint32(address>>32))
}

// Start sets DRIVER_OK.
func (d *Driver) Start() { d.AddStatus(virtio.StatusDriverOK) }

// StartWith negotiates, makes queues of a size and starts.
func (d *Driver) StartWith(features uint64, queues int, size uint16) {
	d.T.Helper()
	d.Queues = nil
	d.Negotiate(features)
	for range queues {
		d.AddQueue(size)
	}
	d.Start()
	require.False(d.T, d.Broken())
}

// Put writes to memory.
func (d *Driver) Put(address uint64, p []byte) {
	d.T.Helper()
	copy(d.Memory.Bytes(d.T, address, uint64(len(p))), p)
}

// Wait waits until a condition holds, for a minute at most.
func (d *Driver) Wait(what string, condition func() bool) {
	d.T.Helper()
	for end := time.Now().Add(time.Minute); !condition(); runtime.Gosched() {
		require.True(d.T, time.Now().Before(end), "a minute has gone: %s", what)
	}
}

// Describe writes a descriptor.
func (q *Queue) Describe(i uint16, v virtio.Descriptor) {
	p := q.driver.Memory.Bytes(q.driver.T, q.Descriptors+virtio.DescriptorSize*uint64(i), virtio.DescriptorSize)
	binary.LittleEndian.PutUint64(p, v.Address)
	binary.LittleEndian.PutUint32(p[8:], v.Length)
	binary.LittleEndian.PutUint16(p[12:], v.Flags)
	binary.LittleEndian.PutUint16(p[14:], v.Next)
}

// Chain writes descriptors one behind another and links them; it returns the first one's number. They go round in the table.
func (q *Queue) Chain(list ...virtio.Descriptor) uint16 {
	head := q.next
	for i, v := range list {
		at := q.next
		q.next = (q.next + 1) % q.Size
		if i < len(list)-1 {
			v.Flags |= virtio.DescNext
			v.Next = q.next
		}
		q.Describe(at, v)
	}
	return head
}

// Offer makes a chain available.
func (q *Queue) Offer(head uint16) {
	q.put16(q.Available+virtio.RingElements+2*uint64(q.filled%q.Size), head)
	q.filled++
	q.SetIndex(q.filled)
}

// Index is the available index that was written last.
func (q *Queue) Index() uint16 { return q.filled }

// SetIndex writes the available index.
func (q *Queue) SetIndex(index uint16) {
	q.filled = index
	store16(q.driver.Memory.Bytes(q.driver.T, q.Available, 4), 2, index)
}

// SetUsedEvent asks for an interrupt when the device has used what stands at the index.
func (q *Queue) SetUsedEvent(index uint16) { q.put16(q.Available+virtio.UsedEvent(q.Size), index) }

// AvailableEvent reads at which index the device wants to be notified.
func (q *Queue) AvailableEvent() uint16 { return q.get16(q.Used + virtio.AvailableEvent(q.Size)) }

// SetFlags writes the available ring's flags.
func (q *Queue) SetFlags(flags uint16) { q.put16(q.Available, flags) }

// Notify writes the queue's number to QueueNotify.
func (q *Queue) Notify() { q.driver.Write(virtio.RegQueueNotify, uint32(q.Number)) }

// Send makes a request of descriptors available and notifies.
func (q *Queue) Send(list ...virtio.Descriptor) uint16 {
	head := q.Chain(list...)
	q.Offer(head)
	q.Notify()
	return head
}

// UsedIndex reads the used index.
func (q *Queue) UsedIndex() uint16 {
	return load16(q.driver.Memory.Bytes(q.driver.T, q.Used, 4), 2)
}

// WaitUsed waits for the next request that the device gives back.
func (q *Queue) WaitUsed() virtio.UsedElement {
	q.driver.T.Helper()
	q.driver.Wait("the device gives nothing back", func() bool { return q.UsedIndex() != q.seen })
	at := q.Used + virtio.RingElements + virtio.UsedSize*uint64(q.seen%q.Size)
	q.seen++
	p := q.driver.Memory.Bytes(q.driver.T, at, virtio.UsedSize)
	return virtio.UsedElement{ID: binary.LittleEndian.Uint32(p), Length: binary.LittleEndian.Uint32(p[4:])}
}

func (q *Queue) put16(address uint64, v uint16) {
	store16(q.driver.Memory.Bytes(q.driver.T, address, 2), 0, v)
}

func (q *Queue) get16(address uint64) uint16 {
	return load16(q.driver.Memory.Bytes(q.driver.T, address, 2), 0)
}
