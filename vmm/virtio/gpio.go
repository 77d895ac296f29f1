package virtio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"kapsel/guest/abi/virtio"
)

// Outside is what the lines of a GPIO device are connected to.
type Outside interface {
	// Names are the names of the lines, of ASCII characters without NUL and no two the same: as many as there are lines,
	// at least 1 and at most MaxLines.
	Names() []string
	// Connect is called once, before anything else, with the way to set the level that the outside gives a line. Drive
	// may be called from any goroutine, and from Output.
	Connect(drive func(line int, high bool))
	// Output says that the guest gives a line another level: at first all are low, and one that is no output is. It is
	// called by one goroutine at a time. While it does not return no request is served.
	Output(line int, high bool)
}

// MaxLines is how many lines a GPIO device can have.
const MaxLines = 64

// maxChanges is how many changes of a line from outside wait for the driver. Of more two are left out, which are none together.
const maxChanges = 64

// gpioEdges are those that a line can interrupt for.
const gpioEdges = virtio.GPIORisingEdge | virtio.GPIOFallingEdge

// gpioQueue is how many descriptors each queue of a GPIO device has at the most: two for each line.
const gpioQueue = 2 * MaxLines

// GPIO is a GPIO device (5.18).
//
// No change from outside is lost on a driver that wants to be interrupted for edges: a line keeps its level until the driver has lent
// a buffer for the next event of it. So a button that is pressed and released at once is seen to be both.
type GPIO struct {
	outside         Outside
	names           []byte // the answer to GPIOGetNames
	config          [virtio.GPIOConfigBytes]byte
	interrupts      bool // the driver accepted GPIOFeatureIRQ
	requests, event *Queue

	mu     sync.Mutex // holds the rest
	lines  []gpioLine
	events *Queue // of the session, for who drives a line; nil without one
}

// gpioLine is a line of a GPIO device.
type gpioLine struct {
	direction byte
	irq       byte   // what it interrupts for
	output    bool   // the level that the driver set
	shown     bool   // the level that the outside was told of
	input     bool   // the level that the outside gives it
	changes   int    // of input, that wait for the driver
	event     *Chain // that the driver lent for an interrupt, nil if it is masked
}

// NewGPIO returns a GPIO device and connects it.
func NewGPIO(outside Outside) *GPIO {
	names := outside.Names()
	if len(names) == 0 || len(names) > MaxLines {
		panic("virtio: a GPIO device without lines, or with more than MaxLines")
	}
	g := &GPIO{outside: outside, names: []byte{virtio.GPIOOK}, lines: make([]gpioLine, len(names))}
	for _, name := range names {
		g.names = append(append(g.names, name...), 0)
	}
	binary.LittleEndian.PutUint16(g.config[virtio.GPIOConfigLines:], uint16(len(names)))
	binary.LittleEndian.PutUint32(g.config[virtio.GPIOConfigNamesSize:], uint32(len(g.names)-1))
	outside.Connect(g.drive)
	return g
}

// ID implements Device.
func (g *GPIO) ID() uint32 { return virtio.IDGPIO }

// Features implements Device.
func (g *GPIO) Features() uint64 { return virtio.GPIOFeatureIRQ }

// QueueMax implements Device.
func (g *GPIO) QueueMax() []uint16 { return []uint16{gpioQueue, gpioQueue} }

// ReadConfig implements Device.
func (g *GPIO) ReadConfig(offset uint64, data []byte) { readConfig(g.config[:], offset, data) }

// WriteConfig implements Device: nothing in the configuration can be written.
func (g *GPIO) WriteConfig(uint64, []byte) {}

// Activate implements Device. Until here the lines are as the last session left them; now they are nobody's.
func (g *GPIO) Activate(features uint64, queues []*Queue) {
	g.begin(features, queues)
	for i := range g.lines {
		g.mu.Lock()
		g.lines[i].release()
		g.mu.Unlock()
		g.show(i)
	}
}

// begin takes the queues of a session, if there are any.
func (g *GPIO) begin(features uint64, queues []*Queue) {
	if queues == nil {
		return
	}
	g.interrupts = features&virtio.GPIOFeatureIRQ != 0
	g.requests, g.event = queues[virtio.GPIORequestQueue], queues[virtio.GPIOEventQueue]
	g.mu.Lock()
	defer g.mu.Unlock()
	g.events = g.event
}

// Reset implements Device.
func (g *GPIO) Reset() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.events, g.requests, g.event = nil, nil, nil
	for i := range g.lines {
		g.lines[i].event = nil
	}
}

