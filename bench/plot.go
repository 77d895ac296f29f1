package bench

import (
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The plot's measures, in pixels.
const (
	plotWidth, plotHeight  = 780, 440
	plotLeft, plotRight    = 70, 730
	plotTop, plotBottom    = 100, 370
	logFrom                = 100 // the ratio of greatest to least value from which the axis is logarithmic
	labelWidth, labelGapPx = 150, 8
)

// WritePlots writes a plot for each path with samples, NAME.svg in the folder dir, which it
// makes if need be, and returns how many.
func (r *Run) WritePlots(dir string) (int, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return 0, err
	}
	n := 0
	for _, name := range r.Names() {
		d, unit := r.Samples(name)
		if len(d) == 0 {
			continue
		}
		var b strings.Builder
		if err := WritePlot(&b, name, unit, d); err != nil {
			return n, err
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)+".svg"), []byte(b.String()), 0o666); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// WritePlot writes an SVG picture of the cumulative distribution d, of which there is one
// value at least: for each value the share of operations that took no more. The same
// samples give the same bytes.
func WritePlot(w io.Writer, name, unit string, d Distribution) error {
	x := newAxis(d)
	var b strings.Builder
	begin(&b, plotHeight, plotLeft, name, fmt.Sprintf("%s samples: least %s, median %s, 99 %% at most %s, greatest %s %s",
		grouped(int64(d.Total())), grouped(d.Min()), grouped(d.Median()), grouped(d.P99()), grouped(d.Max()), unit))
	plotGrid(&b, x)
	label := unit + " per operation"
	if x.log {
		label += ", logarithmic"
		if d.Min() < 1 {
			label += "; less than 1 is drawn at 1"
		}
	}
	text(&b, (plotLeft+plotRight)/2, plotHeight-22, `text-anchor="middle"`, label)
	fmt.Fprintf(&b, `<text transform="translate(20 %d) rotate(-90)" text-anchor="middle">share of operations</text>`+"\n", (plotTop+plotBottom)/2)
	plotCurve(&b, x, d)
	plotMarks(&b, x, d)
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// axis maps values to pixels from left to right.
type axis struct {
	log      bool
	from, to float64 // of values, or of their decimal logarithms
	ticks    []int64
}

// newAxis chooses the axis for d: whole decades if it is logarithmic, else round steps.
func newAxis(d Distribution) axis {
	least, greatest := d.Min(), d.Max()
	if float64(greatest) > logFrom*float64(max(least, 1)) {
		from, to := math.Floor(math.Log10(float64(max(least, 1)))), math.Ceil(math.Log10(float64(greatest)))
		a := axis{log: true, from: from, to: to}
		for e := from; e <= to; e++ {
			a.ticks = append(a.ticks, int64(math.Pow(10, e)))
		}
		return a
	}
	step := roundStep(greatest - least)
	first, last := floorTo(least, step), -floorTo(-greatest, step)
	if first == last {
		first, last = first-step, last+step
	}
	a := axis{from: float64(first), to: float64(last)}
	for t := first; t <= last; t += step {
		a.ticks = append(a.ticks, t)
	}
	return a
}

// roundStep is 1, 2 or 5 times a power of ten, for some four to ten steps over the range.
func roundStep(width int64) int64 {
	for power := int64(1); ; power *= 10 {
		for _, s := range []int64{1, 2, 5} {
			if width/(s*power) <= 8 {
				return s * power
			}
		}
	}
}

// floorTo returns the greatest multiple of step that is not above v.
func floorTo(v, step int64) int64 { return v - ((v%step)+step)%step }

// at returns the pixel of a value.
func (a axis) at(v int64) float64 {
	x := float64(v)
	if a.log {
		x = math.Log10(math.Max(x, 1))
	}
	return plotLeft + (x-a.from)/(a.to-a.from)*(plotRight-plotLeft)
}

// level returns the pixel of a share.
func level(share float64) float64 { return plotBottom - share*(plotBottom-plotTop) }

func plotGrid(b *strings.Builder, x axis) {
	for i := 0; i <= 4; i++ {
		share := float64(i) / 4
		rule(b, plotLeft, level(share), plotRight, level(share), `stroke="#ddd"`)
		text(b, plotLeft-8, level(share)+4, `text-anchor="end"`, fmt.Sprintf("%d %%", 25*i))
	}
	for _, tick := range x.ticks {
		rule(b, x.at(tick), plotTop, x.at(tick), plotBottom+5, `stroke="#ddd"`)
		text(b, x.at(tick), plotBottom+20, `text-anchor="middle"`, grouped(tick))
	}
	rule(b, plotLeft, plotBottom, plotRight, plotBottom, `stroke="#222"`)
}

// plotCurve draws the steps: up at each value, by its share.
func plotCurve(b *strings.Builder, x axis, d Distribution) {
	total, below := float64(d.Total()), uint64(0)
	fmt.Fprintf(b, `<path fill="none" stroke="#0b5cad" stroke-width="2" d="M%d %d`, plotLeft, plotBottom)
	for _, s := range d {
		below += s.Count
		fmt.Fprintf(b, "H%sV%s", pixel(x.at(s.Value)), pixel(level(float64(below)/total)))
	}
	fmt.Fprintf(b, `H%d"/>`+"\n", plotRight)
}

// plotMarks draws a line at the median and one at the 99th percentile, with a label above.
// The second label makes room for the first.
func plotMarks(b *strings.Builder, x axis, d Distribution) {
	median, p99 := x.at(d.Median()), x.at(d.P99())
	mark := func(at float64, y float64, color, label string) {
		rule(b, at, plotTop, at, plotBottom, `stroke="`+color+`" stroke-dasharray="4 3"`)
		anchor, shift := "start", 0.0
		if at > plotRight-labelWidth {
			anchor, shift = "end", plotRight-at
		}
		text(b, at+shift, y, `fill="`+color+`" text-anchor="`+anchor+`"`, label)
	}
	mark(median, plotTop-labelGapPx-14, "#a33b00", "median "+grouped(d.Median()))
	mark(p99, plotTop-labelGapPx+3, "#6a2c91", "p99 "+grouped(d.P99()))
}

// begin begins a picture of that height, with a title and a remark from x on.
func begin(b *strings.Builder, height int, x float64, title, remark string) {
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="sans-serif" font-size="12" fill="#222">`+"\n", plotWidth, height)
	fmt.Fprintf(b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", plotWidth, height)
	text(b, x, 26, `font-size="17" font-weight="bold"`, title)
	text(b, x, 46, `fill="#555"`, remark)
}

func rule(b *strings.Builder, x1, y1, x2, y2 float64, style string) {
	fmt.Fprintf(b, `<path fill="none" d="M%s %sL%s %s" %s/>`+"\n", pixel(x1), pixel(y1), pixel(x2), pixel(y2), style)
}

func text(b *strings.Builder, x, y float64, style, content string) {
	fmt.Fprintf(b, `<text x="%s" y="%s" %s>`, pixel(x), pixel(y), style)
	xml.EscapeText(b, []byte(content)) // a Builder does not fail
	b.WriteString("</text>\n")
}

// pixel writes a coordinate with one decimal.
func pixel(x float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(x, 'f', 1, 64), ".0")
}

// grouped writes a number with spaces between thousands.
func grouped(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	var groups []string
	for len(digits) > 3 {
		groups = append([]string{digits[len(digits)-3:]}, groups...)
		digits = digits[:len(digits)-3]
	}
	return sign + strings.Join(append([]string{digits}, groups...), " ")
}
