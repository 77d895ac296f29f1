package kernel

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/format"
	"kapsel/guest/kernel/sha256"
	"kapsel/guest/kernel/tbf"
)

// Loader loads and unloads tasks while the machine runs, for one client, which may be a capsule: a board has one for each
// of them. An object comes in pieces: SetUp, Write as often as need be, Load. What takes long is done in deferred calls, a piece
// each. (docs/decisions/0029-loading-while-the-machine-runs.md)
type Loader struct {
	_      notComparable
	kernel *Kernel
	cpu    SpaceCPU
	reuse  *Reuse
	client LoaderClient
	call   DeferredCall

	stage  stage
	object []byte // whole pages
	size   uint64 // of the object, in bytes
	done   uint64 // bytes of it that the stage is done with
	task   *Task  // that it becomes, from its check on
	hash   sha256.Hash
	digest [sha256.Size]byte

	before  uint64 // bytes that were free when a load or an unload began, for people
	leaving uint64 // the slots of unloaded tasks whose memory is still to be given back
}

// SpaceCPU is what a Loader asks of the CPU besides.
type SpaceCPU interface {
	Frames
	// FreeSpace gives back what Reserve took for a slot, whose task has ended. Nothing is reserved then.
	FreeSpace(slot int)
	// FreeTask gives back what NewTask took for a slot. Nobody uses the record any more.
	FreeTask(slot int)
}

// LoaderClient is told when what it asked for is done, never from within the call.
type LoaderClient interface {
	// SetUpDone says that the object can be written.
	SetUpDone()
	// LoadDone says which task the object has become. With an error it has become none, and is gone; the kernel has
	// printed why. abi.NOMEM: there was not enough memory. abi.FAIL: it may not run, or all slots are in use.
	LoadDone(id TaskID, e abi.ErrorCode)
	// UnloadDone says that the memory of all tasks that were unloaded is given back.
	UnloadDone()
}

// stage is what a Loader does with an object.
type stage uint8

const (
	idle     stage = iota // there is none
	clearing              // its memory is made zero
	writing               // it is written
	opening               // what follows is done by deferred calls alone: it gets a slot, and its form is checked
	hashing               // its digest is made
	making                // it is judged, and becomes a task
)

// digestSize is how much is hashed in one piece of work, in bytes: a multiple of SHA-256's block.
const digestSize = 16 << 10

// Init makes the Loader ready. It is called once, by the board, before tasks are loaded.
func (l *Loader) Init(k *Kernel, cpu SpaceCPU, reuse *Reuse, c capability.TaskManagement) {
	c.Require()
	l.kernel, l.cpu, l.reuse = k, cpu, reuse
	l.call.Register(k, l)
}

// SetLoaderClient sets who is told, before anything else is called. A board has the object of a client that fails given up by Abort
// (Component.Fell).
func (l *Loader) SetLoaderClient(client LoaderClient) { l.client = client }

// SetUp takes memory for an object of so many bytes, and clears it: then the client is told. It returns abi.BUSY if there is an
// object already, abi.INVAL if no object has that size, and abi.NOMEM if there is no memory for it.
func (l *Loader) SetUp(size uint64) abi.ErrorCode {
	switch {
	case l.stage != idle:
		return abi.BUSY
	case size < tbf.BaseSize || size > 1<<32-abi.PageSize:
		return abi.INVAL
	}
	l.before = l.reuse.Free()
	l.object = l.reuse.Take(abi.PageUp(size))
	if l.object == nil {
		return abi.NOMEM
	}
	l.size = size
	l.enter(clearing)
	return abi.OK
}

// Write copies bytes, at most a page of them, to an offset of the object. The header's first 8 bytes, which tell its version and its
// length, are written together. It returns abi.INVAL, having written nothing, if there is no object to write, for bytes outside
// of it, or for a header of an object of another length.
func (l *Loader) Write(offset uint64, b []byte) abi.ErrorCode {
	const head = 8
	n := uint64(len(b))
	switch {
	case l.stage != writing || n > abi.PageSize || !within(offset, n, 0, l.size):
		return abi.INVAL
	case offset >= head:
	case offset != 0 || n < head || !isVersion(load32(b)) || load64(b)>>32 != l.size:
		return abi.INVAL
	}
	copy(l.object[offset:], b)
	return abi.OK
}

// isVersion reports whether a header that begins so is an object's, or that of a task's state, which is written likewise.
func isVersion(word uint32) bool { return word&0xffff == tbf.Version || word == stateVersion }

// hand hands what was written to who asks, to be given back to the RAM: then there is no object. It returns nil if there is none that could be written.
func (l *Loader) hand() []byte {
	if l.stage != writing {
		return nil
	}
	object := l.object
	l.stage, l.object = idle, nil
	return object[:l.size]
}

