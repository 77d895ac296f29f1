package virtiogpio

import (
	"kapsel/guest/abi"
	spec "kapsel/guest/abi/virtio"
	"kapsel/guest/kernel/hil"
)

// Group is some of a device's lines. It implements hil.GPIO.
type Group struct {
	driver *GPIO
	client hil.GPIOClient
	count  int
	lines  [MaxLines]uint8 // by pin
}

// SetGPIOClient implements hil.GPIO.
func (p *Group) SetGPIOClient(client hil.GPIOClient) { p.client = client }

// Pins implements hil.GPIO.
func (p *Group) Pins() int { return p.count }

// MakeOutput implements hil.GPIO.
func (p *Group) MakeOutput(pin int) abi.ErrorCode { return p.direct(pin, spec.GPIOOutput) }

// MakeInput implements hil.GPIO.
func (p *Group) MakeInput(pin int) abi.ErrorCode { return p.direct(pin, spec.GPIOInput) }

// Deactivate implements hil.GPIO.
func (p *Group) Deactivate(pin int) abi.ErrorCode { return p.direct(pin, spec.GPIONone) }

// Give implements hil.GPIO.
func (p *Group) Give(pin int, high bool) abi.ErrorCode {
	l, e := p.usable(pin)
	if e == abi.OK {
		l.output = high
		p.driver.goOn()
	}
	return e
}

// Level implements hil.GPIO.
func (p *Group) Level(pin int) (high bool) {
	l := p.line(pin)
	switch {
	case l == nil:
		return false
	case l.direction == spec.GPIOOutput:
		return l.output
	}
	return l.input && l.direction == spec.GPIOInput
}

// TellOf implements hil.GPIO.
func (p *Group) TellOf(pin int, edges hil.Edges) abi.ErrorCode {
	l, e := p.usable(pin)
	if e == abi.OK {
		l.edges = edges
	}
	return e
}

// direct gives a pin's line a direction.
func (p *Group) direct(pin int, direction uint8) abi.ErrorCode {
	l, e := p.usable(pin)
	if e == abi.OK {
		l.direction = direction
		p.driver.goOn()
	}
	return e
}

// usable is a pin's line.
func (p *Group) usable(pin int) (*line, abi.ErrorCode) {
	l := p.line(pin)
	switch {
	case l == nil:
		return nil, abi.INVAL
	case l.refused || !p.driver.transport.Works():
		return nil, abi.FAIL
	}
	return l, abi.OK
}

// line is a pin's line, nil if there is none.
func (p *Group) line(pin int) *line {
	if uint(pin) >= uint(p.count) {
		return nil
	}
	return &p.driver.lines[p.lines[pin]]
}
