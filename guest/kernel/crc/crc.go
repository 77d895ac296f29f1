// Package crc computes two checksums for ring 0, four bits at a time, by tables of 16 entries: in the kernel size counts for more than
// speed. What storage needs is package crc32c.
package crc

// EmptyCCITT is AddCCITT's checksum of no data. AddEthernet's is 0.
const EmptyCCITT = 0xffff

// AddEthernet returns the CRC-32 of IEEE 802.3, 3.2.9, of what has the checksum sum, with data behind it.
func AddEthernet(sum uint32, data []byte) uint32 { return ^add(&ethernet, ^sum, data) }

// AddCCITT returns likewise the CRC-16 by the polynomial 0x1021 that Tock has: it begins with ones, takes the bits of a byte from the lowest on,
// and its remainder stays as it is.
func AddCCITT(sum uint32, data []byte) uint32 { return reverse16(add(&ccitt, reverse16(sum), data)) }

// add divides data, from the lowest bits on, and returns the remainder, in reverse.
func add(table *[16]uint32, remainder uint32, data []byte) uint32 {
	for _, b := range data {
		remainder ^= uint32(b)
		remainder = remainder>>4 ^ table[remainder%16]
		remainder = remainder>>4 ^ table[remainder%16]
	}
	return remainder
}

// reverse16 reverses the order of 16 bits.
func reverse16(v uint32) (r uint32) {
	for range 16 {
		r, v = r<<1|v&1, v>>1
	}
	return r
}

// The remainders of four bits, by the reversed polynomials 0xedb88320 and 0x8408.
var (
	ethernet = [16]uint32{
		0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
		0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
	}
	ccitt = [16]uint32{
		0x0000, 0x1081, 0x2102, 0x3183, 0x4204, 0x5285, 0x6306, 0x7387,
		0x8408, 0x9489, 0xa50a, 0xb58b, 0xc60c, 0xd68d, 0xe70e, 0xf78f,
	}
)
