// Package virtioports drives a virtio console with several ports (OASIS, "Virtual I/O Device (VIRTIO) Version 1.2", 5.3,
// VIRTIO_CONSOLE_F_MULTIPORT), but not its port 0, which is a console's. Each port is a hil.Port, found by the name that the
// device gives it. Names come when the device is up: until then, and for a name that the device does not have, a port is there
// whose state is abi.NODEVICE.
package virtioports

import (
	"kapsel/guest/abi"
	spec "kapsel/guest/abi/virtio"
	"kapsel/guest/capsules/virtio"
	"kapsel/guest/dma"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/hil"
)

// Sizes of what is lent to the device at once, in bytes.
const (
	inputSize   = 1024
	outputSize  = hil.PortPiece
	messageSize = spec.ConsoleControlBytes + abi.MaxPortName + 1
)

// messages is how many control messages the device has room for: as many as it may send at once, which is one of each port.
const messages = abi.MaxPorts

// MemorySize is how many bytes of a region a driver takes.
const MemorySize = abi.MaxPorts*(inputSize+outputSize+2*3*dma.Align) + (messages+1)*dma.Align + messages*26 + 6*dma.Align

// Ports is the driver of one device.
type Ports struct {
	transport  virtio.Transport
	hear, tell virtio.Queue // control messages, from and to the device
	hearSlots  [messages]virtio.Slot
	tellSlot   [1]virtio.Slot
	heard      [messages]dma.Buffer // by the head of its chain
	message    dma.Buffer
	deferred   kernel.DeferredCall
	told       bool // that the driver is ready
	lines      [abi.MaxPorts]line
	count      int // of lines that the device can have
	ports      [abi.MaxPorts]Port
	wired      int // of ports
	scratch    [messageSize]byte
}

// line is what the driver knows of a port by its number, 1 for the first.
type line struct {
	receive, transmit         virtio.Queue
	receiveSlot, transmitSlot [1]virtio.Slot
	input, output             dma.Buffer
	at, end                   int   // bytes of input that came and nobody took
	owes                      uint8 // control messages that the device is to get, a bit for each event
	open                      bool  // the host's side is
	port                      *Port // which has its name; nil: none
}

// Init ties the driver to its device, whose interrupt goes to HandleInterrupt. It returns abi.FAIL if the device is broken, or has
// no ports but port 0; that was told then.
func (p *Ports) Init(k *kernel.Kernel, place virtio.Place) abi.ErrorCode {
	p.deferred.Register(k, p)
	t := &p.transport
	t.Init(k, place, "ports", p, p)
	if e := t.Start(spec.IDConsole, spec.ConsoleFeatureMultiport); e != abi.OK {
		return e
	}
	var most [4]byte
	if e := t.ReadConfig(most[:], spec.ConsoleConfigMaxPorts, 4); e != abi.OK {
		return e
	}
	if n := word(most[:]); t.Has(spec.ConsoleFeatureMultiport) && n > 0 {
		p.count = int(min(n-1, abi.MaxPorts))
	}
	if p.count == 0 {
		t.Break("it has no ports but a console's")
		return abi.FAIL
	}
	if e := p.initQueues(place.Memory); e != abi.OK {
		return e
	}
	p.say()
	return t.Ready()
}

