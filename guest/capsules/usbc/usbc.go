// Package usbc drives the USB controller of Atmel's SAM4L in device mode, as far as bulk and interrupt endpoints of one bank
// go. No board of ours has one: it is the case study of the paper that Kapsel begins with ("The case for writing a kernel in
// Rust", 4.2), a test of whether safe Go behind typed registers can hold a controller to its descriptors. It runs against a
// model of the controller.
//
// Numbers in brackets are sections of the SAM4L data sheet (Atmel-42023), whose names for registers stand beside them.
//
// The controller finds packets by a table of descriptors in memory: of each of its eight endpoints two banks, each an address,
// the packet's size, its state and a reserved word. It would read and write wherever a descriptor says. So all sixteen are there
// from the start, by type, and each always has the address of memory that is lent to the controller: a buffer's while a
// transfer goes on, else that of a bin, which nobody looks into.
package usbc

import (
	"kapsel/guest/abi"
	"kapsel/guest/mmio"
)

// What the controller has.
const (
	Endpoints = 8
	Banks     = 2 // of an endpoint
)

// Devices are the controller, its endpoints, and its table of descriptors, which is at a physical address.
type Devices struct {
	Controller   mmio.Device[Controller]
	Endpoints    [Endpoints]mmio.Device[Registers]
	Table        [Endpoints][Banks]mmio.Device[Bank]
	TableAddress uint32
}

// Buffer is memory that is the driver's or the controller's. dma.Buffer is one.
type Buffer interface {
	// Len is its size in bytes.
	Len() int
	// Lend makes the first n bytes the controller's, and returns their physical address.
	Lend(n int) (address uint64, e abi.ErrorCode)
	// Complete makes it the driver's again, of which the controller says that it wrote so many bytes, and returns how many
	// there can be, and abi.SIZE if the controller claims more.
	Complete(written uint32) (n int, e abi.ErrorCode)
	// Reclaim makes it the driver's again, once the controller was reset.
	Reclaim()
}

// Client is who transfers are for.
type Client interface {
	// Transferred hands a buffer back, of which n bytes were moved: abi.CANCEL if the bus was reset, abi.FAIL if the
	// controller reports an error, abi.SIZE if it claims more bytes than there are.
	Transferred(e Endpoint, b Buffer, n int, result abi.ErrorCode)
}

// Endpoint is the number of an endpoint, below Endpoints.
type Endpoint uint8

// Type is what an endpoint is for. Of the controller's four the driver has two.
type Type uint8

// Types of endpoints.
const (
	Bulk      Type = 2
	Interrupt Type = 3
)

// Direction is which way an endpoint goes, as the host sees it.
type Direction uint8

// Directions.
const (
	Out Direction = 0
	In  Direction = 1
)

// Size is that of an endpoint's packets, as a code.
type Size uint8

// Sizes in bytes.
const (
	Bytes8  Size = 0
	Bytes16 Size = 1
	Bytes32 Size = 2
	Bytes64 Size = 3
)

// bytes is the size that a code stands for.
func (s Size) bytes() int { return 8 << s }

// Config is how an endpoint is to be.
type Config struct {
	Type      Type
	Direction Direction
	Size      Size
}

// A transfer is what goes on at an endpoint.
type transfer struct {
	buffer Buffer // nil if nothing does
	n      int    // bytes that are sent
}

// USBC is the driver.
type USBC struct {
	devices Devices
	client  Client
	bin     physicalAddress

	configured endpoints
	config     [Endpoints]Config
	transfers  [Endpoints]transfer
}

// Init ties the driver to its controller and switches that on, detached from the bus. The bin is lent to the controller for
// good. It returns abi.SIZE if the bin is no room for a packet, or where the controller cannot reach it.
func (u *USBC) Init(d Devices, bin Buffer, client Client) abi.ErrorCode {
	u.devices, u.client = d, client
	if bin.Len() < Bytes64.bytes() {
		return abi.SIZE
	}
	address, e := lend(bin, bin.Len())
	if e != abi.OK {
		return e
	}
	u.bin = address
	for i := range Endpoints {
		for b := range Banks {
			u.describe(Endpoint(i), b, u.bin, 0)
		}
	}
	c := &u.devices.Controller
	descriptorTable.Write(c, physicalAddress(d.TableAddress))
	deviceControl.Write(c, detach)
	generalControl.Write(c, enable|deviceMode)
	deviceInterruptEnable.Write(c, endOfReset)
	return abi.OK
}

// Attach lets the host see the device.
func (u *USBC) Attach() { deviceControl.Write(&u.devices.Controller, 0) }

// lend makes the first n bytes of a buffer the controller's, if it can reach them: at an address of 32 bits that is not 0.
func lend(b Buffer, n int) (physicalAddress, abi.ErrorCode) {
	address, e := b.Lend(n)
	if e != abi.OK {
		return 0, e
	}
	if address == 0 || address+uint64(n) > 1<<32 {
		b.Reclaim()
		return 0, abi.SIZE
	}
	return physicalAddress(address), abi.OK
}

// describe sets a descriptor. There is none without an address.
func (u *USBC) describe(e Endpoint, bank int, address physicalAddress, size packetSizeBits) {
	b := &u.devices.Table[e][bank]
	bankAddress.Write(b, address)
	bankPacketSize.Write(b, size)
	bankStatus.Write(b, 0)
}

