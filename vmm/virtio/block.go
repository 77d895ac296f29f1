package virtio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"kapsel/guest/abi/virtio"
)

// Storage is what a block device keeps its sectors in. Offsets and sizes are in bytes, and within Size.
type Storage interface {
	Size() uint64      // a multiple of virtio.SectorSize
	BlockSize() uint64 // what Discard gives back comes in whole ones
	ReadOnly() bool
	CanDiscard() bool // Discard and Zero work
	Read(pieces [][]byte, at uint64) error
	Write(pieces [][]byte, at uint64) error
	Flush() error
	Discard(at, n uint64) error // reads as zeroes, and takes no memory
	Zero(at, n uint64) error    // reads as zeroes, and keeps its memory
	Close() error
}

// Block is a block device (5.2) with one queue. It offers to be flushed; for a driver that does not take that up, what
// is written is on the medium before the request ends.
type Block struct {
	storage Storage
	id      string
	log     func(format string, args ...any)

	queue    *Queue
	features uint64 // that the driver accepted
	failed   bool   // an error of the host was logged
}

// blockQueue is how many descriptors a block device's queue has at the most.
const blockQueue = 256

// The most that one request can discard, or write zeroes to.
const (
	maxSegments       = 16
	maxSegmentSectors = 1 << 21 // 1 GiB
)

// NewBlock returns a block device that owns the storage. Of its identity the driver sees virtio.BlockIDSize bytes. Log
// takes a line when the storage fails for the first time.
func NewBlock(storage Storage, id string, log func(format string, args ...any)) *Block {
	return &Block{storage: storage, id: id, log: log}
}

// ID implements Device.
func (b *Block) ID() uint32 { return virtio.IDBlock }

// Features implements Device.
func (b *Block) Features() uint64 {
	features := uint64(virtio.BlockFeatureSegMax | virtio.BlockFeatureBlockSize | virtio.BlockFeatureFlush)
	if b.storage.ReadOnly() {
		features |= virtio.BlockFeatureReadOnly
	}
	if b.storage.CanDiscard() {
		features |= virtio.BlockFeatureDiscard | virtio.BlockFeatureWriteZeroes
	}
	return features
}

// QueueMax implements Device.
func (b *Block) QueueMax() []uint16 { return []uint16{blockQueue} }

// config is the device's configuration (5.2.4).
func (b *Block) config() (c [virtio.BlockConfigBytes]byte) {
	le := binary.LittleEndian
	le.PutUint64(c[virtio.BlockConfigCapacity:], b.sectors())
	le.PutUint32(c[virtio.BlockConfigSegMax:], blockQueue-2) // beside header and status
	le.PutUint32(c[virtio.BlockConfigBlockSize:], virtio.SectorSize)
	if b.storage.CanDiscard() {
		le.PutUint32(c[virtio.BlockConfigMaxDiscardSectors:], maxSegmentSectors)
		le.PutUint32(c[virtio.BlockConfigMaxDiscardSeg:], maxSegments)
		le.PutUint32(c[virtio.BlockConfigDiscardAlignment:], uint32(b.storage.BlockSize()/virtio.SectorSize))
		le.PutUint32(c[virtio.BlockConfigMaxWriteZeroesSectors:], maxSegmentSectors)
		le.PutUint32(c[virtio.BlockConfigMaxWriteZeroesSeg:], maxSegments)
		c[virtio.BlockConfigWriteZeroesMayUnmap] = 1
	}
	return c
}

// ReadConfig implements Device.
func (b *Block) ReadConfig(offset uint64, data []byte) {
	config := b.config()
	readConfig(config[:], offset, data)
}

// WriteConfig implements Device: nothing in the configuration can be written.
func (b *Block) WriteConfig(uint64, []byte) {}

func (b *Block) sectors() uint64 { return b.storage.Size() / virtio.SectorSize }

// Activate implements Device.
func (b *Block) Activate(features uint64, queues []*Queue) {
	b.features, b.queue = features, queues[0]
}

// Reset implements Device.
func (b *Block) Reset() { b.queue = nil }

