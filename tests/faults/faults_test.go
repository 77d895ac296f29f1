// Package faults makes each capsule of the board fail at each point where it can be entered, where it tells a client that an operation
// is done, and where it hands over a buffer (tools/inject), while tasks work with all drivers (tests/guest/labour). A failure is contained
// if the machine goes on, the report names the capsule, and each task whose drivers did not fall is right throughout.
package faults

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"kapsel/guest/kernel/inject"
	"kapsel/tests/machine"
	"kapsel/vmm"
	"kapsel/vmm/volume"
)

const image = "test/injected/injected.elf"

// timeout is when a machine is ended that hangs: far more than any takes, on a busy host too, but in the rig.
const timeout = 2 * time.Minute

// Exit codes of tests/guest/labour.
const (
	right = 0
	gone  = 11
	never = 12
	wrong = 20
)

// patient are the tasks whose drivers wait for the host for a limited time. A capsule that does not return holds the machine up for longer.
var patient = map[string]bool{"samples": true, "greets": true, "serves": true}

// A point is a line of the list of points that tools/inject made.
type point struct {
	number                            int
	kind, capsule, function, position string
}

func (p point) String() string {
	return fmt.Sprintf("%d %s %s.%s %s", p.number, p.kind, p.capsule, p.function, p.position)
}

// points reads the list.
func points(t *testing.T) []point {
	f, err := os.Open(machine.File(t, "test/injected/points"))
	require.NoError(t, err)
	defer f.Close()
	var all []point
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var p point
		_, err := fmt.Sscan(lines.Text(), &p.number, &p.kind, &p.capsule, &p.function, &p.position)
		require.NoError(t, err, lines.Text())
		all = append(all, p)
	}
	require.Greater(t, len(all), 200)
	return all
}

// kinds are the failures that there are at a kind of point: one of each row, by the point's number.
var kinds = map[string][][]inject.Kind{
	"entry":  {{inject.Panic}, {inject.Index, inject.Nil, inject.Divide}, {inject.Loop}},
	"done":   {{inject.Twice}},
	"buffer": {{inject.NoBuffer}, {inject.Short}, {inject.Foreign}},
}

var kindNames = map[inject.Kind]string{
	inject.Panic: "panic", inject.Index: "index", inject.Nil: "nil", inject.Divide: "division", inject.Loop: "loop",
	inject.Twice: "twice", inject.NoBuffer: "no buffer", inject.Short: "short buffer", inject.Foreign: "foreign buffer",
}

// run boots a machine, with the fault that the command line says, and a policy: anew, with its devices, if a spurious interrupt of the rig ended it.
func (w *workplace) run(t *testing.T, fault inject.Fault, policy string) (o machine.Outcome) {
	for range machine.TriesInRig {
		if o = w.boot(t, fault, policy); !o.Spurious() {
			break
		}
	}
	return o
}

func (w *workplace) boot(t *testing.T, fault inject.Fault, policy string) machine.Outcome {
	watchdog := 30 * time.Second
	if fault.Kind == inject.Loop {
		watchdog = 2 * time.Second
		if machine.InRig() {
			watchdog = 5 * time.Second
		}
	}
	limit := timeout
	if machine.InRig() {
		limit = machine.Timeout
	}
	g := machine.Guest{
		Image:    image,
		Cmdline:  fmt.Sprintf("no-dump management=all capsules=%s inject=%d:%d:%d", policy, fault.Point, fault.Kind, fault.Hit),
		Watchdog: watchdog,
		Timeout:  limit,
	}
	for _, name := range slices.Sorted(maps.Keys(w.tasks)) {
		g.Modules = append(g.Modules, machine.Object(t, "test/labour/"+name+".tbf"))
	}
	w.furnish(t, &g)
	return machine.Boot(t, g)
}

// formatted is a disk with a storage. It is made once: who formats a file locks it, and a program that another test begins just then may keep
// the lock for a moment.
var formatted = sync.OnceValue(func() []byte {
	dir, err := os.MkdirTemp("", "faults")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "disk")
	if _, err := volume.Format(path, volume.Options{Size: 4 << 20}); err != nil {
		panic(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		panic(err)
	}
	return text
})

// users returns the capsules that use a capsule, directly or not, and itself.
func users(t *testing.T, capsule string) map[string]bool {
	text, err := os.ReadFile(machine.File(t, "test/injected/wiring"))
	require.NoError(t, err)
	found := map[string]bool{capsule: true}
	for line := range strings.Lines(string(text)) { // those that are used come first
		names := strings.Fields(line)
		if slices.ContainsFunc(names[1:], func(used string) bool { return found[used] }) {
			found[names[0]] = true
		}
	}
	return found
}

