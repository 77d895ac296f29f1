package bench

import (
	"cmp"
	"math"
	"slices"
)

// A Distribution is measured values with how often each came, by value, all different.
type Distribution []Sample

// A Sample is a value and how often it came, at least once. In JSON it is [value, count].
type Sample struct {
	Value int64
	Count uint64
}

// Distribute sorts samples, with the counts of equal values added up. Samples that never
// came are left out.
func Distribute(samples []Sample) Distribution {
	sorted := slices.Clone(samples)
	slices.SortFunc(sorted, func(a, b Sample) int { return cmp.Compare(a.Value, b.Value) })
	var d Distribution
	for _, s := range sorted {
		switch last := len(d) - 1; {
		case s.Count == 0:
		case last >= 0 && d[last].Value == s.Value:
			d[last].Count += s.Count
		default:
			d = append(d, s)
		}
	}
	return d
}

// Total returns the number of values.
func (d Distribution) Total() uint64 {
	var n uint64
	for _, s := range d {
		n += s.Count
	}
	return n
}

// Quantile returns the least value that at least the share q of all values, 0 to 1, do not
// exceed (the nearest rank, so that it is a value that was measured); 0 if there are none.
func (d Distribution) Quantile(q float64) int64 {
	rank := uint64(math.Ceil(q * float64(d.Total())))
	var below uint64
	for _, s := range d {
		if below += s.Count; below >= rank {
			return s.Value
		}
	}
	return 0
}

// Median returns the value in the middle, the lower one of two; 0 if there are none.
func (d Distribution) Median() int64 { return d.Quantile(0.5) }

// P99 returns the value that 99 % do not exceed; 0 if there are none.
func (d Distribution) P99() int64 { return d.Quantile(0.99) }

// Min returns the least value; 0 if there are none.
func (d Distribution) Min() int64 { return d.Quantile(0) }

// Max returns the greatest value; 0 if there are none.
func (d Distribution) Max() int64 { return d.Quantile(1) }

// Minus returns the distribution with base taken off each value. Some may be negative then.
func (d Distribution) Minus(base int64) Distribution {
	moved := slices.Clone(d)
	for i := range moved {
		moved[i].Value -= base
	}
	return moved
}
