// Package uartmux lets several capsules share one serial line: each has a Device, which
// is a hil.UART like the line itself. Transmissions take turns, whole. What is received
// goes to every device that receives at that time.
package uartmux

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/hil"
)

// Mux shares one line among its devices.
type Mux struct {
	line    hil.UART
	devices [maxDevices]*Device
	count   int
	sending int // the device whose buffer the line has, or -1
	waiting int // devices whose buffer waits for the line
	byte    [1]byte
	listens bool // the line has byte
	abort   kernel.DeferredCall
}

// maxDevices is how many capsules can share a line.
const maxDevices = 8

// Init ties the mux to the line that it shares, of which it is the only client.
func (m *Mux) Init(k *kernel.Kernel, line hil.UART) {
	m.line = line
	m.sending = -1
	m.abort.Register(k, m)
	line.SetTransmitClient(m)
	line.SetReceiveClient(m)
}

// Device is one capsule's share of the line.
type Device struct {
	mux            *Mux
	index          int
	transmitClient hil.TransmitClient
	receiveClient  hil.ReceiveClient
	out            []byte // to be sent, whole, nil if nothing
	outN           int
	in             []byte // to be filled, nil if nothing
	inN, inDone    int
	aborted        bool
}

// Init gives the device its share of m. More than 8 devices are a wiring error.
func (d *Device) Init(m *Mux) {
	if m.count == maxDevices {
		panic("uartmux: more than 8 devices: raise maxDevices")
	}
	d.mux, d.index = m, m.count
	m.devices[m.count] = d
	m.count++
}

// SetTransmitClient implements hil.Transmitter.
func (d *Device) SetTransmitClient(client hil.TransmitClient) { d.transmitClient = client }

// SetReceiveClient implements hil.Receiver. What a client before, which failed, has asked for is dropped.
func (d *Device) SetReceiveClient(client hil.ReceiveClient) { d.receiveClient, d.in = client, nil }

// Transmit implements hil.Transmitter.
func (d *Device) Transmit(buf []byte, n int) abi.ErrorCode {
	switch {
	case d.out != nil:
		return abi.BUSY
	case n <= 0 || n > len(buf):
		return abi.SIZE
	}
	d.out, d.outN = buf, n
	if d.mux.sending >= 0 {
		d.mux.waiting++
		return abi.OK
	}
	e := d.mux.line.Transmit(buf, n)
	if e == abi.OK {
		d.mux.sending = d.index
	} else {
		d.out = nil
	}
	return e
}

// Transmitted implements hil.TransmitClient: the next device in turn gets the line, then
// the one whose buffer was sent is told.
func (m *Mux) Transmitted(buf []byte, n int, e abi.ErrorCode) {
	d := m.devices[m.sending]
	d.out = nil
	m.sending = -1
	if m.waiting != 0 {
		m.sendNext(d.index)
	}
	d.transmitClient.Transmitted(buf, n, e)
}

// sendNext gives the line to the first device after index that wants to send. One that
// the line refuses is told.
func (m *Mux) sendNext(index int) {
	for m.waiting != 0 && m.sending < 0 {
		index++
		if index == m.count {
			index = 0
		}
		d := m.devices[index]
		if d.out == nil {
			continue
		}
		m.waiting--
		e := m.line.Transmit(d.out, d.outN)
		if e == abi.OK {
			m.sending = d.index
			return
		}
		buf := d.out
		d.out = nil
		d.transmitClient.Transmitted(buf, 0, e)
	}
}

// Receive implements hil.Receiver.
func (d *Device) Receive(buf []byte, n int) abi.ErrorCode {
	switch {
	case d.in != nil:
		return abi.BUSY
	case n <= 0 || n > len(buf):
		return abi.SIZE
	}
	if e := d.mux.listen(); e != abi.OK {
		return e
	}
	d.in, d.inN, d.inDone, d.aborted = buf, n, 0, false
	return abi.OK
}

// listen makes the line receive a byte.
func (m *Mux) listen() abi.ErrorCode {
	if m.listens {
		return abi.OK
	}
	e := m.line.Receive(m.byte[:], 1)
	m.listens = e == abi.OK
	return e
}

// Received implements hil.ReceiveClient: every device that receives gets the byte, and
// those that have all they asked for are told.
func (m *Mux) Received(buf []byte, n int, _ abi.ErrorCode) {
	m.listens = false
	if n == 1 {
		for i := range m.count {
			m.devices[i].take(buf[0])
		}
	}
	for i := range m.count {
		if m.devices[i].in != nil {
			m.listen()
		}
	}
}

// take appends a byte to the device's reception.
func (d *Device) take(b byte) {
	if d.in == nil || d.aborted {
		return
	}
	d.in[d.inDone] = b
	d.inDone++
	if d.inDone == d.inN {
		d.finish(abi.OK)
	}
}

// finish hands the receive buffer back.
func (d *Device) finish(e abi.ErrorCode) {
	buf := d.in
	d.in = nil
	d.receiveClient.Received(buf, d.inDone, e)
}

// AbortReceive implements hil.Receiver.
func (d *Device) AbortReceive() abi.ErrorCode {
	if d.in == nil {
		return abi.ALREADY
	}
	d.aborted = true
	d.mux.abort.Set()
	return abi.OK
}

// HandleDeferredCall ends the receptions that were aborted. The line goes on listening
// for its one byte; if nobody wants it by then, it is dropped.
func (m *Mux) HandleDeferredCall() {
	for i := range m.count {
		if d := m.devices[i]; d.in != nil && d.aborted {
			d.finish(abi.CANCEL)
		}
	}
}

// Drain sends by polling what the line and the devices still hold, at the machine's end.
func (m *Mux) Drain(line hil.PollingTransmitter) {
	line.TransmitPolling(nil)
	for i := range m.count {
		if d := m.devices[i]; d.out != nil && i != m.sending {
			line.TransmitPolling(d.out[:d.outN])
			d.out = nil
			m.waiting--
		}
	}
}
