// Package crc32c computes CRC-32C, the checksum of RFC 3720, 12.1 (iSCSI): Castagnoli's polynomial 0x1edc6f41, bits reflected. It
// serves ring 0: it needs no memory of its own, and its table is a constant of the image. Where the processor can do it, it does
// (Accelerate): half an instruction a byte instead of five.
package crc32c

// Sum returns the checksum of data.
func Sum(data []byte) uint32 { return Add(0, data) }

// Add returns the checksum of what has the checksum sum, with data behind it.
func Add(sum uint32, data []byte) uint32 {
	sum = ^sum
	if accelerated {
		return ^update(sum, data)
	}
	for _, b := range data {
		sum = table[byte(sum)^b] ^ sum>>8
	}
	return ^sum
}
