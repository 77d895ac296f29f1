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
	l := selection{kernel: k, end: k.loaded}
	for _, objects := range places {
		l.scan(objects)
	}
	l.makeTasks()
	return k.loaded - before
}

// selection chooses among objects. The slots from kernel.loaded to end hold candidates:
// tasks to be, which have an object, an identity and addresses, but no RAM and no state.
type selection struct {
	kernel *Kernel
	end    int
}

// scan makes candidates of the objects in a place.
func (l *selection) scan(objects []byte) {
	offset := 0
	for offset < len(objects) {
		l.kernel.cpu.Poll()
		size, ok := tbf.Length(objects[offset:])
		if !ok {
			l.kernel.printNoObject(objects[offset:], offset)
			return
		}
		l.consider(objects[offset:], size, offset)
		offset += int(abi.PageUp(uint64(size)))
	}
}

// consider makes a candidate of the object of that size at the start of b, or says why
// not. It passes over padding.
func (l *selection) consider(b []byte, size, offset int) {
	k := l.kernel
	t := l.record()
	t.offset = offset
	wrong := t.object.Parse(b[:size])
	if wrong.OK() {
		if t.object.Padding() {
			return
		}
		wrong = t.object.Runnable()
	}
	if !wrong.OK() {
		k.printBad(t, &wrong)
		return
	}
	pages := int(abi.PageUp(uint64(size)))
	if pages > len(b) {
		k.printSkipped(t, "its last page is cut off: objects are padded to 4096 bytes")
		return
	}
	t.memory.flash, t.memory.flashSize = b[:pages], uint64(size)
	if reason := k.check(t); reason != "" {
		k.printSkipped(t, reason)
		return
	}
	t.identity = k.identity.Identify(&t.object)
	l.compete(t)
}

// record is an empty record for what may become a candidate: the one that it has then, if there
// is a slot and memory for it.
func (l *selection) record() *Task {
	k := l.kernel
	t := &k.spare
	if l.end < MaxTasks {
		if k.tasks[l.end] == t && k.makeRecord(l.end) {
			return k.tasks[l.end]
		}
		t = k.tasks[l.end]
	}
	*t = Task{}
	return t
}

// compete adds a candidate, unless there is one of the same application that is as good,
// or no slot is left. Those that are not as good it drives out, but not what is a task
// already.
func (l *selection) compete(t *Task) {
	k := l.kernel
	for {
		slot := l.rival(t)
		if slot == l.end {
			break
		}
		rival := k.tasks[slot]
		if slot < k.loaded || rival.object.Version() >= t.object.Version() {
			k.printSame(t, rival)
			return
		}
		k.printSame(rival, t)
		l.remove(slot)
	}
	if l.end == MaxTasks {
		k.printSkipped(t, "all task slots are in use")
		return
	}
	if k.tasks[l.end] == &k.spare {
		k.printSkipped(t, noRAM)
		return
	}
	if k.tasks[l.end] != t { // it has driven another out
		*k.tasks[l.end] = *t
	}
	l.end++
}

// makeRecord makes the record of the task in a slot. It reports false if there is no memory for it.
func (k *Kernel) makeRecord(slot int) bool {
	t := k.cpu.NewTask(slot, k.ram)
	if t != nil {
		k.tasks[slot] = t
	}
	return t != nil
}

// rival finds the slot of a task or candidate of t's identity, or returns end.
func (l *selection) rival(t *Task) int {
	slot := 0
	for slot < l.end && !l.kernel.tasks[slot].identity.same(&t.identity) {
		slot++
	}
	return slot
}

// remove takes a candidate out and closes the gap.
func (l *selection) remove(slot int) {
	tasks := &l.kernel.tasks
	l.end--
	for ; slot < l.end; slot++ {
		*tasks[slot] = *tasks[slot+1]
	}
	*tasks[l.end] = Task{}
}

// makeTasks makes tasks of the candidates, as long as there is memory for them.
func (l *selection) makeTasks() {
	k := l.kernel
	for from := k.loaded; from < l.end; from++ {
		t := k.tasks[k.loaded]
		if from != k.loaded { // a record stays with its slot: one before was skipped
			*t, *k.tasks[from] = *k.tasks[from], Task{}
		}
		t.slot, t.bit = k.loaded, 1<<k.loaded
		if reason := k.place(t); reason != "" {
			k.printSkipped(t, reason)
			*t = Task{}
			continue
		}
		t.results = k.cpu.Results(t.slot)
		k.loaded++
		k.present |= t.bit
		k.start(t)
		k.printLoaded(t)
	}
}

