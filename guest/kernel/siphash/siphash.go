// Package siphash computes SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012): a hash that nobody who
// lacks the key can aim. It serves ring 0: it needs no memory of its own.
package siphash

import "math/bits"

// KeySize is the size of a key in bytes.
const KeySize = 16

// Sum returns the hash of a message under a key.
func Sum(key *[KeySize]byte, message []byte) uint64 {
	k0, k1 := word(key[:8]), word(key[8:])
	s := state{k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573}
	rest := message
	for ; len(rest) >= 8; rest = rest[8:] {
		s.add(word(rest))
	}
	last := uint64(len(message)) << 56
	for i, b := range rest {
		last |= uint64(b) << (8 * uint(i))
	}
	s.add(last)
	s.v2 ^= 0xff
	for range 4 {
		s.round()
	}
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3
}

type state struct{ v0, v1, v2, v3 uint64 }

// add takes eight bytes of the message in: two rounds (section 2.2).
func (s *state) add(m uint64) {
	s.v3 ^= m
	s.round()
	s.round()
	s.v0 ^= m
}

// round is SipRound (section 2.2, figure 2.1).
func (s *state) round() {
	v0, v1, v2, v3 := s.v0, s.v1, s.v2, s.v3
	v0 += v1
	v2 += v3
	v1 = bits.RotateLeft64(v1, 13) ^ v0
	v3 = bits.RotateLeft64(v3, 16) ^ v2
	v0 = bits.RotateLeft64(v0, 32)
	v2 += v1
	v0 += v3
	v1 = bits.RotateLeft64(v1, 17) ^ v2
	v3 = bits.RotateLeft64(v3, 21) ^ v0
	v2 = bits.RotateLeft64(v2, 32)
	s.v0, s.v1, s.v2, s.v3 = v0, v1, v2, v3
}

// word reads a little-endian number.
func word(slice []byte) uint64 {
	b := (*[8]byte)(slice)
	return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
		uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
}
