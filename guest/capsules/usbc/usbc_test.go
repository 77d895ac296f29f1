package usbc

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/mmio"
)

// descriptor is the layout of a bank's descriptor (17.6.2), as the compiler lays a structure out.
type descriptor struct {
	address    uint32
	packetSize uint32 // 15 bits of count, one reserved, 15 of the size of several packets, automatic end
	status     uint32
	_          uint32
}

// table is all of them.
type table [8][2]descriptor

// A model does not compile whose descriptors are not of the driver's size.
var (
	_ [unsafe.Sizeof(descriptor{}) - BankSize]struct{}
	_ [BankSize - unsafe.Sizeof(descriptor{})]struct{}
)

// model is a controller: its registers, its table in memory, and the memory that it reaches. It fails the test where it
// would touch memory that is not lent to it.
type model struct {
	t       *testing.T
	global  map[uint16]uint32
	enabled uint32 // causes to interrupt
	pending uint32
	config  [8]uint32
	status  [8]uint32
	control [8]uint32
	ready   [8]bool // the bank is the controller's
	table   table
	memory  map[uint32]*buffer
	claims  int // bytes more than it wrote, which it claims
	faulty  bool
}

// The buses of the model.
type (
	controllerBus struct {
		mmio.Bus
		*model
	}
	endpointBus struct {
		mmio.Bus
		*model
		e int
	}
	bankBus struct {
		mmio.Bus
		words *descriptor
	}
)

func (b controllerBus) Read(offset, width uint16) uint32 {
	assert.EqualValues(b.t, 4, width)
	if offset == uint16(deviceInterrupt) {
		return b.pending
	}
	return b.global[offset]
}

func (b controllerBus) Write(offset, width uint16, v uint32) {
	assert.EqualValues(b.t, 4, width)
	switch offset {
	case uint16(deviceInterruptClear):
		b.pending &^= v
	case uint16(deviceInterruptEnable):
		b.enabled |= v
	case uint16(deviceInterruptDisable):
		b.enabled &^= v
	default:
		b.global[offset] = v
	}
}

func (b endpointBus) Read(offset, _ uint16) uint32 {
	assert.Contains(b.t, []uint16{uint16(configuration), uint16(status)}, offset)
	if offset == uint16(configuration) {
		return b.config[b.e]
	}
	return b.status[b.e]
}

func (b endpointBus) Write(offset, _ uint16, v uint32) {
	switch offset {
	case uint16(configuration):
		b.config[b.e] = v
	case uint16(statusClear):
		b.status[b.e] &^= v
	case uint16(controlSet):
		b.control[b.e] |= v
	case uint16(controlClear):
		b.control[b.e] &^= v
		b.ready[b.e] = b.ready[b.e] || v&uint32(fifoControl) != 0
	default:
		b.t.Errorf("write of %#x to register %#x of endpoint %d", v, offset, b.e)
	}
}

func (b bankBus) word(offset uint16) *uint32 {
	return []*uint32{&b.words.address, &b.words.packetSize, &b.words.status}[offset/4]
}

func (b bankBus) Read(offset, _ uint16) uint32     { return *b.word(offset) }
func (b bankBus) Write(offset, _ uint16, v uint32) { *b.word(offset) = v }

// lent is the memory at a descriptor's address, if so much of it is the controller's.
func (m *model) lent(address uint32, n int) []byte {
	b := m.memory[address]
	require.NotNil(m.t, b, "no memory at %#x", address)
	require.LessOrEqual(m.t, n, b.lent, "bytes that are lent at %#x", address)
	return b.bytes[:n]
}

// noNull fails unless each descriptor has the address of memory that is lent.
func (m *model) noNull() {
	for e := range m.table {
		for b := range m.table[e] {
			m.lent(m.table[e][b].address, 1)
		}
	}
}

// end is what the controller does at a packet's end: it says so, and the bank is the driver's.
func (m *model) end(e int, status statusBits) {
	m.ready[e] = false
	m.status[e] |= uint32(status)
	m.pending |= 1 << (12 + e)
	if m.faulty {
		m.table[e][0].status = 1 << 17
	}
}

// hostReads is a packet that the host reads from an endpoint, if there is one.
func (m *model) hostReads(e int) (packet string, ok bool) {
	d := &m.table[e][0]
	if !m.ready[e] {
		return "", false
	}
	m.noNull()
	packet = string(m.lent(d.address, int(d.packetSize&0x7fff)))
	m.end(e, transmitted)
	return packet, true
}

