package virtioblk

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	spec "kapsel/guest/abi/virtio"
	"kapsel/guest/capsules/virtio"
	"kapsel/guest/capsules/virtio/virtiotest"
	"kapsel/guest/kernel"
)

const (
	size     = 4096 // bytes of data in a request
	sectors  = 64
	allKinds = spec.BlockFeatureFlush | spec.BlockFeatureDiscard | spec.BlockFeatureWriteZeroes
)

// end is what the client is told.
type end struct {
	tag uint32
	e   abi.ErrorCode
}

// rig is a driver, its client, and its device: a disk in memory.
type rig struct {
	Disk
	ends   []end
	onDone func()
	device *virtiotest.Device
	stored []byte
	seen   []uint32 // kinds of requests
	status byte     // what the disk answers, instead of doing what is asked
	kernel kernel.Kernel
	slots  [16]virtio.Slot
	room   [4]Request
}

func (r *rig) BlockDone(tag uint32, _ []byte, e abi.ErrorCode) {
	r.ends = append(r.ends, end{tag, e})
	if r.onDone != nil {
		r.onDone()
	}
}

// config is a configuration for so many sectors.
func config(sectors uint64) []byte {
	b := make([]byte, spec.BlockConfigBytes)
	binary.LittleEndian.PutUint64(b[spec.BlockConfigCapacity:], sectors)
	binary.LittleEndian.PutUint32(b[spec.BlockConfigMaxDiscardSectors:], 16)
	binary.LittleEndian.PutUint32(b[spec.BlockConfigMaxWriteZeroesSectors:], 8)
	return b
}

// start starts the driver on a disk, whatever comes of it.
func start(t *testing.T, features uint64, config []byte) (*rig, abi.ErrorCode) {
	r := &rig{device: virtiotest.New(t, spec.IDBlock, features, 128), stored: make([]byte, sectors*spec.SectorSize)}
	for i := range r.stored {
		r.stored[i] = byte(i / spec.SectorSize)
	}
	r.device.Config = config
	r.SetBlockClient(r)
	return r, r.Init(&r.kernel, r.device.Place(), r.room[:], r.slots[:], size)
}

func newRig(t *testing.T, features uint64) *rig {
	r, e := start(t, features, config(sectors))
	require.Equal(t, abi.OK, e)
	return r
}

// serve has the disk do all that it was asked for, the last first.
func (r *rig) serve() {
	q := r.device.Queues[0]
	var chains []*virtiotest.Chain
	for {
		c, ok := q.Next()
		if !ok {
			break
		}
		chains = append(chains, c)
	}
	for i := len(chains) - 1; i >= 0; i-- {
		q.Use(chains[i].Head, r.do(chains[i]))
	}
	r.HandleInterrupt()
}

// do does what a chain asks for, and returns how many bytes that wrote.
func (r *rig) do(c *virtiotest.Chain) uint32 {
	kind := binary.LittleEndian.Uint32(c.Readable[spec.BlockHeaderType:])
	at := binary.LittleEndian.Uint64(c.Readable[spec.BlockHeaderSector:]) * spec.SectorSize
	data := c.Readable[spec.BlockHeaderSize:]
	r.seen = append(r.seen, kind)
	var answer []byte
	switch {
	case r.status != 0:
		answer = make([]byte, c.Room()-1)
	case kind == spec.BlockIn:
		answer = r.stored[at:][:c.Room()-1]
	case kind == spec.BlockOut:
		copy(r.stored[at:], data)
	case kind == spec.BlockGetID:
		answer = append([]byte("a disk in memory"), 0, 0, 0, 0)
	case kind == spec.BlockWriteZeroes, kind == spec.BlockDiscard:
		at = binary.LittleEndian.Uint64(data) * spec.SectorSize
		clear(r.stored[at:][:spec.SectorSize*binary.LittleEndian.Uint32(data[spec.BlockSegmentCount:])])
	}
	return c.Write(append(bytes.Clone(answer), r.status))
}

func TestReadAndWrite(t *testing.T) {
	r := newRig(t, allKinds)
	assert.EqualValues(t, sectors, r.Sectors())
	assert.Equal(t, size, r.MaxBytes())
	written := bytes.Repeat([]byte("sector! "), 2*spec.SectorSize/8)
	assert.Equal(t, abi.OK, r.Write(7, written, 62))
	assert.Empty(t, r.ends, "no callback from within the call")
	r.serve()
	assert.Equal(t, written, r.stored[62*spec.SectorSize:])
	read := make([]byte, 3*spec.SectorSize)
	assert.Equal(t, abi.OK, r.Read(8, read, 61))
	r.serve()
	assert.Equal(t, append(bytes.Repeat([]byte{61}, spec.SectorSize), written...), read)
	assert.Equal(t, []end{{7, abi.OK}, {8, abi.OK}}, r.ends)
	assert.Zero(t, r.device.Refused())
}

