package virtio_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	abi "kapsel/guest/abi/virtio"
	"kapsel/vmm/virtio"
	"kapsel/vmm/virtio/virtiotest"
)

// medium is a storage in memory that says what was done with it, and fails as a test likes.
type medium struct {
	mu       sync.Mutex
	data     []byte
	readOnly bool
	discards bool
	done     []string
	err      error
	entered  chan struct{} // if not nil: told when a read or write begins
	leave    chan struct{} // which waits for this
}

func (m *medium) Size() uint64      { return uint64(len(m.data)) }
func (m *medium) BlockSize() uint64 { return 4096 }
func (m *medium) ReadOnly() bool    { return m.readOnly }
func (m *medium) CanDiscard() bool  { return m.discards }
func (m *medium) Close() error      { return nil }

func (m *medium) note(what string, args ...any) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done = append(m.done, fmt.Sprintf(what, args...))
	return m.err
}

// took returns what was done since the last call.
func (m *medium) took() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	done := m.done
	m.done = nil
	return done
}

// content returns what stands at an offset.
func (m *medium) content(at, n int) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.data[at:][:n])
}

// fail has what is done from now on fail.
func (m *medium) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

func (m *medium) wait() {
	if m.entered != nil {
		m.entered <- struct{}{}
		<-m.leave
	}
}

func (m *medium) Read(pieces [][]byte, at uint64) error {
	m.wait()
	n := 0
	m.mu.Lock()
	for _, p := range pieces {
		n += copy(p, m.data[at+uint64(n):])
	}
	m.mu.Unlock()
	return m.note("read %d at %d", n, at)
}

func (m *medium) Write(pieces [][]byte, at uint64) error {
	m.wait()
	n := 0
	m.mu.Lock()
	for _, p := range pieces {
		n += copy(m.data[at+uint64(n):], p)
	}
	m.mu.Unlock()
	return m.note("write %d at %d", n, at)
}

func (m *medium) Flush() error               { return m.note("flush") }
func (m *medium) Discard(at, n uint64) error { return m.note("discard %d at %d", n, at) }
func (m *medium) Zero(at, n uint64) error    { return m.note("zero %d at %d", n, at) }

// Where a test's requests have their parts.
const (
	headerAt = virtiotest.Buffers
	outAt    = headerAt + 0x1000
	inAt     = headerAt + 0x10000
)

// diskSectors is the capacity of the tests' disks.
const diskSectors = 64

func newMedium() *medium {
	m := &medium{data: make([]byte, diskSectors*abi.SectorSize), discards: true}
	for i := range m.data {
		m.data[i] = byte(i / abi.SectorSize)
	}
	return m
}

const allBlockFeatures = abi.FeatureEventIndex | abi.BlockFeatureFlush | abi.BlockFeatureDiscard |
	abi.BlockFeatureWriteZeroes | abi.BlockFeatureReadOnly | abi.BlockFeatureBlockSize | abi.BlockFeatureSegMax

// startBlock starts a block device with all features but those that the driver does not accept.
func startBlock(t testing.TB, m *medium, without uint64) (*virtiotest.Driver, *virtio.MMIO) {
	d, transport := start(t, virtio.NewBlock(m, "disk0", t.Logf))
	d.StartWith(allBlockFeatures&^without, 1, 64)
	return d, transport
}

func blockHeader(kind uint32, sector uint64) []byte {
	h := make([]byte, abi.BlockHeaderSize)
	binary.LittleEndian.PutUint32(h, kind)
	binary.LittleEndian.PutUint64(h[abi.BlockHeaderSector:], sector)
	return h
}

// request makes a request in three or four descriptors, waits for it, and returns what was read, the status and the
// number of bytes that the device says it wrote.
func request(d *virtiotest.Driver, kind uint32, sector uint64, out []byte, in int) (data []byte, status byte, used int) {
	d.T.Helper()
	d.Put(headerAt, blockHeader(kind, sector))
	d.Put(outAt, out)
	d.Put(inAt, bytes.Repeat([]byte{0xee}, in+2))
	list := []abi.Descriptor{{Address: headerAt, Length: abi.BlockHeaderSize}}
	if len(out) > 0 {
		list = append(list, abi.Descriptor{Address: outAt, Length: uint32(len(out))})
	}
	list = append(list, abi.Descriptor{Address: inAt, Length: uint32(in + 1), Flags: abi.DescWrite})
	d.Queues[0].Send(list...)
	element := d.Queues[0].WaitUsed()
	p := d.Memory.Bytes(d.T, inAt, uint64(in+2))
	assert.EqualValues(d.T, 0xee, p[in+1], "behind the request")
	return slices.Clone(p[:in]), p[in], int(element.Length)
}

