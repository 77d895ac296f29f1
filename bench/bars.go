package bench

import (
	"fmt"
	"io"
	"math"
	"strings"
)

// A Chart is horizontal bars under each other.
type Chart struct {
	Title, Remark string
	Unit          string // of the values, under the axis
	Mark          string // what the bars' marks are, "" if they have none
	Ratio         bool   // a logarithmic axis, with bars from 1 to either side; values are above 0
	Bars          []Bar  // one at least
}

// A Bar is a value, not negative, with its name.
type Bar struct {
	Name  string
	Value float64
	Mark  float64 // where to draw a line across, 0 for nowhere
}

// The chart's measures, in pixels.
const (
	barLeft, barRight = 330, 700 // the room behind is for a value
	barTop            = 76
	barHeight         = 20
	barFoot           = 56
	barColor          = "#0b5cad"
	barMarkColor      = "#a33b00"
)

// Write writes the chart as an SVG picture. The same chart gives the same bytes.
func (c *Chart) Write(w io.Writer) error {
	bottom := barTop + barHeight*len(c.Bars)
	scale := c.scale()
	var b strings.Builder
	begin(&b, bottom+barFoot, 16, c.Title, c.Remark)
	for _, tick := range scale.ticks {
		at := scale.at(tick)
		rule(&b, at, barTop-6, at, float64(bottom), `stroke="#ddd"`)
		text(&b, at, float64(bottom)+18, `text-anchor="middle"`, inGroups(tick))
	}
	for i, bar := range c.Bars {
		c.bar(&b, scale, bar, float64(barTop+barHeight*i))
	}
	rule(&b, scale.at(scale.base), barTop-6, scale.at(scale.base), float64(bottom), `stroke="#222"`)
	text(&b, (barLeft+barRight)/2, float64(bottom)+40, `text-anchor="middle"`, c.Unit)
	if c.Mark != "" {
		rule(&b, 16, float64(bottom)+36, 34, float64(bottom)+36, `stroke="`+barMarkColor+`" stroke-width="3"`)
		text(&b, 40, float64(bottom)+40, `fill="`+barMarkColor+`"`, c.Mark)
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// bar draws one bar below y: its name, itself from the base, its value, its mark.
func (c *Chart) bar(b *strings.Builder, scale barScale, bar Bar, y float64) {
	base, end := scale.at(scale.base), scale.at(bar.Value)
	text(b, barLeft-10, y+14, `text-anchor="end"`, bar.Name)
	fmt.Fprintf(b, `<rect x="%s" y="%s" width="%s" height="%d" fill="%s"/>`+"\n",
		pixel(min(base, end)), pixel(y+3), pixel(math.Abs(end-base)), barHeight-6, barColor)
	behind := max(base, end)
	if bar.Mark != 0 {
		at := scale.at(bar.Mark)
		rule(b, at, y+1, at, y+barHeight-1, `stroke="`+barMarkColor+`" stroke-width="3"`)
		behind = max(behind, at)
	}
	text(b, behind+6, y+14, `fill="#555"`, inGroups(bar.Value))
}

// barScale maps values to pixels from left to right.
type barScale struct {
	log            bool
	from, to, base float64 // from and to are logarithms if log
	ticks          []float64
}

// scale is one on which all values, marks and the base are: whole decades, or round steps from 0.
func (c *Chart) scale() barScale {
	least, greatest := 1.0, 1.0
	for _, bar := range c.Bars {
		greatest = max(greatest, bar.Value, bar.Mark)
		least = min(least, bar.Value)
	}
	if c.Ratio {
		s := barScale{log: true, base: 1, from: math.Floor(math.Log10(least)), to: max(math.Ceil(math.Log10(greatest)), 1)}
		for e := s.from; e <= s.to; e++ {
			s.ticks = append(s.ticks, math.Pow(10, e))
		}
		return s
	}
	step := float64(roundStep(int64(math.Ceil(greatest))))
	s := barScale{to: math.Ceil(greatest/step) * step}
	for t := 0.0; t <= s.to; t += step {
		s.ticks = append(s.ticks, t)
	}
	return s
}

// at returns the pixel of a value.
func (s barScale) at(v float64) float64 {
	if s.log {
		v = math.Log10(v)
	}
	return barLeft + (v-s.from)/(s.to-s.from)*(barRight-barLeft)
}

// inGroups writes a number: a small one with its decimals.
func inGroups(v float64) string {
	if v < 100 {
		return number(math.Round(v*100) / 100)
	}
	return grouped(int64(math.Round(v)))
}
