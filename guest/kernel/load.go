package kernel

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/format"
	"kapsel/guest/kernel/tbf"
)

// grantReserve is what a task's RAM has above what its object asks for, so that drivers
// have room in it from the start. A task that lets its break alone leaves them more.
const grantReserve = abi.PageSize

// Load makes tasks of the TBF objects in places. A place starts on a page and holds
// objects back to back, each starting on a page. Every object is looked at before the first
// task is made: of those that may run and are one application, the one with the highest
// version becomes a task, of equal ones the first. The tasks have the order of their objects.
// Load prints a line for each object, with the reason where it skips one, and returns how
// many tasks it made. A board calls it once, after all grants were made.
func (k *Kernel) Load(places [][]byte, c capability.TaskManagement) int {
	c.Require()
	k.sealed = true
	before := k.loaded
	l := loader{kernel: k, end: k.loaded}
	for _, objects := range places {
		l.scan(objects)
	}
	l.makeTasks()
	return k.loaded - before
}

// loader chooses among objects. The slots from kernel.loaded to end hold candidates:
// tasks to be, which have an object, an identity and addresses, but no RAM and no state.
type loader struct {
	kernel *Kernel
	end    int

	wrong         tbf.Error // what is wrong with a badObject
	winner, loser *Task     // of the sameApplication
}

// Reasons that are printed with more about them.
const (
	badObject       = "bad object: "
	sameApplication = "it is the same application as "
)

// scan makes candidates of the objects in a place.
func (l *loader) scan(objects []byte) {
	offset := 0
	for offset < len(objects) {
		size, ok := tbf.Length(objects[offset:])
		if !ok {
			break
		}
		if reason := l.consider(objects[offset:], size, offset); reason != "" {
			l.printSkipped(offset, reason)
		}
		offset += int(pageUp(uint64(size)))
	}
}

// consider makes a candidate of the object of that size at the start of b. It returns why
// it does not, or "", also for padding.
func (l *loader) consider(b []byte, size, offset int) string {
	t := &l.kernel.candidate
	*t = Task{offset: offset}
	t.object, l.wrong = tbf.Parse(b[:size])
	if l.wrong.OK() && t.object.Padding() {
		return ""
	}
	if l.wrong.OK() {
		l.wrong = t.object.Runnable()
	}
	if !l.wrong.OK() {
		return badObject
	}
	pages := int(pageUp(uint64(size)))
	if pages > len(b) {
		return "its last page is cut off: objects are padded to 4096 bytes"
	}
	t.memory.flash, t.memory.flashSize = b[:pages], uint64(size)
	if reason := l.kernel.check(t); reason != "" {
		return reason
	}
	t.identity = l.kernel.identity.Identify(&t.object)
	return l.compete(t)
}

// compete adds a candidate, unless there is one of the same application that is as good,
// or no slot is left; it returns which. Those that are not as good it drives out, but not
// what is a task already.
func (l *loader) compete(t *Task) string {
	k := l.kernel
	for slot := l.rival(t); slot < l.end; slot = l.rival(t) {
		rival := &k.tasks[slot]
		if slot < k.loaded || rival.version() >= t.version() {
			l.winner, l.loser = rival, t
			return sameApplication
		}
		l.winner, l.loser = t, rival
		l.printSkipped(rival.offset, sameApplication)
		l.remove(slot)
	}
	if l.end == MaxTasks {
		return "all task slots are in use"
	}
	k.tasks[l.end] = *t
	l.end++
	return ""
}

// rival finds the slot of a task or candidate of t's identity, or returns end.
func (l *loader) rival(t *Task) int {
	slot := 0
	for slot < l.end && !l.kernel.tasks[slot].identity.same(&t.identity) {
		slot++
	}
	return slot
}

// remove takes a candidate out and closes the gap.
func (l *loader) remove(slot int) {
	tasks := &l.kernel.tasks
	l.end--
	for ; slot < l.end; slot++ {
		tasks[slot] = tasks[slot+1]
	}
	tasks[l.end] = Task{}
}

// makeTasks makes tasks of the candidates, as long as there is memory for them.
func (l *loader) makeTasks() {
	k := l.kernel
	for from := k.loaded; from < l.end; from++ {
		t := &k.tasks[k.loaded]
		if from != k.loaded {
			*t = k.tasks[from]
			k.tasks[from] = Task{}
		}
		t.slot, t.bit = k.loaded, 1<<k.loaded
		if reason := k.place(t); reason != "" {
			l.printSkipped(t.offset, reason)
			*t = Task{}
			continue
		}
		k.loaded++
		k.start(t)
		k.printLoaded(t)
	}
}

// version is the version of the task's application.
func (t *Task) version() uint32 {
	program, _ := t.object.Program()
	return program.Version
}

const noRAM = "not enough RAM left for what it asks for"

