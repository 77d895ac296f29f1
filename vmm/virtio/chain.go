package virtio

import (
	"errors"
	"fmt"

	"kapsel/guest/abi/virtio"
)

// Chain is a request: descriptors of which the first ones hold what the driver gives, and the rest is room for an answer.
// Where one ends and the next begins means nothing (2.7.4.2): both parts are streams of bytes. The bytes are the guest's,
// which may change them at any time: read once, then check.
type Chain struct {
	queue       *Queue
	taken       bool // between Next and Use
	head        uint16
	descriptors int

	readable, writable stream
	vector             [][]byte // what ReadVector or WriteVector returned last
}

// stream is one part of a chain.
type stream struct {
	pieces []piece
	next   int // the first piece that is left, or what is left of one
	bytes  uint64
	left   uint64
}

// piece is bytes of the guest's memory.
type piece struct {
	address uint64
	bytes   []byte
}

func (s *stream) reset() { s.pieces, s.next, s.bytes, s.left = s.pieces[:0], 0, 0, 0 }

func (s *stream) add(p piece) {
	s.pieces = append(s.pieces, p)
	s.bytes += uint64(len(p.bytes))
	s.left += uint64(len(p.bytes))
}

// peek returns the next piece, of which there is one.
func (s *stream) peek() piece { return s.pieces[s.next] }

// skip goes on by n bytes of the next piece.
func (s *stream) skip(n uint64) {
	s.left -= n
	p := &s.pieces[s.next]
	if n == uint64(len(p.bytes)) {
		s.next++
		return
	}
	p.address, p.bytes = p.address+n, p.bytes[n:]
}

// take moves the next piece to the end of a vector, or n bytes of it.
func (s *stream) take(vector [][]byte, n uint64) ([][]byte, piece) {
	p := s.peek()
	p.bytes = p.bytes[:min(n, uint64(len(p.bytes)))]
	s.skip(uint64(len(p.bytes)))
	return append(vector, p.bytes), p
}

// Why a chain of descriptors is refused (2.7.4, 2.7.5).
var (
	errHead     = errors.New("its number is beyond the queue's size")
	errTwice    = errors.New("it is in flight already")
	errNext     = errors.New("a descriptor goes on beyond the queue's size")
	errLong     = errors.New("there are more descriptors in flight than the queue has: a loop, or one that is used twice")
	errIndirect = errors.New("an indirect descriptor, which the device does not offer")
	errOrder    = errors.New("a readable descriptor behind a writable one")
	errLarge    = errors.New("its descriptors have more than 2^32 bytes")
)

// gather copies the chain's descriptors, one after another, and checks all of them.
func (c *Chain) gather(head uint16) error {
	q := c.queue
	c.head, c.descriptors, c.taken = head, 0, false
	c.readable.reset()
	c.writable.reset()
	switch {
	case head >= q.size:
		return errHead
	case q.inFlight[head]:
		return errTwice
	}
	for i, more := head, true; more; {
		if i >= q.size {
			return errNext
		}
		if q.lent == int(q.size) {
			return errLong
		}
		q.lent++
		c.descriptors++
		at := virtio.DescriptorSize * uint64(i)
		address, rest := load64(q.descriptors, at), load64(q.descriptors, at+8)
		flags := uint16(rest >> 32)
		if err := c.add(address, uint64(uint32(rest)), flags); err != nil {
			return err
		}
		i, more = uint16(rest>>48), flags&virtio.DescNext != 0
	}
	q.inFlight[head], c.taken = true, true
	return nil
}

// add checks a descriptor and adds its buffer to the chain. One without bytes adds nothing.
func (c *Chain) add(address, length uint64, flags uint16) error {
	part := &c.readable
	if flags&virtio.DescWrite != 0 {
		part = &c.writable
	}
	switch {
	case flags&virtio.DescIndirect != 0:
		return errIndirect
	case part == &c.readable && c.writable.bytes > 0:
		return errOrder
	case c.readable.bytes+c.writable.bytes+length > 1<<32:
		return errLarge
	case length == 0:
		return nil
	}
	bytes, ok := c.queue.memory.At(address, length)
	if !ok {
		return fmt.Errorf("%d bytes at %#x are not RAM", length, address)
	}
	part.add(piece{address, bytes})
	return nil
}

// Readable is how many bytes the driver gives that were not read yet.
func (c *Chain) Readable() uint64 { return c.readable.left }

// Writable is how many bytes there is room for that were not written yet.
func (c *Chain) Writable() uint64 { return c.writable.left }

// Read copies the next bytes that the driver gives, and returns how many: fewer than len(p) if there are no more.
func (c *Chain) Read(p []byte) int {
	n := 0
	for _, piece := range c.ReadVector(uint64(len(p))) {
		n += copy(p[n:], piece)
	}
	return n
}

// Write copies to where there is room next, and returns how many bytes: fewer than len(p) if there is no more.
func (c *Chain) Write(p []byte) int {
	n := 0
	for _, piece := range c.WriteVector(uint64(len(p))) {
		n += copy(piece, p[n:])
	}
	return n
}

// Peek returns the next bytes that the driver gives, as many as are in one piece: none if there are no more.
func (c *Chain) Peek() []byte {
	if c.readable.left == 0 {
		return nil
	}
	return c.readable.peek().bytes
}

// Skip takes the first n bytes of what Peek returns.
func (c *Chain) Skip(n int) {
	if n > 0 {
		c.readable.skip(uint64(n))
		c.queue.moved += uint64(n)
	}
}

// ReadVector takes the next n bytes that the driver gives, or all if there are fewer, without copying them: pieces in order,
// as pwritev(2) wants them. They are valid until the next call of ReadVector, WriteVector, Read, Write or Use.
func (c *Chain) ReadVector(n uint64) [][]byte {
	c.vector = c.vector[:0]
	for n = min(n, c.readable.left); n > 0; {
		var p piece
		c.vector, p = c.readable.take(c.vector, n)
		c.queue.moved += uint64(len(p.bytes))
		n -= uint64(len(p.bytes))
	}
	return c.vector
}

// WriteVector takes the next n bytes of room, likewise, as preadv(2) wants them: the device writes to them before Notify returns.
func (c *Chain) WriteVector(n uint64) [][]byte {
	c.vector = c.vector[:0]
	for n = min(n, c.writable.left); n > 0; {
		var p piece
		c.vector, p = c.writable.take(c.vector, n)
		c.queue.memory.Wrote(p.address, uint64(len(p.bytes)))
		c.queue.moved += uint64(len(p.bytes))
		n -= uint64(len(p.bytes))
	}
	return c.vector
}
