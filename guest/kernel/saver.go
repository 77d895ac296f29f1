package kernel

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/sha256"
)

// Saver hands out the state of a task, and takes it in again, for one client, which may be a capsule. Meanwhile the task does not
// run. What takes long is done in deferred calls, a piece each. (docs/decisions/0032-one-task.md)
type Saver struct {
	_       notComparable
	kernel  *Kernel
	cpu     StateCPU
	loader  *Loader // by which a state comes
	client  SaverClient
	resumer Resumer // of the driver with that number
	resumes uint32
	call    DeferredCall

	stage  saverStage
	task   *Task
	id     TaskID // of the task's run: if it is over, so is what is done with it
	object []byte // what is handed out before the task's memory, or the state that is taken in
	size   uint64 // of the whole state
	done   uint64 // bytes that the stage is done with
	hash   sha256.Hash
	digest [sha256.Size]byte

	memory  Memory // as it will be
	grants  uint32 // the grants of the state, by index
	needed  uint64 // bytes of those
	lenders uint64 // the slots of tasks that lent something
	events  bool   // there are some: behind them no function may change
	kept    keptFrom
}

// SaverClient is told when what it asked for is done, never from within the call.
type SaverClient interface {
	// SaveDone says that a state can be read, or with an error that it cannot, and the task goes on. abi.NOMEM: there was not enough
	// memory. abi.SIZE: it has too much to do with drivers. abi.CANCEL: the task has ended meanwhile.
	SaveDone(e abi.ErrorCode)
	// RestoreDone names the new run of a task that was taken back. With an error the task goes on as it was; the kernel has
	// printed why. abi.NOMEM: there was not enough memory. abi.INVAL: the state is none of the task's. abi.CANCEL: somebody else has ended the task, or
	// started it, meanwhile.
	RestoreDone(id TaskID, e abi.ErrorCode)
}

// saverStage is what a Saver does.
type saverStage uint8

const (
	saverIdle  saverStage = iota
	describing            // the object's digest is made, then head and entries
	handingOut            // the state is read
	judging               // the object's digest is made, then the state checked
	takingIn              // the task's memory is filled
)

// mostEntries is how many entries a state has at most, so that they are one piece of work.
const mostEntries = 4096

// Init makes the Saver ready. It is called once, by the board, before tasks are loaded. A state comes by the loader, whose client the
// Saver's is, too.
func (s *Saver) Init(k *Kernel, cpu StateCPU, loader *Loader, c capability.TaskManagement) {
	c.Require()
	s.kernel, s.cpu, s.loader = k, cpu, loader
	s.call.Register(k, s)
}

// SetResumer sets the driver, by its number, whose operations go on when a task is taken back. There is one at most.
func (s *Saver) SetResumer(number uint32, d Resumer) { s.resumes, s.resumer = number, d }

// SetSaverClient sets who is told, before anything else is called. In the place of another, which failed, it finds nothing begun.
func (s *Saver) SetSaverClient(client SaverClient) {
	s.client = client
	s.Abort()
}

// Save begins to save a task: then the client is told, and reads the state. It returns abi.BUSY if the Saver is at work, and abi.INVAL if the run is over.
func (s *Saver) Save(id TaskID) abi.ErrorCode {
	t := s.kernel.task(id)
	switch {
	case s.stage != saverIdle:
		return abi.BUSY
	case t == nil:
		return abi.INVAL
	}
	s.begin(t, describing)
	return abi.OK
}

// Read copies the next bytes of the state to p, and returns how many: none behind the last, when the task goes on. It returns abi.INVAL if there is no
// state to read, and abi.CANCEL if the task has ended meanwhile.
func (s *Saver) Read(p []byte) (int, abi.ErrorCode) {
	switch {
	case s.stage != handingOut:
		return 0, abi.INVAL
	case !s.lives():
		s.Abort()
		return 0, abi.CANCEL
	}
	head, n := uint64(len(s.object)), 0
	if s.done < head {
		n = copy(p, s.object[s.done:])
	} else {
		n = copy(p, s.task.memory.ram[s.done-head:s.size-head])
	}
	if s.done += uint64(n); n == 0 {
		s.Abort()
	}
	return n, abi.OK
}

// Restore begins to take in the state that the loader was given in the place of an object: id names the present or last run of the task, which it becomes.
// Then the client is told. It returns abi.BUSY if the Saver is at work, and abi.INVAL if there is no such task, or nothing was written.
func (s *Saver) Restore(id TaskID) abi.ErrorCode {
	t := s.kernel.lastRun(id)
	switch {
	case s.stage != saverIdle:
		return abi.BUSY
	case t == nil:
		return abi.INVAL
	}
	if s.object = s.loader.hand(); s.object == nil {
		return abi.INVAL
	}
	s.begin(t, judging)
	return abi.OK
}

