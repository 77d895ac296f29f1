package kernel

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel/capability"
)

// HasWriteableFlash reports whether the n bytes at addr, at the least one, lie in one writeable flash region of the task's object,
// whether or not that consists of whole pages. It is false if the entry is over.
func (d *TaskData) HasWriteableFlash(addr, n uint64) bool {
	return d.writeableFlash(addr, max(n, 1)) != nil
}

// WriteFlash writes p to addr in a writeable flash region of the task's object. It returns abi.INVAL, and has written nothing, unless
// all of it lies in one, or if the entry is over.
func (d *TaskData) WriteFlash(addr uint64, p []byte, c capability.FlashWriting) abi.ErrorCode {
	c.Require()
	b := d.writeableFlash(addr, uint64(len(p)))
	if b == nil {
		return abi.INVAL
	}
	copy(b, p)
	return abi.OK
}

// writeableFlash is the n bytes at addr if all of them lie in one writeable flash region, else nil. There is no header, element or
// footer of the object in one (tbf.Object).
func (d *TaskData) writeableFlash(addr, n uint64) []byte {
	if !d.live() {
		return nil
	}
	m, object := &d.task.memory, &d.task.object
	for i := range object.WriteableRegions() {
		r, _ := object.WriteableRegion(i)
		start := m.flashStart + uint64(r.Offset)
		if r.Size != 0 && within(addr, n, start, start+uint64(r.Size)) {
			at := addr - m.flashStart
			return m.flash[at : at+n]
		}
	}
	return nil
}