func segments(words ...uint64) (s []byte) {
	for ; len(words) > 0; words = words[3:] {
		s = binary.LittleEndian.AppendUint64(s, words[0])
		s = binary.LittleEndian.AppendUint32(s, uint32(words[1]))
		s = binary.LittleEndian.AppendUint32(s, uint32(words[2]))
	}
	return s
}

func TestBlockOffers(t *testing.T) {
	m := newMedium()
	d, _ := start(t, virtio.NewBlock(m, "disk0", t.Logf))
	common := uint64(abi.FeatureVersion1 | abi.FeatureEventIndex | abi.BlockFeatureSegMax | abi.BlockFeatureBlockSize | abi.BlockFeatureFlush)
	assert.Equal(t, common|abi.BlockFeatureDiscard|abi.BlockFeatureWriteZeroes, d.Offered())
	config := d.Config(0, abi.BlockConfigBytes+4)
	le := binary.LittleEndian
	assert.EqualValues(t, diskSectors, le.Uint64(config[abi.BlockConfigCapacity:]))
	assert.EqualValues(t, 254, le.Uint32(config[abi.BlockConfigSegMax:]))
	assert.EqualValues(t, 512, le.Uint32(config[abi.BlockConfigBlockSize:]))
	assert.EqualValues(t, 8, le.Uint32(config[abi.BlockConfigDiscardAlignment:]))
	assert.EqualValues(t, 16, le.Uint32(config[abi.BlockConfigMaxDiscardSeg:]))
	assert.Zero(t, le.Uint32(config[abi.BlockConfigBytes:]), "behind its end")

	m.discards, m.readOnly = false, true
	d, _ = start(t, virtio.NewBlock(m, "disk0", t.Logf))
	assert.Equal(t, common|abi.BlockFeatureReadOnly, d.Offered())
	assert.Zero(t, le.Uint32(d.Config(abi.BlockConfigMaxDiscardSectors, 4)))
}

func TestBlockRequests(t *testing.T) {
	sector := bytes.Repeat([]byte{0xaa}, abi.SectorSize)
	for _, tt := range []struct {
		name   string
		kind   uint32
		sector uint64
		out    []byte
		in     int
		want   []byte
		done   []string
	}{
		{name: "read", kind: abi.BlockIn, sector: 2, in: 1024, done: []string{"read 1024 at 1024"},
			want: append(bytes.Repeat([]byte{2}, 512), bytes.Repeat([]byte{3}, 512)...)},
		{name: "read the last sector", kind: abi.BlockIn, sector: 63, in: 512, done: []string{"read 512 at 32256"}, want: bytes.Repeat([]byte{63}, 512)},
		{name: "read nothing", kind: abi.BlockIn, sector: 64},
		{name: "write", kind: abi.BlockOut, sector: 1, out: sector, done: []string{"write 512 at 512"}},
		{name: "flush", kind: abi.BlockFlush, done: []string{"flush"}},
		{name: "identity", kind: abi.BlockGetID, in: 20, want: []byte("disk0\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")},
		{name: "discard", kind: abi.BlockDiscard, out: segments(8, 8, 0, 63, 1, 0), done: []string{"discard 4096 at 4096", "discard 512 at 32256"}},
		{name: "discard nothing", kind: abi.BlockDiscard, out: segments(64, 0, 0)},
		{name: "write zeroes", kind: abi.BlockWriteZeroes, out: segments(0, 64, 0), done: []string{"zero 32768 at 0"}},
		{name: "write zeroes and unmap", kind: abi.BlockWriteZeroes, out: segments(0, 64, 1), done: []string{"discard 32768 at 0"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMedium()
			d, transport := startBlock(t, m, 0)
			data, status, used := request(d, tt.kind, tt.sector, tt.out, tt.in)
			assert.EqualValues(t, abi.BlockOK, status)
			assert.Equal(t, tt.in+1, used)
			assert.Equal(t, tt.done, m.took())
			if tt.want != nil {
				assert.Equal(t, tt.want, data)
			}
			if tt.kind == abi.BlockOut {
				assert.Equal(t, tt.out, m.content(int(tt.sector)*512, len(tt.out)))
			}
			assert.Zero(t, transport.Counters().Errors)
		})
	}
}