// check says why a state is none of this device's; nil if it is one.
func (b *Block) check(s *BlockState) error {
	switch {
	case s == nil:
		return errPart
	case s.Sectors != b.sectors():
		return fmt.Errorf("it has %d sectors, this one %d", s.Sectors, b.sectors())
	case s.ReadOnly && !b.storage.ReadOnly():
		return errors.New("it is read-only, this one is not")
	case !s.ReadOnly && b.storage.ReadOnly():
		return errors.New("it can be written, this one cannot")
	}
	return nil
}

// Save implements Device: between two requests there is nothing to remember.
func (b *Block) Save(s *State) { s.Block = &BlockState{b.sectors(), b.storage.ReadOnly()} }

// Restore implements Device. What the device is was looked at by check.
func (b *Block) Restore(features uint64, queues []*Queue, _ *State) error {
	if queues != nil {
		b.Activate(features, queues)
	}
	return nil
}

// Close implements Device.
func (b *Block) Close() error { return b.storage.Close() }

// accepted reports whether the driver accepted a feature.
func (b *Block) accepted(feature uint64) bool { return b.features&feature != 0 }

// Notify implements Device.
func (b *Block) Notify(int) {
	for {
		c, ok := b.queue.Next()
		if !ok {
			return
		}
		b.serve(c)
	}
}

// What a request comes to, beside what the host says.
var (
	errRequest     = errors.New("the request is not as the specification has it")
	errUnsupported = errors.New("the request is none that the driver may make")
	errEnding      = errors.New("the session ends")
	errNoStatus    = errors.New("a request without room for its status")
)

// serve does a request and gives it back. When it fails all of its room is written, so that its status is, too.
func (b *Block) serve(c *Chain) {
	room := c.Writable()
	if room == 0 {
		b.queue.Break(errNoStatus)
		return
	}
	status := byte(virtio.BlockOK)
	if err := b.execute(c, room-1); err != nil {
		b.queue.CountError()
		status = virtio.BlockIOError
		if err == errUnsupported {
			status = virtio.BlockUnsupported
		}
	}
	for _, piece := range c.WriteVector(c.Writable() - 1) {
		clear(piece)
	}
	c.Write([]byte{status})
	b.queue.Use(c, uint32(min(room, math.MaxUint32)))
}

// execute does a request. room is where the driver has it write, without the byte of status.
func (b *Block) execute(c *Chain, room uint64) error {
	var header [virtio.BlockHeaderSize]byte
	if c.Read(header[:]) < len(header) {
		return errRequest
	}
	sector := binary.LittleEndian.Uint64(header[virtio.BlockHeaderSector:])
	switch binary.LittleEndian.Uint32(header[virtio.BlockHeaderType:]) {
	case virtio.BlockIn:
		return b.transfer("read", b.storage.Read, c.WriteVector, sector, room, c.Readable())
	case virtio.BlockOut:
		return b.change(func() error {
			return b.transfer("write", b.storage.Write, c.ReadVector, sector, c.Readable(), room)
		})
	case virtio.BlockFlush:
		return b.flush()
	case virtio.BlockGetID:
		return b.tellID(c, room)
	case virtio.BlockDiscard:
		return b.clear(c, virtio.BlockFeatureDiscard, 0)
	case virtio.BlockWriteZeroes:
		return b.clear(c, virtio.BlockFeatureWriteZeroes, virtio.BlockSegmentUnmap)
	}
	return errUnsupported
}

// The most that is read or written, and that is zeroed, without a look at whether the session is to end. So what a guest
// that ends leaves in the queue is done, and what it leaves there to hold the monitor up is not.
const (
	chunk     = 1 << 20
	zeroChunk = 64 << 20 // a file system without a step of its own for zeroes writes them
)

// transfer moves n bytes between storage and the pieces that next takes of the request, which has other bytes the wrong
// way.
func (b *Block) transfer(verb string, move func([][]byte, uint64) error, next func(uint64) [][]byte, sector, n, other uint64) error {
	if n%virtio.SectorSize != 0 || other != 0 || !b.holds(sector, n/virtio.SectorSize) {
		return errRequest
	}
	for at := sector * virtio.SectorSize; n > 0; {
		size := min(n, chunk)
		if err := move(next(size), at); err != nil {
			return b.lost(verb, at, err)
		}
		at, n = at+size, n-size
		if n > 0 && b.queue.session.ending() {
			return errEnding
		}
	}
	return nil
}