// Abort gives up what goes on, and the task goes on. One whose memory is being filled already is taken in all the same.
func (s *Saver) Abort() {
	if s.stage == saverIdle || s.stage == takingIn {
		return
	}
	if t := s.task; s.lives() && t.alive() {
		t.kept &^= keptBySaver
		s.kernel.wake(t)
	}
	s.end()
}

// begin keeps the task from running, and begins the digest of its object.
func (s *Saver) begin(t *Task, stage saverStage) {
	s.stage, s.task, s.id = stage, t, t.id
	s.hash, s.done = sha256.New(), 0
	if t.alive() {
		t.kept |= keptBySaver
		s.kernel.wake(t)
		s.kernel.goesOn = false // it may be its turn
	}
	s.call.Set()
}

// end gives memory back.
func (s *Saver) end() {
	if s.object != nil {
		s.loader.reuse.give(s.object[:abi.PageUp(uint64(len(s.object)))])
	}
	s.stage, s.task, s.object = saverIdle, nil, nil
	s.loader.sweep() // of records that were made for nothing
}

// lives reports whether the task's run is the one that it was, alive if it is to be saved.
func (s *Saver) lives() bool {
	t := s.kernel.lastRun(s.id)
	return t != nil && (t.alive() || s.stage == judging)
}

// HandleDeferredCall implements DeferredClient: it does a piece of what is to be done. No grant is entered, nor is a system call served.
func (s *Saver) HandleDeferredCall() {
	switch {
	case s.stage == takingIn:
		s.takeIn(s.task)
	case s.stage != describing && s.stage != judging: // it was given up
		return
	case !s.lives():
		s.refuse("it has ended, or was started anew, meanwhile", abi.CANCEL)
	case !s.addPages(s.task):
	case s.stage == describing:
		s.describe(s.task)
	default:
		s.judge(s.task)
	}
	if s.stage != saverIdle && s.stage != handingOut {
		s.call.Set()
	}
}

// describe makes what is handed out before the task's memory.
func (s *Saver) describe(t *Task) {
	w := entryWriter{}
	w.addTask(s, t)
	size := uint64(stateHead + w.count*entrySize)
	if w.count > mostEntries {
		s.refuse("it has too much to do with drivers", abi.SIZE)
		return
	}
	if s.object = s.loader.reuse.Take(abi.PageUp(size)); s.object == nil {
		s.refuse(noRAM, abi.NOMEM)
		return
	}
	s.object = s.object[:size]
	s.size = size + t.memory.mappedEnd() - t.memory.ramStart
	clear(s.object)
	s.fill(t, s.object)
	s.stage, s.done = handingOut, 0
	s.client.SaveDone(abi.OK)
}

// judge checks a state, and if it is the task's begins to take it in.
func (s *Saver) judge(t *Task) {
	s.size = uint64(len(s.object))
	if reason := s.check(t); reason != "" {
		s.refuse(reason, abi.INVAL)
		return
	}
	if !s.reserve(t) {
		s.refuse(noRAM, abi.NOMEM)
		return
	}
	s.kept = t.kept & (keptByStop | keptByPause)
	if t.alive() {
		s.kernel.end(t, Terminated)
	}
	t.id = taskID(t.id.Number(), t.slot^1) // as no task's is: nobody can boot or unload it
	s.putBlanks(t)
	s.stage, s.done = takingIn, 0
}

// refuse says why a task is not saved or taken back, and lets it go on.
func (s *Saver) refuse(reason string, e abi.ErrorCode) {
	saving := s.stage == describing
	if s.loader.mayPrint() && s.lives() {
		w := s.kernel.debug
		s.task.printLabel(w)
		if saving {
			w.WriteString(": not saved: ")
		} else {
			w.WriteString(": state refused: ")
		}
		w.WriteString(reason)
		w.WriteString("\n")
	}
	s.Abort()
	if saving {
		s.client.SaveDone(e)
	} else {
		s.client.RestoreDone(TaskID{}, e)
	}
}

// entries are the entries of the state that is taken in, of which it has so many.
func (s *Saver) entries() (b []byte, count int) {
	return s.object[stateHead:], int(load32(s.object[stateEntries:]))
}

// pages is the task's memory in the state that is taken in.
func (s *Saver) pages() []byte {
	return s.object[stateHead+entrySize*uint64(load32(s.object[stateEntries:])):]
}

