package kernel

import "kapsel/guest/abi"

// A task's state is what a Saver hands out and takes in (docs/decisions/0032-one-task.md): a head, entries, and the pages of RAM that the task
// may use. Nothing in it is an address of the kernel's or a capsule's own: what a task has with drivers is entries, each of which is what
// the task could have done itself.
//
// All words are little-endian. The head is
//
//	0    u32  stateVersion
//	4    u32  bytes of the whole state
//	8    32   SHA-256 of the object, without the pages that the task may write
//	40   u32  the task's slot
//	44   u32  its ShortID, or 0
//	48   u64  bytes of its RAM
//	56   u64  app break, in bytes from the start of RAM
//	64   u64  highest end of a buffer that it ever shared, likewise
//	72   u32  State
//	76   u32  entries
//	80   u32  driver of the event that YieldedFor waits for
//	84   u32  its number
//	88   u64  where Growing began, in bytes from the start of RAM
//	96   u64  where it moves the break, likewise
//	104  u64  stack top, told by the task
//	112  u64  heap start, likewise
//	120       registers
const (
	stateVersion   = 0x4b53_0001
	stateDigest    = 8
	stateSlot      = 40
	stateShortID   = 44
	stateRAM       = 48
	stateBreak     = 56
	stateHighWater = 64
	stateState     = 72
	stateEntries   = 76
	stateAwaited   = 80
	stateGrowth    = 88
	stateStackTop  = 104
	stateHeapStart = 112
	stateRegisters = 120
	stateHead      = stateRegisters + RegistersSize
)

// An entry is u32 kind, u32 driver, u32 number, u32 0, u64 a, u64 b.
const entrySize = 32

// Kinds of entries, and what a and b are.
const (
	entryGrant    = 1 + iota // the task has the grant: Pending
	entryUpcall              // function, userdata
	entryBuffer              // address, length; the number has the system call's class above 24 bits
	entryEvent               // an event that waits to be told: two arguments, the third
	entryOngoing             // an operation that goes on: words of the driver's
	entryBorrowed            // pages at the place of what the task in the slot number lends: how many
)

// RegistersSize is how many bytes a task's registers have.
const RegistersSize = 27*8 + 512

// Registers are a task's registers, by the CPU's own form.
type Registers [RegistersSize]byte

// Word is a word of the registers, at an offset in bytes.
func (r *Registers) Word(at int) uint64 { return load64(r[at:]) }

// SetWord sets a word of the registers.
func (r *Registers) SetWord(at int, v uint64) { store64(r[at:], v) }

// StateCPU is what a Saver asks of the CPU besides.
type StateCPU interface {
	// SaveRegisters reads the registers of the task in a slot, which is alive and does not run.
	SaveRegisters(slot int, to *Registers)
	// MayHave reports whether a task can have these registers, which may be any bytes.
	MayHave(r *Registers, bits32 bool) bool
	// RestoreRegisters makes the task in a slot, which was started and did not run yet, go on with registers that it may have.
	RestoreRegisters(slot int, r *Registers)
}

// Resumer is a driver with an operation that goes on when its task is taken back, where those of others end.
type Resumer interface {
	// Ongoing is the task's operation, in words by which Resume begins it again. It reports false if there is none.
	Ongoing(id TaskID) (a, b uint64, ok bool)
	// Resume begins an operation of a task again. The words may be any.
	Resume(id TaskID, a, b uint64)
}

// entry is one entry of a state.
type entry struct {
	kind, driver, number uint32
	a, b                 uint64
}

func (e *entry) read(b []byte) {
	e.kind, e.driver, e.number, e.a, e.b = load32(b), load32(b[4:]), load32(b[8:]), load64(b[16:]), load64(b[24:])
}

// class is the system call's class by which an entry's buffer was shared.
func (e *entry) class() abi.Class { return abi.Class(e.number >> 24) }

// to is the driver and number of an entry.
func (e *entry) to() event { return event{e.driver, e.number & 0xff_ffff} }

// entryWriter writes entries, or counts them if it has no room.
type entryWriter struct {
	_     notComparable
	to    []byte
	count int
}

func (w *entryWriter) add(kind, driver, number uint32, a, b uint64) {
	if w.to != nil {
		at := w.to[w.count*entrySize:]
		store32(at, kind)
		store32(at[4:], driver)
		store32(at[8:], number)
		store32(at[12:], 0)
		store64(at[16:], a)
		store64(at[24:], b)
	}
	w.count++
}

// addEvent adds an event that waits to be told.
func (w *entryWriter) addEvent(e event, args [3]uint32) {
	w.add(entryEvent, e.driver, e.number, uint64(args[0])|uint64(args[1])<<32, uint64(args[2]))
}

// addTask adds all entries of a task: grants and what the task gave their drivers, then what waits to be told, the oldest first, then
// what goes on, then what is lent to it. Notifications of peers are none: the peers' business is over.
func (w *entryWriter) addTask(s *Saver, t *Task) {
	k := s.kernel
	for _, g := range k.allSlots[:k.grants] {
		if *g.of(t) != nil {
			w.addGrant(s, g, t)
		}
	}
	for i := range t.queue.count {
		if u := t.queue.at(i); u.from == nil {
			w.addEvent(u.event, u.call.Args)
		}
	}
	for _, g := range k.allSlots[:k.grants] {
		if *g.of(t) != nil {
			w.addWaiting(g, t)
		}
	}
	if n := &t.newest; n.waits {
		w.addEvent(n.event, n.args)
	}
	if a, b, ok := s.ongoing(t); ok {
		w.add(entryOngoing, s.resumes, 0, a, b)
	}
	for set := t.lenders; set != 0; set &= set - 1 {
		lender := k.first(set)
		w.add(entryBorrowed, 0, uint32(lender.slot), uint64(lender.loanTo(t).mapped), 0)
	}
}

