// Package sha256 computes SHA-256 as FIPS 180-4 defines it, without memory of its own: it
// serves ring 0. Its loops are not unrolled, because in the kernel size counts for more
// than speed.
package sha256

import "math/bits"

// Size is the size of a digest in bytes, BlockSize that of a block.
const (
	Size      = 32
	BlockSize = 64
)

const (
	rounds     = 64
	lengthAt   = BlockSize - 8 // where the length of the message stands in the last block
	endOfInput = 0x80          // the bit behind the message
)

// initial is the hash value before the first block (section 5.3.3).
var initial = [8]uint32{
	0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
}

// constants are one for each round (section 4.2.2).
var constants = [rounds]uint32{
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
}

// Sum returns the digest of message.
func Sum(message []byte) [Size]byte {
	h := New()
	return h.Sum(h.Add(message))
}

// A Hash makes the digest of a message that comes in pieces. What its fields have is all that it knows: one with the same goes on with
// the message.
type Hash struct {
	Value [8]uint32
	Added uint64 // bytes, of whole blocks
}

// New returns the Hash of a message of which nothing has come yet.
func New() Hash { return Hash{Value: initial} }

// Add adds a piece of the message, but the last bytes of it that are less than a block of 64: they
// are returned, for the start of the next piece, or for Sum.
func (h *Hash) Add(piece []byte) (rest []byte) {
	rest = piece
	for len(rest) >= BlockSize {
		add(&h.Value, rest)
		rest = rest[BlockSize:]
	}
	h.Added += uint64(len(piece) - len(rest))
	return rest
}

// Sum returns the digest of all that was added and of rest, the last bytes, less than a block.
func (h *Hash) Sum(rest []byte) [Size]byte {
	var last [BlockSize]byte // padding by section 5.1.1
	last[copy(last[:], rest)] = endOfInput
	if len(rest) >= lengthAt {
		add(&h.Value, last[:])
		last = [BlockSize]byte{}
	}
	length := (h.Added + uint64(len(rest))) * 8 // in bits
	store(last[lengthAt:], uint32(length>>32))
	store(last[lengthAt+4:], uint32(length))
	add(&h.Value, last[:])

	var digest [Size]byte
	for i, word := range h.Value {
		store(digest[4*i:], word)
	}
	return digest
}

// add hashes the block at the start of block (section 6.2.2).
func add(hash *[8]uint32, block []byte) {
	var w [rounds]uint32 // the message schedule
	for t := range 16 {
		w[t] = load(block[4*t:])
	}
	for t := 16; t < rounds; t++ {
		w2, w15 := w[t-2], w[t-15]
		w[t] = (rotate(w2, 17) ^ rotate(w2, 19) ^ w2>>10) + w[t-7] +
			(rotate(w15, 7) ^ rotate(w15, 18) ^ w15>>3) + w[t-16]
	}
	a, b, c, d, e, f, g, h := hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7]
	for t := range w {
		t1 := h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + (e&f ^ ^e&g) + constants[t] + w[t]
		t2 := (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + (a&b ^ a&c ^ b&c)
		a, b, c, d, e, f, g, h = t1+t2, a, b, c, d+t1, e, f, g
	}
	for i, v := range [8]uint32{a, b, c, d, e, f, g, h} {
		hash[i] += v
	}
}

// rotate is ROTR, the circular shift to the right.
func rotate(x uint32, n int) uint32 { return bits.RotateLeft32(x, -n) }

// load reads a big-endian word.
func load(slice []byte) uint32 {
	b := (*[4]byte)(slice)
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// store writes a big-endian word.
func store(slice []byte, v uint32) {
	b := (*[4]byte)(slice)
	b[0], b[1], b[2], b[3] = byte(v>>24), byte(v>>16), byte(v>>8), byte(v)
}
