package bench

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestCharts(t *testing.T) {
	for _, tt := range []struct {
		file  string
		chart Chart
	}{
		{"chart-counts.svg", Chart{Title: "Counts", Remark: "of paths <&>", Unit: "instructions", Mark: "goal", Bars: []Bar{
			{"NullCommand", 157, 150}, {"UpcallRoundTrip", 687, 450}, {"Nothing", 0, 0}, {"IPCBuffer", 2812, 0}}}},
		{"chart-ratio.svg", Chart{Title: "Ratios", Remark: "to ours", Unit: "theirs : ours", Ratio: true, Bars: []Bar{
			{"the same", 1, 0}, {"less", 0.23, 0}, {"more", 174.22, 0}}}},
	} {
		t.Run(tt.file, func(t *testing.T) {
			picture(t, tt.file, tt.chart.Write)
		})
	}
}

func TestBarScale(t *testing.T) {
	for _, tt := range []struct {
		name   string
		ratio  bool
		values []float64
		ticks  []float64
	}{
		{"nothing", false, []float64{0}, []float64{0, 1}},
		{"small", false, []float64{3, 7}, []float64{0, 1, 2, 3, 4, 5, 6, 7}},
		{"thousands", false, []float64{12, 2812}, []float64{0, 500, 1000, 1500, 2000, 2500, 3000}},
		{"one ratio", true, []float64{1}, []float64{1, 10}},
		{"ratios", true, []float64{0.23, 122}, []float64{0.1, 1, 10, 100, 1000}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Chart{Ratio: tt.ratio}
			for _, v := range tt.values {
				c.Bars = append(c.Bars, Bar{Value: v})
			}
			s := c.scale()
			assert.InDeltaSlice(t, tt.ticks, s.ticks, 1e-9)
			for _, v := range append(tt.values, s.base) {
				assert.GreaterOrEqual(t, s.at(v), float64(barLeft))
				assert.LessOrEqual(t, s.at(v), float64(barRight))
				assert.False(t, math.IsNaN(s.at(v)))
			}
		})
	}
}
