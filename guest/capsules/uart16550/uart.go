// Package uart16550 drives an 8250-compatible UART with or without the 16550's FIFO, by
// interrupts. It implements hil.UART and hil.PollingTransmitter.
//
// Register names and bits are those of the PC16550D data sheet (National Semiconductor,
// 1995), section 8.
package uart16550

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/hil"
)

// Registers are the device's eight byte-wide registers. mmio.Ports is one.
type Registers interface {
	Read8(offset uint16) uint8
	Write8(offset uint16, v uint8)
	// WriteBytes writes the bytes of b, one after another, to one register.
	WriteBytes(offset uint16, b []byte)
}

// Register offsets.
const (
	data             = 0 // receiver buffer when read, transmitter holding when written
	divisorLow       = 0 // while lineDivisor is set
	divisorHigh      = 1 // likewise
	interruptEnable  = 1
	interruptID      = 2 // when read
	fifoControl      = 2 // when written
	lineControl      = 3
	modemControl     = 4
	lineStatus       = 5
	fifoSize         = 16
	divisor115200    = 1
	lineDivisor      = 0x80
	line8N1          = 0x03
	fifoEnableClear  = 0x07 // enable, clear both; interrupt at the first byte
	fifoEnabled      = 0xc0 // both bits of interruptID: there is a FIFO
	modemReady       = 0x0b // DTR, RTS, and OUT2, which lets interrupts through on a PC
	noInterrupt      = 0x01 // in interruptID
	enableReceive    = 0x01 // in interruptEnable
	enableTransmit   = 0x02 // in interruptEnable
	statusDataReady  = 0x01 // in lineStatus
	statusTransmit   = 0x20 // in lineStatus: the transmitter takes bytes
	maxPolls         = 1 << 20
	maxInterruptRuns = 4 // of service at once: 64 bytes with a FIFO
)

// UART is the driver of one device.
type UART struct {
	registers Registers
	burst     int // bytes that the empty transmitter takes at once
	enabled   uint8
	early     byte // came before Init, if hasEarly
	hasEarly  bool
	midLine   bool // the last byte that was sent was no newline
	deferred  kernel.DeferredCall

	transmitClient hil.TransmitClient
	transmit       transfer
	receiveClient  hil.ReceiveClient
	receive        transfer
}

// transfer is a buffer under way: the first done of its n bytes are moved.
type transfer struct {
	buf     []byte // nil if nothing is under way
	n, done int
}

// start takes a buffer, or says why not.
func (t *transfer) start(buf []byte, n int) abi.ErrorCode {
	if t.buf != nil {
		return abi.BUSY
	}
	if n <= 0 || n > len(buf) {
		return abi.SIZE
	}
	*t = transfer{buf: buf, n: n}
	return abi.OK
}

// Init sets the device to 115200 baud, 8 data bits, no parity, one stop bit, and ties the
// driver to it. Its interrupt goes to HandleInterrupt.
func (u *UART) Init(k *kernel.Kernel, registers Registers) {
	u.registers = registers
	registers.Write8(interruptEnable, 0)
	registers.Write8(lineControl, lineDivisor)
	registers.Write8(divisorLow, divisor115200)
	registers.Write8(divisorHigh, 0)
	registers.Write8(lineControl, line8N1)
	if registers.Read8(lineStatus)&statusDataReady != 0 {
		u.early, u.hasEarly = registers.Read8(data), true // switching the FIFO on would drop it
	}
	registers.Write8(fifoControl, fifoEnableClear)
	registers.Write8(modemControl, modemReady)
	u.burst = 1
	if registers.Read8(interruptID)&fifoEnabled == fifoEnabled {
		u.burst = fifoSize
	}
	u.deferred.Register(k, u)
}

// SetTransmitClient implements hil.Transmitter.
func (u *UART) SetTransmitClient(client hil.TransmitClient) { u.transmitClient = client }

// SetReceiveClient implements hil.Receiver.
func (u *UART) SetReceiveClient(client hil.ReceiveClient) { u.receiveClient = client }

// Transmit implements hil.Transmitter.
func (u *UART) Transmit(buf []byte, n int) abi.ErrorCode {
	if e := u.transmit.start(buf, n); e != abi.OK {
		return e
	}
	if u.registers.Read8(lineStatus)&statusTransmit != 0 {
		u.sendBurst()
	}
	u.enable(enableTransmit, true)
	return abi.OK
}

// Receive implements hil.Receiver. While nobody receives, the interrupt is off and bytes
// stay in the device, so that its other end can see that it is full.
func (u *UART) Receive(buf []byte, n int) abi.ErrorCode {
	if e := u.receive.start(buf, n); e != abi.OK {
		return e
	}
	u.enable(enableReceive, true)
	if u.hasEarly {
		u.deferred.Set() // no interrupt tells of it
	}
	return abi.OK
}

