package amd64

import "math/bits"

// A clock turns the time-stamp counter into microseconds since boot.
type clock struct {
	base uint64 // counter at boot
	hz   uint64
	mult uint64 // microseconds in a tick, times 2^32
}

const microsecond = 1_000_000 // in a second

func newClock(base, hz uint64) clock {
	return clock{base, hz, (microsecond << 32) / hz}
}

// micros returns the time at a counter value.
func (c *clock) micros(tsc uint64) uint64 {
	high, low := bits.Mul64(tsc-c.base, c.mult)
	return high<<32 | low>>32
}

// ticks returns the number of ticks at hz, below 2^40, in a time, rounded up. A time beyond
// 2^40 microseconds (12 days) counts as that.
func ticks(micros, hz uint64) uint64 {
	micros = min(micros, 1<<40)
	seconds, rest := micros/microsecond, micros%microsecond
	return seconds*hz + (rest*hz+microsecond-1)/microsecond
}

// tsc returns the first counter value whose micros is at least the given time.
func (c *clock) tsc(micros uint64) uint64 { return c.base + ticks(micros, c.hz) + 1 }