// 10, 11: what keeps the queue's rules and makes no sense fails by itself, and nothing is done. All of its room is written.
func TestBlockHostileRequests(t *testing.T) {
	const top = 1 << 63
	sector := make([]byte, abi.SectorSize)
	for _, tt := range []struct {
		name     string
		kind     uint32
		sector   uint64
		out      []byte
		in       int
		readOnly bool
		without  uint64 // features
		want     byte
	}{
		{name: "read behind the end", kind: abi.BlockIn, sector: 64, in: 512, want: abi.BlockIOError},
		{name: "read across the end", kind: abi.BlockIn, sector: 63, in: 1024, want: abi.BlockIOError},
		{name: "read of sector and count that overflow", kind: abi.BlockIn, sector: 1<<64 - 1, in: 1024, want: abi.BlockIOError},
		{name: "read at 2^64 bytes", kind: abi.BlockIn, sector: 1 << 55, in: 512, want: abi.BlockIOError},
		{name: "read of half a sector", kind: abi.BlockIn, in: 256, want: abi.BlockIOError},
		{name: "read of a sector and a byte", kind: abi.BlockIn, in: 513, want: abi.BlockIOError},
		{name: "read that also gives", kind: abi.BlockIn, out: sector, in: 512, want: abi.BlockIOError},
		{name: "write behind the end", kind: abi.BlockOut, sector: 64, out: sector, want: abi.BlockIOError},
		{name: "write at the highest sector", kind: abi.BlockOut, sector: top, out: sector, want: abi.BlockIOError},
		{name: "write of 511 bytes", kind: abi.BlockOut, out: sector[1:], want: abi.BlockIOError},
		{name: "write with room", kind: abi.BlockOut, out: sector, in: 512, want: abi.BlockIOError},
		{name: "write to a read-only disk", kind: abi.BlockOut, out: sector, readOnly: true, want: abi.BlockIOError},
		{name: "discard of a read-only disk", kind: abi.BlockDiscard, out: segments(0, 1, 0), readOnly: true, want: abi.BlockIOError},
		{name: "identity of 19 bytes", kind: abi.BlockGetID, in: 19, want: abi.BlockIOError},
		{name: "identity without room", kind: abi.BlockGetID, want: abi.BlockIOError},
		{name: "identity of 512 bytes", kind: abi.BlockGetID, in: 512, want: abi.BlockIOError},
		{name: "discard without a segment", kind: abi.BlockDiscard, want: abi.BlockIOError},
		{name: "discard of half a segment", kind: abi.BlockDiscard, out: segments(0, 1, 0)[:8], want: abi.BlockIOError},
		{name: "discard of 17 segments", kind: abi.BlockDiscard, out: make([]byte, 17*16), want: abi.BlockIOError},
		{name: "discard of sector and count that overflow", kind: abi.BlockDiscard, out: segments(1<<64-1, 2, 0), want: abi.BlockIOError},
		{name: "discard across the end", kind: abi.BlockDiscard, out: segments(60, 5, 0), want: abi.BlockIOError},
		{name: "discard of more than there may be", kind: abi.BlockDiscard, out: segments(0, 1<<32-1, 0), want: abi.BlockIOError},
		{name: "a good segment and a bad one", kind: abi.BlockWriteZeroes, out: segments(0, 1, 0, 64, 1, 0), want: abi.BlockIOError},
		{name: "discard with the flag of zeroes", kind: abi.BlockDiscard, out: segments(0, 1, 1), want: abi.BlockUnsupported},
		{name: "write zeroes with an unknown flag", kind: abi.BlockWriteZeroes, out: segments(0, 1, 2), want: abi.BlockUnsupported},
		{name: "an unknown type", kind: 77, in: 512, want: abi.BlockUnsupported},
		{name: "a SCSI command", kind: 2, out: sector, in: 96, want: abi.BlockUnsupported},
		{name: "a legacy barrier", kind: 1 << 31, want: abi.BlockUnsupported},
		{name: "flush that was not accepted", kind: abi.BlockFlush, without: abi.BlockFeatureFlush, want: abi.BlockUnsupported},
		{name: "discard that was not accepted", kind: abi.BlockDiscard, out: segments(0, 1, 0), without: abi.BlockFeatureDiscard, want: abi.BlockUnsupported},
		{name: "write zeroes that was not accepted", kind: abi.BlockWriteZeroes, out: segments(0, 1, 0), without: abi.BlockFeatureWriteZeroes, want: abi.BlockUnsupported},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMedium()
			m.readOnly = tt.readOnly
			before := bytes.Clone(m.data)
			d, transport := startBlock(t, m, tt.without)
			data, status, used := request(d, tt.kind, tt.sector, tt.out, tt.in)
			assert.Equal(t, tt.want, status)
			assert.Equal(t, tt.in+1, used)
			assert.Equal(t, make([]byte, tt.in), data)
			assert.Empty(t, m.took())
			assert.Equal(t, before, m.content(0, len(before)))
			assert.EqualValues(t, 1, transport.Counters().Errors)
			assert.False(t, d.Broken())
			_, status, _ = request(d, abi.BlockIn, 0, nil, 512)
			assert.EqualValues(t, abi.BlockOK, status, "the next request")
		})
	}
}

