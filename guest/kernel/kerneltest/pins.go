package kerneltest

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel/hil"
)

// Pins are pins on the host: a hil.GPIO whose inputs a test drives, at once or from the machine's main loop.
type Pins struct {
	List   []PinState
	Broken bool // every call fails

	cpu     *CPU
	line    int
	client  hil.GPIOClient
	driving []driving
}

// PinState is what a pin is.
type PinState struct {
	IsOutput, IsInput bool
	Output, Input     bool // levels
	Edges             hil.Edges
}

// driving is a level that waits to be given to an input.
type driving struct {
	pin  int
	high bool
}

// NewPins makes n pins of a machine's, which use an interrupt line of it.
func NewPins(m *Machine, line, n int) *Pins {
	p := &Pins{List: make([]PinState, n), cpu: &m.CPU, line: line}
	m.Lines[line] = p.serve
	return p
}

// Drive gives an input a level, from an interrupt of the machine's.
func (p *Pins) Drive(pin int, high bool) {
	p.driving = append(p.driving, driving{pin, high})
	p.cpu.Raise(p.line)
}

// serve gives inputs the levels that wait.
func (p *Pins) serve() {
	waiting := p.driving
	p.driving = nil
	for _, d := range waiting {
		s := &p.List[d.pin]
		edge := hil.FallingEdge
		if d.high {
			edge = hil.RisingEdge
		}
		changed := s.Input != d.high
		s.Input = d.high
		if changed && s.IsInput && s.Edges&edge != 0 && p.client != nil {
			p.client.PinChanged(d.pin, d.high)
		}
	}
}

// at is a pin, or why there is none.
func (p *Pins) at(pin int) (*PinState, abi.ErrorCode) {
	switch {
	case pin < 0 || pin >= len(p.List):
		return nil, abi.INVAL
	case p.Broken:
		return nil, abi.FAIL
	}
	return &p.List[pin], abi.OK
}

// change changes a pin.
func (p *Pins) change(pin int, f func(*PinState)) abi.ErrorCode {
	s, e := p.at(pin)
	if e == abi.OK {
		f(s)
	}
	return e
}

// SetGPIOClient implements hil.GPIO.
func (p *Pins) SetGPIOClient(client hil.GPIOClient) { p.client = client }

// Pins implements hil.GPIO.
func (p *Pins) Pins() int { return len(p.List) }

// MakeOutput implements hil.GPIO.
func (p *Pins) MakeOutput(pin int) abi.ErrorCode {
	return p.change(pin, func(s *PinState) { s.IsOutput, s.IsInput = true, false })
}

// MakeInput implements hil.GPIO.
func (p *Pins) MakeInput(pin int) abi.ErrorCode {
	return p.change(pin, func(s *PinState) { s.IsOutput, s.IsInput = false, true })
}

// Deactivate implements hil.GPIO.
func (p *Pins) Deactivate(pin int) abi.ErrorCode {
	return p.change(pin, func(s *PinState) { s.IsOutput, s.IsInput = false, false })
}

// Give implements hil.GPIO.
func (p *Pins) Give(pin int, high bool) abi.ErrorCode {
	return p.change(pin, func(s *PinState) { s.Output = high })
}

// Level implements hil.GPIO.
func (p *Pins) Level(pin int) bool {
	if pin < 0 || pin >= len(p.List) {
		return false
	}
	s := &p.List[pin]
	return s.IsOutput && s.Output || s.IsInput && s.Input
}

// TellOf implements hil.GPIO.
func (p *Pins) TellOf(pin int, edges hil.Edges) abi.ErrorCode {
	return p.change(pin, func(s *PinState) { s.Edges = edges })
}