// Save implements Device.
func (g *GPIO) Save(s *State) {
	g.mu.Lock()
	defer g.mu.Unlock()
	state := &GPIOState{Lines: make([]GPIOLineState, len(g.lines))}
	for i := range g.lines {
		l := &g.lines[i]
		state.Lines[i] = GPIOLineState{Direction: l.direction, IRQ: l.irq, Output: l.output, Input: l.input, Changes: l.changes}
		if !s.NeedsReset {
			state.Lines[i].Event = l.event.save()
		}
	}
	s.GPIO = state
}

// Restore implements Device. The outside is shown the levels that the driver had set; those that it gives now are what is behind the
// changes that waited.
func (g *GPIO) Restore(features uint64, queues []*Queue, s *State) error {
	if s.GPIO == nil || len(s.GPIO.Lines) != len(g.lines) {
		return errPart
	}
	for i := range s.GPIO.Lines {
		if !s.GPIO.Lines[i].possible(queues != nil) {
			return fmt.Errorf("line %d: %w", i, errPart)
		}
	}
	g.begin(features, queues)
	for i := range g.lines {
		if err := g.restoreLine(&g.lines[i], &s.GPIO.Lines[i]); err != nil {
			return fmt.Errorf("line %d: %w", i, err)
		}
		g.show(i)
	}
	return nil
}

// possible reports whether a line can be in that state.
func (s *GPIOLineState) possible(inSession bool) bool {
	interrupts := s.IRQ != virtio.GPIONoIRQ
	return s.Direction <= virtio.GPIOInput && knownIRQ(uint32(s.IRQ)) && !(interrupts && s.Direction == virtio.GPIOOutput) &&
		s.Changes >= 0 && s.Changes <= maxChanges && (s.Event == nil || interrupts && inSession)
}

func (g *GPIO) restoreLine(l *gpioLine, s *GPIOLineState) (err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	high := l.outer()
	*l = gpioLine{direction: s.Direction, irq: s.IRQ, output: s.Output, shown: l.shown, input: s.Input, changes: s.Changes}
	if high != l.outer() {
		l.change()
	}
	if s.Event != nil {
		l.event, err = g.event.restoreChain(s.Event)
	}
	if err == nil && l.event != nil && l.event.Writable() < virtio.GPIOEventAnswerSize {
		err = errPart
	}
	return err
}

// Close implements Device: the outside is another's.
func (g *GPIO) Close() error { return nil }

// Notify implements Device.
func (g *GPIO) Notify(queue int) {
	if queue == virtio.GPIORequestQueue {
		g.serveRequests()
	} else {
		g.serveEvents()
	}
}

// What breaks the rules of a GPIO device's queues (5.18.6.8, 5.18.7.2).
var (
	errGPIORequest = errors.New("a GPIO request has no 8 bytes, or no room for the 2 of its answer")
	errGPIOEvent   = errors.New("a buffer for a GPIO event has no 2 bytes, or no room for the 1 of its answer")
)

// serveRequests answers requests, in their order.
func (g *GPIO) serveRequests() {
	for c, ok := g.requests.Next(); ok; c, ok = g.requests.Next() {
		var request [virtio.GPIORequestSize]byte
		if c.Read(request[:]) < len(request) || c.Writable() < virtio.GPIOAnswerSize {
			g.requests.Break(errGPIORequest)
			return
		}
		kind := binary.LittleEndian.Uint16(request[:])
		line := int(binary.LittleEndian.Uint16(request[virtio.GPIORequestLine:]))
		value := binary.LittleEndian.Uint32(request[virtio.GPIORequestValue:])
		answer, ok := g.answer(kind, line, value, c.Writable())
		if !ok {
			g.requests.CountError()
			answer = []byte{virtio.GPIOError, 0}
		}
		g.requests.Use(c, uint32(c.Write(answer)))
	}
}

// answer does what a request asks for, and returns its answer, for which there is so much room. It returns false if the request
// fails.
func (g *GPIO) answer(kind uint16, line int, value uint32, room uint64) ([]byte, bool) {
	if kind == virtio.GPIOGetNames {
		return g.names, uint64(len(g.names)) <= room
	}
	if line >= len(g.lines) {
		return nil, false
	}
	got, ok := g.operate(kind, line, value)
	g.show(line)
	return []byte{virtio.GPIOOK, got}, ok
}

// operate does what a request asks of a line.
func (g *GPIO) operate(kind uint16, line int, value uint32) (got byte, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := &g.lines[line]
	switch kind {
	case virtio.GPIOGetDirection:
		return l.direction, true
	case virtio.GPIOSetDirection:
		return 0, g.setDirection(l, value)
	case virtio.GPIOGetValue:
		return l.level(), true
	case virtio.GPIOSetValue:
		l.output = value == 1
		return 0, value <= 1
	case virtio.GPIOSetIRQType:
		return 0, g.interrupts && g.setIRQ(l, value)
	}
	return 0, false
}

