package kernel

import "kapsel/guest/abi"

// SetBreaks moves the marks in a task's RAM, which nobody but the kernel may: bytes from its
// start.
func (t *Task) SetBreaks(highWater, appBreak, kernelBreak uint64) {
	m := &t.memory
	m.highWater, m.appBreak, m.kernelBreak = m.ramStart+highWater, m.ramStart+appBreak, m.ramStart+kernelBreak
}

// Rewire is Init for a kernel that is wired already.
func (k *Kernel) Rewire(c Config) {
	k.cpu = nil
	k.Init(c)
}

// SetRuns makes the kernel believe that so many runs of tasks have begun.
func (k *Kernel) SetRuns(n uint64) { k.serial = n }

// Records are what is known of tasks, by slot: the kernel's own.
func (k *Kernel) Records() (tasks []*Task) {
	for set := k.present; set != 0; set &= set - 1 {
		tasks = append(tasks, k.first(set))
	}
	return tasks
}

// CheckMemory holds the rules of memory against the page tables.
func (k *Kernel) CheckMemory() { k.checkMemory() }

// Lent is how many bytes a task lends to another, each given by its slot.
func (k *Kernel) Lent(lender, borrower uint32) uint64 {
	return uint64(k.tasks[lender].loans[borrower].size) * abi.PageSize
}
