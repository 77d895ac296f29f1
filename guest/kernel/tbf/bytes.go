package tbf

// The functions below read little-endian numbers. The caller has checked that
// b is long enough.

func le16(b []byte, at uint32) uint16 {
	b = b[at:][:2]
	return uint16(b[0]) | uint16(b[1])<<8
}

func le32(b []byte, at uint32) uint32 {
	b = b[at:][:4]
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
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