// hostWrites is a packet that the host writes, if there is room.
func (m *model) hostWrites(e int, packet string) bool {
	d := &m.table[e][0]
	if !m.ready[e] {
		return false
	}
	m.noNull()
	copy(m.lent(d.address, int(d.packetSize>>16)), packet)
	d.packetSize = d.packetSize&^0x7fff | uint32(len(packet)+m.claims)
	m.end(e, received)
	return true
}

// buffer is a Buffer.
type buffer struct {
	bytes   []byte
	address uint64
	lent    int
}

func (b *buffer) Len() int { return len(b.bytes) }

func (b *buffer) Lend(n int) (uint64, abi.ErrorCode) {
	if b.lent != 0 {
		return 0, abi.BUSY
	}
	if n <= 0 || n > len(b.bytes) {
		return 0, abi.SIZE
	}
	b.lent = n
	return b.address, abi.OK
}

func (b *buffer) Complete(written uint32) (int, abi.ErrorCode) {
	n := b.lent
	b.lent = 0
	if int(written) > n {
		return n, abi.SIZE
	}
	return int(written), abi.OK
}

func (b *buffer) Reclaim() { b.lent = 0 }

type ended struct {
	e      Endpoint
	n      int
	result abi.ErrorCode
}

// rig is a driver, its controller and its client.
type rig struct {
	USBC
	model
	bin   *buffer
	ended []ended
}

func (r *rig) Transferred(e Endpoint, _ Buffer, n int, result abi.ErrorCode) {
	r.ended = append(r.ended, ended{e, n, result})
}

// newRig makes what a board would make, with one bulk endpoint for each way: 1 to the host, 2 from it.
func newRig(t *testing.T) *rig {
	r := &rig{model: model{t: t, global: map[uint16]uint32{}, memory: map[uint32]*buffer{}}}
	can := capability.Mint().Hardware
	d := Devices{Controller: mmio.NewDevice[Controller](controllerBus{model: &r.model}, can), TableAddress: 0x2000_0000}
	for e := range Endpoints {
		d.Endpoints[e] = mmio.NewDevice[Registers](endpointBus{model: &r.model, e: e}, can)
		for b := range Banks {
			d.Table[e][b] = mmio.NewDevice[Bank](bankBus{words: &r.table[e][b]}, can)
		}
	}
	r.bin = r.buffer(64, 0x2000_1000)
	require.Equal(t, abi.OK, r.Init(d, r.bin, r))
	r.Attach()
	require.Equal(t, abi.OK, r.Configure(1, Config{Bulk, In, Bytes64}))
	require.Equal(t, abi.OK, r.Configure(2, Config{Interrupt, Out, Bytes16}))
	return r
}

// buffer is one of n bytes that the controller reaches at an address.
func (r *rig) buffer(n int, address uint32) *buffer {
	b := &buffer{bytes: make([]byte, n), address: uint64(address)}
	r.memory[address] = b
	return b
}

// TestLayout: the compiler's layout of the specification's structure is where the driver's registers are.
func TestLayout(t *testing.T) {
	var d descriptor
	assert.EqualValues(t, unsafe.Offsetof(d.address), bankAddress)
	assert.EqualValues(t, unsafe.Offsetof(d.packetSize), bankPacketSize)
	assert.EqualValues(t, unsafe.Offsetof(d.status), bankStatus)
	assert.EqualValues(t, unsafe.Sizeof(table{}), TableSize)
	var u USBC
	assert.Len(t, u.devices.Table, 8, "endpoints: by type")
	assert.Len(t, u.devices.Table[0], 2, "banks: by type")
}

func TestDescriptors(t *testing.T) {
	r := newRig(t)
	r.noNull()
	assert.EqualValues(t, 0x2000_0000, r.global[uint16(descriptorTable)])
	assert.EqualValues(t, 0b110, r.global[uint16(endpointEnable)])
	assert.EqualValues(t, [8]uint32{1: 2<<11 | 1<<8 | 3<<4, 2: 3<<11 | 1<<4}, r.model.config)

	b := r.buffer(64, 0x2000_2000)
	copy(b.bytes, "a packet")
	require.Equal(t, abi.OK, r.Transmit(1, b, 8))
	assert.Equal(t, descriptor{address: 0x2000_2000, packetSize: 8}, r.table[1][0])
	assert.Equal(t, descriptor{address: 0x2000_1000}, r.table[1][1], "the bin")
	assert.Equal(t, abi.BUSY, r.Transmit(1, b, 8))
	packet, ok := r.hostReads(1)
	assert.True(t, ok)
	assert.Equal(t, "a packet", packet)
	r.HandleInterrupt()
	assert.Equal(t, []ended{{1, 8, abi.OK}}, r.ended)
	assert.Zero(t, b.lent)
	assert.Equal(t, descriptor{address: 0x2000_1000}, r.table[1][0], "the bin again")
	r.HandleInterrupt()
	assert.Len(t, r.ended, 1, "an interrupt without a transfer")
}

