package benchmark

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/hil"
)

// Disk is a block device of a page of zeroes, which can only be read. A request ends by deferred call.
type Disk struct {
	_      [0]func() // not comparable: no function is made for it
	client hil.BlockClient
	done   kernel.DeferredCall
	tag    uint32
	buf    []byte // what is being read, or nil
}

// Init ties the disk to the kernel.
func (d *Disk) Init(k *kernel.Kernel) { d.done.Register(k, d) }

// SetBlockClient implements hil.BlockDevice.
func (d *Disk) SetBlockClient(client hil.BlockClient) { d.client = client }

// Sectors implements hil.BlockDevice.
func (d *Disk) Sectors() uint64 { return abi.PageSize / 512 }

// MaxBytes implements hil.BlockDevice.
func (d *Disk) MaxBytes() int { return abi.PageSize }

// Read implements hil.BlockDevice.
func (d *Disk) Read(tag uint32, buf []byte, sector uint64) abi.ErrorCode {
	switch {
	case len(buf) == 0 || len(buf)%512 != 0:
		return abi.SIZE
	case sector >= d.Sectors() || uint64(len(buf)/512) > d.Sectors()-sector:
		return abi.INVAL
	case d.buf != nil:
		return abi.BUSY
	}
	d.tag, d.buf = tag, buf
	d.done.Set()
	return abi.OK
}

// HandleDeferredCall implements kernel.DeferredClient.
func (d *Disk) HandleDeferredCall() {
	buf := d.buf
	clear(buf)
	d.buf = nil
	d.client.BlockDone(d.tag, buf, abi.OK)
}

// Write implements hil.BlockDevice.
func (d *Disk) Write(uint32, []byte, uint64) abi.ErrorCode { return abi.NOSUPPORT }

// Flush implements hil.BlockDevice.
func (d *Disk) Flush(uint32) abi.ErrorCode { return abi.NOSUPPORT }

// Discard implements hil.BlockDevice.
func (d *Disk) Discard(uint32, uint64, uint64) abi.ErrorCode { return abi.NOSUPPORT }

// WriteZeroes implements hil.BlockDevice.
func (d *Disk) WriteZeroes(uint32, uint64, uint64) abi.ErrorCode { return abi.NOSUPPORT }

// Identify implements hil.BlockDevice.
func (d *Disk) Identify(uint32, []byte) abi.ErrorCode { return abi.NOSUPPORT }
