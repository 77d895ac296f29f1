// Package survivors has tests kill machines whose tasks write without end to what is kept while the machine is off, and looks what is
// left: the task is tests/guest/survivor.
package survivors

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
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

// Survivors are the tasks of so many owners, and what they know to be durable.
type Survivors struct {
	Random  *rand.Rand
	writers []*writer
	boots   int
	tally
}

// Owners is how many there are. Each time three of them write.
const Owners = 9

// Kills is how often a test kills its machine: 100 times by scripts/nightly. Under the nested KVM of the rig a machine takes more
// than a second.
func Kills() int {
	switch {
	case machine.InRig():
		return 8
	case !machine.Nightly():
		return 30
	}
	return 100
}

// New makes a disk for survivors at path. Its random numbers begin with KAPSEL_SEED, by which another run's are repeated.
func New(t *testing.T, path string) *Survivors {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("KAPSEL_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 0, 64)
		require.NoError(t, err, "KAPSEL_SEED")
	}
	t.Logf("KAPSEL_SEED=%#x", seed)
	_, err := volume.Format(path, volume.Options{Size: 1 << 20, RegionSize: 5 * 4096, KeyValueSize: 64 << 10})
	require.NoError(t, err)
	s := &Survivors{Random: rand.New(rand.NewPCG(seed, 0))}
	for i := range Owners {
		s.writers = append(s.writers, &writer{letter: byte('A' + i), owner: uint32(1 + i), next: 1, durable: map[string][]string{}})
	}
	return s
}

// Boot boots three of the tasks with a disk, which look at what they find there, and kills the machine when they have written for a while.
// Two write each time, the others in turn, so that they come back when much else was written.
func (s *Survivors) Boot(t *testing.T, disk vmm.Device) {
	t.Helper()
	s.killed(t, disk, s.Random.IntN(1000), s.writers[0], s.writers[1], s.writers[2+s.boots%(Owners-2)])
	s.boots++
}

// Look boots all of the tasks, three at a time, which look at what they find, and logs what all came to.
func (s *Survivors) Look(t *testing.T, disk vmm.Device) {
	t.Helper()
	for i := 0; i < Owners; i += 3 {
		s.killed(t, disk, 0, s.writers[i:i+3]...)
	}
	t.Logf("%d kills: %d writes were durable, %d had no room, %d went on: of these %d were done, %d not, %d in part; %d copies of buckets were not whole",
		s.kills, s.done, s.full, s.open, s.new, s.old, s.torn, s.damaged)
	assert.Greater(t, s.done, 3*s.kills)
	assert.Greater(t, s.open, s.kills/2)
}

// Inspect has the host look at the disk: nothing is lost, and the regions of all who wrote are there.
func (s *Survivors) Inspect(t *testing.T, path string) {
	t.Helper()
	v, err := volume.Inspect(path)
	require.NoError(t, err)
	assert.False(t, v.Lost(), "%v", v.Damage)
	s.damaged += len(v.Damage)
	regions := map[uint32]int{}
	for _, r := range v.Regions {
		regions[r.Owner]++
	}
	for _, w := range s.writers {
		if w.writes {
			assert.Equal(t, 2, regions[w.owner], "regions of owner %d", w.owner)
		}
	}
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
	writes  bool                // at its last boot all was found
}

// killed boots writers, and kills the machine behind so many bytes from when all have looked at their storage.
func (s *tally) killed(t *testing.T, disk vmm.Device, after int, some ...*writer) {
	t.Helper()
	k := &killer{after: after, writers: len(some), stop: make(chan struct{})}
	g := machine.Guest{Image: "bare.elf", Devices: []vmm.Device{disk}, Console: k, Stop: k.stop}
	for _, w := range some {
		object := machine.Owned(t, machine.Object(t, "test/survivor.tbf"), w.owner)
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
