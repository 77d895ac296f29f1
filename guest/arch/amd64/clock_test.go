//go:build !kapsel

package amd64

import (
	"fmt"
	"math/big"
	"testing"

	"github.com/stretchr/testify/assert"
)

var testFrequencies = []uint64{
	1_000_000, 1_000_001, 24_000_000, 999_999_937, 1_000_000_000, 2_099_998_000, 2_893_437_001, 3_000_000_000, 5_800_000_000, 1 << 40,
}

var testTimes = []uint64{
	0, 1, 2, 999, 1000, 999_999, 1_000_000, 1_000_001, 59_999_999,
	3_600_000_000, 86_400_000_000, 86_400_000_001, 1<<40 - 1, 1 << 40,
	365 * 86_400_000_000,
}

func TestClockDeadlineIsNeverEarlyAndHardlyLate(t *testing.T) {
	for _, hz := range testFrequencies {
		for _, base := range []uint64{0, 1 << 40, ^uint64(0) - 1000} {
			c := newClock(base, hz)
			for _, m := range testTimes {
				if ticks(m, hz) > mostTicks/2 {
					continue // beyond what the counter is used for
				}
				got := c.micros(c.tsc(m))
				assert.GreaterOrEqual(t, got, m, "%d Hz: early", hz)
				assert.LessOrEqual(t, got, m+latest(&c, m), "%d Hz: late", hz)
			}
		}
	}
}

// latest is how many microseconds behind a time its deadline may be: two ticks, and what
// makes up for mult's rounding. At 3 GHz that is 15 microseconds in a day.
func latest(c *clock, micros uint64) uint64 { return 2 + micros/(c.mult-1) }

func TestClockKeepsTime(t *testing.T) {
	for _, hz := range testFrequencies {
		c := newClock(12345, hz)
		assert.Zero(t, c.micros(12345), "at boot")
		for _, seconds := range []uint64{1, 60, 86_400, 30 * 86_400} {
			got, want := c.micros(12345+seconds*hz), seconds*microsecond
			assert.LessOrEqual(t, got, want, "%d Hz, %d s: the clock is ahead", hz, seconds)
			// mult is at least 2^44*10^6/2^40 = 16 000 000, so rounding it loses less than that part.
			assert.LessOrEqual(t, want-got, want/16_000_000+1, "%d Hz, %d s: the clock is behind", hz, seconds)
		}
	}
}

func TestClockNeverGoesBack(t *testing.T) {
	for _, hz := range testFrequencies {
		c := newClock(0, hz)
		for _, start := range []uint64{0, hz - 500, 1<<44 - 500, 1<<62 - 500, ^uint64(0) - 1000} {
			before := c.micros(start)
			for d := uint64(1); d < 1000; d++ {
				now := c.micros(start + d)
				assert.GreaterOrEqual(t, now, before, "%d Hz at %d", hz, start+d)
				before = now
			}
		}
	}
}

func TestTicks(t *testing.T) {
	for _, hz := range testFrequencies {
		for _, m := range testTimes {
			// ceil(m*hz / 10^6), without a limit on the product
			product := new(big.Int).Mul(new(big.Int).SetUint64(m), new(big.Int).SetUint64(hz))
			want := product.Add(product, big.NewInt(microsecond-1)).Div(product, big.NewInt(microsecond))
			if want.Cmp(big.NewInt(mostTicks/2)) < 0 {
				assert.Equal(t, want.String(), fmt.Sprint(ticks(m, hz)), "%d us at %d Hz", m, hz)
			}
		}
		longest := ticks(^uint64(0), hz)
		assert.LessOrEqual(t, longest, uint64(mostTicks))
		assert.GreaterOrEqual(t, longest, uint64(mostTicks)/2)
		assert.LessOrEqual(t, ticks(mostTicks, hz), longest)
	}
}

func FuzzClock(f *testing.F) {
	f.Add(uint64(3_000_000_000), uint64(0), uint64(1))
	f.Add(uint64(1_000_000), ^uint64(0), uint64(1<<40))
	f.Fuzz(func(t *testing.T, hz, base, micros uint64) {
		if !plausibleClock(hz) || hz == 0 {
			t.Skipf("newClock is never given %d Hz", hz)
		}
		c := newClock(base, hz)
		if ticks(micros, hz) > mostTicks/2 {
			t.Skip("a deadline beyond what the TSC is counted to: ticks are bounded there")
		}
		if got := c.micros(c.tsc(micros)); got < micros || got > micros+latest(&c, micros) {
			t.Errorf("%d Hz: the deadline for %d us is at %d us", hz, micros, got)
		}
	})
}
