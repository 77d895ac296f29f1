package tbf

// The functions below read little-endian numbers. The caller has checked that
// b is long enough. They go through a pointer to an array, as guest/kernel/memory.go says why.

func le16(b []byte, at uint32) uint16 {
	w := (*[2]byte)(b[at:][:2])
	return uint16(w[0]) | uint16(w[1])<<8
}

func le32(b []byte, at uint32) uint32 {
	w := (*[4]byte)(b[at:][:4])
	return uint32(w[0]) | uint32(w[1])<<8 | uint32(w[2])<<16 | uint32(w[3])<<24
}

// Checksum computes the checksum of a header: the XOR of its 32-bit words
// without the checksum itself. Precondition: len(header) is a multiple of 4.
func Checksum(header []byte) uint32 {
	var sum uint32
	for at := uint32(0); at < uint32(len(header)); at += 4 {
		if at != OffsetChecksum {
			sum ^= le32(header, at)
		}
	}
	return sum
}