// Load begins to make a task of the object. It returns abi.INVAL if there is none that could be written.
func (l *Loader) Load() abi.ErrorCode {
	if l.stage != writing {
		return abi.INVAL
	}
	l.enter(opening)
	return abi.OK
}

// Abort gives the object up, wherever it has come to, and its memory back. It returns abi.INVAL if there is none.
func (l *Loader) Abort() abi.ErrorCode {
	if l.stage == idle {
		return abi.INVAL
	}
	l.drop()
	return abi.OK
}

// Unload ends a task, if it has not ended, and takes it out of its slot; id names its present or last run. Nobody finds it any more.
// Its memory is given back behind that, and then the client is told. It returns abi.INVAL if there is no such task.
func (l *Loader) Unload(id TaskID) abi.ErrorCode {
	k := l.kernel
	t := k.lastRun(id)
	if t == nil {
		return abi.INVAL
	}
	if l.mayPrint() {
		t.printLabel(k.debug)
		k.debug.WriteString(": unloaded\n")
	}
	l.before = l.reuse.Free()
	if t.alive() {
		k.end(t, Terminated)
	}
	k.forgetNotifications(t)
	t.id, t.state = TaskID{}, Unused
	k.present &^= t.bit
	k.busy |= t.bit
	l.leaving |= t.bit
	l.call.Set()
	return abi.OK
}

// enter begins a stage of which a deferred call does the first piece.
func (l *Loader) enter(s stage) {
	l.stage, l.done = s, 0
	l.call.Set()
}

// HandleDeferredCall implements DeferredClient: it does a piece of what is to be done. No grant is entered, nor is a system call
// served, so that nobody uses what is freed here.
func (l *Loader) HandleDeferredCall() {
	switch {
	case l.leaving != 0:
		l.free(l.kernel.first(l.leaving))
	case l.stage == clearing:
		l.clear()
	case l.stage == opening:
		l.open()
	case l.stage == hashing:
		l.addToDigest()
	case l.stage == making:
		l.make()
	}
	if l.leaving != 0 || l.stage != idle && l.stage != writing {
		l.call.Set()
	}
}

// clear makes a piece of the object's memory zero.
func (l *Loader) clear() {
	n := min(uint64(len(l.object))-l.done, pieceSize)
	clear(l.object[l.done:][:n])
	if l.done += n; l.done == uint64(len(l.object)) {
		l.stage = writing
		l.client.SetUpDone()
	}
}

// open gives the object a slot, and checks its form and what addresses it wants.
func (l *Loader) open() {
	k := l.kernel
	free := ^(k.present | k.busy)
	if free == 0 {
		l.refuse("all task slots are in use", abi.FAIL)
		return
	}
	slot := atOrAfter(free, k.turn)
	t := k.recordOf(slot)
	if t == nil {
		l.refuse(noRAM, abi.NOMEM)
		return
	}
	k.turn = uint(slot) + 1
	k.busy |= t.bit
	l.task = t
	wrong := t.object.Parse(l.object[:l.size])
	if wrong.OK() {
		wrong = t.object.Runnable()
	}
	t.memory.flash, t.memory.flashSize = l.object, l.size
	if !wrong.OK() {
		l.refuseObject(&wrong)
		return
	}
	reason := t.layOut()
	if reason == "" && t.regionsOverlap() {
		reason = "its writeable flash regions overlap: together they are larger than itself"
	}
	if reason != "" {
		l.refuse(reason, abi.FAIL)
		return
	}
	t.identity = k.identity.Identify(&t.object)
	l.hash = sha256.New()
	l.enter(making)
	if hasCredential(&t.object) {
		l.stage = hashing
	}
}

// recordOf is the record of a slot, made if there is none. It returns nil if there is no memory for it.
func (k *Kernel) recordOf(slot int) *Task {
	if k.tasks[slot] == &k.spare && !k.makeRecord(slot) {
		return nil
	}
	t := k.tasks[slot]
	k.loaded = max(k.loaded, slot+1)
	t.slot, t.bit = slot, 1<<slot
	return t
}

// regionsOverlap reports whether the writeable regions of whole pages are together larger than the object. Mapping them would be many times the
// work of mapping that.
func (t *Task) regionsOverlap() bool {
	size := uint64(0)
	for i := range t.object.WriteableRegions() {
		if r, _ := t.object.WriteableRegion(i); r.WholePages() {
			size += uint64(r.Size)
		}
	}
	return size > uint64(len(t.memory.flash))
}

// addToDigest adds a piece to the digest, so that policies have it without reading the object.
func (l *Loader) addToDigest() {
	signed := l.task.object.Signed()[l.done:]
	if len(signed) > digestSize {
		l.hash.Add(signed[:digestSize])
		l.done += digestSize
		return
	}
	l.digest = l.hash.Sum(l.hash.Add(signed))
	l.enter(making)
}

