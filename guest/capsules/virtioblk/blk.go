// Package virtioblk drives a virtio block device (OASIS, "Virtual I/O Device (VIRTIO) Version 1.2", 5.2). It implements
// hil.BlockDevice.
package virtioblk

import (
	"kapsel/guest/abi"
	spec "kapsel/guest/abi/virtio"
	"kapsel/guest/capsules/virtio"
	"kapsel/guest/dma"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/hil"
)

// Parts is how many descriptors a request takes at most: header, data, status. A queue has so many slots for each request at
// the least, and a power of two.
const Parts = 3

// maxSectors is more than any disk has: a capacity beyond it, in bytes, would not be a positive number of 64 bits.
const maxSectors = 1 << 54

// noStatus is in the byte for a request's status until the device writes it.
const noStatus = 0xff

// Disk is the driver of one device.
type Disk struct {
	transport virtio.Transport
	queue     virtio.Queue
	requests  []Request
	client    hil.BlockClient
	sectors   uint64
	discard   limits
	zeroes    limits
}

// limits are those of a request about a range of sectors.
type limits struct {
	_           [0]func() // not comparable: no function is made for it
	feature     uint64
	kind        uint32
	offset      uint16 // of the limit in the configuration
	mostSectors uint64
}

// Request is a request that can go on. The board has an array of them.
type Request struct {
	header, data, status dma.Buffer
	busy                 bool
	head                 uint16
	tag                  uint32
	kind                 uint32
	buf                  []byte // the client's
}

// Init ties the driver to its device, for so many requests at once, of at most size bytes of data each: whole sectors. The
// device's interrupt goes to HandleInterrupt. It returns abi.FAIL if the device is broken, which was told then.
func (d *Disk) Init(k *kernel.Kernel, place virtio.Place, requests []Request, slots []virtio.Slot, size int) abi.ErrorCode {
	if len(requests) == 0 || size <= 0 || size%spec.SectorSize != 0 || len(slots) < Parts*len(requests) {
		panic("virtioblk: no requests, no whole sectors, or too few slots for the requests")
	}
	d.requests = requests
	for i := range requests {
		r := &requests[i]
		r.header = place.Memory.Buffer(spec.BlockHeaderSize)
		r.data = place.Memory.Buffer(size)
		r.status = place.Memory.Buffer(1)
	}
	d.discard = limits{feature: spec.BlockFeatureDiscard, kind: spec.BlockDiscard, offset: spec.BlockConfigMaxDiscardSectors}
	d.zeroes = limits{feature: spec.BlockFeatureWriteZeroes, kind: spec.BlockWriteZeroes, offset: spec.BlockConfigMaxWriteZeroesSectors}
	t := &d.transport
	t.Init(k, place, "block device", d, d)
	const wanted = spec.BlockFeatureReadOnly | spec.BlockFeatureFlush | spec.BlockFeatureDiscard | spec.BlockFeatureWriteZeroes
	if e := t.Start(spec.IDBlock, wanted); e != abi.OK {
		return e
	}
	if e := d.queue.Init(t, 0, slots, Parts, true); e != abi.OK {
		return e
	}
	if e := d.configure(); e != abi.OK {
		return e
	}
	return t.Ready()
}

// configure reads the configuration.
func (d *Disk) configure() abi.ErrorCode {
	var b [8]byte
	if e := d.transport.ReadConfig(b[:], spec.BlockConfigCapacity, 4); e != abi.OK {
		return e
	}
	d.sectors = uint64(load32(b[:])) | uint64(load32(b[4:]))<<32
	if d.sectors > maxSectors {
		d.transport.Break("its capacity is beyond 2^63 bytes")
		return abi.FAIL
	}
	for _, l := range [...]*limits{&d.discard, &d.zeroes} {
		if !d.transport.Has(l.feature) {
			continue
		}
		if e := d.transport.ReadConfig(b[:4], l.offset, 4); e != abi.OK {
			return e
		}
		l.mostSectors = uint64(load32(b[:]))
	}
	return abi.OK
}

// HandleInterrupt serves the device's interrupt.
func (d *Disk) HandleInterrupt() { d.transport.HandleInterrupt() }

// AlarmFired implements hil.AlarmClient.
func (d *Disk) AlarmFired() { d.transport.AlarmFired() }

// SetBlockClient implements hil.BlockDevice.
func (d *Disk) SetBlockClient(client hil.BlockClient) { d.client = client }

// Sectors implements hil.BlockDevice.
func (d *Disk) Sectors() uint64 { return d.sectors }

// MaxBytes implements hil.BlockDevice.
func (d *Disk) MaxBytes() int { return d.requests[0].data.Len() }

// Read implements hil.BlockDevice.
func (d *Disk) Read(tag uint32, buf []byte, sector uint64) abi.ErrorCode {
	if e := d.check(sector, len(buf)); e != abi.OK {
		return e
	}
	r := d.idle(spec.BlockIn, tag, buf)
	return d.send(r, sector, len(buf), true)
}

// Write implements hil.BlockDevice.
func (d *Disk) Write(tag uint32, buf []byte, sector uint64) abi.ErrorCode {
	if d.transport.Has(spec.BlockFeatureReadOnly) {
		return abi.NOSUPPORT
	}
	if e := d.check(sector, len(buf)); e != abi.OK {
		return e
	}
	r := d.idle(spec.BlockOut, tag, buf)
	if r != nil {
		r.data.WriteAt(buf, 0)
	}
	return d.send(r, sector, len(buf), false)
}

// Flush implements hil.BlockDevice.
func (d *Disk) Flush(tag uint32) abi.ErrorCode {
	if !d.transport.Has(spec.BlockFeatureFlush) {
		return abi.NOSUPPORT
	}
	return d.send(d.idle(spec.BlockFlush, tag, nil), 0, 0, false)
}