// setDirection sets a line's direction. One that interrupts cannot become an output (5.18.6.8).
func (g *GPIO) setDirection(l *gpioLine, direction uint32) bool {
	switch {
	case direction == virtio.GPIONone:
		g.giveBack(l, virtio.GPIOEventInvalid)
		l.release()
	case direction == virtio.GPIOInput, direction == virtio.GPIOOutput && l.irq == virtio.GPIONoIRQ:
		l.direction = byte(direction)
	default:
		return false
	}
	return true
}

// setIRQ sets what a line interrupts for. With nothing its buffer goes back, and what waits for that has happened (5.18.6.9, 5.18.7.3).
func (g *GPIO) setIRQ(l *gpioLine, irq uint32) bool {
	if !knownIRQ(irq) || l.direction == virtio.GPIOOutput {
		return false
	}
	l.irq = byte(irq)
	if irq == virtio.GPIONoIRQ {
		g.giveBack(l, virtio.GPIOEventInvalid)
	}
	g.settle(l)
	return true
}

// knownIRQ reports whether a line can interrupt for that.
func knownIRQ(irq uint32) bool {
	return irq <= gpioEdges || irq == virtio.GPIOHighLevel || irq == virtio.GPIOLowLevel
}

// show tells the outside if the level that the guest gives a line is another.
func (g *GPIO) show(line int) {
	g.mu.Lock()
	l := &g.lines[line]
	high := l.direction == virtio.GPIOOutput && l.output
	changed := high != l.shown
	l.shown = high
	g.mu.Unlock()
	if changed {
		g.outside.Output(line, high)
	}
}

// serveEvents takes what the driver lent for events, and lets happen what waits for that.
func (g *GPIO) serveEvents() {
	for c, ok := g.event.Next(); ok; c, ok = g.event.Next() {
		var request [virtio.GPIOEventSize]byte
		if c.Read(request[:]) < len(request) || c.Writable() < virtio.GPIOEventAnswerSize {
			g.event.Break(errGPIOEvent)
			return
		}
		g.unmask(int(binary.LittleEndian.Uint16(request[:])), c)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.lines {
		g.settle(&g.lines[i])
	}
}

// unmask keeps what the driver lent for an event of a line. It goes back at once if the line does not interrupt, or has another.
func (g *GPIO) unmask(line int, c *Chain) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if line < len(g.lines) && g.lines[line].irq != virtio.GPIONoIRQ && g.lines[line].event == nil {
		g.lines[line].event = c
		return
	}
	g.event.CountError()
	c.Write([]byte{virtio.GPIOEventInvalid})
	g.event.Use(c, virtio.GPIOEventAnswerSize)
}

// drive sets the level that the outside gives a line. It may be called from any goroutine.
func (g *GPIO) drive(line int, high bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := &g.lines[line]
	if high == l.outer() {
		return
	}
	l.change()
	if g.events != nil {
		g.events.Wake()
	}
}

// settle lets happen to a line what has waited for the driver, as far as that goes: of one that interrupts for edges up to the next
// interrupt, for which the driver has lent a buffer, and else all.
func (g *GPIO) settle(l *gpioLine) {
	for l.changes > 0 && (l.irq&gpioEdges == 0 || l.event != nil) {
		l.changes--
		l.input = !l.input
		if l.irq&l.of(virtio.GPIORisingEdge, virtio.GPIOFallingEdge) != 0 {
			g.giveBack(l, virtio.GPIOEventValid)
		}
	}
	if l.irq&l.of(virtio.GPIOHighLevel, virtio.GPIOLowLevel) != 0 {
		g.giveBack(l, virtio.GPIOEventValid)
	}
}

// giveBack gives the driver back what it lent for an event of a line.
func (g *GPIO) giveBack(l *gpioLine, status byte) {
	if l.event == nil {
		return
	}
	l.event.Write([]byte{status})
	g.event.Use(l.event, virtio.GPIOEventAnswerSize)
	l.event = nil
}

// of returns one of two by the level that the outside gives the line.
func (l *gpioLine) of(high, low byte) byte {
	if l.input {
		return high
	}
	return low
}

// level is what the guest reads of the line.
func (l *gpioLine) level() byte {
	high := l.input
	if l.direction == virtio.GPIOOutput {
		high = l.output
	}
	if high {
		return 1
	}
	return 0
}

// outer is the level that the outside gives the line, behind all that waits for the driver.
func (l *gpioLine) outer() bool { return l.input != (l.changes%2 != 0) }

// change adds a change from outside to those that wait.
func (l *gpioLine) change() {
	if l.changes++; l.changes > maxChanges {
		l.changes -= 2
	}
}

// release makes the line nobody's: nothing of what the driver set is left (5.18.6.9). What waited for the driver has happened.
func (l *gpioLine) release() {
	*l = gpioLine{shown: l.shown, input: l.outer()}
}