// make makes a task of the object, if it may run and there is memory for it.
func (l *Loader) make() {
	k, t := l.kernel, l.task
	if k.sameApplication(t) {
		l.refuse("a task of the same application is loaded: it is to be unloaded first", abi.FAIL)
		return
	}
	k.read.digest = &l.digest
	reason := k.checkCredentials(&t.object)
	k.read.digest = nil
	if reason != "" {
		l.refuse(reason, abi.FAIL)
		return
	}
	m := &t.memory
	if m.ram = l.reuse.Take(t.ramSize); m.ram == nil ||
		!k.cpu.Reserve(t.slot, m.flashStart, uint64(len(m.flash))) || !k.cpu.Reserve(t.slot, m.ramStart, t.ramSize) {
		l.refuse(noRAM, abi.NOMEM)
		return
	}
	k.mapFlash(t)
	t.ownsFlash = true
	t.results = k.cpu.Results(t.slot)
	k.present |= t.bit
	k.busy &^= t.bit
	k.loads++
	k.start(t)
	k.wake(t)
	if l.mayPrint() {
		k.printLoaded(t)
		l.printFree()
	}
	l.stage, l.object, l.task = idle, nil, nil
	l.client.LoadDone(t.id, abi.OK)
}

// sameApplication reports whether there is a task of the same application as t.
func (k *Kernel) sameApplication(t *Task) bool {
	for set := k.present; set != 0; set &= set - 1 {
		if k.first(set).identity.same(&t.identity) {
			return true
		}
	}
	return false
}

// refuse says why the object does not become a task, and gives it up.
func (l *Loader) refuse(reason string, e abi.ErrorCode) {
	if l.mayPrint() {
		l.kernel.debug.WriteString(refused)
		l.kernel.debug.WriteString(reason)
		l.kernel.debug.WriteString("\n")
	}
	l.drop()
	l.client.LoadDone(TaskID{}, e)
}

const refused = "task object refused: "

// refuseObject says what is wrong with the object, and gives it up.
func (l *Loader) refuseObject(wrong *tbf.Error) {
	if l.mayPrint() {
		l.kernel.debug.WriteString(refused)
		wrong.Describe(l.kernel.debug)
		l.kernel.debug.WriteString("\n")
	}
	l.drop()
	l.client.LoadDone(TaskID{}, abi.FAIL)
}

// drop gives the object's memory back, and what the task has already that it was to become.
func (l *Loader) drop() {
	if t := l.task; t != nil {
		t.memory.flash = nil
		l.giveBack(t)
	}
	l.reuse.give(l.object)
	l.stage, l.object, l.task = idle, nil, nil
	l.sweep()
}

// free gives back all memory of a task that was unloaded.
func (l *Loader) free(t *Task) {
	l.giveBack(t)
	l.leaving &^= t.bit
	l.sweep()
	if l.mayPrint() {
		l.printFree()
	}
	if l.leaving == 0 {
		l.client.UnloadDone()
	}
}

// giveBack gives back the memory of a task that is none any more, or not yet, but the record, which it empties.
func (l *Loader) giveBack(t *Task) {
	k := l.kernel
	l.cpu.FreeSpace(t.slot)
	if t.ownsFlash {
		l.reuse.give(t.memory.flash)
	}
	if t.memory.ram != nil {
		l.reuse.give(t.memory.ram)
	}
	if t.blank != nil {
		l.reuse.give(t.blank[:])
	}
	if k.running == t {
		k.running = &k.spare
	}
	k.held &^= t.bit
	k.busy &^= t.bit
	t.empty()
}

// empty leaves of a task what it has to do with its slot: where borrowers have pages of their own in the place of what the
// task lent them.
func (t *Task) empty() {
	slot := t.slot
	var mapped [MaxTasks]uint8
	for i := range mapped {
		mapped[i] = t.loans[i].mapped
	}
	*t = Task{slot: slot, bit: 1 << slot}
	for i := range mapped {
		t.loans[i].mapped = mapped[i]
	}
}

// sweep gives back the records of slots where no task is, nor a borrower has pages in the place of what one lent.
func (l *Loader) sweep() {
	k := l.kernel
	kept := k.present | k.busy
	for set := kept; set != 0; set &= set - 1 {
		kept |= k.first(set).lenders
	}
	for slot := range k.tasks {
		if k.tasks[slot] != &k.spare && kept>>slot&1 == 0 {
			k.spare = Task{}
			k.tasks[slot] = &k.spare
			l.cpu.FreeTask(slot)
		}
	}
}

// mayPrint reports whether messages about loading leave room for those about faults.
func (l *Loader) mayPrint() bool { return l.kernel.backlog == nil || !l.kernel.backlog.Crowded() }

func (l *Loader) printFree() {
	format.Print(l.kernel.debug, "memory: %d bytes are free, %d were before\n", l.reuse.Free(), l.before)
}
