// Package watchdog decides whether a kernel hangs: whether code in ring 0 has the processor
// and does not give it back. It knows no machine and no time: a monitor feeds it what it
// sees at each tick, and does what it says (docs/decisions/0009-watchdog.md).
package watchdog

import (
	"time"

	"kapsel/guest/abi"
)

// Posture is what a virtual processor is found at.
type Posture int

// Postures.
const (
	// Unknown: it did not say in time. The monitor itself holds it up, as when nobody reads
	// its console.
	Unknown Posture = iota
	// Away: it runs a task in ring 3, or waits for an interrupt.
	Away
	// Kernel: it runs code in ring 0.
	Kernel
)

// Verdict is what to do about it.
type Verdict int

// Verdicts.
const (
	// Nothing is to be done.
	Nothing Verdict = iota
	// Warn: send an NMI, for the kernel to end the capsule that does not return, or to say where it was, and end.
	Warn
	// WarnAgain: send another. The one before may have come upon the kernel, working for the capsule.
	WarnAgain
	// Hung: the NMIs did not help. End the machine.
	Hung
)

// stage is how far the suspicion goes.
type stage int

const (
	calm      stage = iota
	suspected       // once found in the kernel, with an old heartbeat
	warned          // NMIs were sent
)

// A Watch follows the heartbeat of one machine: a number that changes whenever the kernel
// gives the processor to a task or puts it to sleep. Ticks are a Pause apart.
type Watch struct {
	period time.Duration
	beat   uint64
	stage  stage
	sent   int  // NMIs
	mute   bool // it did not say in time where it is
}

// New makes a Watch for kernels that return to their main loop within the period. The
// heartbeat begins at 0.
func New(period time.Duration) *Watch { return &Watch{period: period} }

// Pause is the time until the next tick: a period, or a part of one for a second look at a
// kernel that is suspected, between NMIs, and behind the last.
func (w *Watch) Pause() time.Duration {
	switch {
	case w.stage == suspected:
		return w.period / 4
	case w.stage == warned && w.mute:
	case w.stage == warned && w.sent < abi.WatchdogNMIs:
		return w.period / 2 / abi.WatchdogNMIs
	case w.stage == warned:
		return w.period / 2
	}
	return w.period
}

// Late reports whether an answer that took so long is none: Look is to be told Unknown.
func (w *Watch) Late(answer time.Duration) bool { return answer > w.period/2 }

// Tick takes the heartbeat at a tick, and reports whether it is worthwhile to look at the
// processor: not if the heartbeat has changed.
func (w *Watch) Tick(beat uint64) (look bool) {
	if beat != w.beat {
		w.beat, w.stage = beat, calm
		return false
	}
	return true
}

// Look takes what the processor was found at, behind a Tick that asked for it. It takes two
// looks that find the kernel with one heartbeat to warn: a single one may have come upon
// the moment in which a task or an interrupt calls a kernel that was not asked for long.
func (w *Watch) Look(p Posture) Verdict {
	w.mute = p == Unknown
	switch {
	case w.stage == warned && p == Unknown: // it may be printing its panic, which nobody reads
		return Nothing
	case w.stage == warned && w.sent < abi.WatchdogNMIs: // wherever it is, it has not come back to its main loop
		w.sent++
		return WarnAgain
	case w.stage == warned:
		return Hung
	case p != Kernel:
		w.stage = calm
		return Nothing
	case w.stage == calm:
		w.stage = suspected
		return Nothing
	}
	w.stage, w.sent = warned, 1
	return Warn
}
