package kernel

// FeedbackQueue is a multi-level feedback queue. A task begins at the top level. When it
// has used up the level's quantum, in one turn or in many, it moves a level down, where
// quanta are longer. A task runs only while no task of a higher level is ready; those of
// one level take turns. After every Period of time that tasks ran, all go back to the top,
// so that none starves. Levels belong to slots: a task that restarts keeps its own.
type FeedbackQueue struct {
	_ notComparable

	// Period is in microseconds; 0 means DefaultPeriod.
	Period uint64

	tasks [MaxTasks]feedback
	below [levels - 1]uint64 // the slots of tasks below each level but the lowest
	next  [levels]int        // the slot whose turn it is at each level
	given uint64             // the slice of the running task, or its rest
	used  uint64             // time that tasks ran since all were at the top
}

// feedback is what the queue knows of a task.
type feedback struct {
	_     notComparable
	level uint8
	used  uint64 // of the level's quantum
}

// DefaultPeriod is Tock's 5 s in microseconds.
const DefaultPeriod = 5_000_000

// levels is the number of levels.
const levels = 3

// quanta are Tock's, in microseconds, by level.
var quanta = [levels]uint64{10_000, 20_000, 50_000}

// leastSlice is the shortest slice worth a switch, in microseconds: a quantum of which
// less is left counts as used up.
const leastSlice = 500

// Next implements Scheduler.
func (q *FeedbackQueue) Next(ready uint64, last Stop) (int, uint64) {
	q.charge(last)
	if _, set := q.top(ready); last.Reason == StopPreempted && set>>last.Slot&1 != 0 {
		q.given = last.Left
		return last.Slot, last.Left
	}
	q.settle(last.Slot)
	if q.used >= q.period() {
		q.used = 0
		clear(q.tasks[:])
		clear(q.below[:])
	}
	level, set := q.top(ready)
	slot := atOrAfter(set, uint(q.next[level]))
	q.next[level] = slot + 1
	q.given = quanta[level] - q.tasks[slot].used
	return slot, q.given
}

// Timed implements Scheduler.
func (*FeedbackQueue) Timed() bool { return true }

// InTurn implements Scheduler.
func (*FeedbackQueue) InTurn() bool { return false }

// Preemptive implements Scheduler.
func (*FeedbackQueue) Preemptive() bool { return true }

func (q *FeedbackQueue) period() uint64 {
	if q.Period == 0 {
		return DefaultPeriod
	}
	return q.Period
}

// charge counts the time of the last turn. What a task used never exceeds its quantum.
func (q *FeedbackQueue) charge(last Stop) {
	spent := q.given - min(last.Left, q.given)
	q.given -= spent
	q.tasks[last.Slot].used += spent
	q.used += spent
}

// settle moves a task whose slice is over down, if its quantum is used up.
func (q *FeedbackQueue) settle(slot int) {
	t := &q.tasks[slot]
	if t.used+leastSlice <= quanta[t.level] {
		return
	}
	t.used = 0
	if t.level < levels-1 {
		q.below[t.level] |= 1 << slot
		t.level++
	}
}

// top is the highest level at which tasks are ready, and their slots. Some task is ready.
func (q *FeedbackQueue) top(ready uint64) (level int, set uint64) {
	for level < levels-1 && ready&^q.below[level] == 0 {
		level++
	}
	if level < levels-1 {
		ready &^= q.below[level]
	}
	return level, ready
}
