// Package softcrc is a hil.CRC without a device: the processor computes, a piece in a deferred call.
package softcrc

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/crc"
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
		return crc.EmptyCCITT
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
		return crc.AddCCITT(sum, data)
	}
	return crc.AddEthernet(sum, data)
}
