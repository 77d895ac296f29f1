// Package virtiogpio drives a virtio GPIO device (OASIS, "Virtual I/O Device (VIRTIO) Version 1.2", 5.18). It has three groups of
// pins, each a hil.GPIO, by the names of the device's lines: those whose names begin with "led", with "button", and all others.
//
// Requests to the device take their time, and calls of hil.GPIO do not. So the driver keeps what each line is to be, and what the device
// was told: where these differ, and no request is under way, a request goes out. What is set in a row thus takes no memory, and
// the device gets the last of it. All inputs interrupt at both edges, whatever their clients want to be told of: a line that did is read, and
// only then may it interrupt again. So the level of an input is known, and a device that waits for that, as the monitor's does, loses no change.
package virtiogpio

import (
	"kapsel/guest/abi"
	spec "kapsel/guest/abi/virtio"
	"kapsel/guest/capsules/virtio"
	"kapsel/guest/dma"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/hil"
)

// MaxLines is how many lines of a device are used.
const MaxLines = 16

// maxNames is how many bytes of names are read. Lines of a device that has more have no names.
const maxNames = 255

// slots is how many descriptors the event queue has at the most: two for each line.
const slots = 2 * MaxLines

// GPIO is the driver of one device.
type GPIO struct {
	transport    virtio.Transport
	requests     virtio.Queue
	requestSlots [2]virtio.Slot
	events       virtio.Queue
	eventSlots   [slots]virtio.Slot

	request, answer dma.Buffer
	asking          uint16 // the type of the request under way, 0: none
	asked           int    // of which line
	next            int    // the line that may ask next

	namesSize int
	settled   bool // it is known which lines there are
	count     int
	lines     [MaxLines]line
	lent      [slots]uint8 // which line's the chain in the event queue is, by its number
	groups    [3]Group
}

// The groups.
const (
	leds = iota
	buttons
	others
)

// line is a line of the device.
type line struct {
	group *Group
	pin   int // in the group
	edges hil.Edges

	direction uint8 // spec.GPIONone, GPIOOutput or GPIOInput
	output    bool  // the level as an output
	input     bool  // the level as an input, as it was read last
	refused   bool  // the device refused a request: the line is not used

	// What the device was told, or has.
	toldDirection uint8
	toldOutput    bool
	interrupts    bool
	read          bool // the level was read since the line interrupted last
	known         bool // it was read since the line became an input
	unmasked      bool // the device has the line's buffers for an event
	event, answer dma.Buffer
}

// Init ties the driver to its device. The device's interrupt goes to HandleInterrupt. It returns abi.FAIL if the device is
// broken, which was told then.
func (g *GPIO) Init(k *kernel.Kernel, place virtio.Place) abi.ErrorCode {
	t := &g.transport
	t.Init(k, place, "GPIO device", g, g)
	for i := range g.groups {
		g.groups[i].driver = g
	}
	if e := t.Start(spec.IDGPIO, spec.GPIOFeatureIRQ); e != abi.OK {
		return e
	}
	if e := g.configure(); e != abi.OK {
		return e
	}
	g.request, g.answer = place.Memory.Buffer(spec.GPIORequestSize), place.Memory.Buffer(1+maxNames)
	for i := range g.lines[:g.count] {
		l := &g.lines[i]
		l.event, l.answer = place.Memory.Buffer(spec.GPIOEventSize), place.Memory.Buffer(spec.GPIOEventAnswerSize)
	}
	// A device owes an answer to a request, and none for an event that may never come.
	if e := g.requests.Init(t, spec.GPIORequestQueue, g.requestSlots[:], 2, true); e != abi.OK {
		return e
	}
	if e := g.events.Init(t, spec.GPIOEventQueue, g.eventSlots[:], 2*g.count, false); e != abi.OK {
		return e
	}
	if g.namesSize > 0 {
		g.ask(spec.GPIOGetNames, 0, 0)
	} else {
		g.sort(nil, false)
	}
	return t.Ready()
}

