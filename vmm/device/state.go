package device

import (
	"errors"
	"slices"
)

// SerialState is all that a UART remembers of a guest. What the guest has sent is outside of the machine, and no part of it.
type SerialState struct {
	IER     uint8  `json:"ier"`
	LCR     uint8  `json:"lcr"`
	MCR     uint8  `json:"mcr"`
	SCR     uint8  `json:"scr"`
	Divisor uint16 `json:"divisor"`

	FIFOs   bool   `json:"fifos"`             // they are on
	Trigger int    `json:"trigger"`           // received bytes that raise the interrupt: 1, 4, 8 or 14
	FIFO    []byte `json:"fifo,omitempty"`    // received, at most 16
	Waiting []byte `json:"waiting,omitempty"` // on the line, not in the FIFO yet: at most 4,096, and 16 more that came back from there

	Overrun          bool `json:"overrun"`
	TransmitterEmpty bool `json:"transmitterEmpty"` // its interrupt is pending
	Held             bool `json:"held"`             // it is to be, as soon as there is room for what the guest sends
	Polled           bool `json:"polled"`           // the guest's last access found the transmitter not empty
	Line             bool `json:"line"`             // the interrupt line's level
}

// IOAPICState is all that an I/O APIC remembers.
type IOAPICState struct {
	Select      uint8        `json:"select"`
	ID          uint32       `json:"id"`          // as the register has it
	Lines       uint32       `json:"lines"`       // levels of the inputs, by bit
	Redirection [Pins]uint64 `json:"redirection"` // entries, with remote IRR
}

// CMOSState is all that a real-time clock remembers of a guest.
type CMOSState struct {
	Index     uint8  `json:"index"`
	RegisterB uint8  `json:"registerB"`
	Ahead     int64  `json:"ahead"`          // seconds of the guest's clock before the host's
	RAM       []byte `json:"ram"`            // 128 bytes, by index
	Held      []byte `json:"held,omitempty"` // 51 registers as the guest left them, while the clock stands still
}

// Why a state is refused.
var (
	errRegisters = errors.New("a UART's registers have bits that it has not")
	errFIFO      = errors.New("a UART with more received bytes than it holds, or a trigger level that there is not")
	errLine      = errors.New("a UART whose interrupt line is not as its interrupts")
	errIOAPIC    = errors.New("an I/O APIC with bits that it has not, or an interrupt not ended that is none")
	errCMOS      = errors.New("a real-time clock with registers that it has not")
)

// Pause has the UART's interrupt line stay as it is until Resume, whatever is typed and taken meanwhile. The guest does not run.
func (s *Serial) Pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused = true
}

// Resume has the UART go on after Pause.
func (s *Serial) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused = false
	s.goOn()
}

// goOn does what was left undone while the UART was paused.
func (s *Serial) goOn() {
	s.receive()
	if s.held && !s.full() {
		s.transmitted()
	}
	s.update()
	s.wake()
}

// Save returns the UART's state.
func (s *Serial) Save() SerialState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return SerialState{
		IER: s.ier, LCR: s.lcr, MCR: s.mcr, SCR: s.scratch, Divisor: uint16(s.divisor[0]) | uint16(s.divisor[1])<<8,
		FIFOs: s.fifoOn, Trigger: s.trigger, FIFO: slices.Clone(s.fifo[:s.fifoLen]), Waiting: slices.Clone(s.queue),
		Overrun: s.overrun, TransmitterEmpty: s.thre, Held: s.held, Polled: s.polled, Line: s.asserted,
	}
}

// Restore gives the UART the state of another, or of itself: what was typed since and not read is gone, and its interrupt line is
// driven to where it was. A state that no UART can be in is an error, and leaves this one as after a reset. I/O APIC and console
// device, which may have the line, are to be restored before. Without Pause the UART goes on at once.
func (s *Serial) Restore(state SerialState) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.check(&state)
	if err != nil {
		state = SerialState{Trigger: 1}
	}
	s.ier, s.lcr, s.mcr, s.scratch = state.IER, state.LCR, state.MCR, state.SCR
	s.divisor = [2]byte{byte(state.Divisor), byte(state.Divisor >> 8)}
	s.fifoOn, s.trigger, s.fifoLen = state.FIFOs, state.Trigger, copy(s.fifo[:], state.FIFO)
	s.queue = append(s.queue[:0], state.Waiting...)
	s.overrun, s.thre, s.held, s.polled = state.Overrun, state.TransmitterEmpty, state.Held, state.Polled
	s.asserted = state.Line
	s.irq(state.Line) // in any case: the I/O APIC may have been saved a little later
	s.space.Broadcast()
	if !s.paused {
		s.goOn()
	}
	return err
}