// TestRequestsGoOnSideBySide: as many as the board chose, which end in any order.
func TestRequestsGoOnSideBySide(t *testing.T) {
	r := newRig(t, 0)
	var bufs [4][size]byte
	for i := range bufs {
		assert.Equal(t, abi.OK, r.Read(uint32(i), bufs[i][:], uint64(8*i)))
	}
	assert.Len(t, r.device.Notified, 1)
	assert.Equal(t, abi.BUSY, r.Read(9, make([]byte, size), 0))
	r.onDone = func() {
		if len(r.ends) == 1 {
			assert.Equal(t, abi.OK, r.Write(10, bufs[3][:], 0), "from the callback")
		}
	}
	r.serve()
	assert.Equal(t, []end{{3, abi.OK}, {2, abi.OK}, {1, abi.OK}, {0, abi.OK}}, r.ends)
	for i := range bufs {
		assert.Equal(t, r.stored[size*i:][:size], bufs[i][:], "%d", i)
	}
	r.serve()
	assert.Equal(t, bufs[3][:], r.stored[:size])
}

func TestOtherRequests(t *testing.T) {
	r := newRig(t, allKinds)
	id := make([]byte, 30)
	assert.Equal(t, abi.OK, r.Identify(1, id))
	r.serve()
	assert.Equal(t, "a disk in memory", string(bytes.TrimRight(id, "\x00")))
	assert.Equal(t, abi.OK, r.Flush(2))
	r.serve()
	assert.Equal(t, abi.OK, r.WriteZeroes(3, 1, 8))
	r.serve()
	assert.Equal(t, append(make([]byte, 8*spec.SectorSize), 9), r.stored[spec.SectorSize:][:8*spec.SectorSize+1])
	assert.Equal(t, abi.OK, r.Discard(4, 48, 16))
	r.serve()
	assert.Equal(t, []uint32{spec.BlockGetID, spec.BlockFlush, spec.BlockWriteZeroes, spec.BlockDiscard}, r.seen)
	assert.Equal(t, []end{{1, abi.OK}, {2, abi.OK}, {3, abi.OK}, {4, abi.OK}}, r.ends)
}

func TestRequestsAreRefused(t *testing.T) {
	r := newRig(t, allKinds)
	sector := make([]byte, spec.SectorSize)
	for name, tt := range map[string]struct{ want, got abi.ErrorCode }{
		"read nothing":             {abi.SIZE, r.Read(0, nil, 0)},
		"half a sector":            {abi.SIZE, r.Read(0, sector[:256], 0)},
		"too much at once":         {abi.SIZE, r.Write(0, make([]byte, size+spec.SectorSize), 0)},
		"behind the end":           {abi.INVAL, r.Read(0, sector, sectors)},
		"over the end":             {abi.INVAL, r.Write(0, make([]byte, 2*spec.SectorSize), sectors-1)},
		"far behind":               {abi.INVAL, r.Read(0, sector, 1<<64-1)},
		"identify into too little": {abi.SIZE, r.Identify(0, sector[:19])},
		"zero nothing":             {abi.SIZE, r.WriteZeroes(0, 0, 0)},
		"zero too much":            {abi.SIZE, r.WriteZeroes(0, 0, 9)},
		"discard over the end":     {abi.INVAL, r.Discard(0, sectors-1, 2)},
		"discard far behind":       {abi.INVAL, r.Discard(0, 1<<64-1, 1)},
	} {
		assert.Equal(t, tt.want, tt.got, name)
	}
	none := newRig(t, spec.BlockFeatureReadOnly|spec.BlockFeatureDiscard)
	assert.Equal(t, abi.NOSUPPORT, none.Write(0, sector, 0))
	assert.Equal(t, abi.NOSUPPORT, none.Discard(0, 0, 1))
	assert.Equal(t, abi.NOSUPPORT, none.WriteZeroes(0, 0, 1))
	assert.Equal(t, abi.NOSUPPORT, none.Flush(0))
	assert.Equal(t, abi.OK, none.Read(0, sector, 0))
	assert.Empty(t, r.device.Notified)
}

