package tbf

// The functions below read little-endian numbers. The caller has checked that
// b is long enough.

func le16(b []byte, at int) uint16 { return uint16(b[at]) | uint16(b[at+1])<<8 }

func le32(b []byte, at int) uint32 { return uint32(le16(b, at)) | uint32(le16(b, at+2))<<16 }

func le64(b []byte, at int) uint64 { return uint64(le32(b, at)) | uint64(le32(b, at+4))<<32 }

// Checksum computes the checksum of a header: the XOR of its 32-bit words
// without the checksum itself. Precondition: len(header) is a multiple of 4.
func Checksum(header []byte) uint32 {
	var sum uint32
	for at := 0; at+4 <= len(header); at += 4 {
		if at != OffsetChecksum {
			sum ^= le32(header, at)
		}
	}
	return sum
}
