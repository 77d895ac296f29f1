package storage

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/tests/machine"
	"kapsel/vmm"
	"kapsel/vmm/volume"
)

// kills is how often the machine is killed. A machine under the nested KVM of the rig takes a second to boot.
func kills() int {
	if os.Getenv("KAPSEL_RIG") != "" {
		return 30
	}
	return 100
}

// TestKilledAtRandomPoints: a machine whose tasks write without end to their nonvolatile storage, of both drivers, and to the key-value
// store is killed at random points of what they print, 100 times, on one disk. After each kill nothing is lost on the disk, and the
// tasks find all that they were told was durable; a write that went on is old or new, in a region sector by sector. KAPSEL_SEED
// repeats the random numbers of another run.
func TestKilledAtRandomPoints(t *testing.T) {
	seed := rand.Uint64()
	if text := os.Getenv("KAPSEL_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 0, 64)
		require.NoError(t, err, "KAPSEL_SEED")
	}
	t.Logf("KAPSEL_SEED=%#x", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	disk := filepath.Join(t.TempDir(), "disk")
	_, err := volume.Format(disk, volume.Options{Size: 2 * mib, RegionSize: 5 * 4096, KeyValueSize: 64 << 10})
	require.NoError(t, err)
	writers := make([]*writer, 9)
	for i := range writers {
		writers[i] = &writer{letter: byte('A' + i), owner: uint32(1 + i), next: 1, durable: map[string][]string{}}
	}
	sum := &tally{}
	for n := range kills() {
		// Some write each time, others come back when much else was written.
		some := []*writer{writers[0], writers[1], writers[2+n%(len(writers)-2)]}
		sum.killed(t, disk, random.IntN(1000), some...)
		if t.Failed() {
			t.Fatalf("at kill %d", n)
		}
	}
	for i := 0; i < len(writers); i += 3 { // all is still there
		sum.killed(t, disk, 0, writers[i:i+3]...)
	}
	t.Logf("%d kills: %d writes were durable, %d had no room, %d went on: of these %d were done, %d not, %d in part; %d copies of buckets were not whole",
		sum.kills, sum.done, sum.full, sum.open, sum.new, sum.old, sum.torn, sum.damaged)
	assert.Greater(t, sum.done, 3*sum.kills)
	assert.Greater(t, sum.open, sum.kills/2)
}

// tally counts what the kills came to.
type tally struct{ kills, done, full, open, new, old, torn, damaged int }

// A writer is the task tests/guest/survivor of one owner, and what it knows to be durable.
type writer struct {
	letter  byte
	owner   uint32
	next    int                 // number of its next write
	durable map[string][]string // what each place may have, by its name
	place   string              // where a write goes on, "" if none does
	open    string              // that write
	writes  bool                // in this boot all was found
}

// killed boots writers, kills the machine behind so many bytes from when all have looked at their storage, and looks at the disk.
func (s *tally) killed(t *testing.T, disk string, after int, some ...*writer) {
	t.Helper()
	k := &killer{after: after, writers: len(some), stop: make(chan struct{})}
	g := machine.Guest{Image: image, Devices: []vmm.Device{vmm.Disk{Path: disk}}, Console: k, Stop: k.stop}
	for _, w := range some {
		object := owned(t, "survivor", w.owner)
		g.Modules = append(g.Modules, machine.Ordered(t, object, fmt.Sprintf("%c %d ", w.letter, w.next)))
	}
	o := machine.Boot(t, g)
	require.Equal(t, vmm.Cancelled, o.Exit.Reason)
	require.True(t, k.dead, "it was not killed before its time was over")
	s.kills++
	for _, w := range some {
		w.writes = false
		for _, line := range w.lines(o.Console) {
			w.follow(t, s, line)
		}
		require.True(t, w.writes, "%c has looked at all", w.letter)
		if w.place != "" {
			s.open++
		}
	}
	v, err := volume.Inspect(disk)
	require.NoError(t, err)
	assert.False(t, v.Lost(), "%v", v.Damage)
	s.damaged += len(v.Damage)
	for _, w := range some {
		assert.Equal(t, 2, len(slices.DeleteFunc(slices.Clone(v.Regions), func(r volume.Region) bool { return r.Owner != w.owner })), "regions of owner %d", w.owner)
	}
}

// A killer reads a console and stops the machine.
type killer struct {
	after   int // bytes from when so many writers write
	writers int
	text    []byte
	stop    chan struct{}
	dead    bool
}

func (k *killer) Write(b []byte) (int, error) {
	for _, c := range b {
		if k.dead {
			break
		}
		k.text = append(k.text, c)
		switch {
		case bytes.HasSuffix(k.text, []byte(" writes\n")):
			k.writers--
		case bytes.HasSuffix(k.text, []byte("broken\n")), bytes.HasSuffix(k.text, []byte("failed: ")):
			k.writers = 0
		}
		if k.writers <= 0 {
			k.dead = k.after == 0
			k.after--
		}
		if k.dead {
			close(k.stop)
		}
	}
	return len(b), nil
}

// lines are those that a writer has printed, without its letter. The last one that began is not among them if it did not end.
func (w *writer) lines(console string) (lines []string) {
	all := strings.Split(console, "\n")
	for _, line := range all[:len(all)-1] {
		if rest, ok := strings.CutPrefix(line, string(w.letter)+" "); ok {
			lines = append(lines, rest)
		}
	}
	return lines
}

var lineOf = regexp.MustCompile(`^(?:([rik]\d) (is|gets) ([\d ]+)|(writes|done|full))$`)

// follow takes a line of a writer.
func (w *writer) follow(t *testing.T, s *tally, line string) {
	t.Helper()
	m := lineOf.FindStringSubmatch(line)
	require.NotNil(t, m, "%c says %q", w.letter, line)
	place, values := m[1], strings.Fields(m[3])
	switch m[2] + m[4] {
	case "is":
		w.found(t, s, place, values)
	case "writes":
		require.Empty(t, w.place, "the place of the write that went on was looked at")
		w.writes = true
	case "gets":
		require.True(t, w.writes && w.place == "", "%c says %q before another write's end", w.letter, line)
		w.place, w.open = place, values[0]
		w.next++
	case "done":
		w.durable[w.place] = []string{w.open}
		w.place = ""
		s.done++
	case "full":
		w.place = ""
		s.full++
	}
}

// found compares what a place has with what it may have, and learns how the write ended that went on.
func (w *writer) found(t *testing.T, s *tally, place string, values []string) {
	t.Helper()
	may := w.durable[place]
	if may == nil {
		may = []string{"0"}
	}
	if place == w.place {
		switch old := slices.Equal(values, may); {
		case len(values) > 1 && !old:
			s.torn++
		case old:
			s.old++
		default:
			s.new++
		}
		may = append(slices.Clone(may), w.open)
		w.place = ""
	}
	for _, v := range values {
		require.Contains(t, may, v, "%c%s", w.letter, place)
	}
	require.True(t, len(values) == 1 || place[0] != 'k')
	w.durable[place] = values
}
