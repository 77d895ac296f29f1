package blockcache

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/hil"
)

// asked is a request that the disk was given.
type asked struct {
	kind   operation
	tag    uint32
	buf    []byte
	given  []byte // what buf was then
	sector uint64
	marked int  // of a flush: how much of the log it makes durable
	ghost  bool // a write that was done, and lost by a flush that failed, before it ended
}

// stored is a sector that was written, and is not durable yet.
type stored struct {
	sector uint64
	data   []byte
}

// disk is a block device in memory that ends requests in any order, fails, and forgets what it may.
type disk struct {
	tb       testing.TB
	rand     *rand.Rand
	client   hil.BlockClient
	limit    int
	asked    []*asked
	sectors  uint64
	seen     []byte // what is read
	durable  []byte // what a crash leaves
	log      []stored
	fails    func(kind operation) bool
	bad      []uint64 // pages that it cannot write
	refuses  abi.ErrorCode
	readOnly bool
	noCache  bool
	kinds    []operation // of requests that were taken
	numbers  []uint64    // of the pages of these
	reenter  bool        // other requests end within calls
	onStore  func()      // before each write and flush
}

func newDisk(tb testing.TB, r *rand.Rand, pages int) *disk {
	d := &disk{tb: tb, rand: r, limit: 4, sectors: uint64(pages) * sectorsPerPage}
	d.seen = make([]byte, pages*abi.PageSize)
	for i := range d.seen {
		d.seen[i] = byte(i/sectorSize) ^ byte(i)
	}
	d.durable = bytes.Clone(d.seen)
	d.fails = func(operation) bool { return false }
	return d
}

func (d *disk) SetBlockClient(client hil.BlockClient) { d.client = client }
func (d *disk) Sectors() uint64                       { return d.sectors }
func (d *disk) MaxBytes() int                         { return abi.PageSize }

// ask takes a request.
func (d *disk) ask(a *asked) abi.ErrorCode {
	if d.reenter && len(d.asked) != 0 && d.rand.IntN(4) == 0 {
		d.end()
	}
	switch {
	case a.kind == writing && d.readOnly, a.kind == flushing && d.noCache:
		return abi.NOSUPPORT
	case a.kind != flushing && len(a.buf) == 0:
		return abi.SIZE
	case a.kind != flushing && a.sector+uint64(len(a.buf)/sectorSize) > d.sectors:
		return abi.INVAL
	case d.refuses != abi.OK:
		return d.refuses
	case len(d.asked) == d.limit:
		return abi.BUSY
	}
	for _, b := range d.asked {
		if b.kind != flushing && a.kind != flushing && b.sector == a.sector {
			d.tb.Fatalf("sector %d is asked for twice at once", a.sector)
		}
	}
	if a.kind != flushing && (len(a.buf) != abi.PageSize || a.sector%sectorsPerPage != 0) {
		d.tb.Fatalf("a request that is not of a page: %d bytes at sector %d", len(a.buf), a.sector)
	}
	if a.kind != reading && d.onStore != nil {
		d.onStore()
	}
	a.given, a.marked = bytes.Clone(a.buf), len(d.log)
	d.asked = append(d.asked, a)
	d.kinds, d.numbers = append(d.kinds, a.kind), append(d.numbers, a.sector/sectorsPerPage)
	return abi.OK
}

func (d *disk) Read(tag uint32, buf []byte, sector uint64) abi.ErrorCode {
	return d.ask(&asked{kind: reading, tag: tag, buf: buf, sector: sector})
}

func (d *disk) Write(tag uint32, buf []byte, sector uint64) abi.ErrorCode {
	return d.ask(&asked{kind: writing, tag: tag, buf: buf, sector: sector})
}

func (d *disk) Flush(tag uint32) abi.ErrorCode { return d.ask(&asked{kind: flushing, tag: tag}) }

func (d *disk) Discard(uint32, uint64, uint64) abi.ErrorCode     { return abi.NOSUPPORT }
func (d *disk) WriteZeroes(uint32, uint64, uint64) abi.ErrorCode { return abi.NOSUPPORT }
func (d *disk) Identify(uint32, []byte) abi.ErrorCode            { return abi.NOSUPPORT }

// end ends a request, whichever.
func (d *disk) end() { d.endAt(d.rand.IntN(len(d.asked))) }

// endAt ends a request. One that fails has done a part of what it was to do.
func (d *disk) endAt(i int) {
	a := d.asked[i]
	d.asked = slices.Delete(d.asked, i, i+1)
	e := abi.OK
	if d.fails(a.kind) || a.kind == writing && slices.Contains(d.bad, a.sector/sectorsPerPage) {
		e = abi.FAIL
	}
	switch a.kind {
	case reading:
		d.rand32(a.buf)
		if e == abi.OK {
			copy(a.buf, d.seen[a.sector*sectorSize:])
		}
	case writing:
		if !bytes.Equal(a.given, a.buf) {
			d.tb.Fatalf("the page at sector %d changed while it was written", a.sector)
		}
		d.store(a, e != abi.OK)
	case flushing:
		d.flush(a, e)
	}
	d.client.BlockDone(a.tag, a.buf, e)
}