// holds reports whether the device has the sectors [sector, sector+count).
func (b *Block) holds(sector, count uint64) bool {
	capacity := b.sectors()
	return sector <= capacity && count <= capacity-sector
}

// change does what changes the storage. For a driver that cannot flush it is on the medium afterwards (5.2.6.2).
func (b *Block) change(do func() error) error {
	if b.storage.ReadOnly() {
		return errRequest
	}
	if err := do(); err != nil || b.accepted(virtio.BlockFeatureFlush) {
		return err
	}
	return b.sync()
}

func (b *Block) flush() error {
	if !b.accepted(virtio.BlockFeatureFlush) {
		return errUnsupported
	}
	return b.sync()
}

func (b *Block) sync() error {
	if err := b.storage.Flush(); err != nil {
		return b.lost("flush", 0, err)
	}
	return nil
}

func (b *Block) tellID(c *Chain, room uint64) error {
	if room != virtio.BlockIDSize {
		return errRequest
	}
	var id [virtio.BlockIDSize]byte
	copy(id[:], b.id)
	c.Write(id[:])
	return nil
}

// clear does BlockDiscard or BlockWriteZeroes, which is a feature, for segments with flags among those known.
func (b *Block) clear(c *Chain, feature uint64, known uint32) error {
	var segments [maxSegments * virtio.BlockSegmentSize]byte
	n := c.Readable()
	switch {
	case !b.accepted(feature):
		return errUnsupported
	case n == 0 || n > uint64(len(segments)) || n%virtio.BlockSegmentSize != 0:
		return errRequest
	}
	c.Read(segments[:n]) // once: what is checked is what is done
	return b.change(func() error {
		for s := segments[:n]; len(s) > 0; s = s[virtio.BlockSegmentSize:] {
			if err := b.checkSegment(s, known); err != nil {
				return err
			}
		}
		for i, s := 0, segments[:n]; len(s) > 0; i, s = i+1, s[virtio.BlockSegmentSize:] {
			if i > 0 && b.queue.session.ending() {
				return errEnding
			}
			if err := b.clearSegment(s, feature); err != nil {
				return err
			}
		}
		return nil
	})
}

// segment reads a segment (5.2.6).
func segment(s []byte) (sector, count uint64, flags uint32) {
	le := binary.LittleEndian
	return le.Uint64(s), uint64(le.Uint32(s[virtio.BlockSegmentCount:])), le.Uint32(s[virtio.BlockSegmentFlags:])
}

func (b *Block) checkSegment(s []byte, known uint32) error {
	sector, count, flags := segment(s)
	switch {
	case flags&^known != 0:
		return errUnsupported
	case count > maxSegmentSectors || !b.holds(sector, count):
		return errRequest
	}
	return nil
}

func (b *Block) clearSegment(s []byte, feature uint64) error {
	sector, count, flags := segment(s)
	at, n := sector*virtio.SectorSize, count*virtio.SectorSize
	verb, do, most := "zero", b.storage.Zero, uint64(zeroChunk)
	if feature == virtio.BlockFeatureDiscard || flags&virtio.BlockSegmentUnmap != 0 {
		verb, do, most = "discard", b.storage.Discard, n
	}
	for n > 0 {
		size := min(n, most)
		if err := do(at, size); err != nil {
			return b.lost(verb, at, err)
		}
		at, n = at+size, n-size
		if n > 0 && b.queue.session.ending() {
			return errEnding
		}
	}
	return nil
}

// lost logs the first error of the host's, which the driver sees as one of input or output.
func (b *Block) lost(verb string, at uint64, err error) error {
	if !b.failed {
		b.failed = true
		b.log("%s at byte %d: %v; the guest is told, and later errors are only counted", verb, at, err)
	}
	return err
}
