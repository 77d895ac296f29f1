package virtio_test

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	abi "kapsel/guest/abi/virtio"
	"kapsel/vmm/virtio"
	"kapsel/vmm/virtio/virtiotest"
)

// Memory of the hostile driver: descriptor tables lie in pages where it writes whole descriptors alone, so that it knows
// what it lent; the rings in pages where it writes anything. Buffers lie behind them, and where no RAM is.
const (
	hostileRAM     = 64 << 10
	hostileTables  = 0x1000
	hostileRings   = 0x3000
	hostileBuffers = 0x6000
)

// hostile is a driver that does what bytes say.
type hostile struct {
	*virtiotest.Driver
	transport *virtio.MMIO
	input     []byte
	shadow    *virtiotest.Memory
	lent      []virtiotest.Range
}

// take returns the next bytes of the input as a number, and 0 at its end.
func (h *hostile) take(n int) (v uint64) {
	for range n {
		if len(h.input) > 0 {
			v = v<<8 | uint64(h.input[0])
			h.input = h.input[1:]
		}
	}
	return v
}

// of returns one of the values, as the input says.
func (h *hostile) of(values ...uint64) uint64 { return values[h.take(1)%uint64(len(values))] }

// step does one thing. What breaks a device for sure is rare, and what mends it is not.
func (h *hostile) step() {
	if h.Broken() && h.take(1)%2 == 0 {
		h.negotiate()
		return
	}
	switch op := h.take(1); {
	case op < 2:
		h.Write(h.take(1)*4%0x200, uint32(h.take(4)))
	case op < 4:
		h.Registers.WriteMMIO(h.take(2), make([]byte, h.take(1)%9))
	case op < 6:
		h.Registers.ReadMMIO(h.take(2), make([]byte, h.take(1)%9))
	case op < 8:
		h.AddStatus(uint32(h.take(1)))
	case op < 10:
		h.Write(abi.RegStatus, uint32(h.of(0, 1, 3, 11, 15, 64, 128)))
	case op < 12:
		h.Accept(h.of(abi.FeatureVersion1, abi.FeatureVersion1|abi.FeatureEventIndex, 0, 1<<63, abi.FeatureIndirectDesc))
	case op < 16:
		h.setup()
	case op < 20:
		h.negotiate()
	case op < 100:
		h.describe()
	case op < 110:
		h.put(hostileRings+h.take(2)%(hostileBuffers-hostileRings-2), uint16(h.take(2)))
	case op < 200:
		h.offer()
	case op < 220:
		h.Write(abi.RegQueueNotify, uint32(h.of(0, 1, 0, 1, 2, 1<<31, 1<<32-1)))
	case op < 240:
		h.transport.Notify(int(h.take(1) % 2))
	default:
		runtime.Gosched()
	}
}

// negotiate begins as a driver does that keeps the rules.
func (h *hostile) negotiate() {
	h.Write(abi.RegStatus, 0)
	h.write(hostileRings, make([]byte, hostileBuffers-hostileRings))
	h.AddStatus(1)
	h.AddStatus(2)
	h.Accept(abi.FeatureVersion1 | h.of(0, abi.FeatureEventIndex))
	h.AddStatus(8)
	for queue := range uint64(2) {
		h.place(queue, 16, hostileTables+queue<<12, hostileRings+queue<<12, hostileRings+queue<<12+0x800, 1)
	}
	h.AddStatus(4)
}

// setup sets a queue up, anyhow.
func (h *hostile) setup() {
	queue := h.of(0, 1, 2)
	table := h.of(hostileTables, hostileTables+0x1000, hostileTables+8, hostileRAM, 1<<64-16, 0xd000_0000)
	h.place(queue, h.of(0, 1, 2, 8, 16, 17, 256, 1<<16+8), table, hostileRings+h.take(2)%0x3000, hostileRings+h.take(2)%0x3000,
		h.of(1, 1, 0, 2))
}

// place sets a queue up. Where the device may write its used ring is lent to it.
func (h *hostile) place(queue, size, table, available, used, ready uint64) {
	h.Write(abi.RegQueueSel, uint32(queue))
	h.Write(abi.RegQueueSize, uint32(size))
	h.WriteAddress(abi.RegQueueDescLow, table)
	h.WriteAddress(abi.RegQueueDriverLow, available)
	h.WriteAddress(abi.RegQueueDeviceLow, used)
	h.Write(abi.RegQueueReady, uint32(ready))
	h.lent = append(h.lent, virtiotest.Range{Address: used, Size: abi.UsedBytes(uint16(size))})
}

// describe writes a descriptor. If the device may write its buffer that is lent to it.
func (h *hostile) describe() {
	at := hostileTables + h.take(1)%2<<12 + h.take(1)%16*16
	address, length, flags, next := hostileBuffers+h.take(2)%0x8000, h.take(1), h.of(0, 1, 2, 3), h.take(1)%16
	switch h.take(1) {
	case 0:
		address = h.of(hostileRAM-8, virtiotest.High, 0xd000_0000, 1<<64-8, virtiotest.High+hostileRAM-4)
	case 1:
		length = h.of(0, 4, 5, 8, 9, 1<<32-1, 0x8000)
	case 2:
		flags = h.take(2)
	case 3:
		next = h.of(16, 0xffff)
	}
	var p [16]byte
	binary.LittleEndian.PutUint64(p[:], address)
	binary.LittleEndian.PutUint32(p[8:], uint32(length))
	binary.LittleEndian.PutUint16(p[12:], uint16(flags))
	binary.LittleEndian.PutUint16(p[14:], uint16(next))
	h.write(at, p[:])
	if flags&abi.DescWrite != 0 {
		h.lent = append(h.lent, virtiotest.Range{Address: address, Size: length})
	}
}

