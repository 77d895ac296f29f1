// Package blockcache keeps pages of a block device in memory. A Cache has them: least recently used goes first, and what is
// written goes to the device later (write-back). Its users have Ports, each onto a range of the device that is its own.
//
// It answers the case study of complex data structures, a buffer cache, in the paper that Kapsel begins with ("The case for
// writing a kernel in Rust", 4.3): that a kernel needs no more trusted code for structures whose elements are in several lists
// at once. A page is in the chain of its hash and in the order of use, both lists by index. Nobody outside names a page: a
// request names bytes of the device, which are copied. So none can be kept too long or used when it holds something else, and
// the tests count that each page is where it has to be after each step.
//
// # What is durable
//
// A page that is written is dirty until a write of it to the device succeeds. One that fails on behalf of another port is tried
// again.
//   - A Write or a Flush that fails gives up the pages that could not be written: what was stored there since the port's last Flush
//     is old or new from then on, sector by sector, and a later Flush tells nothing of it. So a place that the device cannot write
//     is in nobody's way. The port's next Write first does what a Flush does, and fails if that does: nothing that is written after
//     a failure reaches the device before what is left of all that came before it is durable.
//   - If the device's own flush fails, what was written to it since the last one may be lost, and no later flush tells. Ports
//     that had written something are read-only from then on: Write and Flush return abi.FAIL until the machine boots again.
//
// # What ports do to each other
//
// Each gets turns, of a page or a request to the device. A port can have a quarter of the pages dirty at most, so that what it
// cannot write leaves pages to the others.
package blockcache

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/hil"
)

const (
	sectorSize     = 512
	sectorsPerPage = abi.PageSize / sectorSize
	minPages       = 4
	dirtyShare     = 4      // a port can have one of so many pages dirty
	none           = 0xffff // the index of no page
)

// Cache is a cache of pages of one device.
type Cache struct {
	_      [0]func() // not comparable: no function is made for it
	device hil.BlockDevice
	memory []byte
	pages  []Page
	oldest uint16 // the page that was used least recently

	ports       *Port // all of them
	first, last *Port // those with a request, in the order of their turns
	active      int   // how many
	work        kernel.DeferredCall

	inFlight int   // requests to the device that go on
	full     bool  // the device takes no more until one of them ends
	flushing *Port // who has the device flush

	counters Counters
}

// Counters count since the machine booted.
type Counters struct {
	Hits        uint64 // pages that were there when a request came to them
	Misses      uint64 // pages that were not
	WrittenBack uint64 // pages that were written to the device
	Evicted     uint64 // pages that made room for others
}

// Page is what the cache knows of a page. The board has an array of them.
type Page struct {
	_      [0]func()
	number uint64 // which page of the device it is
	port   *Port  // whose it is: nil if it holds nothing
	asker  *Port  // for whom the device reads or writes it just now, or nil

	newer, older uint16 // neighbours in the order of use, which is a ring
	first        uint16 // the first page whose number has this entry's index as its hash
	next         uint16 // the next one with the same hash as this page

	valid  bool // it is what the port reads
	dirty  bool // the device has not got it yet
	failed bool // it is dirty, and the device failed to write it
	fresh  bool // it was not there when the request that goes on with it came to it
}

// Init ties the cache to its device, of which it is the only client, and which takes a page at once. The memory has abi.PageSize
// bytes for each page, of which there are at least four.
func (c *Cache) Init(k *kernel.Kernel, device hil.BlockDevice, memory []byte, pages []Page) {
	if len(pages) < minPages || len(pages) >= none || len(memory)/abi.PageSize < len(pages) {
		panic("blockcache: too few pages, too many, or too little memory for them")
	}
	c.device, c.memory, c.pages = device, memory, pages
	for i := range pages {
		q := &pages[i]
		q.newer, q.older = uint16((i+1)%len(pages)), uint16((i+len(pages)-1)%len(pages))
		q.first = none
	}
	c.work.Register(k, c)
	device.SetBlockClient(c)
}