var (
	hitLine    = regexp.MustCompile(`(?m)^inject: point (\d+) (\d+)$`)
	failedLine = regexp.MustCompile(`kapsel: capsule (\w+) failed: `)
	fallenLine = regexp.MustCompile(`(?m)^  with it fall (.*)$`)
	taskLine   = regexp.MustCompile(`(?m)^ *\d+ +(\w+) +(\w+)(?: +\d+){4}  (?:exit with code (\d+)|.*)$`)
)

// hits returns how often each point is come to when nothing fails.
func (w *workplace) hits(t *testing.T) map[int]int {
	o := w.run(t, inject.Fault{}, "restart")
	require.Equal(t, vmm.GuestExit, o.Exit.Reason)
	require.Zero(t, o.Exit.Status)
	for _, m := range taskLine.FindAllStringSubmatch(o.Console, -1) {
		if _, ok := w.tasks[m[1]]; ok {
			require.Equal(t, strconv.Itoa(right), m[3], "%s is right when nothing fails, on the machine that is %s", m[1], w.name)
		}
	}
	found := map[int]int{}
	for _, m := range hitLine.FindAllStringSubmatch(o.Console, -1) {
		p, _ := strconv.Atoi(m[1])
		found[p], _ = strconv.Atoi(m[2])
	}
	return found
}

// A place is where a point is come to: in the first of the machines that come to it, so many times.
type place struct {
	*workplace
	hits int
}

// known are the places that were found: the machines boot once without a fault.
var known map[int]place

// places returns where each point is come to.
func places(t *testing.T) map[int]place {
	if known != nil {
		return known
	}
	found := map[int]place{}
	for _, w := range workplaces(t) {
		for p, n := range w.hits(t) {
			if _, ok := found[p]; !ok {
				found[p] = place{w, n}
			}
		}
	}
	require.Greater(t, len(found), 380, "the tasks come to most points")
	known = found
	return found
}

// libraries are packages without state of their own: one of these, which are made with them, fails.
var libraries = map[string][]string{
	"lines":  {"adcport", "buzzerport", "dacport"},
	"virtio": {"virtioblk", "virtioconsole", "virtiogpio", "virtionet", "virtioports", "virtiorng"},
}

// judge says what was wrong with an outcome, or returns "".
func (w *workplace) judge(p point, k inject.Kind, users map[string]bool, o machine.Outcome) string {
	if o.Exit.Reason != vmm.GuestExit || strings.Contains(o.Console, "kernel panic") {
		return fmt.Sprintf("the machine ended: %v", o.Exit)
	}
	fallen := map[string]bool{}
	reported := false
	for _, m := range failedLine.FindAllStringSubmatch(o.Console, -1) {
		fallen[m[1]] = true
		reported = reported || m[1] == p.capsule || slices.Contains(libraries[p.capsule], m[1])
	}
	for _, m := range fallenLine.FindAllStringSubmatch(o.Console, -1) {
		for _, name := range strings.FieldsFunc(m[1], func(r rune) bool { return r == ',' || r == ' ' }) {
			fallen[name] = true
		}
	}
	happened := len(fallen) > 0 || strings.Contains(o.Console, "inject: it happened") // how often a point is come to varies
	if k <= inject.Loop && happened && !reported {
		return "no report of it"
	}
	tasks := map[string]bool{} // the table may come twice
	for _, m := range taskLine.FindAllStringSubmatch(o.Console, -1) {
		uses, ok := w.tasks[m[1]]
		if !ok {
			continue
		}
		tasks[m[1]] = true
		if m[2] != "Terminated" {
			return fmt.Sprintf("task %s is %s", m[1], m[2])
		}
		code, err := strconv.Atoi(m[3])
		if err != nil {
			return fmt.Sprintf("task %s has no exit code", m[1])
		}
		touched := slices.ContainsFunc(uses, func(name string) bool { return fallen[name] || k > inject.Loop && users[name] })
		switch {
		case code == right:
		case code == wrong && k <= inject.Loop:
			return fmt.Sprintf("task %s was told that something was done that was not", m[1])
		case k == inject.Loop && patient[m[1]]:
		case !touched:
			return fmt.Sprintf("task %s has exit code %d, though its drivers did not fall", m[1], code)
		}
	}
	if len(tasks) != len(w.tasks) {
		return fmt.Sprintf("the table has %d tasks, want %d", len(tasks), len(w.tasks))
	}
	return ""
}

// A fault is what is injected in one run.
type fault struct {
	point
	kind inject.Kind
	at   place
}

func (f fault) name() string {
	return fmt.Sprintf("%d %s.%s %s", f.number, f.capsule, f.function, kindNames[f.kind])
}

