package task

import "testing"

// TestClockBeyondAWrap: of a clock with 32 bits a time with 64 is made that never goes back.
func TestClockBeyondAWrap(t *testing.T) {
	const wrap = 1 << 32
	for _, tt := range []struct {
		name string
		time uint64
		low  uint32
		want uint64
	}{
		{"the first", 0, 12, 12},
		{"no time passed", 12, 12, 12},
		{"before the wrap", 12, wrap - 1, wrap - 1},
		{"the wrap", wrap - 1, 0, wrap},
		{"behind it", wrap - 1, 5, wrap + 5},
		{"nearly a wrap later", wrap + 5, 4, 2*wrap + 4},
		{"the thousandth wrap", 1000*wrap - 1, 7, 1000*wrap + 7},
	} {
		if got := after(tt.time, tt.low); got != tt.want {
			t.Errorf("%s: after(%#x, %#x) = %#x, want %#x", tt.name, tt.time, tt.low, got, tt.want)
		}
	}
}
