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

// Load makes a task of each TBF object in objects, which starts on a page and holds
// objects back to back, each starting on a page. It prints a line for each, with the
// reason where it skips one, and returns how many tasks it made. A board calls it once
// for each place that objects are in, after all grants were made.
func (k *Kernel) Load(objects []byte, c capability.TaskManagement) int {
	c.Require()
	k.sealed = true
	before := k.loaded
	offset := 0
	for offset < len(objects) {
		size, ok := tbf.Length(objects[offset:])
		if !ok {
			break
		}
		if refusal := k.loadObject(objects[offset:], size); refusal.reason != "" {
			k.printSkipped(offset, refusal)
		}
		offset += int(pageUp(uint64(size)))
	}
	return k.loaded - before
}

// refusal says why an object makes no task. The zero refusal is none.
type refusal struct {
	reason string
	object tbf.Error // more about it, if not OK
}

// loadObject makes a task of the object of that size at the start of b.
func (k *Kernel) loadObject(b []byte, size int) refusal {
	object, err := tbf.Parse(b[:size])
	if err.OK() && object.Padding() {
		return refusal{}
	}
	if err.OK() {
		err = object.Runnable()
	}
	switch {
	case !err.OK():
		return refusal{"bad object: ", err}
	case pageUp(uint64(size)) > uint64(len(b)):
		return refusal{reason: "its last page is cut off: objects are padded to 4096 bytes"}
	case k.loaded == MaxTasks:
		return refusal{reason: "all task slots are in use"}
	}
	t := &k.tasks[k.loaded]
	*t = Task{slot: k.loaded, object: object, restricted: object.Restricted(), bits32: !object.Is64Bit()}
	t.bit, t.special = 1<<t.slot, t.restricted || t.bits32
	if reason := k.place(t, b[:pageUp(uint64(size))], size); reason != "" {
		*t = Task{}
		return refusal{reason: reason}
	}
	k.loaded++
	k.start(t)
	k.printLoaded(t)
	return refusal{}
}

// place gives the task its addresses and RAM and maps its flash. It returns what hinders
// it, or "".
func (k *Kernel) place(t *Task, flash []byte, size int) string {
	program, _ := t.object.Program()
	ramSize := max(pageUp(uint64(program.MinimumRAM)), abi.InitialRAM) + grantReserve
	m := &t.memory
	m.flash = flash
	m.flashSize = uint64(size)
	m.protected = uint64(program.ProtectedSize)
	if reason := m.chooseAddresses(&t.object, ramSize); reason != "" {
		return reason
	}
	if !pagesOnly(&t.object) {
		return "a writeable flash region does not consist of whole pages"
	}
	if ramSize > uint64(len(k.ram)) {
		return "not enough RAM left for what it asks for"
	}
	if !k.cpu.Reserve(t.slot, m.flashStart, uint64(len(flash))) || !k.cpu.Reserve(t.slot, m.ramStart, ramSize) ||
		!k.cpu.Reserve(t.slot, abi.LoanStart, abi.LoanEnd-abi.LoanStart) {
		return "not enough memory left for its page tables"
	}
	m.ram = k.ram[:ramSize:ramSize]
	k.ram = k.ram[ramSize:]
	t.entry = m.flashStart + uint64(program.InitOffset)
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

func (k *Kernel) printSkipped(offset int, r refusal) {
	w := k.debug
	w.WriteString("task object at offset ")
	format.Hex(w, uint64(offset))
	w.WriteString(" skipped: ")
	w.WriteString(r.reason)
	if !r.object.OK() {
		r.object.Describe(w)
	}
	w.WriteString("\n")
}

func (k *Kernel) printLoaded(t *Task) {
	w := k.debug
	m := &t.memory
	w.WriteString("task ")
	format.Dec(w, uint64(t.id.Number()))
	w.WriteString(" ")
	t.printName(w)
	w.WriteString(": flash ")
	printRange(w, m.flashStart, m.flashStart+m.flashSize)
	w.WriteString(", RAM ")
	printRange(w, m.ramStart, m.ramEnd())
	w.WriteString(", entry ")
	format.Hex(w, t.entry)
	if t.bits32 {
		w.WriteString(", 32-bit")
	}
	w.WriteString("\n")
}
