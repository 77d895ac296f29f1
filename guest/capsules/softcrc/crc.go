// Package softcrc is a hil.CRC without a device: the processor computes, a piece in a deferred call.
package softcrc

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/crc32c"
	"kapsel/guest/kernel/hil"
)

// MaxPiece is how many bytes it takes at once: by far less than a millisecond's work.
const MaxPiece = 4096

// CRC is the engine.
type CRC struct {
	deferred  kernel.DeferredCall
	client    hil.CRCClient
	algorithm hil.CRCAlgorithm
	sum       uint32
	data      []byte // nil: nothing goes on
}

// Init readies the engine.
func (c *CRC) Init(k *kernel.Kernel) { c.deferred.Register(k, c) }

// SetCRCClient implements hil.CRC.
func (c *CRC) SetCRCClient(client hil.CRCClient) { c.client = client }

// EmptyCRC implements hil.CRC.
func (c *CRC) EmptyCRC(algorithm hil.CRCAlgorithm) uint32 {
	if algorithm == hil.CRC16CCITT {
		return 0xffff
	}
	return 0
}

// AddToCRC implements hil.CRC.
func (c *CRC) AddToCRC(algorithm hil.CRCAlgorithm, sum uint32, data []byte) abi.ErrorCode {
	switch {
	case c.data != nil:
		return abi.BUSY
	case len(data) == 0 || len(data) > MaxPiece:
		return abi.SIZE
	}
	c.algorithm, c.sum, c.data = algorithm, sum, data
	c.deferred.Set()
	return abi.OK
}

// HandleDeferredCall implements kernel.DeferredClient.
func (c *CRC) HandleDeferredCall() {
	data := c.data
	if data == nil {
		return
	}
	c.data = nil
	c.client.CRCDone(data, add(c.algorithm, c.sum, data), abi.OK)
}

// add is the checksum of what has the checksum sum, with data behind it.
func add(algorithm hil.CRCAlgorithm, sum uint32, data []byte) uint32 {
	switch algorithm {
	case hil.CRC32C:
		return crc32c.Add(sum, data)
	case hil.CRC16CCITT:
		return reverse16(addByNibbles(&ccitt, reverse16(sum), data))
	}
	return ^addByNibbles(&ethernet, ^sum, data)
}

// addByNibbles divides data, four bits at a time from the lowest on, and returns the remainder, in reverse.
func addByNibbles(table *[16]uint32, remainder uint32, data []byte) uint32 {
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
