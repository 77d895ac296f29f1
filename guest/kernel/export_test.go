package kernel

// SetBreaks moves the marks in a task's RAM, which nobody but the kernel may: bytes from its
// start.
func (t *Task) SetBreaks(highWater, appBreak, kernelBreak uint64) {
	m := &t.memory
	m.highWater, m.appBreak, m.kernelBreak = m.ramStart+highWater, m.ramStart+appBreak, m.ramStart+kernelBreak
}

// CheckMemory holds the rules of memory against the page tables.
func (k *Kernel) CheckMemory() { k.checkMemory() }