// Configure sets an endpoint up. It returns abi.INVAL if there is no such endpoint, or none of such a kind, and abi.BUSY
// during a transfer. Endpoint 0 is for control, which the driver has not.
func (u *USBC) Configure(e Endpoint, c Config) abi.ErrorCode {
	switch {
	case e == 0 || e >= Endpoints:
		return abi.INVAL
	case c.Type != Bulk && c.Type != Interrupt || c.Direction > In || c.Size > Bytes64:
		return abi.INVAL
	case u.transfers[e].buffer != nil:
		return abi.BUSY
	}
	u.config[e] = c
	u.configured |= 1 << e
	configuration.Write(&u.devices.Endpoints[e], epSize.With(epDirection.With(epType.With(0, c.Type), c.Direction), c.Size))
	endpointEnable.Write(&u.devices.Controller, enabled.With(0, u.configured))
	return abi.OK
}

// Transmit sends the first n bytes of a buffer as one packet. It returns abi.INVAL if the endpoint does not go that way,
// abi.BUSY while it has a transfer, and abi.SIZE if n is above the buffer or the packet.
func (u *USBC) Transmit(e Endpoint, b Buffer, n int) abi.ErrorCode {
	if n < 0 || n > 1<<15-1 {
		return abi.SIZE
	}
	return u.start(e, In, b, n, byteCount.With(0, uint16(n)), onTransmitted)
}

// Receive takes one packet into a buffer, which has room for the endpoint's largest. Errors are those of Transmit.
func (u *USBC) Receive(e Endpoint, b Buffer) abi.ErrorCode {
	if e >= Endpoints {
		return abi.INVAL
	}
	n := u.config[e].Size.bytes()
	return u.start(e, Out, b, n, multiPacketSize.With(0, uint16(n)), onReceived)
}

// start lends a buffer to the controller, with its descriptor, and has the end of it told.
func (u *USBC) start(e Endpoint, d Direction, b Buffer, n int, size packetSizeBits, on controlBits) abi.ErrorCode {
	switch {
	case e >= Endpoints || u.configured>>e&1 == 0 || u.config[e].Direction != d:
		return abi.INVAL
	case u.transfers[e].buffer != nil:
		return abi.BUSY
	case n > u.config[e].Size.bytes():
		return abi.SIZE
	}
	address, failed := lend(b, n)
	if failed != abi.OK {
		return failed
	}
	u.transfers[e] = transfer{b, n}
	u.describe(e, 0, address, size)
	r := &u.devices.Endpoints[e]
	statusClear.Write(r, transmitted|received)
	controlSet.Write(r, on)
	controlClear.Write(r, fifoControl)
	deviceInterruptEnable.Write(&u.devices.Controller, endpointInterrupt.With(0, 1<<e))
	return abi.OK
}

// HandleInterrupt serves the controller: a reset of the bus, and the ends of transfers, one of each endpoint at the most.
func (u *USBC) HandleInterrupt() {
	pending := deviceInterrupt.Read(&u.devices.Controller)
	if pending&endOfReset != 0 {
		deviceInterruptClear.Write(&u.devices.Controller, endOfReset)
		u.reset()
		return
	}
	told := endpointInterrupt.Of(pending)
	for e := range Endpoint(Endpoints) {
		if told>>e&1 != 0 {
			u.serve(e)
		}
	}
}

// reset takes all back: a reset of the bus ends each endpoint (17.6.2).
func (u *USBC) reset() {
	u.configured = 0
	endpointEnable.Write(&u.devices.Controller, 0)
	for e := range Endpoint(Endpoints) {
		if t := u.take(e); t.buffer != nil {
			t.buffer.Reclaim()
			u.client.Transferred(e, t.buffer, 0, abi.CANCEL)
		}
	}
}

// take ends the transfer of an endpoint, whose descriptor gets the bin.
func (u *USBC) take(e Endpoint) transfer {
	t := u.transfers[e]
	u.transfers[e] = transfer{}
	u.describe(e, 0, u.bin, 0)
	controlClear.Write(&u.devices.Endpoints[e], onTransmitted|onReceived)
	deviceInterruptDisable.Write(&u.devices.Controller, endpointInterrupt.With(0, 1<<e))
	return t
}

// serve ends the transfer of an endpoint, if the controller says that it has come to its end.
func (u *USBC) serve(e Endpoint) {
	sending := u.config[e].Direction == In
	want, r := received, &u.devices.Endpoints[e]
	if sending {
		want = transmitted
	}
	if u.transfers[e].buffer == nil || status.Read(r)&want == 0 {
		return
	}
	statusClear.Write(r, want)
	bank := &u.devices.Table[e][0]
	written := uint32(byteCount.Of(bankPacketSize.Read(bank))) // read once: the controller may write it
	errors := bankStatus.Read(bank) & bankErrors
	t := u.take(e)
	if sending {
		written = 0
	}
	n, result := t.buffer.Complete(written)
	if sending {
		n = t.n
	}
	if errors != 0 {
		n, result = 0, abi.FAIL
	}
	u.client.Transferred(e, t.buffer, n, result)
}