// hugeMedium says that it has 1 TiB.
type hugeMedium struct{ *medium }

func (hugeMedium) Size() uint64 { return 1 << 40 }

// 11: a segment is bounded although the disk is larger.
func TestBlockSegmentsAreBounded(t *testing.T) {
	m := newMedium()
	d, _ := start(t, virtio.NewBlock(hugeMedium{m}, "disk0", t.Logf))
	d.StartWith(allBlockFeatures, 1, 64)
	const most = 1 << 21
	assert.EqualValues(t, most, binary.LittleEndian.Uint32(d.Config(abi.BlockConfigMaxDiscardSectors, 4)))
	_, status, _ := request(d, abi.BlockDiscard, 0, segments(0, most+1, 0), 0)
	assert.EqualValues(t, abi.BlockIOError, status)
	_, status, _ = request(d, abi.BlockDiscard, 0, segments(1<<30, most, 0), 0)
	assert.EqualValues(t, abi.BlockOK, status)
	assert.Equal(t, []string{"discard 1073741824 at 549755813888"}, m.took())
}

// 10: a request whose status has no place breaks the device, until it is reset.
func TestBlockWithoutStatus(t *testing.T) {
	for _, tt := range []struct {
		name string
		list []abi.Descriptor
	}{
		{"a header alone", []abi.Descriptor{{Address: headerAt, Length: 16}}},
		{"a status that the driver gives", []abi.Descriptor{{Address: headerAt, Length: 16}, {Address: inAt, Length: 1}}},
		{"an empty status", []abi.Descriptor{{Address: headerAt, Length: 16}, {Address: inAt, Length: 0, Flags: abi.DescWrite}}},
		{"nothing", []abi.Descriptor{{Address: headerAt}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMedium()
			d, transport := startBlock(t, m, 0)
			d.Queues[0].Send(tt.list...)
			d.Wait("it is broken", d.Broken)
			assert.EqualValues(t, 1, transport.Counters().Broken)
			assert.Empty(t, m.took())
			d.StartWith(allBlockFeatures, 1, 64)
			_, status, _ := request(d, abi.BlockIn, 0, nil, 512)
			assert.EqualValues(t, abi.BlockOK, status)
		})
	}
}

// 10: where a header is short its status says so.
func TestBlockShortHeader(t *testing.T) {
	d, _ := startBlock(t, newMedium(), 0)
	d.Queues[0].Send(abi.Descriptor{Address: headerAt, Length: 15}, abi.Descriptor{Address: inAt, Length: 513, Flags: abi.DescWrite})
	assert.EqualValues(t, 513, d.Queues[0].WaitUsed().Length)
	assert.EqualValues(t, abi.BlockIOError, d.Memory.Bytes(t, inAt+512, 1)[0])
	d.Queues[0].Send(abi.Descriptor{Address: inAt, Length: 1, Flags: abi.DescWrite})
	assert.EqualValues(t, 1, d.Queues[0].WaitUsed().Length)
	assert.EqualValues(t, abi.BlockIOError, d.Memory.Bytes(t, inAt, 1)[0])
}

