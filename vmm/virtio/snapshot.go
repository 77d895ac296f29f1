package virtio

import (
	"errors"
	"fmt"
	"slices"

	"kapsel/guest/abi/virtio"
)

// State is all that a device remembers of its driver while it is paused: MMIO.Save. Addresses are physical ones of the guest's.
type State struct {
	ID                uint32       `json:"id"`         // the kind of device
	Status            uint32       `json:"status"`     // without DEVICE_NEEDS_RESET
	NeedsReset        bool         `json:"needsReset"` // the driver broke the device
	DeviceFeaturesSel uint32       `json:"deviceFeaturesSel"`
	DriverFeaturesSel uint32       `json:"driverFeaturesSel"`
	DriverFeatures    uint64       `json:"driverFeatures"`  // that it accepted
	UnknownFeatures   bool         `json:"unknownFeatures"` // it accepted some from bit 64 on
	QueueSel          uint32       `json:"queueSel"`
	InterruptStatus   uint32       `json:"interruptStatus"`
	ConfigGeneration  uint32       `json:"configGeneration"`
	ConfigChanged     bool         `json:"configChanged"` // while the device was paused: the driver is to be told
	Queues            []QueueState `json:"queues"`

	// What the kind of device remembers, of those that do.
	Block   *BlockState   `json:"block,omitempty"`
	Console *ConsoleState `json:"console,omitempty"`
	Ports   *PortsState   `json:"ports,omitempty"`
	GPIO    *GPIOState    `json:"gpio,omitempty"`
	Net     *NetState     `json:"net,omitempty"`
}

// QueueState is a queue's state: its registers, and how far the device is with it in a session. Of a device that needs a reset
// neither that counts nor what is in flight.
type QueueState struct {
	Size   uint32 `json:"size"`
	Desc   uint64 `json:"desc"`
	Driver uint64 `json:"driver"` // the available ring's address
	Device uint64 `json:"device"` // the used ring's
	Ready  bool   `json:"ready"`

	Next  uint16   `json:"next"`            // index of the next request to take
	Seen  uint16   `json:"seen"`            // the available index when it was read last
	Used  uint16   `json:"used"`            // index behind the last request given back
	Again []uint16 `json:"again,omitempty"` // heads to take before that at Next: those in flight when another queue was stopped
}

// ChainState is a request that a device has taken and not given back: what it read of the descriptors then, less what it has
// moved since.
type ChainState struct {
	Head        uint16       `json:"head"`
	Descriptors int          `json:"descriptors"`
	Read        uint64       `json:"read"`    // bytes that the device read
	Written     uint64       `json:"written"` // and wrote
	Readable    []PieceState `json:"readable,omitempty"`
	Writable    []PieceState `json:"writable,omitempty"`
}

// PieceState is the physical addresses [Address, Address+Length) of a chain.
type PieceState struct {
	Address uint64 `json:"address"`
	Length  uint64 `json:"length"`
}

// BlockState is what a Block is: between two requests it has no state. What is in its storage is no part of it.
type BlockState struct {
	Sectors  uint64 `json:"sectors"`
	ReadOnly bool   `json:"readOnly"`
}

// ConsoleState is a Console's state.
type ConsoleState struct {
	Columns uint16      `json:"columns"`
	Rows    uint16      `json:"rows"`
	Room    *ChainState `json:"room,omitempty"`    // for what is typed
	Sending *ChainState `json:"sending,omitempty"` // of which the line has not taken all
}

// PortsState is a Ports' state. What waits in an end is no part of it.
type PortsState struct {
	Told  *ChainState `json:"told,omitempty"` // room for a control message
	Ports []PortState `json:"ports"`
}

// PortState is the state of a port.
type PortState struct {
	Owes    uint16      `json:"owes"`  // control messages that the driver is to get, a bit for each event
	Ready   bool        `json:"ready"` // the driver uses it
	Open    bool        `json:"open"`  // the driver's side is
	Ended   bool        `json:"ended"` // the driver was told that the host's side is not, or is to be
	Room    *ChainState `json:"room,omitempty"`
	Sending *ChainState `json:"sending,omitempty"`
}

// GPIOState is a GPIO's state.
type GPIOState struct {
	Lines []GPIOLineState `json:"lines"`
}

// GPIOLineState is the state of a line.
type GPIOLineState struct {
	Direction uint8       `json:"direction"`
	IRQ       uint8       `json:"irq"`
	Output    bool        `json:"output"`          // the level that the driver set
	Input     bool        `json:"input"`           // the level from outside that the driver can know of
	Changes   int         `json:"changes"`         // of it, that wait for the driver
	Event     *ChainState `json:"event,omitempty"` // lent for an interrupt
}

// NetState is a Net's state. Frames that wait in its network are no part of it.
type NetState struct {
	Room *ChainState `json:"room,omitempty"` // for a frame
}

// Pause has the device rest: from its return on it touches nothing of the guest's, and the interrupt line stays as it is,
// until Resume. A request that it is at is done first, and others are left. What asks for it meanwhile is
// served after Resume. The guest does not run: registers do nothing. It may not be called by who serves the device.
func (m *MMIO) Pause() {
	m.access.Lock()
	defer m.access.Unlock()
	if m.paused {
		return
	}
	m.paused = true
	if m.session != nil {
		m.live.Store(nil)
		m.session.leave(phasePaused)
	}
}