// Identify implements hil.BlockDevice.
func (d *Disk) Identify(tag uint32, buf []byte) abi.ErrorCode {
	if len(buf) < spec.BlockIDSize {
		return abi.SIZE
	}
	return d.send(d.idle(spec.BlockGetID, tag, buf), 0, spec.BlockIDSize, true)
}

// Discard implements hil.BlockDevice.
func (d *Disk) Discard(tag uint32, sector, n uint64) abi.ErrorCode {
	return d.clear(&d.discard, tag, sector, n)
}

// WriteZeroes implements hil.BlockDevice.
func (d *Disk) WriteZeroes(tag uint32, sector, n uint64) abi.ErrorCode {
	return d.clear(&d.zeroes, tag, sector, n)
}

// clear sends a request about a range of sectors, of one segment (5.2.6).
func (d *Disk) clear(l *limits, tag uint32, sector, n uint64) abi.ErrorCode {
	switch {
	case !d.transport.Has(l.feature) || d.transport.Has(spec.BlockFeatureReadOnly):
		return abi.NOSUPPORT
	case n == 0 || n > l.mostSectors:
		return abi.SIZE
	case sector > d.sectors || n > d.sectors-sector:
		return abi.INVAL
	}
	r := d.idle(l.kind, tag, nil)
	if r != nil {
		var segment [spec.BlockSegmentSize]byte
		store32(segment[:], uint32(sector))
		store32(segment[4:], uint32(sector>>32))
		store32(segment[spec.BlockSegmentCount:], uint32(n))
		r.data.WriteAt(segment[:], 0)
	}
	return d.send(r, 0, spec.BlockSegmentSize, false)
}

// check looks whether n bytes from a sector on can be read or written.
func (d *Disk) check(sector uint64, n int) abi.ErrorCode {
	switch {
	case n == 0 || n%spec.SectorSize != 0 || n > d.MaxBytes():
		return abi.SIZE
	case sector > d.sectors || uint64(n/spec.SectorSize) > d.sectors-sector:
		return abi.INVAL
	}
	return abi.OK
}

// idle is a request that does not go on, made one of a kind, or nil.
func (d *Disk) idle(kind, tag uint32, buf []byte) *Request {
	for i := range d.requests {
		if r := &d.requests[i]; !r.busy {
			r.kind, r.tag, r.buf = kind, tag, buf
			return r
		}
	}
	return nil
}

// send sends a request with n bytes of data, which the device writes or reads.
func (d *Disk) send(r *Request, sector uint64, n int, writable bool) abi.ErrorCode {
	if r == nil {
		return abi.BUSY
	}
	var header [spec.BlockHeaderSize]byte
	store32(header[spec.BlockHeaderType:], r.kind)
	store32(header[spec.BlockHeaderSector:], uint32(sector))
	store32(header[spec.BlockHeaderSector+4:], uint32(sector>>32))
	r.header.WriteAt(header[:], 0)
	r.status.WriteAt([]byte{noStatus}, 0)
	chain := [Parts]virtio.Element{{Buffer: r.header, Length: len(header)}}
	parts := 1
	if n != 0 {
		chain[parts] = virtio.Element{Buffer: r.data, Length: n, Writable: writable}
		parts++
	}
	chain[parts] = virtio.Element{Buffer: r.status, Length: 1, Writable: true}
	head, e := d.queue.Add(chain[:parts+1])
	if e != abi.OK {
		return e
	}
	r.busy, r.head = true, head
	d.queue.Kick()
	return abi.OK
}

// Used implements virtio.Driver.
func (d *Disk) Used(_ *virtio.Queue, head uint16, written uint32) {
	for i := range d.requests {
		if r := &d.requests[i]; r.busy && r.head == head {
			d.answered(r, written)
			return
		}
	}
}

// answered ends a request by what the device says of it.
func (d *Disk) answered(r *Request, written uint32) {
	var status [1]byte
	r.status.ReadAt(status[:], 0)
	switch status[0] {
	case spec.BlockOK:
		d.done(r, d.take(r, written))
	case spec.BlockIOError:
		d.done(r, abi.FAIL)
	case spec.BlockUnsupported:
		d.done(r, abi.NOSUPPORT)
	default:
		d.transport.Break("it gives a request no status that there is")
	}
}

// take gives the client what it asked for. A device that says that all is well and wrote less is broken.
func (d *Disk) take(r *Request, written uint32) abi.ErrorCode {
	n := 0
	switch r.kind {
	case spec.BlockIn:
		n = len(r.buf)
	case spec.BlockGetID:
		n = spec.BlockIDSize
	}
	if written < uint32(n)+1 { // the status is behind the data
		d.transport.Break("it says that a request is done, and wrote less than was asked for")
		return abi.FAIL
	}
	r.data.ReadAt(r.buf[:n], 0)
	return abi.OK
}

// done ends a request, if it goes on.
func (d *Disk) done(r *Request, e abi.ErrorCode) {
	if !r.busy {
		return
	}
	buf := r.buf
	r.busy, r.buf = false, nil
	d.client.BlockDone(r.tag, buf, e)
}

// ConfigChanged implements virtio.Driver: the disk may have another size.
func (d *Disk) ConfigChanged() { d.configure() }

// Broken implements virtio.Driver.
func (d *Disk) Broken() {
	for i := range d.requests {
		d.done(&d.requests[i], abi.FAIL)
	}
}

func load32(b []byte) uint32 {
	_ = b[3]
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

func store32(b []byte, v uint32) {
	_ = b[3]
	b[0], b[1], b[2], b[3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24)
}