// check says what is wrong with a state, which may be any bytes, or "".
func (s *Saver) check(t *Task) string {
	b, now := s.object, &t.memory
	if len(b) < stateHead || load32(b) != stateVersion {
		return "it is none, or of another version"
	}
	appBreak, highWater, count := load64(b[stateBreak:]), load64(b[stateHighWater:]), load32(b[stateEntries:])
	switch {
	case load32(b[stateSlot:]) != uint32(t.slot) || load32(b[stateShortID:]) != t.identity.ShortID:
		return "it is another task's"
	case string(b[stateDigest:][:sha256.Size]) != string(s.digest[:]):
		return "it is of another object"
	case load64(b[stateRAM:]) != uint64(len(now.ram)) || appBreak > uint64(len(now.ram)) || highWater > appBreak:
		return "its memory is none of the task's"
	case count > mostEntries || s.size != stateHead+entrySize*uint64(count)+abi.PageUp(appBreak):
		return "its parts are not as long as it is"
	case !s.cpu.MayHave((*Registers)(b[stateRegisters:stateHead]), t.bits32):
		return "no task can have its registers"
	}
	s.memory = *now
	m := &s.memory
	m.appBreak, m.highWater = m.ramStart+appBreak, m.ramStart+highWater
	s.grants, s.needed, s.lenders, s.events = 0, 0, 0, false
	entries, n := s.entries()
	for i := range n {
		if !s.checkEntry(t, entries[i*entrySize:]) {
			return "it has with drivers or other tasks what it cannot have"
		}
	}
	if s.needed > uint64(len(m.ram)) {
		return "its grants do not fit its memory"
	}
	m.kernelBreak = m.ramEnd() - s.needed
	if !m.mayBreak(m.appBreak) {
		return "its grants do not fit its memory"
	}
	return s.checkState(b)
}

// checkState says what is wrong with what the task was about to do.
func (s *Saver) checkState(b []byte) string {
	m := &s.memory
	switch load32(b[stateState:]) {
	case uint32(Running), uint32(Yielded), uint32(YieldedFor):
		return ""
	case uint32(Growing): // if it fails the break goes back
		if from := load64(b[stateGrowth:]); from <= m.appBreak-m.ramStart && from >= m.highWater-m.ramStart {
			return ""
		}
	}
	return "it is in no state of a task that is alive"
}

// checkEntry reports whether an entry is what a task with this memory can have.
func (s *Saver) checkEntry(t *Task, b []byte) bool {
	var e entry
	e.read(b)
	if e.kind == entryBorrowed {
		lender := uint64(1) << (e.number % MaxTasks)
		ok := e.number < MaxTasks && lender&(s.lenders|t.bit) == 0 && e.a-1 < abi.LoanSize/abi.PageSize
		s.lenders |= lender
		return ok
	}
	g, err := s.kernel.slots(t, e.driver)
	if err != abi.OK {
		return false
	}
	n, has := e.to().number, s.grants>>g.index&1 != 0
	switch e.kind {
	case entryGrant:
		s.grants |= 1 << g.index
		s.needed += (uint64(g.size) + 7) &^ 7
		return !has
	case entryUpcall:
		return has && !s.events && n < uint32(g.counts.Upcalls) && (e.a == 0 || t.everReadable(e.a))
	case entryBuffer:
		return has && n < g.shares(e.class()) && s.memory.mayShare(e.class(), pair{e.a, e.b})
	case entryEvent:
		s.events = true
		return has && n < uint32(g.counts.Upcalls)
	case entryOngoing:
		return has && e.driver == s.resumes && s.resumer != nil
	}
	return false
}

// everReadable reports whether a function there can have been the task's to subscribe, wherever its break is now.
func (t *Task) everReadable(fn uint64) bool {
	_, ok := t.memory.readOnly(fn, t.functionSize())
	return ok || within(fn, t.functionSize(), t.memory.ramStart, t.memory.ramEnd())
}

// shares is how many buffers a task can share with the driver by system calls of a class.
func (s *Slots) shares(class abi.Class) uint32 {
	switch class {
	case abi.AllowReadOnly:
		return uint32(s.counts.ReadOnly)
	case abi.AllowReadWrite:
		return uint32(s.counts.ReadWrite)
	case abi.AllowUserspaceReadable:
		return uint32(s.counts.UserspaceReadable)
	}
	return 0
}

// reserve makes sure that all memory is there for what lies in the place of what was lent to the task.
func (s *Saver) reserve(t *Task) bool {
	k := s.kernel
	if s.lenders != 0 && !k.makeBlank(t) {
		return false
	}
	for i, e := 0, s.entry(0); e.kind != 0; i, e = i+1, s.entry(i+1) {
		if e.kind != entryBorrowed {
			continue
		}
		lender := k.recordOf(int(e.number % MaxTasks))
		if lender == nil || !k.cpu.Reserve(t.slot, loanAddress(lender), e.a*abi.PageSize) {
			return false
		}
	}
	return true
}