// Resume has the device go on, by looking at all queues: notifications that were on their way need not be kept. In step the bell
// is rung, and Serve does that.
func (m *MMIO) Resume() {
	m.access.Lock()
	defer m.access.Unlock()
	if !m.paused {
		return
	}
	m.paused = false
	if m.session == nil {
		return
	}
	m.live.Store(m.session)
	m.session.begin()
	if m.changed {
		m.changed = false
		m.interrupt(virtio.InterruptConfig)
	}
	if m.bell != nil {
		m.bell()
	}
}

// Save returns the state of a device that is paused.
func (m *MMIO) Save() State {
	m.access.Lock()
	defer m.access.Unlock()
	if !m.paused {
		panic("virtio: a device is saved while it is not paused")
	}
	d := &m.driver
	s := State{
		ID: m.device.ID(), Status: d.status, NeedsReset: m.broken.Load(),
		DeviceFeaturesSel: d.featuresSelect, DriverFeaturesSel: d.acceptedSelect, DriverFeatures: d.accepted, UnknownFeatures: d.unknown,
		QueueSel: d.queueSelect, InterruptStatus: m.interrupts.Load(), ConfigGeneration: m.generation.Load(), ConfigChanged: m.changed,
		Queues: make([]QueueState, len(d.queues)),
	}
	for i := range d.queues {
		r, q := &d.queues[i], &s.Queues[i]
		*q = QueueState{Size: r.size, Desc: r.descriptors, Driver: r.availableRing, Device: r.usedRing, Ready: r.ready}
		if m.session != nil && r.ready && !s.NeedsReset {
			m.session.queues[i].save(q)
		}
	}
	m.device.Save(&s)
	return s
}

// Restore gives a device that is paused the state of another one of its kind, which has the same queues and features, or of itself.
// Its memory is as it was then. State may come from anybody: one that no such device can be in is an error, and leaves
// this one as after a reset.
func (m *MMIO) Restore(s State) error {
	m.access.Lock()
	defer m.access.Unlock()
	if !m.paused {
		return errors.New("the device is not paused")
	}
	m.reset()
	err := m.restore(&s)
	if err != nil {
		m.endSession(phaseEnding)
		m.reset()
	}
	return err
}

// Check says why a state is none of such a device, whatever its driver has done; nil if Restore is to be tried.
func (m *MMIO) Check(s *State) error {
	if s.ID != m.device.ID() {
		return fmt.Errorf("a device of kind %d: want %d", s.ID, m.device.ID())
	}
	if len(s.Queues) != len(m.queueMax) {
		return fmt.Errorf("%d queues: want %d", len(s.Queues), len(m.queueMax))
	}
	if b, ok := m.device.(*Block); ok {
		return b.check(s.Block)
	}
	return nil
}

func (m *MMIO) restore(s *State) error {
	if err := m.Check(s); err != nil {
		return err
	}
	if err := m.restoreRegisters(s); err != nil {
		return err
	}
	for i := range s.Queues {
		if err := m.restoreQueue(uint32(i), &s.Queues[i]); err != nil {
			return fmt.Errorf("queue %d: %w", i, err)
		}
	}
	var queues []*Queue
	if s.inSession() {
		queues = m.newQueues()
		m.session = newSession(m, queues)
		m.session.phase.Store(phasePaused)
	}
	for i, q := range queues {
		if !q.ready || s.NeedsReset {
			continue
		}
		if err := q.restore(&s.Queues[i]); err != nil {
			return fmt.Errorf("queue %d: %w", i, err)
		}
	}
	if err := m.device.Restore(m.driver.accepted, queues, s); err != nil {
		return err
	}
	for i, q := range queues {
		if !s.NeedsReset && !q.complete() {
			return fmt.Errorf("queue %d: %w", i, errInFlight)
		}
	}
	return nil
}

// inSession reports whether the device serves queues.
func (s *State) inSession() bool {
	return s.Status&(virtio.StatusDriverOK|virtio.StatusFailed) == virtio.StatusDriverOK
}

// Why a state is refused, beside what checkQueue says of a queue.
var (
	errStatus    = errors.New("a status that no driver can set")
	errAccepted  = errors.New("features that the device does not offer")
	errEarly     = errors.New("registers that a driver cannot have written at its status")
	errInterrupt = errors.New("interrupts outside of a session, or of no kind that there is")
	errIndices   = errors.New("its indices are too far apart")
	errInFlight  = errors.New("not all requests in flight are there")
	errChain     = errors.New("a request in flight that cannot be")
	errPart      = errors.New("what the kind of device remembers is not there, or cannot be")
)

