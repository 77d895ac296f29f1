package kernel

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel/capability"
)

// maxGrants is the number of grants of the whole system: a power of two, so that a remainder
// is an index.
const maxGrants = 32

// Grant is memory that a capsule has in each task's own RAM: a T, and slots for the
// upcalls and buffers that the task gives the driver. It is allocated when it is first
// needed, at the task's expense, and gone when the task ends. It is a field of the
// capsule. T has no pointers.
//
// Go cannot take an alias back, so nobody is given one: Enter works on a copy of T in the
// grant itself and writes it back. A capsule that keeps the pointer sees only this copy.
type Grant[T any] struct {
	slots Slots
	value T
}

// SlotCounts says how many slots a driver has of each kind: one more than the highest
// subscribe or allow number that it knows. Each is at most 255. Ends is said wherever there are upcalls, which tools/capcheck proves.
type SlotCounts struct {
	Upcalls, ReadOnly, ReadWrite, UserspaceReadable uint8
	Ends                                            Ends
}

// Slots is a grant without its value: the upcalls and buffers that tasks gave the driver.
type Slots struct {
	_       notComparable
	kernel  *Kernel
	driver  uint32
	index   uint // in Task.grants
	counts  SlotCounts
	at      offsets
	size    int    // of a block: all slots, then T
	holders uint64 // the slots of tasks that have it
	nested  uint64
	entered TaskData
}

// A grant's block in a task's RAM holds, from its start: the upcall slots, the read-only
// slots, the read-write slots, the userspace-readable slots, T. A slot's fields are little-endian words.
const (
	// Upcall slot: function, userdata, what waits to be told (kept.go).
	upcallSlotSize = 40
	slotFn         = 0
	slotUserdata   = 8
	slotArgs       = 16 // three words of 32 bits, of the event that waits
	slotTurn       = 28 // a byte: the slot of the peer whose turn is next
	slotWaiting    = 32 // a set

	// Buffer slot: address, length.
	bufferSlotSize = 16
	slotAddr       = 0
	slotLen        = 8
)

type (
	upcallSlot [upcallSlotSize]byte
	bufferSlot [bufferSlotSize]byte
)

// Init ties the grant to the driver number whose tasks' calls it serves. It is called
// once for each Grant, before the first Load; otherwise, or beyond 32 grants, it is a
// wiring error.
func (g *Grant[T]) Init(k *Kernel, driver uint32, counts SlotCounts, c capability.MemoryAllocation) {
	g.slots.init(k, driver, counts, sizeOf(&g.value), c)
}

func (s *Slots) init(k *Kernel, driver uint32, counts SlotCounts, size int, c capability.MemoryAllocation) {
	c.Require()
	if s.kernel != nil || k.sealed || k.grants == maxGrants {
		panic(misuse + "a grant was made twice, after Load, or beyond 32")
	}
	s.kernel = k
	s.driver = driver
	s.index = uint(k.grants)
	k.allSlots[k.grants] = s
	s.counts = counts
	s.at = counts.offsets()
	s.size = int(s.at.value) + size
	s.entered.slots = s
	k.grants++
}

// Slots is what the capsule's Driver.Slots returns.
func (g *Grant[T]) Slots() *Slots { return &g.slots }

// Nested counts the entries that were refused because the grant was entered already.
func (g *Grant[T]) Nested() uint64 { return g.slots.nested }

// Enter calls f with the grant's value for the task and with the task's side of it,
// allocating the grant if this is its first use. Both are valid until f returns; what f
// left in value is kept. It returns
//   - abi.INVAL if id is stale,
//   - abi.NOMEM if the task's RAM has no room for the grant,
//   - abi.BUSY from within another Enter or Each of the same grant.
//
//go:nosplit
func (g *Grant[T]) Enter(id TaskID, f func(value *T, task *TaskData)) abi.ErrorCode {
	t, e := g.slots.admit(id)
	if e == abi.OK {
		g.enter(t, f)
	}
	return e
}

// Each calls f as Enter does for every task that has the grant allocated. It returns
// abi.BUSY from within another Enter or Each of the same grant.
//
//go:nosplit
func (g *Grant[T]) Each(f func(value *T, task *TaskData)) abi.ErrorCode {
	if g.slots.entered.task != nil {
		g.slots.nested++
		return abi.BUSY
	}
	for left := g.slots.holders; left != 0; {
		t := g.slots.kernel.first(left)
		g.enter(t, f)
		left = g.slots.holders & -(t.bit << 1) // those behind it, by now
	}
	return abi.OK
}