func TestReceive(t *testing.T) {
	r := newRig(t)
	assert.False(t, r.hostWrites(2, "too early"), "the controller has no bank")
	b := r.buffer(20, 0x2000_2000)
	require.Equal(t, abi.OK, r.Receive(2, b))
	assert.Equal(t, 16, b.lent, "a packet's worth")
	r.HandleInterrupt()
	assert.Empty(t, r.ended)
	require.True(t, r.hostWrites(2, "hello"))
	r.HandleInterrupt()
	assert.Equal(t, []ended{{2, 5, abi.OK}}, r.ended)
	assert.Equal(t, "hello", string(b.bytes[:5]))
}

// TestHostileController: what the controller says is not believed.
func TestHostileController(t *testing.T) {
	t.Run("claims more than a packet", func(t *testing.T) {
		r := newRig(t)
		r.claims = 1000
		r.Receive(2, r.buffer(20, 0x2000_2000))
		r.hostWrites(2, "hello")
		r.HandleInterrupt()
		assert.Equal(t, []ended{{2, 16, abi.SIZE}}, r.ended)
	})
	t.Run("reports an error", func(t *testing.T) {
		r := newRig(t)
		r.faulty = true
		r.Receive(2, r.buffer(20, 0x2000_2000))
		r.hostWrites(2, "hello")
		r.HandleInterrupt()
		assert.Equal(t, []ended{{2, 0, abi.FAIL}}, r.ended)
	})
	t.Run("interrupts for what is not there", func(t *testing.T) {
		r := newRig(t)
		r.pending = 0xffff_fff0
		r.status = [8]uint32{^uint32(0), ^uint32(0), ^uint32(0), ^uint32(0), ^uint32(0), ^uint32(0), ^uint32(0), ^uint32(0)}
		r.HandleInterrupt()
		assert.Empty(t, r.ended)
	})
}

func TestReset(t *testing.T) {
	r := newRig(t)
	in, out := r.buffer(64, 0x2000_2000), r.buffer(64, 0x2000_3000)
	r.Transmit(1, in, 64)
	r.Receive(2, out)
	r.pending |= uint32(endOfReset)
	r.HandleInterrupt()
	assert.Equal(t, []ended{{1, 0, abi.CANCEL}, {2, 0, abi.CANCEL}}, r.ended)
	assert.Zero(t, in.lent+out.lent)
	assert.Zero(t, r.global[uint16(endpointEnable)])
	assert.Zero(t, r.pending&uint32(endOfReset))
	r.noNull()
	assert.Equal(t, abi.INVAL, r.Transmit(1, in, 64), "it is to be configured anew")
}

func TestRefused(t *testing.T) {
	r := newRig(t)
	b := r.buffer(64, 0x2000_2000)
	for name, e := range map[string]abi.ErrorCode{
		"endpoint 8":          r.Configure(8, Config{Bulk, In, Bytes8}),
		"endpoint 0":          r.Configure(0, Config{Bulk, In, Bytes8}),
		"isochronous":         r.Configure(3, Config{1, In, Bytes8}),
		"type of three bits":  r.Configure(3, Config{4, In, Bytes8}),
		"direction":           r.Configure(3, Config{Bulk, 2, Bytes8}),
		"size":                r.Configure(3, Config{Bulk, In, 4}),
		"transmit on 8":       r.Transmit(8, b, 1),
		"receive on 255":      r.Receive(255, b),
		"not configured":      r.Transmit(3, b, 1),
		"the other direction": r.Receive(1, b),
	} {
		assert.Equal(t, abi.INVAL, e, name)
	}
	assert.Equal(t, [8]uint32{1: 2<<11 | 1<<8 | 3<<4, 2: 3<<11 | 1<<4}, r.model.config, "nothing of it reached the controller")
	for name, e := range map[string]abi.ErrorCode{
		"more than a packet": r.Transmit(1, r.buffer(100, 0x2000_4000), 65),
		"nothing":            r.Transmit(1, b, 0),
		"negative":           r.Transmit(1, b, -1),
		"short buffer":       r.Receive(2, r.buffer(15, 0x2000_5000)),
		"null":               r.Transmit(1, r.buffer(64, 0), 8),
		"above 4 GiB":        r.Transmit(1, &buffer{bytes: make([]byte, 64), address: 1<<32 - 4}, 8),
	} {
		assert.Equal(t, abi.SIZE, e, name)
	}
	r.noNull()
	var u USBC
	assert.Equal(t, abi.SIZE, u.Init(r.devices, r.buffer(63, 0x2000_6000), r), "a bin without room for a packet")
}