// Counters returns what was counted.
func (c *Cache) Counters() Counters { return c.counters }

// HandleDeferredCall implements kernel.DeferredClient: the next port that can go on does.
func (c *Cache) HandleDeferredCall() {
	for range c.active {
		p := c.pop()
		worked := p.step()
		if p.over() {
			worked = true
			p.finish()
		} else {
			c.push(p)
		}
		if worked {
			c.wake()
			return
		}
	}
	if c.inFlight == 0 && c.active != 0 { // nothing will ever change that
		c.full = false
		c.first.e = abi.FAIL
		c.wake()
	}
}

// wake has the ports go on, if any has a request.
func (c *Cache) wake() {
	if c.active != 0 {
		c.work.Set()
	}
}

// push puts a port at the end of those with a request.
func (c *Cache) push(p *Port) {
	p.behind = nil
	if c.active == 0 {
		c.first = p
	} else {
		c.last.behind = p
	}
	c.last = p
	c.active++
}

// pop takes the first of the ports with a request.
func (c *Cache) pop() *Port {
	p := c.first
	c.first = p.behind
	c.active--
	return p
}

// bytes are those of a page.
func (c *Cache) bytes(i uint16) []byte {
	return c.memory[int(i)*abi.PageSize:][:abi.PageSize]
}

// chain is where the chain of the pages with a number's hash begins.
func (c *Cache) chain(number uint64) *uint16 {
	return &c.pages[number%uint64(len(c.pages))].first
}

// find returns the page with that number, or none.
func (c *Cache) find(number uint64) uint16 {
	i := *c.chain(number)
	for i != none && c.pages[i].number != number {
		i = c.pages[i].next
	}
	return i
}

// hold makes a page that holds nothing one of a port's, and the most recently used.
func (c *Cache) hold(i uint16, p *Port, number uint64) {
	q, chain := &c.pages[i], c.chain(number)
	q.number, q.port, q.fresh = number, p, true
	q.next, *chain = *chain, i
	c.touch(i)
}

// drop makes a clean page one that holds nothing, and the least recently used.
func (c *Cache) drop(i uint16) {
	q := &c.pages[i]
	link := c.chain(q.number)
	for *link != i {
		link = &c.pages[*link].next
	}
	*link = q.next
	q.port, q.valid = nil, false
	c.touch(i)
	c.oldest = i
}

// touch makes a page the most recently used.
func (c *Cache) touch(i uint16) {
	q := &c.pages[i]
	switch {
	case i == c.oldest:
		c.oldest = q.newer
		return
	case q.newer == c.oldest:
		return
	}
	c.pages[q.newer].older, c.pages[q.older].newer = q.older, q.newer
	oldest := &c.pages[c.oldest]
	q.newer, q.older = c.oldest, oldest.older
	c.pages[q.older].newer, oldest.older = i, i
}

// room returns a page that holds nothing, the least recently used that can be given up. If that is dirty it goes to the device
// first: then room returns none, and that something was done.
func (c *Cache) room(p *Port) (i uint16, worked bool) {
	i = c.oldest
	for range c.pages {
		q := &c.pages[i]
		switch {
		case q.asker != nil || q.failed || q.port != nil && q.port.wants(q.number):
			i = q.newer
			continue
		case q.dirty:
			return none, c.writeBack(p, i)
		case q.port != nil:
			c.counters.Evicted++
			c.drop(i)
		}
		return i, true
	}
	return none, false
}

// fetch begins to read a page that is not there. It reports whether something was done.
func (c *Cache) fetch(p *Port, number uint64) bool {
	if c.full {
		return false
	}
	i, worked := c.room(p)
	if i == none {
		return worked
	}
	c.hold(i, p, number)
	c.begin(p, i)
	return c.began(i, c.device.Read(uint32(i), c.bytes(i), number*sectorsPerPage))
}