// Oldest finds the task that waits longest for its turn, by the tickets that a capsule numbers as it gives them out: ticketOf tells that
// in a grant's value, 0 for none. It returns ticket 0 if no task waits, or from within an Enter or Each of the same grant.
func (g *Grant[T]) Oldest(ticketOf func(value *T) uint64) (id TaskID, ticket uint64) {
	s := &g.slots
	if s.entered.task != nil {
		s.nested++
		return id, 0
	}
	for left := s.holders; left != 0; {
		t := s.kernel.first(left)
		left &^= t.bit
		g.value = *valueIn[T](*s.of(t), uint64(s.at.value))
		if n := ticketOf(&g.value); n-1 < ticket-1 { // 0 is behind all others
			id, ticket = t.id, n
		}
	}
	return id, ticket
}

// Next calls f as Enter does for the first task that has the grant allocated and whose slot is not below slot. It returns
// the slot behind that task's, or 0 if there was no such task, or from within another Enter or Each of the same grant. So
// a driver goes through tasks as Each does, in more than one piece of work.
//
//go:nosplit
func (g *Grant[T]) Next(slot uint32, f func(value *T, task *TaskData)) uint32 {
	left := g.slots.holders & (^uint64(0) << slot)
	if g.slots.entered.task != nil {
		g.slots.nested++
		return 0
	}
	if left == 0 {
		return 0
	}
	t := g.slots.kernel.first(left)
	g.enter(t, f)
	return uint32(t.slot) + 1
}

// enter runs f on a copy of the value. If f ended the task, there is nothing to write to.
//
//go:nosplit
func (g *Grant[T]) enter(t *Task, f func(value *T, task *TaskData)) {
	d := &g.slots.entered
	value := valueIn[T](*g.slots.of(t), uint64(g.slots.at.value))
	g.value = *value
	d.open(t)
	f(&g.value, d)
	if d.live() {
		*value = g.value
	}
	d.close()
}

// admit is the task that id names, ready to be entered, the grant allocated.
func (s *Slots) admit(id TaskID) (*Task, abi.ErrorCode) {
	t := s.kernel.task(id)
	switch {
	case t == nil:
		return nil, abi.INVAL
	case s.entered.task != nil:
		s.nested++
		return nil, abi.BUSY
	case *s.of(t) == nil && !s.allocate(t):
		return nil, abi.NOMEM
	}
	return t, abi.OK
}

// ScheduleUpcall is TaskData.ScheduleUpcall without an entry, allocating the grant if this
// is its first use. Besides, it returns abi.INVAL if id is stale, and abi.NOMEM if the task's
// RAM has no room for the grant.
//
//go:nosplit
func (s *Slots) ScheduleUpcall(id TaskID, n uint32, a0, a1, a2 uint32) abi.ErrorCode {
	t := s.kernel.task(id)
	switch {
	case t == nil || n >= uint32(s.counts.Upcalls):
		return abi.INVAL
	case *s.of(t) == nil && !s.allocate(t):
		return abi.NOMEM
	}
	return s.happen(t, n, a0, a1, a2)
}

// of is the grant's block in the task's RAM, nil if it is not allocated.
func (s *Slots) of(t *Task) *[]byte { return &t.grants[s.index%maxGrants] }

// allocate makes sure that the task has the grant, or reports false.
func (s *Slots) allocate(t *Task) bool {
	if *s.of(t) == nil {
		*s.of(t) = t.memory.allocateGrant(s.size)
		if *s.of(t) != nil {
			s.holders |= t.bit
		}
	}
	return *s.of(t) != nil
}

// dropGrants takes all grants from a task that ends.
func (k *Kernel) dropGrants(t *Task) {
	t.grants = [maxGrants][]byte{}
	for _, s := range k.allSlots[:k.grants] {
		s.holders &^= t.bit
	}
}

// upcall is the n-th upcall slot. The grant is allocated and n in range; the same holds
// for the functions below.
func (s *Slots) upcall(t *Task, n uint32) *upcallSlot {
	return (*upcallSlot)((*s.of(t))[n*upcallSlotSize:])
}

func (s *Slots) readWrite(t *Task, n uint32) *bufferSlot { return s.buffer(t, s.at.readWrite, n) }

// shared names the n-th read-write buffer, for loans.
func (s *Slots) shared(n uint32) sharedBuffer { return sharedBuffer{uint8(s.index), uint8(n)} }

// buffer is the n-th of the buffer slots at an offset.
func (s *Slots) buffer(t *Task, at, n uint32) *bufferSlot {
	return (*bufferSlot)((*s.of(t))[at+n*bufferSlotSize:])
}

// offsets are where the parts of a block begin, in bytes from its start.
type offsets struct {
	readOnly, readWrite, userspaceReadable, value uint32
}

func (c *SlotCounts) offsets() offsets {
	var at offsets
	at.readOnly = uint32(c.Upcalls) * upcallSlotSize
	at.readWrite = at.readOnly + uint32(c.ReadOnly)*bufferSlotSize
	at.userspaceReadable = at.readWrite + uint32(c.ReadWrite)*bufferSlotSize
	at.value = at.userspaceReadable + uint32(c.UserspaceReadable)*bufferSlotSize
	return at
}
