package blockcache

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel/hil"
)

// window is how many pages of a request are read at once, if the device takes so many. A page that is written is not waited
// for, and a flush writes as many at once as the device takes.
const window = 4

// Port is a range of a cache's device, as a hil.NonvolatileStorage. Its client is called by deferred call.
type Port struct {
	_        [0]func() // not comparable: no function is made for it
	cache    *Cache
	client   hil.NonvolatileStorageClient
	from, to uint64 // bytes of the device, half open
	next     *Port  // another of the cache's
	behind   *Port  // who has the next turn, while this one has a request

	doing    operation
	buf      []byte
	at       uint64        // where in the device buf begins, in bytes
	done     int           // bytes of buf
	settling bool          // all that was written is being made durable
	e        abi.ErrorCode // what the request fails with
	inFlight int           // requests to the device on behalf of this one

	abandoned bool // nobody is told of its end

	dirty     int  // pages
	unflushed bool // the device was given something to write since it flushed for this port
	unsettled bool // a Write or a Flush failed, and none succeeded since
	lost      bool // the device may have lost something of what was written
}

// An operation is what a port is asked for.
type operation uint8

const (
	nothing operation = iota
	reading
	writing
	flushing
)

// Init makes the port one onto a range of the cache's device, half open, in bytes. It returns abi.INVAL if the range is empty or
// not one of whole pages, if the device has not so many bytes, or if another port has a page of it. The device is ready by then;
// it has to take a page at once.
func (p *Port) Init(c *Cache, from, to uint64) abi.ErrorCode {
	if c.device.MaxBytes() < abi.PageSize {
		panic("blockcache: the device does not take a page at once")
	}
	if from >= to || from%abi.PageSize != 0 || to%abi.PageSize != 0 || to/sectorSize > c.device.Sectors() {
		return abi.INVAL
	}
	for q := c.ports; q != nil; q = q.next {
		if from < q.to && q.from < to {
			return abi.INVAL
		}
	}
	p.cache, p.from, p.to = c, from, to
	p.next, c.ports = c.ports, p
	return abi.OK
}

// SetNonvolatileStorageClient implements hil.NonvolatileStorage. A request of a client before, which failed, is not gone on with: its buffer is
// not used any more, and the new client is not told of its end, before which it finds the port busy.
func (p *Port) SetNonvolatileStorageClient(client hil.NonvolatileStorageClient) {
	p.client = client
	if p.doing != nothing {
		p.buf, p.abandoned = p.buf[:p.done], true
	}
}

// Size implements hil.NonvolatileStorage.
func (p *Port) Size() uint64 { return p.to - p.from }

// Read implements hil.NonvolatileStorage.
func (p *Port) Read(buf []byte, address uint64) abi.ErrorCode {
	return p.begin(reading, buf, address)
}

// Write implements hil.NonvolatileStorage. It returns abi.FAIL, too, if something that was written before may be lost.
func (p *Port) Write(buf []byte, address uint64) abi.ErrorCode {
	// A device that is only read says so even of a write of nothing.
	if p.cache.device.Write(0, nil, 0) == abi.NOSUPPORT {
		return abi.NOSUPPORT
	}
	return p.begin(writing, buf, address)
}

// Flush implements hil.NonvolatileStorage. It returns abi.FAIL, too, if something that was written before may be lost.
func (p *Port) Flush() abi.ErrorCode { return p.begin(flushing, nil, 0) }

// begin begins a request.
func (p *Port) begin(doing operation, buf []byte, address uint64) abi.ErrorCode {
	size := p.Size()
	switch {
	case p.doing != nothing:
		return abi.BUSY
	case address > size || uint64(len(buf)) > size-address:
		return abi.INVAL
	case p.lost && doing != reading:
		return abi.FAIL
	}
	p.doing, p.buf, p.at, p.done, p.e = doing, buf, p.from+address, 0, abi.OK
	p.settling = doing == flushing || doing == writing && p.unsettled
	p.cache.push(p)
	p.cache.wake()
	return abi.OK
}

// lose notes that the device may have lost what it was given since it flushed for this port. A Write or a Flush that goes on fails:
// a later flush that succeeds tells nothing of that.
func (p *Port) lose() {
	p.lost = p.lost || p.unflushed
	if p.lost && p.doing != reading {
		p.e = abi.FAIL
	}
}

// step does one piece of the request: it copies a page's part, or asks the device for something. It reports whether it did.
func (p *Port) step() bool {
	switch {
	case p.e != abi.OK:
		return false
	case p.settling && p.dirty != 0:
		return p.cache.writeOldest(p)
	case p.settling:
		return p.cache.flush(p)
	case p.done == len(p.buf):
		return false
	case p.doing == reading:
		return p.read()
	}
	return p.write()
}

// over reports whether the request has come to its end.
func (p *Port) over() bool {
	return p.inFlight == 0 && (p.e != abi.OK || !p.settling && p.done == len(p.buf))
}

// finish tells the client.
func (p *Port) finish() {
	buf := p.buf
	if p.e != abi.OK && p.doing != reading {
		p.unsettled = true
		p.cache.giveUp(p)
	}
	p.doing, p.buf = nothing, nil
	if p.abandoned {
		p.abandoned = false
		return
	}
	p.client.NonvolatileStorageDone(buf, p.e)
}

// front is the number of the page that the request goes on with.
func (p *Port) front() uint64 { return (p.at + uint64(p.done)) / abi.PageSize }

// wants reports whether the request goes on with that page.
func (p *Port) wants(number uint64) bool { return p.done < len(p.buf) && p.front() == number }

// read goes on with a Read: it copies from the next page, or asks for one of the window.
func (p *Port) read() bool {
	c := p.cache
	front, last := p.front(), (p.at+uint64(len(p.buf))-1)/abi.PageSize
	if i := c.find(front); i != none && c.pages[i].valid {
		p.done += copy(p.buf[p.done:], p.use(i))
		return true
	}
	for number := front; number <= last && number-front < window; number++ {
		if c.find(number) == none {
			return c.fetch(p, number)
		}
	}
	return false
}

// write goes on with a Write: it copies to the next page, which is read before unless all of it is written.
func (p *Port) write() bool {
	c := p.cache
	front := p.front()
	i := c.find(front)
	switch {
	case i != none && (c.pages[i].asker != nil || !c.pages[i].valid):
		return false
	case p.dirty >= len(c.pages)/dirtyShare && (i == none || !c.pages[i].dirty):
		return c.writeOldest(p)
	case i == none && !p.whole():
		return c.fetch(p, front)
	case i == none:
		var worked bool
		if i, worked = c.room(p); i == none {
			return worked
		}
		c.hold(i, p, front)
		c.pages[i].valid = true
		c.counters.Misses++
	}
	if q := &c.pages[i]; !q.dirty {
		q.dirty = true
		p.dirty++
	}
	p.done += copy(p.use(i), p.buf[p.done:])
	return true
}

// whole reports whether all of the next page is written.
func (p *Port) whole() bool {
	return (p.at+uint64(p.done))%abi.PageSize == 0 && len(p.buf)-p.done >= abi.PageSize
}

// use returns the bytes of a page from where the request goes on.
func (p *Port) use(i uint16) []byte {
	c := p.cache
	if q := &c.pages[i]; q.fresh {
		q.fresh = false
	} else {
		c.counters.Hits++
	}
	c.touch(i)
	return c.bytes(i)[(p.at+uint64(p.done))%abi.PageSize:]
}