// check chooses the addresses of a candidate, the size of its RAM, and where it starts. It
// returns what keeps the object from running ever, or "".
func (k *Kernel) check(t *Task) string {
	program, _ := t.object.Program()
	t.restricted, t.bits32 = t.object.Restricted(), !t.object.Is64Bit()
	t.special = t.restricted || t.bits32
	t.memory.protected = uint64(program.ProtectedSize)
	t.ramSize = max(pageUp(uint64(program.MinimumRAM)), abi.InitialRAM) + grantReserve
	if reason := t.memory.chooseAddresses(&t.object, t.ramSize); reason != "" {
		return reason
	}
	t.entry = t.memory.flashStart + uint64(program.InitOffset)
	if !pagesOnly(&t.object) {
		return "a writeable flash region does not consist of whole pages"
	}
	if t.ramSize > uint64(len(k.ram)) {
		return noRAM
	}
	return k.checkCredentials(&t.object)
}

// place gives the task its RAM and maps its flash. It returns what hinders it, or "".
func (k *Kernel) place(t *Task) string {
	m := &t.memory
	if t.ramSize > uint64(len(k.ram)) {
		return noRAM
	}
	if !k.cpu.Reserve(t.slot, m.flashStart, uint64(len(m.flash))) || !k.cpu.Reserve(t.slot, m.ramStart, t.ramSize) ||
		!k.cpu.Reserve(t.slot, abi.LoanStart, abi.LoanEnd-abi.LoanStart) {
		return "not enough memory left for its page tables"
	}
	m.ram = k.ram[:t.ramSize:t.ramSize]
	k.ram = k.ram[t.ramSize:]
	k.mapFlash(t)
	return ""
}

// mapFlash gives the task its object to read and execute, and the writeable regions in
// it to read and write.
func (k *Kernel) mapFlash(t *Task) {
	m := &t.memory
	k.cpu.Map(t.slot, m.flashStart, m.flash, ReadExecute)
	for i := range t.object.WriteableRegions() {
		r, _ := t.object.WriteableRegion(i)
		if r.Size != 0 {
			start, end := uint64(r.Offset), uint64(r.Offset)+uint64(r.Size)
			k.cpu.Map(t.slot, m.flashStart+start, m.flash[start:end], ReadWrite)
		}
	}
}

// chooseAddresses puts flash and RAM where the object wants them, or where every task
// has them (docs/abi.md, section 2). It returns what hinders it, or "".
func (m *Memory) chooseAddresses(object *tbf.Object, ramSize uint64) string {
	m.flashStart, m.ramStart = abi.FlashStart, abi.RAMStart
	fixed, _ := object.FixedAddresses()
	if fixed.RAM != tbf.Unset {
		m.ramStart = uint64(fixed.RAM)
	}
	if fixed.Flash != tbf.Unset {
		if uint64(fixed.Flash) < m.protected {
			return "its fixed flash address leaves no room for its header"
		}
		m.flashStart = uint64(fixed.Flash) - m.protected
	}
	flashEnd := m.flashStart + uint64(len(m.flash))
	ramEnd := m.ramStart + ramSize
	switch {
	case m.flashStart%abi.PageSize != 0 || m.ramStart%abi.PageSize != 0:
		return "its fixed addresses do not put flash and RAM on pages"
	case m.flashStart < abi.UserMin || m.ramStart < abi.UserMin:
		return "its fixed addresses are below 64 KiB"
	case flashEnd > m.ramStart && ramEnd > m.flashStart:
		return "its flash and RAM would overlap"
	case flashEnd > abi.LoanStart && m.flashStart < abi.LoanEnd || ramEnd > abi.LoanStart && m.ramStart < abi.LoanEnd:
		return "its flash or RAM would lie where other tasks' memory is lent to it"
	case !object.Is64Bit() && max(flashEnd, ramEnd) >= abi.UserMax32:
		return "it is a 32-bit task, and its flash or RAM would not end below 4 GiB"
	}
	return ""
}

// pagesOnly reports whether all writeable flash regions consist of whole pages.
func pagesOnly(object *tbf.Object) bool {
	for i := range object.WriteableRegions() {
		r, _ := object.WriteableRegion(i)
		if r.Offset%abi.PageSize != 0 || r.Size%abi.PageSize != 0 {
			return false
		}
	}
	return true
}

func (l *loader) printSkipped(offset int, reason string) {
	w := l.kernel.debug
	format.Print(w, "task object at offset %x skipped: ", uint64(offset))
	w.WriteString(reason)
	switch reason {
	case badObject:
		l.wrong.Describe(w)
	case sameApplication:
		l.winner.printName(w)
		format.Print(w, ", which has version %d; this has version %d", uint64(l.winner.version()), uint64(l.loser.version()))
	}
	w.WriteString("\n")
}

func (k *Kernel) printLoaded(t *Task) {
	w := k.debug
	m := &t.memory
	format.Print(w, "task %d ", uint64(t.id.Number()))
	t.printName(w)
	format.Print(w, ": flash %8x..%8x, RAM %8x..%8x, entry %x",
		m.flashStart, m.flashStart+m.flashSize, m.ramStart, m.ramEnd(), t.entry)
	if t.bits32 {
		w.WriteString(", 32-bit")
	}
	w.WriteString("\n")
}
