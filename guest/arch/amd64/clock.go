package amd64

import "math/bits"

// A clock turns the time-stamp counter into microseconds since boot.
type clock struct {
	base uint64 // counter at boot
	hz   uint64
	mult uint64 // microseconds in a tick, times 2^clockShift, rounded down
}

const (
	microsecond = 1_000_000 // in a second
	maxHz       = 1 << 40   // the fastest that a clock may be
	mostTicks   = 1 << 62   // 48 years at 3 GHz
	clockShift  = 44        // the most with which mult fits 64 bits at any hz
)

// newClock makes a clock whose counter was base at boot. 0 < hz <= maxHz.
func newClock(base, hz uint64) clock {
	return clock{base, hz, (microsecond << clockShift) / hz}
}

// micros returns the time at a counter value.
func (c *clock) micros(tsc uint64) uint64 {
	high, low := bits.Mul64(tsc-c.base, c.mult)
	return high<<(64-clockShift) | low>>clockShift
}

// ticks returns the number of ticks at hz, at most maxHz, in a time, rounded up, but at most
// mostTicks.
func ticks(micros, hz uint64) uint64 {
	seconds, rest := micros/microsecond, micros%microsecond
	high, whole := bits.Mul64(seconds, hz)
	if high != 0 {
		return mostTicks
	}
	return min(whole, mostTicks-maxHz) + (rest*hz+microsecond-1)/microsecond
}

// tsc returns a counter value whose micros is at least the given time. As mult is rounded
// down, micros is slow, by less than a tick in mult-1 of them: so much is added.
func (c *clock) tsc(micros uint64) uint64 {
	t := ticks(micros, c.hz)
	return c.base + t + t/(c.mult-1) + 1
}

// clockHz is the frequency of a counter whose ticks are that many nanoseconds, 0 for none that
// is possible.
func clockHz(multiplier uint32, shift int8) uint64 {
	const second = 1_000_000_000
	if multiplier == 0 || shift < -31 || shift > 31 {
		return 0
	}
	if hz := uint64(second) << 32 / uint64(multiplier); shift >= 0 {
		return hz >> shift
	} else {
		return hz << -shift
	}
}
