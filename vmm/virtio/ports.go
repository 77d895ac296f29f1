package virtio

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"sync"

	"kapsel/guest/abi/virtio"
)

// End is the outer end of a port: what the guest sends goes there, and what is for the guest comes from there. No call waits.
type End interface {
	// Offer takes as much of p as there is room for, and returns how much.
	Offer(p []byte) int
	// Fetch moves what is for the guest to p, as much as there is, and returns how much.
	Fetch(p []byte) int
	// Ended reports whether nothing is there for the guest, and nothing will come.
	Ended() bool
	// Attach has wake called when there is something to fetch or the end has ended, and when there is room for what Offer
	// did not take; nobody, if it is nil.
	Attach(wake func())
}

// Port is a port of a device.
type Port struct {
	Name string
	End  End
}

// Ports is a console device with named ports, whose numbers are from 1 on (5.3, VIRTIO_CONSOLE_F_MULTIPORT). There is no port
// 0, which is a console's. The device has no memory of its own for what ports carry: what an end does not take stays in the
// driver's queue, and what the driver has no room for stays in the end.
type Ports struct {
	mu      sync.Mutex // holds the rest
	ports   []port
	queues  []*Queue // nil without a session
	several bool     // the driver of the session knows more than port 0
	told    *Chain   // room for a control message; nil: none yet
	flushed sync.Cond
	buffer  [4096]byte
}

// port is what the device knows of a port.
type port struct {
	Port
	number   int
	owes     uint16 // messages that the driver is to get, a bit for each event
	ready    bool   // the driver uses it
	open     bool   // the driver's side is
	ended    bool   // the driver was told that the end has ended, or is to be
	flushing bool   // somebody waits until the driver's queue is empty
	receiver receiver
	sender   sender
}

// NewPorts returns a device with ports.
func NewPorts(ports []Port) *Ports {
	p := &Ports{}
	p.flushed.L = &p.mu
	for i := range ports {
		p.ports = append(p.ports, port{Port: ports[i], number: i + 1})
	}
	return p
}

// ID implements Device.
func (p *Ports) ID() uint32 { return virtio.IDConsole }

// Features implements Device.
func (p *Ports) Features() uint64 { return virtio.ConsoleFeatureMultiport }

// QueueMax implements Device.
func (p *Ports) QueueMax() []uint16 {
	queues := make([]uint16, virtio.ConsolePortQueues(len(p.ports))+2)
	for i := range queues {
		queues[i] = consoleQueue
	}
	return queues
}

// ReadConfig implements Device (5.3.4).
func (p *Ports) ReadConfig(offset uint64, data []byte) {
	var config [virtio.ConsoleConfigBytes]byte
	binary.LittleEndian.PutUint32(config[virtio.ConsoleConfigMaxPorts:], uint32(len(p.ports))+1)
	readConfig(config[:], offset, data)
}

// WriteConfig implements Device: there is nothing to write to.
func (p *Ports) WriteConfig(uint64, []byte) {}

// Activate implements Device.
func (p *Ports) Activate(features uint64, queues []*Queue) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queues = queues
	p.several = features&virtio.ConsoleFeatureMultiport != 0
	if !p.several {
		return
	}
	for i := range p.ports {
		receive := p.ports[i].receive(queues)
		transmit := p.ports[i].transmit(queues)
		p.ports[i].End.Attach(func() {
			receive.Wake()
			transmit.Wake()
		})
	}
}

func (o *port) receive(queues []*Queue) *Queue { return queues[virtio.ConsolePortQueues(o.number)] }

func (o *port) transmit(queues []*Queue) *Queue { return queues[virtio.ConsolePortQueues(o.number)+1] }

// Reset implements Device.
func (p *Ports) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queues, p.told, p.several = nil, nil, false
	for i := range p.ports {
		o := &p.ports[i]
		o.End.Attach(nil)
		*o = port{Port: o.Port, number: o.number}
	}
	p.flushed.Broadcast()
}

// Save implements Device.
func (p *Ports) Save(s *State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	state := &PortsState{Ports: make([]PortState, len(p.ports))}
	for i := range p.ports {
		o := &p.ports[i]
		state.Ports[i] = PortState{Owes: o.owes, Ready: o.ready, Open: o.open, Ended: o.ended}
		if !s.NeedsReset {
			state.Ports[i].Room, state.Ports[i].Sending = o.receiver.room.save(), o.sender.sending.save()
		}
	}
	if !s.NeedsReset {
		state.Told = p.told.save()
	}
	s.Ports = state
}

// portEvents are the messages that a driver may be owed.
const portEvents = 1<<virtio.ConsolePortAdd | 1<<virtio.ConsolePortName | 1<<virtio.ConsolePortOpen