// rand32 makes the beginning of a buffer something that nobody wrote.
func (d *disk) rand32(buf []byte) {
	for i := range buf[:32] {
		buf[i] = byte(d.rand.Uint32())
	}
}

// store does a write, or parts of it.
func (d *disk) store(a *asked, some bool) {
	for s := range sectorsPerPage {
		if a.ghost || some && d.rand.IntN(2) == 0 {
			continue
		}
		at, data := a.sector+uint64(s), a.given[s*sectorSize:][:sectorSize]
		copy(d.seen[at*sectorSize:], data)
		if d.noCache {
			copy(d.durable[at*sectorSize:], data)
		} else {
			d.log = append(d.log, stored{at, data})
		}
	}
}

// flush makes durable what was written. If it fails that may be gone, with what was written and has not been told of yet.
func (d *disk) flush(a *asked, e abi.ErrorCode) {
	if e != abi.OK && d.rand.IntN(2) == 0 {
		d.log = nil
		copy(d.seen, d.durable)
		for _, b := range d.asked {
			b.ghost = b.kind == writing && d.rand.IntN(2) == 0
			b.marked = 0
		}
		return
	}
	if e != abi.OK {
		return
	}
	for _, s := range d.log[:a.marked] {
		copy(d.durable[s.sector*sectorSize:], s.data)
	}
	d.log = d.log[a.marked:]
	for _, b := range d.asked {
		b.marked -= min(a.marked, b.marked)
	}
}

// crash returns what is stored if the machine ends now: of what is not durable any sectors are.
func (d *disk) crash() []byte {
	image := bytes.Clone(d.durable)
	for _, s := range d.log {
		if d.rand.IntN(2) == 0 {
			copy(image[s.sector*sectorSize:], s.data)
		}
	}
	for _, a := range d.asked {
		for s := 0; a.kind == writing && s < sectorsPerPage; s++ {
			if d.rand.IntN(2) == 0 {
				copy(image[(int(a.sector)+s)*sectorSize:], a.given[s*sectorSize:][:sectorSize])
			}
		}
	}
	return image
}

// check says what is wrong with a cache, if anything is: each page is where it has to be, and all that is counted is there.
func (c *Cache) check(d *disk) error {
	seen := make([]bool, len(c.pages))
	for i, n := c.oldest, 0; n < len(c.pages); i, n = c.pages[i].newer, n+1 {
		if seen[i] || c.pages[c.pages[i].newer].older != i {
			return fmt.Errorf("page %d is not once in the order of use", i)
		}
		seen[i] = true
	}
	chained := make([]int, len(c.pages))
	for h := range c.pages {
		for i := c.pages[h].first; i != none; i = c.pages[i].next {
			if chained[i]++; chained[i] > 1 || int(c.pages[i].number%uint64(len(c.pages))) != h {
				return fmt.Errorf("page %d is in the chain of %d", i, h)
			}
		}
	}
	dirty, inFlight, total := map[*Port]int{}, map[*Port]int{}, 0
	for i := range c.pages {
		q := &c.pages[i]
		held := q.port != nil
		if held != (chained[i] == 1) || held && c.find(q.number) != uint16(i) {
			return fmt.Errorf("page %d holds something: %t, and is %d times in chains", i, held, chained[i])
		}
		if !held && (q.valid || q.dirty || q.asker != nil) || q.dirty && !q.valid || q.failed && !q.dirty || held && !q.valid && q.asker == nil {
			return fmt.Errorf("page %d: %+v", i, q)
		}
		if held && (q.number < q.port.from/abi.PageSize || q.number >= q.port.to/abi.PageSize) {
			return fmt.Errorf("page %d is outside of its port", i)
		}
		if q.dirty {
			dirty[q.port]++
		}
		if q.asker != nil {
			inFlight[q.asker]++
			total++
		}
	}
	if c.flushing != nil {
		inFlight[c.flushing]++
		total++
	}
	if total != c.inFlight || total != len(d.asked) {
		return fmt.Errorf("%d requests go on, %d are counted, the disk has %d", total, c.inFlight, len(d.asked))
	}
	waiting := map[*Port]bool{}
	for p, n := c.first, 0; n < c.active; p, n = p.behind, n+1 {
		if waiting[p] {
			return fmt.Errorf("a port has two turns")
		}
		waiting[p] = true
	}
	for p := c.ports; p != nil; p = p.next {
		if p.dirty != dirty[p] || p.inFlight != inFlight[p] || waiting[p] != (p.doing != nothing) || p.doing == nothing && p.inFlight != 0 {
			return fmt.Errorf("port at %d: %d dirty of %d, %d in flight of %d, does %d, waits %t",
				p.from, p.dirty, dirty[p], p.inFlight, inFlight[p], p.doing, waiting[p])
		}
	}
	if c.active == 0 && (c.inFlight != 0 || c.full) {
		return fmt.Errorf("nothing is asked for, and %d requests go on, full: %t", c.inFlight, c.full)
	}
	return nil
}