// word is a little-endian number of 4 bytes.
func word(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

// initQueues sets the queues up. Chains are handed back in the order of the queues: when the device has used what it was told, all
// that it has said by then is heard behind that, in the same piece of work.
func (p *Ports) initQueues(memory dma.Region) abi.ErrorCode {
	t := &p.transport
	if e := p.tell.Init(t, spec.ConsoleControlTransmitQueue, p.tellSlot[:], 1, true); e != abi.OK {
		return e
	}
	if e := p.hear.Init(t, spec.ConsoleControlReceiveQueue, p.hearSlots[:], 1, false); e != abi.OK {
		return e
	}
	p.message = memory.Buffer(spec.ConsoleControlBytes)
	for p.hear.Room() != 0 {
		p.listen(memory.Buffer(messageSize))
	}
	p.hear.Kick()
	for i := range p.lines[:p.count] {
		l := &p.lines[i]
		number := spec.ConsolePortQueues(i + 1)
		if e := l.receive.Init(t, number, l.receiveSlot[:], 1, false); e != abi.OK {
			return e
		}
		if e := l.transmit.Init(t, number+1, l.transmitSlot[:], 1, false); e != abi.OK {
			return e
		}
		l.transmit.ExpectAtOnce()
		l.input, l.output = memory.Buffer(inputSize), memory.Buffer(outputSize)
	}
	return abi.OK
}

// listen lends the device room for a message.
func (p *Ports) listen(buffer dma.Buffer) {
	head, e := p.hear.AddOne(buffer, messageSize, true)
	if e == abi.OK {
		p.heard[head] = buffer
	}
}

// Settled reports whether the device has said what ports it has, and their names, or is broken. A device that is slow may have
// more to say.
func (p *Ports) Settled() bool {
	return !p.transport.Works() || p.told && p.tell.InFlight() == 0
}

// Named is the port with a name, at most abi.MaxPortName bytes long. Different names are at most abi.MaxPorts; more are a wiring error.
func (p *Ports) Named(name string) *Port {
	for i := range p.ports[:p.wired] {
		if p.ports[i].name == name {
			return &p.ports[i]
		}
	}
	if p.wired == len(p.ports) {
		panic("virtioports: more than 8 names: raise abi.MaxPorts")
	}
	port := &p.ports[p.wired]
	p.wired++
	port.driver, port.name = p, name
	return port
}

// HandleInterrupt serves the device's interrupt.
func (p *Ports) HandleInterrupt() { p.transport.HandleInterrupt() }

// AlarmFired implements hil.AlarmClient.
func (p *Ports) AlarmFired() { p.transport.AlarmFired() }

// HandleDeferredCall gives clients what came before they asked for it.
func (p *Ports) HandleDeferredCall() {
	for i := range p.ports[:p.wired] {
		p.ports[i].take()
	}
}

// Used implements virtio.Driver.
func (p *Ports) Used(q *virtio.Queue, head uint16, written uint32) {
	switch {
	case q == &p.tell:
		p.say()
	case q == &p.hear:
		buffer := p.heard[head]
		n := buffer.ReadAt(p.scratch[:min(int(written), len(p.scratch))], 0)
		p.listen(buffer)
		p.hear.Kick()
		p.obey(p.scratch[:n])
		p.say()
	default:
		l := &p.lines[uint(q.Number()-spec.ConsolePortQueues(1))/2]
		if q == &l.receive {
			l.came(int(written))
		} else if l.port != nil {
			l.port.went()
		}
	}
}

// say gives the device the next message that it is owed, if it has used the last one: one at a time.
func (p *Ports) say() {
	if p.tell.InFlight() != 0 {
		return
	}
	if !p.told {
		p.told = true
		p.send(0, spec.ConsoleDeviceReady)
		return
	}
	for i := range p.lines[:p.count] {
		l := &p.lines[i]
		for _, event := range [...]uint8{spec.ConsolePortReady, spec.ConsolePortOpen} {
			if l.owes>>event&1 != 0 {
				l.owes &^= 1 << event
				p.send(i+1, event)
				return
			}
		}
	}
}

// send sends a message about a port, whose value is 1.
func (p *Ports) send(number int, event uint8) {
	var m [spec.ConsoleControlBytes]byte
	m[spec.ConsoleControlPort] = byte(number)
	m[spec.ConsoleControlEvent] = event
	m[spec.ConsoleControlValue] = 1
	p.message.WriteAt(m[:], 0)
	p.tell.AddOne(p.message, len(m), false)
	p.tell.Kick()
}

// obey does what a message of the device's says (5.3.6.2). One that makes no sense, or is about a port that the driver has no room
// for, is passed over.
func (p *Ports) obey(m []byte) {
	if len(m) < spec.ConsoleControlBytes {
		return
	}
	number := word(m[spec.ConsoleControlPort:])
	if number == 0 || number > uint32(p.count) {
		return
	}
	l := &p.lines[number-1]
	on := m[spec.ConsoleControlValue]|m[spec.ConsoleControlValue+1] != 0
	switch uint16(m[spec.ConsoleControlEvent]) | uint16(m[spec.ConsoleControlEvent+1])<<8 {
	case spec.ConsolePortAdd:
		l.owes |= 1 << spec.ConsolePortReady
	case spec.ConsolePortRemove:
		l.open = false
		p.unbind(l)
	case spec.ConsolePortName:
		p.bind(l, m[spec.ConsoleControlBytes:])
	case spec.ConsolePortOpen:
		if l.open != on {
			l.open = on
			l.changed()
		}
	}
}

// bind ties a line to the port that is wired with its name, if that has none, and says that this side is open. The device may have
// put a zero behind the name.
func (p *Ports) bind(l *line, name []byte) {
	if n := len(name); n != 0 && name[n-1] == 0 {
		name = name[:n-1]
	}
	for i := range p.ports[:p.wired] {
		port := &p.ports[i]
		if l.port == nil && port.line == nil && port.name == string(name) {
			l.port, port.line = port, l
			l.owes |= 1 << spec.ConsolePortOpen
			l.changed()
		}
	}
}

// unbind takes a line from its port.
func (p *Ports) unbind(l *line) {
	if port := l.port; port != nil {
		l.port, port.line = nil, nil
		port.changed()
	}
}

// ConfigChanged implements virtio.Driver: the size of a terminal is nobody's business.
func (p *Ports) ConfigChanged() {}

// Broken implements virtio.Driver: what was under way ends.
func (p *Ports) Broken() {
	for i := range p.lines {
		p.lines[i].open = false
	}
	for i := range p.ports[:p.wired] {
		p.ports[i].changed()
	}
}