// configure reads the configuration.
func (g *GPIO) configure() abi.ErrorCode {
	t := &g.transport
	var b [4]byte
	if e := t.ReadConfig(b[:2], spec.GPIOConfigLines, 2); e != abi.OK {
		return e
	}
	g.count = min(int(b[0])|int(b[1])<<8, MaxLines)
	if e := t.ReadConfig(b[:], spec.GPIOConfigNamesSize, 4); e != abi.OK {
		return e
	}
	if b[1]|b[2]|b[3] == 0 {
		g.namesSize = int(b[0])
	}
	switch {
	case g.count == 0:
		t.Break("it has no lines")
	case !t.Has(spec.GPIOFeatureIRQ):
		t.Break("its lines do not interrupt")
	default:
		return abi.OK
	}
	return abi.FAIL
}

// HandleInterrupt serves the device's interrupt.
func (g *GPIO) HandleInterrupt() { g.transport.HandleInterrupt() }

// AlarmFired implements hil.AlarmClient.
func (g *GPIO) AlarmFired() { g.transport.AlarmFired() }

// LEDs are the pins with LEDs: none before it is settled, as of the other groups.
func (g *GPIO) LEDs() *Group { return &g.groups[leds] }

// Buttons are the pins with buttons.
func (g *GPIO) Buttons() *Group { return &g.groups[buttons] }

// Pins are the other pins.
func (g *GPIO) Pins() *Group { return &g.groups[others] }

// Settled reports whether it is known how many pins each group has, or that the device is broken.
func (g *GPIO) Settled() bool { return g.settled }

// Used implements virtio.Driver.
func (g *GPIO) Used(q *virtio.Queue, head uint16, written uint32) {
	if q == &g.events {
		g.happened(&g.lines[g.lent[head]], written)
	} else {
		g.answered(written)
	}
	g.goOn()
}

// ConfigChanged implements virtio.Driver: the configuration does not change.
func (g *GPIO) ConfigChanged() {}

// Broken implements virtio.Driver.
func (g *GPIO) Broken() { g.settled = true }

// ask sends a request. None is under way.
func (g *GPIO) ask(kind uint16, number int, value uint8) {
	request := [spec.GPIORequestSize]byte{0: byte(kind), spec.GPIORequestLine: byte(number), spec.GPIORequestValue: value}
	g.request.WriteAt(request[:], 0)
	room := spec.GPIOAnswerSize
	if kind == spec.GPIOGetNames {
		room = 1 + g.namesSize
	}
	chain := [2]virtio.Element{{Buffer: g.request, Length: len(request)}, {Buffer: g.answer, Length: room, Writable: true}}
	if _, e := g.requests.Add(chain[:]); e == abi.OK {
		g.asking, g.asked = kind, number
		g.requests.Kick()
	}
}

// answered takes the answer to the request under way.
func (g *GPIO) answered(written uint32) {
	kind := g.asking
	g.asking = 0
	var answer [1 + maxNames]byte
	if written < spec.GPIOAnswerSize && kind != spec.GPIOGetNames {
		g.transport.Break("it gives half an answer")
		return
	}
	g.answer.ReadAt(answer[:min(int(written), len(answer))], 0)
	if !g.settled {
		g.sort(answer[1:max(1, written)], answer[0] == spec.GPIOOK)
		return
	}
	l := &g.lines[g.asked]
	if answer[0] != spec.GPIOOK {
		l.refused = true
		return
	}
	if kind == spec.GPIOGetValue {
		l.wasRead(answer[1] != 0)
	}
}

// sort sorts the lines into groups by their names, if they have some.
func (g *GPIO) sort(names []byte, named bool) {
	for i := range g.lines[:g.count] {
		l := &g.lines[i]
		l.group = &g.groups[others]
		if named {
			l.group = &g.groups[groupOf(names)]
			names = behindName(names)
		}
		l.pin = l.group.count
		l.group.lines[l.pin] = uint8(i)
		l.group.count++
	}
	g.settled = true
}

// groupOf is the group of a line whose name stands first.
func groupOf(names []byte) int {
	switch {
	case hasPrefix(names, "led"):
		return leds
	case hasPrefix(names, "button"):
		return buttons
	}
	return others
}