// 10: framing means nothing. The header is split over 17 descriptors, the last of which has data, too; the status shares
// its descriptor with data.
func TestBlockFraming(t *testing.T) {
	m := newMedium()
	d, _ := startBlock(t, m, 0)
	d.Put(headerAt, append(blockHeader(abi.BlockOut, 5), bytes.Repeat([]byte{0xcc}, 512)...))
	var list []abi.Descriptor
	for i := range uint64(16) {
		list = append(list, abi.Descriptor{Address: headerAt + i, Length: 1})
	}
	list = append(list, abi.Descriptor{Address: headerAt + 16, Length: 511}, abi.Descriptor{Address: headerAt + 16 + 511, Length: 1},
		abi.Descriptor{Address: inAt, Length: 1, Flags: abi.DescWrite})
	d.Queues[0].Send(list...)
	assert.EqualValues(t, 1, d.Queues[0].WaitUsed().Length)
	assert.EqualValues(t, abi.BlockOK, d.Memory.Bytes(t, inAt, 1)[0])
	assert.Equal(t, bytes.Repeat([]byte{0xcc}, 512), m.content(5*512, 512))

	d.Put(headerAt, blockHeader(abi.BlockIn, 5))
	d.Queues[0].Send(abi.Descriptor{Address: headerAt, Length: 16},
		abi.Descriptor{Address: inAt, Length: 100, Flags: abi.DescWrite},
		abi.Descriptor{Address: virtiotest.High, Length: 412 + 1, Flags: abi.DescWrite})
	assert.EqualValues(t, 513, d.Queues[0].WaitUsed().Length)
	assert.Equal(t, bytes.Repeat([]byte{0xcc}, 100), d.Memory.Bytes(t, inAt, 100))
	assert.Equal(t, append(bytes.Repeat([]byte{0xcc}, 412), abi.BlockOK), d.Memory.Bytes(t, virtiotest.High, 413))
}

// Without FLUSH what was written is on the medium when the request ends (5.2.6.2); with it a flush brings it there.
func TestBlockWritesThrough(t *testing.T) {
	sector := make([]byte, abi.SectorSize)
	m := newMedium()
	d, _ := startBlock(t, m, abi.BlockFeatureFlush)
	request(d, abi.BlockOut, 0, sector, 0)
	request(d, abi.BlockWriteZeroes, 0, segments(0, 1, 0), 0)
	request(d, abi.BlockIn, 0, nil, 512)
	assert.Equal(t, []string{"write 512 at 0", "flush", "zero 512 at 0", "flush", "read 512 at 0"}, m.took())
	d.StartWith(allBlockFeatures, 1, 64)
	request(d, abi.BlockOut, 0, sector, 0)
	request(d, abi.BlockFlush, 0, nil, 0)
	assert.Equal(t, []string{"write 512 at 0", "flush"}, m.took())
}

// Errors of the host are the request's, counted, and logged once.
func TestBlockErrorsOfTheHost(t *testing.T) {
	m := newMedium()
	logged := make(chan string, 10)
	device := virtio.NewBlock(m, "disk3", func(format string, args ...any) { logged <- fmt.Sprintf(format, args...) })
	d, transport := start(t, device)
	d.StartWith(allBlockFeatures, 1, 64)
	m.fail(unix.ENOSPC)
	for _, tt := range []struct {
		kind uint32
		out  []byte
		in   int
	}{
		{abi.BlockOut, make([]byte, 512), 0}, {abi.BlockIn, nil, 512}, {abi.BlockFlush, nil, 0},
		{abi.BlockDiscard, segments(0, 1, 0), 0}, {abi.BlockWriteZeroes, segments(0, 1, 0), 0},
	} {
		_, status, used := request(d, tt.kind, 1, tt.out, tt.in)
		assert.EqualValues(t, abi.BlockIOError, status)
		assert.Equal(t, tt.in+1, used)
	}
	assert.EqualValues(t, 5, transport.Counters().Errors)
	require.Len(t, logged, 1)
	assert.Equal(t, "write at byte 512: no space left on device; the guest is told, and later errors are only counted", <-logged)
}