// addGrant adds a grant, its upcalls and buffers.
func (w *entryWriter) addGrant(s *Saver, g *Slots, t *Task) {
	owed := g.owed(t)
	if _, _, ok := s.ongoing(t); ok && g.driver == s.resumes {
		owed = 0
	}
	w.add(entryGrant, g.driver, 0, uint64(owed), 0)
	for n := uint32(0); n < uint32(g.counts.Upcalls); n++ {
		if slot := g.upcall(t, n); slot.function()|load64(slot[slotUserdata:]) != 0 {
			w.add(entryUpcall, g.driver, n, slot.function(), load64(slot[slotUserdata:]))
		}
	}
	w.addBuffers(g, t, abi.AllowReadOnly, g.at.readOnly, g.counts.ReadOnly)
	w.addBuffers(g, t, abi.AllowReadWrite, g.at.readWrite, g.counts.ReadWrite)
	w.addBuffers(g, t, abi.AllowUserspaceReadable, g.at.userspaceReadable, g.counts.UserspaceReadable)
}

func (w *entryWriter) addBuffers(g *Slots, t *Task, class abi.Class, at uint32, count uint8) {
	for n := uint32(0); n < uint32(count); n++ {
		if b := g.buffer(t, at, n); load64(b[slotAddr:])|load64(b[slotLen:]) != 0 {
			w.add(entryBuffer, g.driver, n|uint32(class)<<24, load64(b[slotAddr:]), load64(b[slotLen:]))
		}
	}
}

// addWaiting adds the events of a driver that wait in their slots.
func (w *entryWriter) addWaiting(g *Slots, t *Task) {
	for n := uint32(0); n < uint32(g.counts.Upcalls); n++ {
		if slot := g.upcall(t, n); slot.waiting()&t.bit != 0 {
			w.add(entryEvent, g.driver, n, load64(slot[slotArgs:]), uint64(load32(slot[slotArgs+8:])))
		}
	}
}

// owed is which upcalls the task waits for as the ends of operations. Where the grant's value does not tell, that is one that it can do nothing but wait for.
func (s *Slots) owed(t *Task) Pending {
	p := s.pending(t)
	if n := t.awaited.number; len(*s.of(t)) < int(s.at.value)+pendingSize && n < 16 && s.awaited(t, n) {
		p = 1 << n
	}
	return p
}

// ongoing is the operation that goes on when the task is taken back, if there is one.
func (s *Saver) ongoing(t *Task) (a, b uint64, ok bool) {
	d := s.kernel.drivers.find(s.resumes)
	if d == nil || s.resumer == nil || d.Slots() == nil || *d.Slots().of(t) == nil {
		return 0, 0, false
	}
	return s.resumer.Ongoing(t.id)
}

// fill writes head and entries of a task's state to a place of so many bytes.
func (s *Saver) fill(t *Task, head []byte) {
	m := &t.memory
	store32(head, stateVersion)
	store32(head[4:], uint32(s.size))
	copy(head[stateDigest:], s.digest[:])
	store32(head[stateSlot:], uint32(t.slot))
	store32(head[stateShortID:], t.identity.ShortID)
	store64(head[stateRAM:], uint64(len(m.ram)))
	store64(head[stateBreak:], m.appBreak-m.ramStart)
	store64(head[stateHighWater:], m.highWater-m.ramStart)
	store32(head[stateState:], uint32(t.state))
	store32(head[stateAwaited:], t.awaited.driver)
	store32(head[stateAwaited+4:], t.awaited.number)
	from, to := uint64(0), uint64(0)
	if t.state == Growing {
		from, to = t.growth.from-m.ramStart, t.growth.to-m.ramStart
	}
	store64(head[stateGrowth:], from)
	store64(head[stateGrowth+8:], to)
	store64(head[stateStackTop:], t.stackTop)
	store64(head[stateHeapStart:], t.heapStart)
	s.cpu.SaveRegisters(t.slot, (*Registers)(head[stateRegisters:stateHead]))
	w := entryWriter{to: head[stateHead:]}
	w.addTask(s, t)
	store32(head[stateEntries:], uint32(w.count))
}

// objectPage is the page of a task's object at an offset, if the task may not write to it.
func (t *Task) objectPage(at uint64) ([]byte, bool) {
	for i := range t.object.WriteableRegions() {
		r, _ := t.object.WriteableRegion(i)
		if start, end := uint64(r.Offset), uint64(r.Offset)+uint64(r.Size); start < at+abi.PageSize && at < end {
			return nil, false
		}
	}
	return t.memory.flash[at:][:abi.PageSize], true
}

// digestPages is how many pages of an object are hashed in one piece of work.
const digestPages = digestSize / abi.PageSize

// addPages adds a piece of a task's object to the digest, and reports whether that was the last one.
func (s *Saver) addPages(t *Task) (done bool) {
	for range digestPages {
		if s.done == uint64(len(t.memory.flash)) {
			s.digest = s.hash.Sum(nil)
			return true
		}
		if page, ok := t.objectPage(s.done); ok {
			s.hash.Add(page)
		}
		s.done += abi.PageSize
	}
	return false
}