const noRAM = "not enough RAM left for what it asks for"

// check lays out a candidate. It returns what keeps the object from running ever, or "".
func (k *Kernel) check(t *Task) string {
	if reason := t.layOut(); reason != "" {
		return reason
	}
	if k.ram.roomFor(t.ramSize) == nil {
		return noRAM
	}
	return k.checkCredentials(&t.object)
}

// layOut chooses the addresses of a task with an object, the size of its RAM, and where it starts. It
// returns what hinders it, or "".
func (t *Task) layOut() string {
	program, _ := t.object.Program()
	t.bits32 = !t.object.Is64Bit()
	if !t.object.Restricted() {
		t.anyDriver = taken
	}
	t.memory.protected = uint64(program.ProtectedSize)
	t.ramSize = max(abi.PageUp(uint64(program.MinimumRAM)), abi.InitialRAM) + grantReserve
	if reason := t.memory.chooseAddresses(&t.object, t.ramSize); reason != "" {
		return reason
	}
	t.entry = t.memory.flashStart + uint64(program.InitOffset)
	return ""
}

// place gives the task its RAM and maps its flash. It returns what hinders it, or "".
func (k *Kernel) place(t *Task) string {
	m := &t.memory
	if !k.cpu.Reserve(t.slot, m.flashStart, uint64(len(m.flash))) || !k.cpu.Reserve(t.slot, m.ramStart, t.ramSize) {
		return "not enough memory left for its page tables"
	}
	if m.ram = k.ram.Take(t.ramSize); m.ram == nil {
		return noRAM
	}
	k.mapFlash(t)
	return ""
}

// mapFlash gives the task its object to read and execute, and the writeable regions in
// it that consist of whole pages to read and write.
func (k *Kernel) mapFlash(t *Task) {
	m := &t.memory
	k.cpu.Map(t.slot, m.flashStart, m.flash, ReadExecute)
	for i := range t.object.WriteableRegions() {
		r, _ := t.object.WriteableRegion(i)
		if r.Size != 0 && r.WholePages() {
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

// printSkipped says why an object does not become a task.
func (k *Kernel) printSkipped(t *Task, reason string) {
	k.printSkipping(t, reason)
	k.debug.WriteString("\n")
}

// printBad says what is wrong with an object.
func (k *Kernel) printBad(t *Task, wrong *tbf.Error) {
	k.printSkipping(t, "bad object: ")
	wrong.Describe(k.debug)
	k.debug.WriteString("\n")
}

// printNoObject says that a list of objects ends before its place does, unless what is left is
// blank.
func (k *Kernel) printNoObject(b []byte, offset int) {
	if !blank(k.region(b)) {
		format.Print(k.debug, "no task object at offset 0x%x, nor looked for in the %d bytes from there on\n", uint64(offset), uint64(len(b)))
	}
}

// blank reports whether all bytes, one at the least, are as the first, and that is zero or as erased
// flash is.
func blank(r *Region) bool {
	first := r.rest[0]
	for piece := r.Next(); len(piece) != 0; piece = r.Next() {
		if piece[0] != first || !tbf.Blank(piece) {
			return false
		}
	}
	return true
}

// printSame says that one of two objects of the same application becomes a task.
func (k *Kernel) printSame(loser, winner *Task) {
	k.printSkipping(loser, "it is the same application as ")
	winner.printName(k.debug)
	format.Print(k.debug, ", which has version %d; this has version %d\n",
		uint64(winner.object.Version()), uint64(loser.object.Version()))
}

//go:noinline
func (k *Kernel) printSkipping(t *Task, reason string) {
	format.Print(k.debug, "task object at offset 0x%x skipped: ", uint64(t.offset))
	k.debug.WriteString(reason)
}

func (k *Kernel) printLoaded(t *Task) {
	w := k.debug
	m := &t.memory
	t.printLabel(w)
	format.Print(w, ": flash 0x%8x..0x%8x, RAM 0x%8x..0x%8x, entry 0x%x",
		m.flashStart, m.flashStart+m.flashSize, m.ramStart, m.ramEnd(), t.entry)
	if t.bits32 {
		w.WriteString(", 32-bit")
	}
	if n := t.object.UnwriteableRegions(); n != 0 {
		format.Print(w, ", can only read %d of its %d writeable flash regions: they are no whole pages",
			uint64(n), uint64(t.object.WriteableRegions()))
	}
	w.WriteString("\n")
}
