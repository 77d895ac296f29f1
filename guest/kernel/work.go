package kernel

// Kernel work is what interrupts and deferred calls cause. It comes before tasks, but not for
// long: no task loses more to it than it gets (docs/decisions/0011-kernel-work-takes-half.md).

// workBurst is for how long kernel work may go on while tasks are ready, in microseconds.
const workBurst = 1000

// workShare is the time that kernel work took from tasks that were ready, in ticks of the CPU.
type workShare struct {
	burst uint64 // workBurst
	even  uint64 // when tasks will have had as much time as was taken from them
	rests bool   // more than burst was taken: until then work waits for tasks
}

// mayWork reports whether kernel work comes before tasks now. It does if none is ready.
func (k *Kernel) mayWork() bool { return k.ready == 0 || !k.share.rests || k.rested() }

// rested reports whether the kernel's rest is over.
//
//go:nosplit
func (k *Kernel) rested() bool {
	s := &k.share
	s.rests = k.cpu.Rest(s.even)
	if s.rests && k.cpu.SliceOver() {
		k.expire()
	}
	return !s.rests
}

// work serves the interrupt lines that wait, then the deferred calls that do by then, each
// once. A task whose turn that interrupted has its slice prolonged by what it took. Where no
// task was ready, no slice is gone on with; if one is now, what is left is work of its own: it is taken
// from that task.
// Where no task and no sleep comes between that and more work, lines are let in.
//
//go:nosplit
func (k *Kernel) work() {
	taken := k.ready != 0
	if k.cpu.BeginWork() {
		k.expire()
	}
	for *k.interrupts != 0 && (taken || k.ready == 0) {
		if line, ok := k.cpu.NextInterrupt(); ok {
			k.platform.Interrupt(line)
		}
	}
	if k.deferred.pending != 0 && (taken || k.ready == 0) {
		k.deferred.run()
	}
	if taken {
		k.share.take(k.cpu.EndWork())
	} else {
		k.last.Reason = StopNoWork
	}
	if k.ready == 0 && k.deferred.pending != 0 {
		k.cpu.Poll()
	}
}

// take counts that work took a time from tasks. If it was very long the machine itself stood
// still, and not for work's sake.
func (s *workShare) take(began, ended uint64) {
	took := min(ended-began, 100*s.burst)
	s.even = max(s.even+took, ended) + took // tasks had nothing of the time that it took
	s.rests = s.even-ended > s.burst
}
