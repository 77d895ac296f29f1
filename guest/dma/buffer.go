package dma

import "kapsel/guest/abi"

// Buffer is a piece of a region that is either the driver's or the device's. All copies of a Buffer are the same buffer. The
// zero Buffer has no bytes, and cannot be lent.
type Buffer struct{ piece *piece }

type piece struct {
	_     [0]func() // not comparable: no function is made for it
	store *Store
	bytes []byte
	at    uint32 // of the store's bytes
	lent  uint32 // bytes, 0: none
}

// Buffer makes n bytes of the region a buffer, which is the driver's. That there is no room for it is an error of wiring.
func (r Region) Buffer(n int) Buffer {
	s := r.store
	if s.count == MaxBuffers {
		panic("dma: too many buffers: raise MaxBuffers")
	}
	p := &s.buffers[s.count]
	s.count++
	at := s.take(n)
	*p = piece{store: s, bytes: s.bytes[at : at+n], at: uint32(at)}
	return Buffer{p}
}

// Len is the size of the buffer in bytes.
func (b Buffer) Len() int {
	if b.piece == nil {
		return 0
	}
	return len(b.piece.bytes)
}

// ReadAt copies bytes from an offset on to p, and returns how many: less than len(p) where the buffer ends before. While the
// buffer is lent that is none.
func (b Buffer) ReadAt(p []byte, offset int) int { return copy(p, b.from(offset)) }

// Read copies the bytes from an offset up to another to p, and returns how many: less than len(p) where there are no more. If the
// buffer ends before, or while it is lent, that is none.
func (b Buffer) Read(p []byte, from, to int) int {
	bytes := b.own()
	if from < 0 || from > to || to > len(bytes) {
		return 0
	}
	return copy(p, bytes[from:to])
}

// WriteAt copies p to an offset on, and returns how many bytes: less than len(p) where the buffer ends before. While the
// buffer is lent that is none.
func (b Buffer) WriteAt(p []byte, offset int) int { return copy(b.from(offset), p) }

// from is the bytes from an offset on, if they are the driver's.
func (b Buffer) from(offset int) []byte {
	bytes := b.own()
	switch {
	case offset == 0: // as mostly: then the compiler leaves the slice out
		return bytes
	case offset < 0, offset > len(bytes):
		return nil
	}
	return bytes[offset:]
}

// own is the bytes, if they are the driver's.
func (b Buffer) own() []byte {
	p := b.piece
	if p == nil {
		return nil
	}
	if p.lent != 0 {
		p.store.refused++
		return nil
	}
	return p.bytes
}

// Lend makes the first n bytes the device's, 0 < n <= Len, and returns their physical address. The rest of the buffer is
// nobody's until it comes back by Complete or Reclaim. It returns
//   - abi.BUSY if the buffer is lent already, which is counted as a refused access,
//   - abi.SIZE if it has not so many bytes, or n is not above 0.
func (b Buffer) Lend(n int) (address uint64, e abi.ErrorCode) {
	p := b.piece
	switch {
	case p == nil || n <= 0 || n > len(p.bytes):
		return 0, abi.SIZE
	case p.lent != 0:
		p.store.refused++
		return 0, abi.BUSY
	}
	p.lent = uint32(n)
	return p.store.physical + uint64(p.at), abi.OK
}

// Complete makes the buffer the driver's again, once the device has said that it is done and wrote so many bytes. It returns
// how many the driver may take for written: with abi.SIZE fewer than the device claims, which are more than were lent. It
// returns abi.ALREADY if the buffer is not lent.
func (b Buffer) Complete(written uint32) (n int, e abi.ErrorCode) {
	p := b.piece
	switch {
	case p == nil || p.lent == 0:
		return 0, abi.ALREADY
	case written > p.lent:
		written, e = p.lent, abi.SIZE
	}
	p.lent = 0
	return int(written), e
}

// Reclaim makes the buffer the driver's again, if it was lent, once the device was reset and has said so: it uses no memory
// any more (virtio 2.4). What is in the buffer is of no use.
func (b Buffer) Reclaim() {
	if b.piece != nil {
		b.piece.lent = 0
	}
}