// 14: the header is read once. A guest that changes it meanwhile changes nothing.
func TestBlockHeaderIsReadOnce(t *testing.T) {
	m := newMedium()
	m.entered, m.leave = make(chan struct{}), make(chan struct{})
	d, _ := startBlock(t, m, 0)
	d.Put(headerAt, blockHeader(abi.BlockIn, 1))
	d.Queues[0].Send(abi.Descriptor{Address: headerAt, Length: 16}, abi.Descriptor{Address: inAt, Length: 513, Flags: abi.DescWrite})
	<-m.entered
	d.Put(headerAt, blockHeader(abi.BlockOut, 1<<40))
	d.Queues[0].Describe(1, abi.Descriptor{Address: 1 << 40, Length: 1 << 31, Flags: abi.DescWrite})
	m.leave <- struct{}{}
	assert.EqualValues(t, 513, d.Queues[0].WaitUsed().Length)
	assert.Equal(t, []string{"read 512 at 512"}, m.took())
	assert.EqualValues(t, abi.BlockOK, d.Memory.Bytes(t, inAt+512, 1)[0])
}

// 14: segments that are checked are the ones that are done: the device has its own copy before the first is done.
func TestBlockSegmentsAreReadOnce(t *testing.T) {
	m := newMedium()
	var d *virtiotest.Driver
	rewrite := func() { d.Put(outAt, segments(1<<50, 9, 0, 1<<50, 9, 0)) }
	d, _ = start(t, virtio.NewBlock(&rewriter{m, rewrite}, "disk0", t.Logf))
	d.StartWith(allBlockFeatures, 1, 64)
	_, status, _ := request(d, abi.BlockDiscard, 0, segments(0, 1, 0, 1, 1, 0), 0)
	assert.EqualValues(t, abi.BlockOK, status)
	assert.Equal(t, []string{"discard 512 at 0", "discard 512 at 512"}, m.took())
}

// rewriter is a medium during whose discards a guest rewrites its request.
type rewriter struct {
	*medium
	then func()
}

func (r *rewriter) Discard(at, n uint64) error {
	r.then()
	return r.medium.Discard(at, n)
}

// 15: a reset in the middle of a read waits for it, and afterwards nothing is written to memory, not to the rings either.
func TestBlockResetDuringARead(t *testing.T) {
	m := newMedium()
	m.entered, m.leave = make(chan struct{}), make(chan struct{})
	d, _ := startBlock(t, m, 0)
	d.Put(headerAt, blockHeader(abi.BlockIn, 1))
	d.Queues[0].Send(abi.Descriptor{Address: headerAt, Length: 16}, abi.Descriptor{Address: inAt, Length: 513, Flags: abi.DescWrite})
	<-m.entered
	reset := make(chan struct{})
	go func() {
		d.Write(abi.RegStatus, 0)
		close(reset)
	}()
	select {
	case <-reset:
		t.Error("the reset did not wait for the read, which writes to memory")
	default:
	}
	m.leave <- struct{}{}
	<-reset
	d.Memory.Snapshot()
	assert.Zero(t, d.Status())
	assert.False(t, d.Memory.Changed())
	d.StartWith(allBlockFeatures, 1, 64)
	go func() { m.leave <- <-m.entered }()
	_, status, _ := request(d, abi.BlockIn, 0, nil, 512)
	assert.EqualValues(t, abi.BlockOK, status)
}

// 15: a storm of resets, each with requests in flight.
func TestBlockResetStorm(t *testing.T) {
	d, transport := startBlock(t, newMedium(), 0)
	for range 200 {
		d.Put(headerAt, blockHeader(abi.BlockIn, 1))
		for range 8 {
			d.Queues[0].Send(abi.Descriptor{Address: headerAt, Length: 16}, abi.Descriptor{Address: inAt, Length: 513, Flags: abi.DescWrite})
		}
		d.Write(abi.RegStatus, 0)
		d.Memory.Snapshot()
		assert.False(t, d.Memory.Changed())
		d.StartWith(allBlockFeatures, 1, 64)
	}
	assert.Zero(t, transport.Counters().Broken)
}

