// Package sha512 computes SHA-512 and SHA-384 as FIPS 180-4 defines them, without memory of its own: it serves ring 0, as package sha256
// does.
package sha512

import "math/bits"

// Size and Size384 are the sizes of the digests in bytes, BlockSize is that of a block.
const (
	Size      = 64
	Size384   = 48
	BlockSize = 128
)

const (
	rounds     = 80
	lengthAt   = BlockSize - 8 // where the low half of the message's length stands in the last block
	endOfInput = 0x80          // the bit behind the message
)

// initial and initial384 are the hash values before the first block (sections 5.3.5 and 5.3.4).
var (
	initial = [8]uint64{
		0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
		0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
	}
	initial384 = [8]uint64{
		0xcbbb9d5dc1059ed8, 0x629a292a367cd507, 0x9159015a3070dd17, 0x152fecd8f70e5939,
		0x67332667ffc00b31, 0x8eb44a8768581511, 0xdb0c2e0d64f98fa7, 0x47b5481dbefa4fa4,
	}
)

// constants are one for each round (section 4.2.3).
var constants = [rounds]uint64{
	0x428a2f98d728ae22, 0x7137449123ef65cd, 0xb5c0fbcfec4d3b2f, 0xe9b5dba58189dbbc,
	0x3956c25bf348b538, 0x59f111f1b605d019, 0x923f82a4af194f9b, 0xab1c5ed5da6d8118,
	0xd807aa98a3030242, 0x12835b0145706fbe, 0x243185be4ee4b28c, 0x550c7dc3d5ffb4e2,
	0x72be5d74f27b896f, 0x80deb1fe3b1696b1, 0x9bdc06a725c71235, 0xc19bf174cf692694,
	0xe49b69c19ef14ad2, 0xefbe4786384f25e3, 0x0fc19dc68b8cd5b5, 0x240ca1cc77ac9c65,
	0x2de92c6f592b0275, 0x4a7484aa6ea6e483, 0x5cb0a9dcbd41fbd4, 0x76f988da831153b5,
	0x983e5152ee66dfab, 0xa831c66d2db43210, 0xb00327c898fb213f, 0xbf597fc7beef0ee4,
	0xc6e00bf33da88fc2, 0xd5a79147930aa725, 0x06ca6351e003826f, 0x142929670a0e6e70,
	0x27b70a8546d22ffc, 0x2e1b21385c26c926, 0x4d2c6dfc5ac42aed, 0x53380d139d95b3df,
	0x650a73548baf63de, 0x766a0abb3c77b2a8, 0x81c2c92e47edaee6, 0x92722c851482353b,
	0xa2bfe8a14cf10364, 0xa81a664bbc423001, 0xc24b8b70d0f89791, 0xc76c51a30654be30,
	0xd192e819d6ef5218, 0xd69906245565a910, 0xf40e35855771202a, 0x106aa07032bbd1b8,
	0x19a4c116b8d2d0c8, 0x1e376c085141ab53, 0x2748774cdf8eeb99, 0x34b0bcb5e19b48a8,
	0x391c0cb3c5c95a63, 0x4ed8aa4ae3418acb, 0x5b9cca4f7763e373, 0x682e6ff3d6b2b8a3,
	0x748f82ee5defb2fc, 0x78a5636f43172f60, 0x84c87814a1f0ab72, 0x8cc702081a6439ec,
	0x90befffa23631e28, 0xa4506cebde82bde9, 0xbef9a3f7b2c67915, 0xc67178f2e372532b,
	0xca273eceea26619c, 0xd186b8c721c0c207, 0xeada7dd6cde0eb1e, 0xf57d4f7fee6ed178,
	0x06f067aa72176fba, 0x0a637dc5a2c898a6, 0x113f9804bef90dae, 0x1b710b35131c471b,
	0x28db77f523047d84, 0x32caab7b40c72493, 0x3c9ebe0a15c9bebc, 0x431d67c49c100d4c,
	0x4cc5d4becb3e42b6, 0x597f299cfc657e2a, 0x5fcb6fab3ad6faec, 0x6c44198c4a475817,
}

// A Hash makes the digest of a message that comes in pieces. What its fields have is all that it knows: one with the same goes on with
// the message.
type Hash struct {
	Value [8]uint64
	Added uint64 // bytes, of whole blocks
}

// New returns the Hash for SHA-512 of a message of which nothing has come yet.
func New() Hash { return Hash{Value: initial} }

// New384 returns the one for SHA-384.
func New384() Hash { return Hash{Value: initial384} }

// Add adds a piece of the message, but the last bytes of it that are less than a block: they are returned, for the start of the
// next piece, or for Sum.
func (h *Hash) Add(piece []byte) (rest []byte) {
	rest = piece
	for len(rest) >= BlockSize {
		add(&h.Value, rest)
		rest = rest[BlockSize:]
	}
	h.Added += uint64(len(piece) - len(rest))
	return rest
}

// Sum returns the digest of all that was added and of rest, the last bytes, less than a block. SHA-384's are the first Size384 bytes.
func (h *Hash) Sum(rest []byte) [Size]byte {
	var last [BlockSize]byte // padding by section 5.1.2
	last[copy(last[:], rest)] = endOfInput
	if len(rest) >= lengthAt-8 {
		add(&h.Value, last[:])
		last = [BlockSize]byte{}
	}
	bytes := h.Added + uint64(len(rest))
	last[lengthAt-1] = byte(bytes >> 61)
	store(last[lengthAt:], bytes*8) // in bits
	add(&h.Value, last[:])

	var digest [Size]byte
	for i, word := range h.Value {
		store(digest[8*i:], word)
	}
	return digest
}

// add hashes the block at the start of block (section 6.4.2).
func add(hash *[8]uint64, block []byte) {
	var w [rounds]uint64 // the message schedule
	for t := range 16 {
		w[t] = load(block[8*t:])
	}
	for t := 16; t < rounds; t++ {
		w2, w15 := w[t-2], w[t-15]
		w[t] = (rotate(w2, 19) ^ rotate(w2, 61) ^ w2>>6) + w[t-7] +
			(rotate(w15, 1) ^ rotate(w15, 8) ^ w15>>7) + w[t-16]
	}
	a, b, c, d, e, f, g, h := hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7]
	for t := range w {
		t1 := h + (rotate(e, 14) ^ rotate(e, 18) ^ rotate(e, 41)) + (e&f ^ ^e&g) + constants[t] + w[t]
		t2 := (rotate(a, 28) ^ rotate(a, 34) ^ rotate(a, 39)) + (a&b ^ a&c ^ b&c)
		a, b, c, d, e, f, g, h = t1+t2, a, b, c, d+t1, e, f, g
	}
	for i, v := range [8]uint64{a, b, c, d, e, f, g, h} {
		hash[i] += v
	}
}

// rotate is ROTR, the circular shift to the right.
func rotate(x uint64, n int) uint64 { return bits.RotateLeft64(x, -n) }

// load reads a big-endian word.
func load(slice []byte) (v uint64) {
	for _, b := range (*[8]byte)(slice) {
		v = v<<8 | uint64(b)
	}
	return v
}

// store writes a big-endian word.
func store(slice []byte, v uint64) {
	b := (*[8]byte)(slice)
	for i := range b {
		b[i] = byte(v >> (56 - 8*i))
	}
}
