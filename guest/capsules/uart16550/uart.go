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
	"kapsel/guest/mmio"
)

// Limits of the driver.
const (
	fifoSize         = 16
	maxPolls         = 1 << 20
	maxInterruptRuns = 4 // of service at once: 64 bytes with a FIFO
)

// UART is the driver of one device.
type UART struct {
	device   mmio.Device[Registers]
	burst    int // bytes that the empty transmitter takes at once
	enabled  interrupts
	early    byte // came before Init, if hasEarly
	hasEarly bool
	midLine  bool // the last byte that was sent was no newline
	deferred kernel.DeferredCall

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
func (u *UART) Init(k *kernel.Kernel, device mmio.Device[Registers]) {
	u.device = device
	interruptEnable.Write(&u.device, 0)
	lineControl.Write(&u.device, divisorLatch)
	divisorLow.Write(&u.device, divisor115200)
	divisorHigh.Write(&u.device, 0)
	lineControl.Write(&u.device, wordLength.With(0, word8))
	if lineStatus.Read(&u.device)&dataReady != 0 {
		u.early, u.hasEarly = receiverBuffer.Read(&u.device), true // switching the FIFO on would drop it
	}
	fifoControl.Write(&u.device, fifoEnable|fifoClearReceiver|fifoClearTransmitter)
	modemControl.Write(&u.device, dataTerminalReady|requestToSend|out2)
	u.burst = 1
	if fifos.Of(interruptIdentity.Read(&u.device)) == fifosWork {
		u.burst = fifoSize
	}
	u.deferred.Register(k, u)
}

// Burst is how many bytes the device takes when its transmitter is empty.
func (u *UART) Burst() int { return u.burst }

// SetTransmitClient implements hil.Transmitter.
func (u *UART) SetTransmitClient(client hil.TransmitClient) { u.transmitClient = client }

// SetReceiveClient implements hil.Receiver.
func (u *UART) SetReceiveClient(client hil.ReceiveClient) { u.receiveClient = client }

// Transmit implements hil.Transmitter.
func (u *UART) Transmit(buf []byte, n int) abi.ErrorCode {
	if e := u.transmit.start(buf, n); e != abi.OK {
		return e
	}
	if lineStatus.Read(&u.device)&transmitterEmpty != 0 {
		u.sendBurst()
	}
	u.enable(transmitterReady, true)
	return abi.OK
}

// Receive implements hil.Receiver. While nobody receives, the interrupt is off and bytes
// stay in the device, so that its other end can see that it is full.
func (u *UART) Receive(buf []byte, n int) abi.ErrorCode {
	if e := u.receive.start(buf, n); e != abi.OK {
		return e
	}
	u.enable(receivedData, true)
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
	u.enable(receivedData, false)
	u.deferred.Set()
	return abi.OK
}

// HandleDeferredCall ends an aborted reception, unless it came to its own end before, or
// begins one with the byte that came before Init. Then it goes on where HandleInterrupt ended.
func (u *UART) HandleDeferredCall() {
	switch {
	case u.receive.buf == nil:
	case u.enabled&receivedData == 0:
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
		if interruptIdentity.Read(&u.device)&noInterrupt != 0 || !u.serve() {
			return
		}
	}
	u.deferred.Set()
}

// serve moves what can be moved, and reports whether that was anything.
func (u *UART) serve() bool {
	status := lineStatus.Read(&u.device)
	receives := u.enabled&receivedData != 0 && status&dataReady != 0
	transmits := u.enabled&transmitterReady != 0 && status&transmitterEmpty != 0
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
		r.buf[r.done] = receiverBuffer.Read(&u.device)
	}
	r.done++
	if r.done == r.n {
		u.enable(receivedData, false)
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
	u.enable(transmitterReady, false)
	u.transmit = transfer{}
	u.sent(t.buf[:t.n])
	u.transmitClient.Transmitted(t.buf, t.n, abi.OK)
}

// sendBurst gives the empty transmitter as many bytes as it takes.
func (u *UART) sendBurst() {
	t := &u.transmit
	end := min(t.done+u.burst, t.n)
	transmitterHolding.WriteBytes(&u.device, t.buf[t.done:end])
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
func (u *UART) enable(which interrupts, on bool) {
	enabled := u.enabled &^ which
	if on {
		enabled |= which
	}
	if enabled != u.enabled {
		u.enabled = enabled
		interruptEnable.Write(&u.device, enabled)
	}
}

// TransmitPolling implements hil.PollingTransmitter. The buffer of a transmission that
// goes on is not handed back.
func (u *UART) TransmitPolling(buf []byte) {
	u.enable(receivedData|transmitterReady, false)
	t := &u.transmit
	u.poll(t.buf[t.done:t.n])
	u.sent(t.buf[:t.n])
	t.done, t.n = 0, 0
	u.poll(buf)
	u.sent(buf)
}

// poll sends bytes, waiting for the transmitter before each burst. It gives up on a
// device that takes nothing.
func (u *UART) poll(b []byte) {
	for len(b) > 0 {
		polls := 0
		for lineStatus.Read(&u.device)&transmitterEmpty == 0 {
			polls++
			if polls == maxPolls {
				return
			}
		}
		n := min(u.burst, len(b))
		transmitterHolding.WriteBytes(&u.device, b[:n])
		b = b[n:]
	}
}
