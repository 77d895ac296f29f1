// Package dacport is a digital-to-analog converter of 12 bits at the other end of a port: each value is sent as a line (package lines).
package dacport

import (
	"kapsel/guest/abi"
	"kapsel/guest/capsules/lines"
	"kapsel/guest/kernel/hil"
)

// maxValue is the largest value.
const maxValue = 1<<12 - 1

// DAC implements hil.DAC.
type DAC struct {
	port hil.Port
	line lines.Line
	busy bool // the line is being sent
}

// Init ties the driver to its port, of which it is the only client.
func (d *DAC) Init(port hil.Port) {
	d.port = port
	port.SetPortClient(d)
}

// SetValue implements hil.DAC.
func (d *DAC) SetValue(value uint32) abi.ErrorCode {
	if value > maxValue {
		return abi.INVAL
	}
	if d.busy {
		return abi.BUSY
	}
	d.line.Write(value)
	line := d.line.Bytes()
	e := d.port.Send(line, len(line))
	d.busy = e == abi.OK
	return e
}

// Sent implements hil.PortClient.
func (d *DAC) Sent([]byte, int, abi.ErrorCode) { d.busy = false }

// Received implements hil.PortClient: nothing is asked for.
func (d *DAC) Received([]byte, int, abi.ErrorCode) {}

// PortChanged implements hil.PortClient.
func (d *DAC) PortChanged() {}