// Restore implements Device. A driver that was told of another's end that it has ended is told if this device's has not.
func (p *Ports) Restore(features uint64, queues []*Queue, s *State) (err error) {
	if s.Ports == nil || len(s.Ports.Ports) != len(p.ports) {
		return errPart
	}
	if queues != nil {
		p.Activate(features, queues)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.several {
		return p.restoreNothing(s.Ports)
	}
	if p.told, err = queues[virtio.ConsoleControlReceiveQueue].restoreChain(s.Ports.Told); err != nil {
		return err
	}
	for i := range p.ports {
		if err := p.ports[i].restore(queues, &s.Ports.Ports[i]); err != nil {
			return fmt.Errorf("port %s: %w", p.ports[i].Name, err)
		}
	}
	return nil
}

// restoreNothing checks that there is nothing to restore: no driver knows of ports.
func (p *Ports) restoreNothing(s *PortsState) error {
	for i := range s.Ports {
		if s.Ports[i] != (PortState{}) {
			return errPart
		}
	}
	return noChains(s.Told)
}

func (o *port) restore(queues []*Queue, s *PortState) (err error) {
	if s.Owes&^portEvents != 0 {
		return errPart
	}
	o.owes, o.ready, o.open, o.ended = s.Owes, s.Ready, s.Open, s.Ended
	if o.ready && o.ended && !o.End.Ended() {
		o.ended = false
		o.owes |= 1 << virtio.ConsolePortOpen
	}
	if o.receiver.room, err = o.receive(queues).restoreChain(s.Room); err != nil {
		return err
	}
	o.sender.sending, err = o.transmit(queues).restoreChain(s.Sending)
	return err
}

// Close implements Device. The ends are others'.
func (p *Ports) Close() error { return nil }

// Notify implements Device.
func (p *Ports) Notify(queue int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case queue == virtio.ConsoleReceiveQueue:
	case queue == virtio.ConsoleTransmitQueue:
		new(sender).send(p.queues[queue], func(p []byte) int { return len(p) }) // to a port that there is not
	case !p.several: // nor are there more queues
	case queue == virtio.ConsoleControlReceiveQueue:
		p.tell()
	case queue == virtio.ConsoleControlTransmitQueue:
		p.listen()
	default:
		p.serve(queue)
	}
	if p.queues[queue].session.broken() {
		p.endFlush()
	}
}

// serve moves what a port carries, by one of its queues.
func (p *Ports) serve(queue int) {
	o := &p.ports[(queue-virtio.ConsolePortQueues(1))/2]
	if queue != virtio.ConsolePortQueues(o.number) {
		if o.sender.send(p.queues[queue], o.End.Offer) {
			o.flushing = false
			p.flushed.Broadcast()
		}
		return
	}
	if o.open {
		o.receiver.receive(p.queues[queue], p.buffer[:], o.End.Fetch)
	}
	if o.ready && !o.ended && o.End.Ended() {
		o.ended = true
		o.owes |= 1 << virtio.ConsolePortOpen
		p.tell()
	}
}

// listen takes the driver's control messages (5.3.6.2). The answers to one are there before it is given back.
func (p *Ports) listen() {
	q := p.queues[virtio.ConsoleControlTransmitQueue]
	for {
		c, ok := q.Next()
		if !ok {
			return
		}
		var message [virtio.ConsoleControlBytes]byte
		if c.Read(message[:]) < len(message) || !p.obey(message[:]) {
			q.CountError()
		}
		p.tell()
		q.Use(c, 0)
	}
}

// obey does what a control message of the driver's says, or reports false if that makes no sense.
func (p *Ports) obey(message []byte) bool {
	le := binary.LittleEndian
	number, event := le.Uint32(message[virtio.ConsoleControlPort:]), le.Uint16(message[virtio.ConsoleControlEvent:])
	on := le.Uint16(message[virtio.ConsoleControlValue:]) != 0
	if event == virtio.ConsoleDeviceReady {
		for i := range p.ports {
			if on {
				p.ports[i].owes |= 1 << virtio.ConsolePortAdd
			}
		}
		return true
	}
	if number == 0 || number > uint32(len(p.ports)) {
		return false
	}
	o := &p.ports[number-1]
	switch event {
	case virtio.ConsolePortReady:
		o.ready = on
		if on {
			o.ended = o.End.Ended()
			o.owes |= 1<<virtio.ConsolePortName | 1<<virtio.ConsolePortOpen
		}
	case virtio.ConsolePortOpen:
		o.open = on
		o.receive(p.queues).Wake()
	default:
		return false
	}
	return true
}

// tell gives the driver the messages that it is owed, as far as it has room for them. One that finds too little room goes with
// the next.
func (p *Ports) tell() {
	q := p.queues[virtio.ConsoleControlReceiveQueue]
	for i := range p.ports {
		o := &p.ports[i]
		for o.owes != 0 {
			if p.told == nil {
				var ok bool
				if p.told, ok = q.Next(); !ok {
					return
				}
			}
			c := p.told
			p.told = nil
			event := bits.TrailingZeros16(o.owes)
			message := o.message(event)
			if c.Writable() < uint64(len(message)) {
				q.CountError()
				q.Use(c, 0)
				continue
			}
			o.owes &^= 1 << event
			c.Write(message)
			q.Use(c, uint32(len(message)))
		}
	}
}

// message is a message to the driver about the port. A name comes without a zero behind it.
func (o *port) message(event int) []byte {
	le := binary.LittleEndian
	m := le.AppendUint32(nil, uint32(o.number))
	m = le.AppendUint16(m, uint16(event))
	value := uint16(1)
	if event == virtio.ConsolePortOpen && o.ended {
		value = 0
	}
	m = le.AppendUint16(m, value)
	if event == virtio.ConsolePortName {
		m = append(m, o.Name...)
	}
	return m
}

// Flush returns when the ends have taken all that the driver had given before the call. Once the guest has ended that has an end
// if the ends take it.
func (p *Ports) Flush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.ports {
		if p.queues != nil && p.several {
			o := &p.ports[i]
			o.flushing = !p.queues[0].session.broken()
			o.transmit(p.queues).Wake()
		}
	}
	for i := range p.ports {
		for p.ports[i].flushing {
			p.queues[0].session.await(&p.flushed)
		}
	}
}

// endFlush lets whoever waits in Flush go on.
func (p *Ports) endFlush() {
	for i := range p.ports {
		p.ports[i].flushing = false
	}
	p.flushed.Broadcast()
}