// 15: a notification before DRIVER_OK is not lost, and nothing is done before.
func TestBlockNotifiedEarly(t *testing.T) {
	m := newMedium()
	d, _ := start(t, virtio.NewBlock(m, "disk0", t.Logf))
	d.Negotiate(allBlockFeatures)
	q := d.AddQueue(64)
	d.Put(headerAt, blockHeader(abi.BlockIn, 1))
	q.Send(abi.Descriptor{Address: headerAt, Length: 16}, abi.Descriptor{Address: inAt, Length: 513, Flags: abi.DescWrite})
	assert.Empty(t, m.took())
	d.Start()
	assert.EqualValues(t, 513, q.WaitUsed().Length)
}

// What a guest that has ended left in the queue is done.
func TestBlockFinishes(t *testing.T) {
	m := newMedium()
	d, transport := startBlock(t, m, 0)
	d.Put(headerAt, append(blockHeader(abi.BlockOut, 5), bytes.Repeat([]byte{0xcc}, 512)...))
	q := d.Queues[0]
	q.Offer(q.Chain(abi.Descriptor{Address: headerAt, Length: 16 + 512}, abi.Descriptor{Address: inAt, Length: 1, Flags: abi.DescWrite}))
	transport.Finish()
	assert.Equal(t, []string{"write 512 at 2560"}, m.took())
	assert.Equal(t, bytes.Repeat([]byte{0xcc}, 512), m.content(2560, 512))
	assert.Zero(t, transport.Counters().Errors)
}

var errMedium = errors.New("a fault of the medium")

// FuzzBlock has a driver make requests of any header, of any lengths of both parts: each is answered, within its room.
func FuzzBlock(f *testing.F) {
	f.Add(blockHeader(abi.BlockIn, 1), uint16(0), uint16(513), uint64(0), false)
	f.Add(blockHeader(abi.BlockOut, 63), uint16(512), uint16(1), uint64(0), false)
	f.Add(append(blockHeader(abi.BlockDiscard, 0), segments(0, 8, 0)...), uint16(16), uint16(1), uint64(0), false)
	f.Add(append(blockHeader(abi.BlockWriteZeroes, 0), segments(0, 8, 1, 1<<64-1, 2, 0)...), uint16(32), uint16(1), uint64(0), true)
	f.Add(blockHeader(abi.BlockGetID, 0), uint16(0), uint16(21), uint64(abi.BlockFeatureFlush), false)
	f.Add(blockHeader(abi.BlockFlush, 0), uint16(0), uint16(1), uint64(abi.BlockFeatureFlush), true)
	f.Add([]byte{1}, uint16(0), uint16(0), uint64(0), false)
	f.Fuzz(func(t *testing.T, given []byte, more, room uint16, without uint64, fails bool) {
		m := newMedium()
		if fails {
			m.fail(errMedium)
		}
		d, transport := start(t, virtio.NewBlock(m, "disk0", func(string, ...any) {}))
		d.StartWith(allBlockFeatures&^without, 1, 8)
		given = append(given[:min(len(given), 4096)], make([]byte, more%4096)...)
		d.Put(headerAt, given)
		d.Memory.Snapshot() // in which the room is 0, and the queue
		q := d.Queues[0]
		half := uint32(len(given) / 2)
		q.Send(abi.Descriptor{Address: headerAt, Length: half}, abi.Descriptor{Address: headerAt + uint64(half), Length: uint32(len(given)) - half},
			abi.Descriptor{Address: inAt, Length: uint32(room), Flags: abi.DescWrite})
		if room == 0 {
			d.Wait("it is broken", d.Broken)
			return
		}
		assert.EqualValues(t, room, q.WaitUsed().Length)
		status := d.Memory.Bytes(t, inAt+uint64(room)-1, 1)[0]
		assert.LessOrEqual(t, status, byte(abi.BlockUnsupported))
		assert.Equal(t, status != abi.BlockOK, transport.Counters().Errors == 1)
		assert.False(t, d.Broken())
		d.Write(abi.RegStatus, 0) // from now on memory stands still
		for _, own := range [][]byte{d.Memory.Bytes(t, inAt, uint64(room)), d.Memory.Bytes(t, virtiotest.QueueBase, virtiotest.QueueStride)} {
			clear(own) // the device's to write
		}
		assert.False(t, d.Memory.Changed(), "memory beside the request's room")
	})
}