// check says why no UART can be in a state; nil if one can.
func (s *Serial) check(state *SerialState) error {
	capacity, triggers := 1, []int{1}
	if state.FIFOs {
		capacity, triggers = fifoSize, []int{1, 4, 8, 14}
	}
	switch {
	case state.IER&^ierImplemented != 0 || state.MCR&^mcrImplemented != 0:
		return errRegisters
	case len(state.FIFO) > capacity || len(state.Waiting) > queueSize+fifoSize || !slices.Contains(triggers, state.Trigger):
		return errFIFO
	case state.Line != state.interrupts():
		return errLine
	}
	return nil
}

// interrupts reports whether an interrupt is pending: see Serial.pending.
func (state *SerialState) interrupts() bool {
	return state.Overrun && state.IER&ierLineStatus != 0 || len(state.FIFO) > 0 && state.IER&ierReceived != 0 ||
		state.TransmitterEmpty && state.IER&ierTransmitted != 0
}

// Save returns the I/O APIC's state.
func (a *IOAPIC) Save() IOAPICState {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := IOAPICState{Select: a.selected, ID: a.id, Lines: a.lines}
	for pin, r := range a.pins {
		s.Redirection[pin] = uint64(r)
	}
	return s
}

// Restore gives the I/O APIC the state of another, or of itself. It sends nothing, and routes
// level-triggered pins as another entry is routed. A state that no I/O APIC can be in is an error, and leaves this one as after a reset.
func (a *IOAPIC) Restore(s IOAPICState) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	err := s.check()
	if err != nil {
		s = IOAPICState{}
		for pin := range s.Redirection {
			s.Redirection[pin] = uint64(masked)
		}
	}
	a.selected, a.id, a.lines = s.Select, s.ID, s.Lines
	for pin, r := range s.Redirection {
		old := a.pins[pin]
		a.pins[pin] = redirection(r)
		a.routeNew(pin, old)
	}
	return err
}

// check says why no I/O APIC can be in a state; nil if one can.
func (s *IOAPICState) check() error {
	if s.ID&^idBits != 0 || s.Lines>>Pins != 0 {
		return errIOAPIC
	}
	for pin, bits := range s.Redirection {
		r := redirection(bits)
		level, ready := r&levelTriggered != 0, s.Lines>>pin&1 != 0 && r&(masked|remoteIRR) == 0
		if r&^(implemented&^deliveryStatus) != 0 || r&remoteIRR != 0 && !level || level && ready { // that would have been sent
			return errIOAPIC
		}
	}
	return nil
}

// Save returns the clock's state.
func (c *CMOS) Save() CMOSState {
	s := CMOSState{Index: c.index, RegisterB: c.control, Ahead: c.ahead, RAM: slices.Clone(c.memory[:])}
	if c.control&cmosSet != 0 {
		s.Held = slices.Clone(c.held[:])
	}
	return s
}

// Restore gives the clock the state of another, or of itself. One that goes on tells the host's time then, as far ahead of it as it was. A
// state that no clock can be in is an error, and leaves this one as after a reset.
func (c *CMOS) Restore(s CMOSState) error {
	held := 0
	if s.RegisterB&cmosSet != 0 {
		held = len(c.held)
	}
	*c = CMOS{now: c.now, control: cmos24Hours}
	if s.Index >= byte(len(c.memory)) || len(s.RAM) != len(c.memory) || len(s.Held) != held || s.Ahead < -cmosMaxAhead || s.Ahead > cmosMaxAhead {
		return errCMOS
	}
	c.index, c.control, c.ahead = s.Index, s.RegisterB, s.Ahead
	copy(c.memory[:], s.RAM)
	copy(c.held[:], s.Held)
	return nil
}

// cmosMaxAhead is more than a guest can set the clock ahead, or back: 40,000 years in seconds. Registers count to 255 times 100 years.
const cmosMaxAhead = 40_000 * 366 * 24 * 3600
