package dma

import "kapsel/guest/abi"

// Buffer is a piece of a region that is either the driver's or the device's. All copies of a Buffer are the same buffer. The
// zero Buffer has no bytes, and cannot be lent.
type Buffer struct{ piece *piece }

type piece struct {
	_        [0]func() // not comparable: no function is made for it
	store    *Store
	at, size int
	lent     uint32 // bytes, while isLent
	isLent   bool
}

// Buffer makes n bytes of the region a buffer, which is the driver's. That there is no room for it is an error of wiring.
func (r Region) Buffer(n int) Buffer {
	s := r.store
	if s.count == MaxBuffers {
		panic("dma: too many buffers: raise MaxBuffers")
	}
	p := &s.buffers[s.count]
	s.count++
	*p = piece{store: s, at: s.take(n), size: n}
	return Buffer{p}
}

// Len is the size of the buffer in bytes.
func (b Buffer) Len() int {
	if b.piece == nil {
		return 0
	}
	return b.piece.size
}

// ReadAt copies bytes from an offset on to p, and returns how many: less than len(p) where the buffer ends before. While the
// buffer is lent that is none.
func (b Buffer) ReadAt(p []byte, offset int) int { return copy(p, b.from(offset)) }

// WriteAt copies p to an offset on, and returns how many bytes: less than len(p) where the buffer ends before. While the
// buffer is lent that is none.
func (b Buffer) WriteAt(p []byte, offset int) int { return copy(b.from(offset), p) }

// from is the bytes from an offset on, if they are the driver's.
func (b Buffer) from(offset int) []byte {
	p := b.piece
	if p == nil || offset < 0 || offset > p.size {
		return nil
	}
	if p.isLent {
		p.store.refused++
		return nil
	}
	return p.store.bytes[p.at+offset : p.at+p.size]
}

// Lend makes the first n bytes the device's, 0 < n <= Len, and returns their physical address. The rest of the buffer is
// nobody's until it comes back by Complete or Reclaim. It returns
//   - abi.BUSY if the buffer is lent already, which is counted as a refused access,
//   - abi.SIZE if it has not so many bytes, or n is not above 0.
func (b Buffer) Lend(n int) (address uint64, e abi.ErrorCode) {
	p := b.piece
	switch {
	case p == nil || n <= 0 || n > p.size:
		return 0, abi.SIZE
	case p.isLent:
		p.store.refused++
		return 0, abi.BUSY
	}
	p.isLent, p.lent = true, uint32(n)
	return p.store.physical + uint64(p.at), abi.OK
}

// Complete makes the buffer the driver's again, once the device has said that it is done and wrote so many bytes. It returns
// how many the driver may take for written: with abi.SIZE fewer than the device claims, which are more than were lent. It
// returns abi.ALREADY if the buffer is not lent.
func (b Buffer) Complete(written uint32) (n int, e abi.ErrorCode) {
	p := b.piece
	switch {
	case p == nil || !p.isLent:
		return 0, abi.ALREADY
	case written > p.lent:
		written, e = p.lent, abi.SIZE
	}
	p.isLent = false
	return int(written), e
}

// Reclaim makes the buffer the driver's again, if it was lent, once the device was reset and has said so: it uses no memory
// any more (virtio 2.4). What is in the buffer is of no use.
func (b Buffer) Reclaim() {
	if b.piece != nil {
		b.piece.isLent = false
	}
}