// putBlanks puts the task's blank page into the place of all that was lent to it, as if that had been taken back.
func (s *Saver) putBlanks(t *Task) {
	k := s.kernel
	if s.lenders != 0 {
		clear(t.blank[:])
	}
	for i, e := 0, s.entry(0); e.kind != 0; i, e = i+1, s.entry(i+1) {
		if e.kind != entryBorrowed {
			continue
		}
		lender := k.tasks[e.number%MaxTasks]
		lender.loanTo(t).mapped = uint8(e.a)
		t.lenders |= lender.bit
		t.blanks |= lender.bit
		for page := range e.a {
			k.cpu.Map(t.slot, loanAddress(lender)+page*abi.PageSize, t.blank[:], ReadWrite)
		}
	}
	k.checkMemory()
}

// entry is the n-th entry of the state that is taken in, or one of kind 0 if there is none.
func (s *Saver) entry(n int) (e entry) {
	if b, count := s.entries(); n < count {
		e.read(b[n*entrySize:])
	}
	return e
}

// takeIn fills a piece of the task's memory, or lets it go on if that was all.
func (s *Saver) takeIn(t *Task) {
	pages := s.pages()
	if left := pages[s.done:]; len(left) != 0 {
		s.done += uint64(copy(t.memory.ram[s.done:], left[:min(len(left), pieceSize)]))
		return
	}
	s.goOn(t, pages)
}

// goOn makes the task go on by its state, as a new run.
func (s *Saver) goOn(t *Task, pages []byte) {
	k, m := s.kernel, &t.memory
	t.restarts++
	k.start(t)
	copy(m.ram, pages[:min(uint64(len(pages)), m.mappedEnd()-m.ramStart)]) // what that has cleared
	s.setBreak(t)
	m.highWater = s.memory.highWater
	t.stackTop, t.heapStart = load64(s.object[stateStackTop:]), load64(s.object[stateHeapStart:])
	s.cpu.RestoreRegisters(t.slot, (*Registers)(s.object[stateRegisters:stateHead]))
	for i, e := 0, s.entry(0); e.kind != 0; i, e = i+1, s.entry(i+1) {
		s.giveBack(t, e)
	}
	t.state = State(load32(s.object[stateState:]))
	t.awaited = event{load32(s.object[stateAwaited:]), load32(s.object[stateAwaited+4:])}
	t.growth.from, t.growth.to = m.ramStart+load64(s.object[stateGrowth:]), m.ramStart+load64(s.object[stateGrowth+8:])
	t.kept |= s.kept
	k.update(t)
	for i, e := 0, s.entry(0); e.kind != 0; i, e = i+1, s.entry(i+1) {
		s.conclude(t, e)
	}
	k.wake(t)
	k.checkMemory()
	if s.loader.mayPrint() {
		t.printLabel(k.debug)
		k.debug.WriteString(": restored\n")
	}
	s.end()
	s.client.RestoreDone(t.id, abi.OK)
}

// setBreak moves the app break of a task that was just started to where it was. What that exposes is filled already.
func (s *Saver) setBreak(t *Task) {
	k, m := s.kernel, &t.memory
	before := m.mappedEnd()
	if s.memory.appBreak <= m.appBreak {
		k.setBreak(t, s.memory.appBreak)
		return
	}
	m.appBreak = s.memory.appBreak
	if after := m.mappedEnd(); after > before {
		k.cpu.Map(t.slot, before, m.ram[before-m.ramStart:after-m.ramStart], ReadWrite)
	}
}

// giveBack gives the task again what it had with a driver, as if it did that itself. The driver may be gone by now.
func (s *Saver) giveBack(t *Task, e entry) {
	g, err := s.kernel.slots(t, e.driver)
	if e.kind == entryBorrowed || err != abi.OK || !g.allocate(t) {
		return
	}
	n := e.to().number
	switch e.kind {
	case entryUpcall:
		slot := g.upcall(t, n)
		store64(slot[slotFn:], e.a)
		store64(slot[slotUserdata:], e.b)
	case entryBuffer:
		s.kernel.swapBuffer(t, e.class(), e.to(), pair{e.a, e.b})
	case entryEvent:
		g.happen(t, n, uint32(e.a), uint32(e.a>>32), uint32(e.b))
	}
}

// conclude ends the operations that the task had begun with a driver, or begins them again.
func (s *Saver) conclude(t *Task, e entry) {
	g, err := s.kernel.slots(t, e.driver)
	if err != abi.OK || *g.of(t) == nil {
		return
	}
	switch e.kind {
	case entryGrant:
		g.endOperations(t, Pending(e.a))
	case entryOngoing:
		s.resumer.Resume(t.id, e.a, e.b)
	}
}

// endOperations tells a task that has the grant that the operations have ended whose ends it is owed.
func (s *Slots) endOperations(t *Task, owed Pending) {
	for n := uint32(0); n < uint32(s.counts.Upcalls); n++ {
		if s.counts.Ends.has(n) && owed>>n&1 != 0 {
			s.happen(t, n, s.counts.Ends.argument(n), 0, 0)
		}
	}
}
