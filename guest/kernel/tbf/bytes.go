package tbf

// The functions below read little-endian numbers. The caller has checked that
// b is long enough. Each is one function, not a copy in every caller: with its masks of indices (docs/security.md) it is
// longer than a call. They go through a pointer to an array, as guest/kernel/memory.go says why.

//go:noinline
func le16(b []byte, at uint32) uint16 {
	w := (*[2]byte)(b[at:])
	return uint16(w[0]) | uint16(w[1])<<8
}

//go:noinline
func le32(b []byte, at uint32) uint32 {
	w := (*[4]byte)(b[at:])
	return uint32(w[0]) | uint32(w[1])<<8 | uint32(w[2])<<16 | uint32(w[3])<<24
}

// number is le32 where the compiler knows that b is long enough.
func number(b []byte) uint32 {
	w := (*[4]byte)(b)
	return uint32(w[0]) | uint32(w[1])<<8 | uint32(w[2])<<16 | uint32(w[3])<<24
}

func le64(b *[8]byte) uint64 {
	return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
		uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
}

// Checksum computes the checksum of a header: the XOR of its 32-bit words without the checksum
// itself. Precondition: len(header) is a multiple of 4, and BaseSize or more.
func Checksum(header []byte) uint32 {
	var pairs uint64 // the XOR of the words, two at a time
	rest := header
	for ; len(rest) >= 16; rest = rest[16:] {
		b := (*[16]byte)(rest)
		pairs ^= le64((*[8]byte)(b[:8])) ^ le64((*[8]byte)(b[8:]))
	}
	sum := uint32(pairs) ^ uint32(pairs>>32) ^ le32(header, OffsetChecksum)
	for ; len(rest) >= 4; rest = rest[4:] {
		sum ^= le32(rest, 0)
	}
	return sum
}