// offer makes a head available in one of the queues that negotiate sets up.
func (h *hostile) offer() {
	ring := hostileRings + h.take(1)%2<<12
	index := binary.LittleEndian.Uint16(h.shadow.Bytes(h.T, ring+abi.RingIndex, 2))
	head, more := h.take(1)%16, uint16(1)
	switch h.take(1) {
	case 0:
		head = h.of(16, 0xffff)
	case 1:
		more = uint16(h.of(0, 2, 16, 17, 0xffff))
	}
	h.put(ring+abi.RingElements+2*uint64(index%16), uint16(head))
	h.put(ring+abi.RingIndex, index+more)
}

func (h *hostile) put(address uint64, v uint16) {
	h.write(address, binary.LittleEndian.AppendUint16(nil, v))
}

// write writes to memory, and to what memory would be without a device.
func (h *hostile) write(address uint64, p []byte) {
	copy(h.Memory.Bytes(h.T, address, uint64(len(p))), p)
	copy(h.shadow.Bytes(h.T, address, uint64(len(p))), p)
}

// check ends the session and looks whether the device wrote where it may not.
func (h *hostile) check() {
	h.transport.Finish()
	h.Write(abi.RegStatus, 0)
	require.Zero(h.T, h.Status())
	require.False(h.T, h.Memory.Differs(h.shadow, h.lent), "the device wrote to what was not lent to it")
}

// newHostile makes a driver with two memories that are used again and again.
func newHostile(t testing.TB, memory, shadow *virtiotest.Memory, input []byte) *hostile {
	memory.Clear()
	shadow.Clear()
	h := &hostile{input: input, shadow: shadow}
	h.transport = virtio.NewMMIO(&copier{queueMax: []uint16{16, 256}, config: make([]byte, 12)}, memory,
		func() {}, func(string, ...any) {}, nil)
	h.Driver = virtiotest.NewDriver(t, memory, h.transport)
	return h
}

// FuzzDriver has a driver do anything with registers, rings and descriptors: no panic, no hang, a bound for what it costs, and
// nothing written but to what the driver lent.
func FuzzDriver(f *testing.F) {
	const negotiate, describe, offer, notify = 16, 20, 110, 200
	f.Add([]byte{negotiate, 1, describe, 0, 0, 0, 0, 8, 2, 0, 9, offer, 0, 0, 9, notify, 0})
	f.Add([]byte{negotiate, 0, describe, 1, 0, 0, 0, 8, 1, 1, 9, describe, 1, 1, 1, 0, 8, 2, 0, 9, offer, 1, 0, 9, notify, 1})
	memory, shadow := virtiotest.NewMemory(f, hostileRAM), virtiotest.NewMemory(f, hostileRAM)
	f.Fuzz(func(t *testing.T, input []byte) {
		var before, after runtime.MemStats
		h := newHostile(t, memory, shadow, input[:min(len(input), 1<<12)])
		runtime.ReadMemStats(&before)
		for len(h.input) > 0 {
			h.step()
		}
		h.check()
		runtime.ReadMemStats(&after)
		// What a step costs does not depend on what stands in memory. It is a byte at the least.
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(len(input)+16)*16<<10)
		require.NoError(t, h.transport.Close())
	})
}

// As FuzzDriver, with random numbers: 10^5 steps, or KAPSEL_DRIVER_STEPS.
func TestHostileDriverAtRandom(t *testing.T) {
	steps := 100_000
	if text := os.Getenv("KAPSEL_DRIVER_STEPS"); text != "" {
		var err error
		steps, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	memory, shadow := virtiotest.NewMemory(t, hostileRAM), virtiotest.NewMemory(t, hostileRAM)
	seed := rand.Uint64()
	random := rand.NewChaCha8([32]byte(binary.LittleEndian.AppendUint64(make([]byte, 24), seed)))
	var sum virtio.Counters
	for done := 0; done < steps; {
		input := make([]byte, 4096)
		random.Read(input)
		h := newHostile(t, memory, shadow, input)
		h.negotiate()
		for ; len(h.input) > 0; done++ {
			h.step()
		}
		h.check()
		c := h.transport.Counters()
		sum.Requests, sum.Broken, sum.Written = sum.Requests+c.Requests, sum.Broken+c.Broken, sum.Written+c.Written
		require.NoError(t, h.transport.Close())
		if t.Failed() {
			break
		}
	}
	t.Logf("seed %#x: %v", seed, sum)
	assert.NotZero(t, sum.Written, "seed %#x: the driver never got as far as a request", seed)
	assert.NotZero(t, sum.Broken, "seed %#x", seed)
}