// restoreRegisters takes what is not a queue's.
func (m *MMIO) restoreRegisters(s *State) error {
	rest := s.Status &^ virtio.StatusFailed
	for i, bit := range stages {
		if rest&bit != 0 && i > 0 && s.Status&stages[i-1] == 0 {
			return errStatus
		}
		rest &^= bit
	}
	const kinds = virtio.InterruptUsed | virtio.InterruptConfig
	switch {
	case rest != 0:
		return errStatus
	case s.Status&virtio.StatusDriver == 0 && (s.DriverFeatures != 0 || s.UnknownFeatures):
		return errEarly
	case s.InterruptStatus&^kinds != 0, s.InterruptStatus != 0 && s.Status&virtio.StatusDriverOK == 0, s.ConfigChanged && !s.inSession():
		return errInterrupt
	}
	d := &m.driver
	d.status, d.featuresSelect, d.acceptedSelect, d.queueSelect = s.Status, s.DeviceFeaturesSel, s.DriverFeaturesSel, s.QueueSel
	d.accepted, d.unknown = s.DriverFeatures, s.UnknownFeatures
	if s.Status&virtio.StatusFeaturesOK != 0 && !m.acceptable() {
		return errAccepted
	}
	m.broken.Store(s.NeedsReset)
	m.interrupts.Store(s.InterruptStatus)
	m.generation.Store(s.ConfigGeneration)
	m.changed = s.ConfigChanged
	return nil
}

// restoreQueue takes a queue's registers.
func (m *MMIO) restoreQueue(index uint32, s *QueueState) error {
	r := queueRegisters{size: s.Size, descriptors: s.Desc, availableRing: s.Driver, usedRing: s.Device}
	if m.driver.status&virtio.StatusFeaturesOK == 0 && (s.Ready || r != queueRegisters{}) {
		return errEarly
	}
	m.driver.queues[index] = r
	if !s.Ready {
		return nil
	}
	err := m.checkQueue(index)
	m.driver.queues[index].ready = err == nil
	return err
}

// save adds how far the device is.
func (q *Queue) save(s *QueueState) {
	s.Next, s.Seen, s.Used, s.Again = q.next, q.filled, q.used, slices.Clone(q.again)
}

// restore takes how far the device was.
func (q *Queue) restore(s *QueueState) error {
	q.next, q.filled, q.used, q.told, q.again = s.Next, s.Seen, s.Used, s.Used, slices.Clone(s.Again)
	if taken, seen := q.next-q.used, q.filled-q.used; taken > seen || seen > q.size {
		return errIndices
	}
	if len(q.again) > int(q.size) {
		return errInFlight
	}
	for i, head := range q.again {
		if head >= q.size || slices.Contains(q.again[:i], head) {
			return errChain
		}
	}
	return nil
}

// complete reports whether the requests that were taken and not given back are those in flight, and those to be taken again.
func (q *Queue) complete() bool {
	n := len(q.again)
	for _, taken := range q.inFlight {
		if taken {
			n++
		}
	}
	return n == int(q.next-q.used)
}

// save returns a chain's state; nil for none.
func (c *Chain) save() *ChainState {
	if c == nil {
		return nil
	}
	return &ChainState{Head: c.head, Descriptors: c.descriptors,
		Read: c.readable.bytes - c.readable.left, Written: c.writable.bytes - c.writable.left,
		Readable: c.readable.save(), Writable: c.writable.save()}
}

func (s *stream) save() (pieces []PieceState) {
	for _, p := range s.pieces[s.next:] {
		pieces = append(pieces, PieceState{p.address, uint64(len(p.bytes))})
	}
	return pieces
}

// restoreChain makes a chain that was taken; nil for none. It is checked as one that is taken now.
func (q *Queue) restoreChain(s *ChainState) (*Chain, error) {
	if s == nil {
		return nil, nil
	}
	c := &Chain{queue: q, head: s.Head, descriptors: s.Descriptors, taken: true}
	switch {
	case !q.ready || s.Head >= q.size || q.inFlight[s.Head] || slices.Contains(q.again, s.Head):
		return nil, errChain
	case s.Descriptors < 1 || s.Descriptors > int(q.size)-q.lent || len(s.Readable)+len(s.Writable) > s.Descriptors:
		return nil, errChain
	case s.Read > 1<<32 || s.Written > 1<<32-s.Read:
		return nil, errLarge
	}
	c.readable.bytes, c.writable.bytes = s.Read, s.Written
	if err := c.restore(&c.readable, s.Readable); err != nil {
		return nil, err
	}
	if err := c.restore(&c.writable, s.Writable); err != nil {
		return nil, err
	}
	q.inFlight[s.Head] = true
	q.lent += s.Descriptors
	return c, nil
}

// noChains checks that no request is in flight, outside of a session.
func noChains(chains ...*ChainState) error {
	for _, c := range chains {
		if c != nil {
			return errChain
		}
	}
	return nil
}

// restore adds pieces to one part of a chain.
func (c *Chain) restore(part *stream, pieces []PieceState) error {
	for _, p := range pieces {
		if p.Length > 1<<32-c.readable.bytes-c.writable.bytes {
			return errLarge
		}
		bytes, ok := c.queue.memory.At(p.Address, p.Length)
		if !ok || p.Length == 0 {
			return fmt.Errorf("%w: %d bytes at %#x", errChain, p.Length, p.Address)
		}
		part.add(piece{p.Address, bytes})
	}
	return nil
}