// TestStatus: what the disk cannot do, or does not know, is that request's end alone.
func TestStatus(t *testing.T) {
	r := newRig(t, allKinds)
	for i, tt := range []struct {
		status byte
		want   abi.ErrorCode
	}{{spec.BlockIOError, abi.FAIL}, {spec.BlockUnsupported, abi.NOSUPPORT}, {spec.BlockOK, abi.OK}} {
		r.status = tt.status
		assert.Equal(t, abi.OK, r.Read(uint32(i), make([]byte, size), 0))
		r.serve()
		assert.Equal(t, end{uint32(i), tt.want}, r.ends[i])
	}
	// A device may say less than it wrote, where it says that it failed (2.7.8.2).
	r.Read(3, make([]byte, size), 0)
	c, _ := r.device.Queues[0].Next()
	c.Writable[1][0] = spec.BlockIOError
	r.device.Queues[0].Use(c.Head, 1)
	r.HandleInterrupt()
	assert.Equal(t, end{3, abi.FAIL}, r.ends[3])
}

// assertBroken checks that every request ended once, and none begins.
func (r *rig) assertBroken(t *testing.T, requests int, why string) {
	t.Helper()
	assert.Len(t, r.ends, requests)
	for _, e := range r.ends {
		assert.Equal(t, abi.FAIL, e.e)
	}
	assert.Equal(t, "block device at 0xd0000000 is broken, and not used any more: "+why+"\n", r.device.Log.String())
	sector := make([]byte, spec.SectorSize)
	assert.Equal(t, abi.FAIL, r.Read(0, sector, 0))
	assert.Equal(t, abi.FAIL, r.Write(0, sector, 0))
	assert.Equal(t, abi.FAIL, r.Flush(0))
	assert.Equal(t, abi.FAIL, r.Identify(0, sector))
}

// TestClassB: answers that are shorter than what was asked for, though the device says that all is well.
func TestClassB(t *testing.T) {
	for name, written := range map[string]uint32{"nothing": 0, "the status alone": 1, "all but the status": size} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, allKinds)
			buf := bytes.Repeat([]byte{0xee}, size)
			r.Read(0, buf, 0)
			r.Flush(1)
			c, _ := r.device.Queues[0].Next()
			r.do(c)
			r.device.Queues[0].Use(c.Head, written)
			r.HandleInterrupt()
			assert.Equal(t, bytes.Repeat([]byte{0xee}, size), buf)
			r.assertBroken(t, 2, "it says that a request is done, and wrote less than was asked for")
		})
	}
}

// TestClassG: capacities that no disk has; one without a sector is none's fault.
func TestClassG(t *testing.T) {
	for _, capacity := range []uint64{1<<54 + 1, 1 << 55, 1<<64 - 1} {
		r, e := start(t, allKinds, config(capacity))
		assert.Equal(t, abi.FAIL, e)
		assert.Contains(t, r.device.Log.String(), "its capacity is beyond 2^63 bytes")
	}
	for _, capacity := range []uint64{0, 1 << 54} {
		r, e := start(t, allKinds, config(capacity))
		assert.Equal(t, abi.OK, e)
		assert.Equal(t, abi.INVAL, r.Read(0, make([]byte, spec.SectorSize), capacity))
		assert.Equal(t, abi.INVAL, r.WriteZeroes(0, capacity, 1))
	}
	r := newRig(t, allKinds)
	r.device.ChangeConfig(config(100))
	r.HandleInterrupt()
	assert.EqualValues(t, 100, r.Sectors())
	r.Read(0, make([]byte, spec.SectorSize), 99)
	r.device.ChangeConfig(config(1<<64 - 1))
	r.HandleInterrupt()
	r.assertBroken(t, 1, "its capacity is beyond 2^63 bytes")
}

// TestClassJ: a status that there is none of, and one that the device did not write.
func TestClassJ(t *testing.T) {
	for _, status := range []int{3, 0x7f, 0xff, -1} {
		r := newRig(t, allKinds)
		r.Write(0, make([]byte, spec.SectorSize), 0)
		r.Flush(1)
		c, _ := r.device.Queues[0].Next()
		if status >= 0 {
			c.Write([]byte{byte(status)})
		}
		r.device.Queues[0].Use(c.Head, 1)
		r.HandleInterrupt()
		r.assertBroken(t, 2, "it gives a request no status that there is")
	}
}

func TestWiringErrors(t *testing.T) {
	r := newRig(t, 0)
	place := r.device.Place()
	for name, init := range map[string]func(d *Disk){
		"no requests":       func(d *Disk) { d.Init(&r.kernel, place, nil, r.slots[:], size) },
		"half a sector":     func(d *Disk) { d.Init(&r.kernel, place, r.room[:], r.slots[:], 256) },
		"no data":           func(d *Disk) { d.Init(&r.kernel, place, r.room[:], r.slots[:], 0) },
		"too few for parts": func(d *Disk) { d.Init(&r.kernel, place, r.room[:], r.slots[:8], size) },
	} {
		assert.Panics(t, func() { init(new(Disk)) }, name)
	}
}
