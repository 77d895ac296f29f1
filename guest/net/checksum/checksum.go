// Package checksum is the Internet checksum of RFC 1071, which IPv4, ICMP, UDP and TCP use.
package checksum

// Add adds bytes to a sum, as 16-bit numbers in network order; behind an odd number of them is a zero. Only the last piece
// may be odd. A sum begins with 0 or with that of a pseudo header.
func Add(sum uint32, b []byte) uint32 {
	wide := uint64(sum)
	for len(b) >= 4 {
		wide += uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])
		b = b[4:]
	}
	if len(b) >= 2 {
		wide += uint64(b[0])<<8 | uint64(b[1])
		b = b[2:]
	}
	if len(b) == 1 {
		wide += uint64(b[0]) << 8
	}
	for wide>>16 != 0 {
		wide = wide&0xffff + wide>>16
	}
	return uint32(wide)
}

// Pseudo is the sum of the pseudo header of UDP and TCP (RFC 9293, 3.1): two IPv4 addresses, a protocol and a length in bytes.
func Pseudo(source, destination [4]byte, protocol uint8, length int) uint32 {
	sum := Add(0, source[:])
	sum = Add(sum, destination[:])
	return Add(sum, []byte{0, protocol, byte(length >> 8), byte(length)})
}

// Finish is what goes into the header: the complement of the sum. Over data with the right checksum in it, it is 0.
func Finish(sum uint32) uint16 { return ^uint16(sum) }
