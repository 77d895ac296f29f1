package device

import (
	"encoding/binary"
	"sync"
)

// Pins is the number of an I/O APIC's interrupt inputs.
const Pins = 24

// IOAPICSize is how many bytes of physical addresses the I/O APIC answers.
const IOAPICSize = 0x1000

// MSI is an interrupt message: a write of Data to Address (Intel SDM vol. 3, section 12.11).
type MSI struct {
	Address uint64
	Data    uint32
}

// IOAPIC turns interrupt lines into messages to the local APIC (Intel 82093AA datasheet; the
// end-of-interrupt register is version 0x20's). It is safe for concurrent use.
type IOAPIC struct {
	send  func(MSI)
	route func(pin int, m MSI)

	mu       sync.Mutex
	selected byte
	id       uint32
	lines    uint32 // levels of the inputs
	pins     [Pins]redirection
}

// redirection is a redirection table entry (82093AA, section 3.2.4).
type redirection uint64

const (
	deliveryStatus redirection = 1 << 12 // read only, always idle here
	remoteIRR      redirection = 1 << 14 // read only: sent, and not yet ended
	levelTriggered redirection = 1 << 15
	masked         redirection = 1 << 16
	implemented    redirection = 0xff<<56 | 0x1_ffff
)

// Registers: two in memory select and carry the others.
const (
	regSelect = 0x00
	regWindow = 0x10
	regEOI    = 0x40

	indexID      = 0x00
	indexVersion = 0x01
	indexArbiter = 0x02
	indexPins    = 0x10

	versionValue = 0x20 | (Pins-1)<<16
	idBits       = 0x0f00_0000 // of the register indexID
)

// NewIOAPIC returns an I/O APIC with all pins masked. send delivers a message. route is told
// where a level-triggered pin points whenever that changes, so that somebody watches for
// the end of its interrupts and calls EndOfInterrupt. Neither may call the I/O APIC.
func NewIOAPIC(send func(MSI), route func(pin int, m MSI)) *IOAPIC {
	a := &IOAPIC{send: send, route: route}
	for i := range a.pins {
		a.pins[i] = masked
	}
	return a
}

// SetLine sets the level of a pin's input: true is asserted, whatever the polarity bit says.
// Pins that do not exist are ignored.
func (a *IOAPIC) SetLine(pin int, level bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.setLine(pin, level)
}

// Edge asserts a pin's input and takes that back. Where several goroutines do so each makes an edge
// of its own.
func (a *IOAPIC) Edge(pin int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.setLine(pin, true)
	a.setLine(pin, false)
}

func (a *IOAPIC) setLine(pin int, level bool) {
	if pin < 0 || pin >= Pins {
		return
	}
	rising := level && a.lines>>pin&1 == 0
	if !level {
		a.lines &^= 1 << pin
		return
	}
	a.lines |= 1 << pin
	if a.pins[pin]&levelTriggered != 0 {
		a.serveLevel(pin)
	} else if rising && a.pins[pin]&masked == 0 { // an edge while masked is lost
		a.send(a.pins[pin].message())
	}
}

// serveLevel sends a level-triggered pin's message if its input is asserted and the one
// before has ended.
func (a *IOAPIC) serveLevel(pin int) {
	p := &a.pins[pin]
	if a.lines>>pin&1 == 0 || *p&(masked|remoteIRR) != 0 {
		return
	}
	*p |= remoteIRR
	a.send(p.message())
}

// EndOfInterrupt tells that the guest ended the interrupt with the given vector.
func (a *IOAPIC) EndOfInterrupt(vector uint8) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.endOfInterrupt(vector)
}

func (a *IOAPIC) endOfInterrupt(vector uint8) {
	for pin := range a.pins {
		p := &a.pins[pin]
		if uint8(*p) == vector && *p&levelTriggered != 0 {
			*p &^= remoteIRR
			a.serveLevel(pin)
		}
	}
}

// message returns what the pin sends: destination and its mode go into the address; vector,
// delivery mode and trigger mode into the data.
func (r redirection) message() MSI {
	const assert = 1 << 14
	m := MSI{
		Address: 0xfee0_0000 | uint64(r>>56)<<12 | uint64(r>>11&1)<<2,
		Data:    uint32(r & 0x7ff),
	}
	if r&levelTriggered != 0 {
		m.Data |= uint32(levelTriggered) | assert
	}
	return m
}

// ReadMMIO reads a register by a 32-bit access; others read all ones.
func (a *IOAPIC) ReadMMIO(offset uint64, data []byte) {
	ones(data)
	if len(data) != 4 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch offset {
	case regSelect:
		binary.LittleEndian.PutUint32(data, uint32(a.selected))
	case regWindow:
		binary.LittleEndian.PutUint32(data, a.read())
	}
}

func (a *IOAPIC) read() uint32 {
	switch {
	case a.selected == indexID || a.selected == indexArbiter:
		return a.id
	case a.selected == indexVersion:
		return versionValue
	case a.selected >= indexPins && a.selected < indexPins+2*Pins:
		i := a.selected - indexPins
		return uint32(a.pins[i/2] >> (i % 2 * 32))
	}
	return 0xffff_ffff
}

// WriteMMIO writes a register by a 32-bit access; others do nothing.
func (a *IOAPIC) WriteMMIO(offset uint64, data []byte) {
	if len(data) != 4 {
		return
	}
	value := binary.LittleEndian.Uint32(data)
	a.mu.Lock()
	defer a.mu.Unlock()
	switch offset {
	case regSelect:
		a.selected = byte(value)
	case regWindow:
		a.write(value)
	case regEOI:
		a.endOfInterrupt(uint8(value))
	}
}

func (a *IOAPIC) write(value uint32) {
	switch {
	case a.selected == indexID:
		a.id = value & idBits
	case a.selected >= indexPins && a.selected < indexPins+2*Pins:
		i := a.selected - indexPins
		shift := i % 2 * 32
		keep := redirection(0xffff_ffff) << (32 - shift)
		a.redirect(int(i/2), a.pins[i/2]&keep|redirection(value)<<shift)
	}
}

// redirect sets a pin's entry, but for the bits that only the I/O APIC writes. A pin that
// becomes edge-triggered forgets its unended interrupt.
func (a *IOAPIC) redirect(pin int, r redirection) {
	const readOnly = deliveryStatus | remoteIRR
	old := a.pins[pin]
	r = (r&^readOnly | old&remoteIRR) & implemented
	if r&levelTriggered == 0 {
		r &^= remoteIRR
	}
	a.pins[pin] = r
	if r&levelTriggered == 0 {
		return
	}
	a.routeNew(pin, old)
	a.serveLevel(pin)
}

// routeNew tells where a level-triggered pin points, if the entry before did not.
func (a *IOAPIC) routeNew(pin int, old redirection) {
	r := a.pins[pin]
	if r&levelTriggered != 0 && (old&levelTriggered == 0 || r.message() != old.message()) {
		a.route(pin, r.message())
	}
}