// writeBack begins to write a dirty page, for whoever asks for it. It reports whether something was done.
func (c *Cache) writeBack(p *Port, i uint16) bool {
	if c.full {
		return false
	}
	q := &c.pages[i]
	q.port.unflushed = true
	c.begin(p, i)
	return c.began(i, c.device.Write(uint32(i), c.bytes(i), q.number*sectorsPerPage))
}

// writeOldest begins to write a port's dirty page that was used least recently. It reports whether something was done.
func (c *Cache) writeOldest(p *Port) bool {
	if c.full {
		return false
	}
	i := c.oldest
	for range c.pages {
		if q := &c.pages[i]; q.dirty && q.port == p && q.asker == nil {
			return c.writeBack(p, i)
		}
		i = c.pages[i].newer
	}
	return false
}

// giveUp drops a port's pages that the device failed to write: its client is told now.
func (c *Cache) giveUp(p *Port) {
	for i := range c.pages {
		if q := &c.pages[i]; q.failed && q.port == p && q.asker == nil {
			q.dirty, q.failed = false, false
			p.dirty--
			c.drop(uint16(i))
		}
	}
}

// flush has the device flush, for a port that has nothing left to write. It reports whether something was done.
func (c *Cache) flush(p *Port) bool {
	if c.full || c.flushing != nil {
		return false
	}
	c.flushing = p
	p.inFlight++
	c.inFlight++
	switch e := c.device.Flush(uint32(len(c.pages))); e {
	case abi.OK:
	case abi.BUSY:
		c.flushing = nil
		c.waitForDevice(p)
		return false
	case abi.NOSUPPORT: // nor has it anything to flush
		c.flushed(abi.OK)
	default:
		c.flushed(e)
	}
	return true
}

// begin notes that the device reads or writes a page for a port.
func (c *Cache) begin(p *Port, i uint16) {
	c.pages[i].asker = p
	p.inFlight++
	c.inFlight++
}

// began goes on by what the device says of such a request. It reports whether something was done.
func (c *Cache) began(i uint16, e abi.ErrorCode) bool {
	q := &c.pages[i]
	switch e {
	case abi.OK:
		return true
	case abi.BUSY:
		c.waitForDevice(q.asker)
		q.asker = nil
		if !q.valid {
			c.drop(i)
		}
		return false
	}
	c.ended(i, e)
	return true
}

// waitForDevice takes back that the device does something for a port: it has too much to do.
func (c *Cache) waitForDevice(p *Port) {
	c.full = true
	p.inFlight--
	c.inFlight--
}

// BlockDone implements hil.BlockClient. The ports go on by the deferred call, as this may be called from within a request.
func (c *Cache) BlockDone(tag uint32, _ []byte, e abi.ErrorCode) {
	c.full = false
	if tag == uint32(len(c.pages)) {
		c.flushed(e)
	} else {
		c.ended(uint16(tag), e)
	}
	c.wake()
}

// ended notes how reading or writing a page ended.
func (c *Cache) ended(i uint16, e abi.ErrorCode) {
	q := &c.pages[i]
	p := q.asker
	q.asker = nil
	p.inFlight--
	c.inFlight--
	switch {
	case !q.valid && e == abi.OK:
		q.valid = true
		c.counters.Misses++
	case !q.valid:
		c.drop(i)
		p.e = abi.FAIL
	case e == abi.OK:
		q.dirty, q.failed = false, false
		q.port.dirty--
		c.counters.WrittenBack++
	default:
		q.failed = true
		if q.port == p && p.doing != reading {
			p.e = abi.FAIL
		}
	}
}

// flushed notes how the device's flush ended. If it failed, what all ports have written since their last one is in doubt.
func (c *Cache) flushed(e abi.ErrorCode) {
	p := c.flushing
	c.flushing = nil
	p.inFlight--
	c.inFlight--
	if e == abi.OK {
		p.settling, p.unsettled, p.unflushed = false, false, false
		return
	}
	p.e = abi.FAIL
	for q := c.ports; q != nil; q = q.next {
		q.lose()
	}
}