// AbortReceive implements hil.Receiver.
func (u *UART) AbortReceive() abi.ErrorCode {
	if u.receive.buf == nil {
		return abi.ALREADY
	}
	u.enable(enableReceive, false)
	u.deferred.Set()
	return abi.OK
}

// HandleDeferredCall ends an aborted reception, unless it came to its own end before, or
// begins one with the byte that came before Init. Then it goes on where HandleInterrupt ended.
func (u *UART) HandleDeferredCall() {
	switch {
	case u.receive.buf == nil:
	case u.enabled&enableReceive == 0:
		u.received(abi.CANCEL)
	case u.hasEarly:
		u.receiveByte()
	}
	u.HandleInterrupt()
}

// HandleInterrupt serves the device until it asks for nothing more, but a few rounds at most.
// Its interrupt is edge-triggered: what is left unserved is never reported again, and a
// deferred call goes on with it. A device that asks and has nothing to serve, as one does that
// always asks, is left alone.
func (u *UART) HandleInterrupt() {
	for range maxInterruptRuns {
		if u.registers.Read8(interruptID)&noInterrupt != 0 || !u.serve() {
			return
		}
	}
	u.deferred.Set()
}

// serve moves what can be moved, and reports whether that was anything.
func (u *UART) serve() bool {
	status := u.registers.Read8(lineStatus)
	receives := u.enabled&enableReceive != 0 && status&statusDataReady != 0
	transmits := u.enabled&enableTransmit != 0 && status&statusTransmit != 0
	if receives {
		u.receiveByte()
	}
	if transmits {
		u.transmitReady()
	}
	return receives || transmits
}

// receiveByte takes one byte, and ends the reception if it was the last.
func (u *UART) receiveByte() {
	r := &u.receive
	if u.hasEarly {
		r.buf[r.done], u.hasEarly = u.early, false
	} else {
		r.buf[r.done] = u.registers.Read8(data)
	}
	r.done++
	if r.done == r.n {
		u.enable(enableReceive, false)
		u.received(abi.OK)
	}
}

// received hands the receive buffer back.
func (u *UART) received(e abi.ErrorCode) {
	r := u.receive
	u.receive = transfer{}
	u.receiveClient.Received(r.buf, r.done, e)
}

// transmitReady goes on when the transmitter is empty, or hands the buffer back when all
// was sent.
func (u *UART) transmitReady() {
	t := u.transmit
	if t.done < t.n {
		u.sendBurst()
		return
	}
	u.enable(enableTransmit, false)
	u.transmit = transfer{}
	u.sent(t.buf[:t.n])
	u.transmitClient.Transmitted(t.buf, t.n, abi.OK)
}

// sendBurst gives the empty transmitter as many bytes as it takes.
func (u *UART) sendBurst() {
	t := &u.transmit
	end := min(t.done+u.burst, t.n)
	u.registers.WriteBytes(data, t.buf[t.done:end])
	t.done = end
}

// sent notes how bytes that were sent end.
func (u *UART) sent(b []byte) {
	if len(b) != 0 {
		u.midLine = b[len(b)-1] != '\n'
	}
}

// MidLine implements hil.PollingTransmitter.
func (u *UART) MidLine() bool { return u.midLine }

// enable turns interrupts of the device on or off.
func (u *UART) enable(interrupts uint8, on bool) {
	enabled := u.enabled &^ interrupts
	if on {
		enabled |= interrupts
	}
	if enabled != u.enabled {
		u.enabled = enabled
		u.registers.Write8(interruptEnable, enabled)
	}
}

// TransmitPolling implements hil.PollingTransmitter. The buffer of a transmission that
// goes on is not handed back.
func (u *UART) TransmitPolling(buf []byte) {
	u.enable(enableReceive|enableTransmit, false)
	t := &u.transmit
	u.poll(t.buf[t.done:t.n])
	t.done = t.n
	u.sent(t.buf[:t.n])
	u.poll(buf)
	u.sent(buf)
}

// poll sends bytes, waiting for the transmitter before each burst. It gives up on a
// device that takes nothing.
func (u *UART) poll(b []byte) {
	for len(b) > 0 {
		polls := 0
		for u.registers.Read8(lineStatus)&statusTransmit == 0 {
			polls++
			if polls == maxPolls {
				return
			}
		}
		n := min(u.burst, len(b))
		u.registers.WriteBytes(data, b[:n])
		b = b[n:]
	}
}
