package kernel

import "kapsel/guest/kernel/sha256"

// pieceSize is how much memory the kernel reads or clears at a time, in bytes: what waits
// for it meanwhile waits for less than a millisecond, but where the processor is emulated.
const pieceSize = 64 << 10

// A Region is memory that is read in pieces, because reading all of it may take long.
type Region struct {
	_      notComparable
	rest   []byte
	cpu    CPU
	digest *[sha256.Size]byte // of all of it, if that is known beforehand
}

// region makes a Region of b, in the place of the one before.
func (k *Kernel) region(b []byte) *Region {
	k.read.rest, k.read.cpu = b, k.cpu
	return &k.read
}

// Next returns the next piece, which is empty at the end. All but the last have the same size,
// a multiple of 4096 bytes. A piece may not be kept.
//
//go:noinline
func (r *Region) Next() []byte {
	if len(r.rest) > pieceSize {
		r.cpu.Poll()
	}
	n := min(len(r.rest), pieceSize)
	piece := r.rest[:n]
	r.rest = r.rest[n:]
	return piece
}

// SHA256 is the digest of what has not been read yet.
func (r *Region) SHA256() [sha256.Size]byte {
	if r.digest != nil {
		return *r.digest
	}
	hash := sha256.New()
	var last []byte
	for piece := r.Next(); len(piece) != 0; piece = r.Next() {
		last = hash.Add(piece)
	}
	return hash.Sum(last)
}
