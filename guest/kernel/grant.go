package kernel

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel/capability"
)

// maxGrants is the number of grants of the whole system.
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
// subscribe or allow number that it knows. Each is at most 255.
type SlotCounts struct {
	Upcalls, ReadOnly, ReadWrite, UserspaceReadable uint8
}

// Slots is a grant without its type: what the kernel needs of it.
type Slots struct {
	kernel  *Kernel
	driver  uint32
	index   int // in Task.grants
	counts  SlotCounts
	size    int // of a block: all slots, then T
	nested  uint64
	entered TaskData
}

// A grant's block in a task's RAM holds, from its start: the upcall slots, the read-only
// slots, the read-write slots, the userspace-readable slots, T. A slot's fields are little-endian words.
const (
	// Upcall slot: function, userdata, two words for a waiting event.
	upcallSlotSize = 32
	slotFn         = 0
	slotUserdata   = 8
	slotEvent      = 16 // argument 0, argument 1 above it
	slotEventMore  = 24 // argument 2, eventWaits above it
	eventWaits     = 1 << 32

	// Buffer slot: address, length.
	bufferSlotSize = 16
	slotAddr       = 0
	slotLen        = 8
)

// Init ties the grant to the driver number whose tasks' calls it serves. It is called
// once for each Grant, before the first Load; otherwise, or beyond 32 grants, it is a
// wiring error.
func (g *Grant[T]) Init(k *Kernel, driver uint32, counts SlotCounts, c capability.MemoryAllocation) {
	c.Require()
	if g.slots.kernel != nil || k.sealed || k.grants == maxGrants {
		panic("kernel: a grant was made twice, after Load, or beyond 32")
	}
	s := &g.slots
	s.kernel = k
	s.driver = driver
	s.index = k.grants
	s.counts = counts
	s.size = s.valueOffset() + len(bytesOf(&g.value))
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
func (g *Grant[T]) Enter(id TaskID, f func(value *T, task *TaskData)) abi.ErrorCode {
	s := &g.slots
	t := s.kernel.task(id)
	if t == nil {
		return abi.INVAL
	}
	if s.entered.task != nil {
		s.nested++
		return abi.BUSY
	}
	if !s.allocate(t) {
		return abi.NOMEM
	}
	g.enter(t, f)
	return abi.OK
}

// EnterAllocated calls f as Enter does if the task has the grant allocated: else it
// returns abi.INVAL, and the task's RAM is left alone.
func (g *Grant[T]) EnterAllocated(id TaskID, f func(value *T, task *TaskData)) abi.ErrorCode {
	t := g.slots.kernel.task(id)
	if t == nil || t.grants[g.slots.index] == 0 {
		return abi.INVAL
	}
	return g.Enter(id, f)
}

// Each calls f as Enter does for every task that has the grant allocated. It returns
// abi.BUSY from within another Enter or Each of the same grant.
func (g *Grant[T]) Each(f func(value *T, task *TaskData)) abi.ErrorCode {
	s := &g.slots
	if s.entered.task != nil {
		s.nested++
		return abi.BUSY
	}
	for slot := range s.kernel.loaded {
		t := &s.kernel.tasks[slot]
		if t.alive() && t.grants[s.index] != 0 {
			g.enter(t, f)
		}
	}
	return abi.OK
}

// enter runs f on a copy of the value. If f ended the task, there is nothing to write to.
func (g *Grant[T]) enter(t *Task, f func(value *T, task *TaskData)) {
	s := &g.slots
	value := bytesOf(&g.value)
	copy(value, s.block(t)[s.valueOffset():])
	s.entered.open(t)
	f(&g.value, &s.entered)
	if s.entered.live() {
		copy(s.block(t)[s.valueOffset():], value)
	}
	s.entered.close()
}

// allocate makes sure that the task has the grant, or reports false.
func (s *Slots) allocate(t *Task) bool {
	if t.grants[s.index] != 0 {
		return true
	}
	offset, ok := t.memory.allocateGrant(s.size)
	if ok {
		t.grants[s.index] = offset
	}
	return ok
}

// block is the grant's memory in the task's RAM. It is allocated.
func (s *Slots) block(t *Task) []byte {
	offset := t.grants[s.index]
	return t.memory.ram[offset : offset+uint64(s.size)]
}

// upcall is the n-th upcall slot. The grant is allocated and n in range; the same holds
// for readOnly and readWrite.
func (s *Slots) upcall(t *Task, n uint32) []byte {
	return s.block(t)[n*upcallSlotSize:][:upcallSlotSize]
}

func (s *Slots) readOnly(t *Task, n uint32) []byte {
	return s.block(t)[s.readOnlyOffset()+int(n)*bufferSlotSize:][:bufferSlotSize]
}

func (s *Slots) readWrite(t *Task, n uint32) []byte {
	return s.block(t)[s.readWriteOffset()+int(n)*bufferSlotSize:][:bufferSlotSize]
}

func (s *Slots) userspaceReadable(t *Task, n uint32) []byte {
	return s.block(t)[s.userspaceReadableOffset()+int(n)*bufferSlotSize:][:bufferSlotSize]
}

func (s *Slots) readOnlyOffset() int { return int(s.counts.Upcalls) * upcallSlotSize }

func (s *Slots) readWriteOffset() int {
	return s.readOnlyOffset() + int(s.counts.ReadOnly)*bufferSlotSize
}

func (s *Slots) userspaceReadableOffset() int {
	return s.readWriteOffset() + int(s.counts.ReadWrite)*bufferSlotSize
}

func (s *Slots) valueOffset() int {
	return s.userspaceReadableOffset() + int(s.counts.UserspaceReadable)*bufferSlotSize
}