func hasPrefix(b []byte, prefix string) bool {
	return len(b) >= len(prefix) && string(b[:len(prefix)]) == prefix
}

// behindName is the names without the first.
func behindName(names []byte) []byte {
	for i, c := range names {
		if c == 0 {
			return names[i+1:]
		}
	}
	return nil
}

// happened takes an event of a line.
func (g *GPIO) happened(l *line, written uint32) {
	var status [spec.GPIOEventAnswerSize]byte
	l.unmasked = false
	switch l.answer.ReadAt(status[:], 0); {
	case written == 0:
		g.transport.Break("it gives an event without a status")
	case status[0] == spec.GPIOEventValid:
		l.read = false
	default: // it has heard that the line does not interrupt, or never knew that it does
		l.interrupts, l.read = false, false
	}
}

// wasRead takes the level that the line has as an input.
func (l *line) wasRead(high bool) {
	changed := l.known && high != l.input
	l.input, l.read, l.known = high, true, true
	edge := hil.FallingEdge
	if high {
		edge = hil.RisingEdge
	}
	if changed && l.direction == spec.GPIOInput && l.edges&edge != 0 && l.group.client != nil {
		l.group.client.PinChanged(l.pin, high)
	}
}

// goOn has the next line ask what it has to, unless a request is under way, and lines interrupt that may. A line that becomes an
// input comes first: what the outside answers to an output that is set behind that is not missed.
func (g *GPIO) goOn() {
	if !g.settled || !g.transport.Works() {
		return
	}
	for i := range g.lines[:g.count] {
		if l := &g.lines[i]; l.direction == spec.GPIOInput && !l.known {
			g.tell(i)
		}
	}
	for n := 0; n < g.count && g.asking == 0; n++ {
		g.tell(g.next)
		g.next = (g.next + 1) % g.count
	}
	for i := range g.lines[:g.count] {
		if l := &g.lines[i]; l.masked() {
			g.unmask(l, i)
		}
	}
	g.events.Kick()
}

// tell has a line ask what it has to, unless a request is under way.
func (g *GPIO) tell(number int) {
	if g.asking != 0 {
		return
	}
	if kind, value := g.lines[number].due(); kind != 0 {
		g.ask(kind, number, value)
	}
}

// due is the request that makes the device know more of what the line is to be, and notes that the device was told; 0 if it knows all.
func (l *line) due() (kind uint16, value uint8) {
	isInput := l.direction == spec.GPIOInput
	switch {
	case l.refused:
	case l.interrupts && !isInput:
		l.interrupts, l.read = false, false
		return spec.GPIOSetIRQType, spec.GPIONoIRQ
	case l.toldOutput != l.output && l.direction == spec.GPIOOutput: // before the direction, so that no other level is seen (5.18.6.3)
		l.toldOutput = l.output
		return spec.GPIOSetValue, bit(l.output)
	case l.toldDirection != l.direction:
		l.toldDirection, l.known, l.read = l.direction, false, false
		if l.direction == spec.GPIONone {
			l.toldOutput = false // which the device forgets (5.18.6.9)
		}
		return spec.GPIOSetDirection, l.direction
	case isInput && !l.interrupts && !l.unmasked:
		l.interrupts = true
		return spec.GPIOSetIRQType, spec.GPIORisingEdge | spec.GPIOFallingEdge
	case isInput && !l.read:
		return spec.GPIOGetValue, 0
	}
	return 0, 0
}

func bit(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// masked reports whether the line is to interrupt, and the device has no buffers for that.
func (l *line) masked() bool { return l.interrupts && l.read && !l.unmasked && !l.refused }

// unmask lets a line interrupt.
func (g *GPIO) unmask(l *line, number int) {
	request := [spec.GPIOEventSize]byte{byte(number)}
	l.event.WriteAt(request[:], 0)
	chain := [2]virtio.Element{{Buffer: l.event, Length: len(request)}, {Buffer: l.answer, Length: spec.GPIOEventAnswerSize, Writable: true}}
	if head, e := g.events.Add(chain[:]); e == abi.OK {
		g.lent[head], l.unmasked = uint8(number), true
	}
}