// run injects the fault a third of the way through what the tasks do, as how often a point is come to varies, and says what was wrong, or "". In the rig, whose
// interrupts come at times where no processor lets them (machine.Spurious), what was wrong is to be so once more.
func (f fault) run(t *testing.T, policy string) (o machine.Outcome, problem string) {
	for range 2 {
		o = f.at.run(t, inject.Fault{Point: uint32(f.number), Kind: f.kind, Hit: uint32(f.at.hits+2) / 3}, policy)
		problem = f.at.judge(f.point, f.kind, users(t, f.capsule), o)
		if problem == "" || !machine.InRig() {
			break
		}
		t.Logf("in the rig: %v: %s", f.point, problem)
	}
	return o, problem
}

// faults are those to be injected at the points that are reached: all of them by night, else a part.
func faults(all []point, reached map[int]place) (chosen []fault) {
	for _, p := range all {
		at, ok := reached[p.number]
		for row, choices := range kinds[p.kind] {
			if k := choices[p.number%len(choices)]; ok && (machine.Nightly() || chance(p, row, k)) {
				chosen = append(chosen, fault{p, k, at})
			}
		}
	}
	return chosen
}

// pins are the capsules of a board of pins, which not all accelerators have.
var pins = map[string]bool{"led": true, "button": true, "gpio": true, "virtiogpio": true}

// chance reports whether a failure is among those that are injected each time: fewer in the rig, which is slow, and few loops, which the
// watchdog takes its time to find.
func chance(p point, row int, k inject.Kind) bool {
	switch {
	case machine.InRig() && pins[p.capsule]:
		return p.number%32 == row
	case machine.InRig():
		return p.number%240 == row
	case k == inject.Loop:
		return p.number%48 == 0
	}
	return p.number%5 == row
}

// TestEachFaultIsContained injects each fault, once, in a machine of its own.
func TestEachFaultIsContained(t *testing.T) {
	all := points(t)
	reached := places(t)
	table := newTable(all, reached)
	t.Run("faults", func(t *testing.T) {
		for _, f := range faults(all, reached) {
			t.Run(f.name(), func(t *testing.T) {
				t.Parallel()
				_, problem := f.run(t, "restart")
				table.add(f, problem == "")
				if problem != "" {
					t.Errorf("%v: %s", f.point, problem)
				}
			})
		}
	})
	for _, p := range all {
		if _, ok := reached[p.number]; !ok {
			t.Logf("not reached: %v", p)
		}
	}
	t.Log("\n" + table.String())
	table.write(t)
}

// TestDeferredCallOfWhatDriversShare: what drivers share fails in a deferred call, where no function of the driver's is around it. The driver that
// registered the call fails, by a panic, by an exception, and by what does not return.
func TestDeferredCallOfWhatDriversShare(t *testing.T) {
	all := points(t)
	i := slices.IndexFunc(all, func(p point) bool { return p.capsule == "virtio" && p.function == "Transport.HandleDeferredCall" })
	require.NotEqual(t, -1, i)
	at, ok := places(t)[all[i].number]
	require.True(t, ok, "it is come to")
	for _, k := range []inject.Kind{inject.Panic, inject.Index, inject.Loop} {
		f := fault{all[i], k, at}
		t.Run(f.name(), func(t *testing.T) {
			t.Parallel()
			o, problem := f.run(t, "restart")
			require.Empty(t, problem)
			require.Regexp(t, `kapsel: capsule virtio\w+ failed: `, o.Console)
		})
	}
}

// TestStoppedCapsules: by the policy capsules=stop, what fell stays off, and all else is right. It falls early, while all that use it still work.
func TestStoppedCapsules(t *testing.T) {
	all := points(t)
	reached := places(t)
	stopped := []string{"alarm", "apploader", "rng", "virtioblk", "digest", "ethernettap"}
	if machine.InRig() && !machine.Nightly() {
		stopped = stopped[:2]
	}
	for _, want := range stopped {
		i := slices.IndexFunc(all, func(p point) bool { return p.kind == "entry" && p.capsule == want && reached[p.number].hits > 4 })
		require.NotEqual(t, -1, i, want)
		f := fault{all[i], inject.Panic, place{reached[all[i].number].workplace, 4}}
		t.Run(f.name(), func(t *testing.T) {
			t.Parallel()
			o, problem := f.run(t, "stop")
			require.Empty(t, problem)
			require.Contains(t, o.Console, "  it stays off\n")
			for _, m := range taskLine.FindAllStringSubmatch(o.Console, -1) {
				if uses := f.at.tasks[m[1]]; len(uses) != 0 && users(t, want)[uses[0]] {
					require.Contains(t, []string{strconv.Itoa(gone), strconv.Itoa(never)}, m[3], "%s is told to the end that its driver is not there", m[1])
				}
			}
		})
	}
}
