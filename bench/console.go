package bench

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// A Console reads what a benchmark image prints, as the package comment lays down.
type Console struct {
	// Progress, if not nil, is called with the name of each path as its first line comes.
	Progress func(name string)

	line  []byte
	lines int
	boot  boot
	paths []path
	done  bool
	err   error // the first line that cannot be understood
}

// boot is the time-stamp counter at the stages of booting.
type boot struct {
	entered, main, loaded, firstTask uint64
	stages, task                     bool // that the two lines came
}

// path is what the image measured of one path.
type path struct {
	name    string
	ops     uint64 // between the marks
	noBase  bool
	skipped string // why it was not measured, "" if it was
	samples []Sample
}

// maxLine is the longest line that an image may print for us, in bytes, its end included.
const maxLine = 1 << 16

// maxTicks bounds values, counts and operations, so that sums of them do not overflow.
const maxTicks = 1 << 53

// Write takes what the guest prints. It never fails: Err does.
func (c *Console) Write(p []byte) (int, error) {
	for _, b := range p {
		switch {
		case b == '\n':
			c.endLine()
		case len(c.line) < maxLine:
			c.line = append(c.line, b)
		}
	}
	return len(p), nil
}

// Done reports whether the image has said that it is done.
func (c *Console) Done() bool { return c.done }

// Booted reports whether both lines about booting have come.
func (c *Console) Booted() bool { return c.boot.stages && c.boot.task }

// Err says which line cannot be understood, or that the image did not get to its end.
func (c *Console) Err() error {
	if c.err != nil {
		return c.err
	}
	if !c.done {
		return fmt.Errorf("the image ended before %q, after %d paths", "bench done", len(c.paths))
	}
	return nil
}

// A Median is what the image itself says that a path took, in ticks, with what measuring takes.
type Median struct {
	Name  string
	Ticks int64
	Calls bool // what measuring takes is to be taken off
}

// Medians returns the median of each path that was not skipped, in the image's order.
func (c *Console) Medians() []Median {
	var medians []Median
	for i := range c.paths {
		if p := &c.paths[i]; p.skipped == "" {
			medians = append(medians, Median{p.name, Distribute(p.samples).Median(), p.base() != ""})
		}
	}
	return medians
}

func (c *Console) endLine() {
	text := strings.TrimRight(string(c.line), "\r")
	c.line = c.line[:0]
	c.lines++
	if err := c.read(text); err != nil && c.err == nil {
		c.err = fmt.Errorf("line %d of the console, %.80q: %w", c.lines, text, err)
	}
}

func (c *Console) read(line string) error {
	kind, rest, _ := strings.Cut(line, " ")
	if strings.HasPrefix(kind, "bench") && len(line) >= maxLine {
		return fmt.Errorf("longer than %d bytes", maxLine)
	}
	switch kind {
	case "bench-boot":
		return c.boot.read(rest)
	case "bench":
		if rest == "done" {
			c.done = true
			return nil
		}
		return c.readPath(rest)
	}
	return nil
}

// read takes one of the two lines about booting.
func (b *boot) read(text string) error {
	f := strings.Fields(text)
	if len(f) == 2 && f[0] == "first-task" {
		b.task = true
		return parseTicks(f[1], &b.firstTask)
	}
	if len(f) == 6 && f[0] == "entered" && f[2] == "main" && f[4] == "loaded" {
		b.stages = true
		return errors.Join(parseTicks(f[1], &b.entered), parseTicks(f[3], &b.main), parseTicks(f[5], &b.loaded))
	}
	return errors.New(`want "entered X main Y loaded Z" or "first-task T"`)
}

// A path's name becomes a benchmark's and a file's. It is compiled when it is used: every start of the command would wait for it.
var pathName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Z][A-Za-z0-9]{0,63}$`) })

func (c *Console) readPath(text string) error {
	name, rest, _ := strings.Cut(text, " ")
	if !pathName().MatchString(name) {
		return errors.New("want the name of a path, capital letter first")
	}
	p, isNew, err := c.pathFor(name)
	if err != nil {
		return err
	}
	if reason, skipped := strings.CutPrefix(rest, "skipped: "); skipped {
		if !isNew {
			return errors.New("skipped, but it was measured above")
		}
		p.skipped = reason
	} else if err := p.measured(strings.Fields(rest), isNew); err != nil {
		return err
	}
	if isNew {
		c.paths = append(c.paths, *p)
		if c.Progress != nil {
			c.Progress(name)
		}
	}
	return nil
}

// pathFor returns the path that a line belongs to: the last one, or a new one.
func (c *Console) pathFor(name string) (p *path, isNew bool, err error) {
	for i := range c.paths {
		if c.paths[i].name != name {
			continue
		}
		if i < len(c.paths)-1 {
			return nil, false, errors.New("the path was measured before, and others since")
		}
		return &c.paths[i], false, nil
	}
	return &path{name: name}, true, nil
}

// measured takes the words of a line behind the name: operations, settings and samples.
// The settings may be missing where a line goes on.
func (p *path) measured(words []string, isNew bool) error {
	var ops uint64
	if len(words) == 0 {
		return errors.New("want the number of operations behind the name")
	}
	if err := parseTicks(words[0], &ops); err != nil {
		return err
	}
	switch {
	case isNew && ops == 0:
		return errors.New("want at least one operation")
	case !isNew && p.skipped != "":
		return errors.New("measured, but it was skipped above")
	case !isNew && ops != p.ops:
		return fmt.Errorf("%d operations, but %d above", ops, p.ops)
	}
	unit, noBase := !isNew, p.noBase
	var samples []Sample
	for _, word := range words[1:] {
		switch word {
		case "unit=ticks":
			unit = true
		case "base=none":
			noBase = true
		default:
			s, err := parseSample(word)
			if err != nil {
				return err
			}
			samples = append(samples, s)
		}
	}
	if !unit {
		return errors.New("want unit=ticks")
	}
	if isNew && len(samples) == 0 {
		return errors.New("want samples, as 150*20: 20 times 150 ticks")
	}
	p.ops, p.noBase = ops, noBase
	p.samples = append(p.samples, samples...)
	return nil
}

// parseSample reads V*C.
func parseSample(word string) (Sample, error) {
	value, count, found := strings.Cut(word, "*")
	if !found {
		return Sample{}, fmt.Errorf("want unit=ticks, base=none or samples as 150*20, found %.40q", word)
	}
	var v, n uint64
	if err := errors.Join(parseTicks(value, &v), parseTicks(count, &n)); err != nil {
		return Sample{}, err
	}
	if n == 0 || n > 1<<32 {
		return Sample{}, fmt.Errorf("want a count of 1 to 2^32, found %.40q", word)
	}
	return Sample{int64(v), n}, nil
}

func parseTicks(text string, n *uint64) error {
	v, err := strconv.ParseUint(text, 10, 64)
	if err != nil || v > maxTicks {
		return fmt.Errorf("want a number up to 2^53, found %.40q", text)
	}
	*n = v
	return nil
}
