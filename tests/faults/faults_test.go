// Package faults makes each capsule of the board fail at each point where it can be entered, where it tells a client that an operation
// is done, and where it hands over a buffer (tools/inject), while tasks work with all drivers (tests/guest/labour). A failure is contained
// if the machine goes on, the report names the capsule, and each task whose drivers did not fall is right throughout.
package faults

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"kapsel/guest/kernel/inject"
	"kapsel/tests/machine"
	"kapsel/vmm"
	"kapsel/vmm/ethernet/network"
	"kapsel/vmm/volume"
)

const image = "test/injected/injected.elf"

// Exit codes of tests/guest/labour.
const (
	right = 0
	wrong = 20
)

// drivers are the capsules that each task calls.
var drivers = map[string][]string{
	"alarms": {"alarm"},
	"draws":  {"rng"},
	"frames": {"ethernettap"},
	"keeps":  {"nonvolatile"},
	"keys":   {"kvstore"},
	"prints": {"console", "lowleveldebug"},
	"sums":   nil,
}

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

// kinds are the failures that there are at a kind of point. Where not all are wanted, a point has one of each row, by its number.
var kinds = map[string][][]inject.Kind{
	"entry":  {{inject.Panic, inject.Index, inject.Nil, inject.Divide}, {inject.Loop}},
	"done":   {{inject.Twice}},
	"buffer": {{inject.NoBuffer, inject.Short, inject.Foreign}},
}

var kindNames = map[inject.Kind]string{
	inject.Panic: "panic", inject.Index: "index", inject.Nil: "nil", inject.Divide: "division", inject.Loop: "loop",
	inject.Twice: "twice", inject.NoBuffer: "no buffer", inject.Short: "short buffer", inject.Foreign: "foreign buffer",
}

// run boots the machine, with the fault that the command line says.
func run(t *testing.T, fault inject.Fault) machine.Outcome {
	disk := filepath.Join(t.TempDir(), "disk")
	_, err := volume.Format(disk, volume.Options{Size: 4 << 20})
	require.NoError(t, err)
	return machine.Boot(t, machine.Guest{
		Image:    image,
		Cmdline:  fmt.Sprintf("no-dump inject=%d:%d:%d", fault.Point, fault.Kind, fault.Hit),
		Devices:  []vmm.Device{vmm.Disk{Path: disk}, vmm.Entropy{}, vmm.Network{Connection: network.Config{User: true}}},
		Watchdog: time.Second,
		Timeout:  15 * time.Second,
	})
}

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
	failedLine = regexp.MustCompile(`(?m)^kapsel: capsule (\w+) failed: (.*)$`)
	fallenLine = regexp.MustCompile(`(?m)^  with it fall (.*)$`)
	taskLine   = regexp.MustCompile(`(?m)^ *\d+ +(\w+) +(\w+) .* (?:exit with code (\d+)|-|.*)$`)
)

// hits returns how often each point is come to when nothing fails.
func hits(t *testing.T) map[int]int {
	o := run(t, inject.Fault{})
	require.Equal(t, vmm.GuestExit, o.Exit.Reason)
	require.Zero(t, o.Exit.Status)
	found := map[int]int{}
	for _, m := range hitLine.FindAllStringSubmatch(o.Console, -1) {
		p, _ := strconv.Atoi(m[1])
		found[p], _ = strconv.Atoi(m[2])
	}
	require.Greater(t, len(found), 100, "the tasks come to most points")
	return found
}

// judge says what was wrong with an outcome, or returns "".
func judge(p point, k inject.Kind, users map[string]bool, o machine.Outcome) string {
	if o.Exit.Reason != vmm.GuestExit || strings.Contains(o.Console, "kernel panic") {
		return fmt.Sprintf("the machine ended: %v", o.Exit)
	}
	fallen := map[string]bool{}
	for _, m := range failedLine.FindAllStringSubmatch(o.Console, -1) {
		fallen[m[1]] = true
	}
	for _, m := range fallenLine.FindAllStringSubmatch(o.Console, -1) {
		for _, name := range strings.FieldsFunc(m[1], func(r rune) bool { return r == ',' || r == ' ' }) {
			fallen[name] = true
		}
	}
	if k <= inject.Loop && p.capsule != "virtio" && !fallen[p.capsule] {
		return "no report of it"
	}
	tasks := 0
	for _, m := range taskLine.FindAllStringSubmatch(o.Console, -1) {
		uses, ok := drivers[m[1]]
		if !ok {
			continue
		}
		tasks++
		if m[2] != "Terminated" {
			return fmt.Sprintf("task %s is %s", m[1], m[2])
		}
		code, _ := strconv.Atoi(m[3])
		touched := slices.ContainsFunc(uses, func(name string) bool { return fallen[name] || k > inject.Loop && users[name] })
		switch {
		case code == right:
		case code == wrong && k <= inject.Loop:
			return fmt.Sprintf("task %s was told that something was done that was not", m[1])
		case !touched:
			return fmt.Sprintf("task %s has exit code %d, though its drivers did not fall", m[1], code)
		}
	}
	if tasks != len(drivers) {
		return fmt.Sprintf("the table has %d tasks, want %d", tasks, len(drivers))
	}
	return ""
}

// TestEachFaultIsContained prints the table of what was contained.
func TestEachFaultIsContained(t *testing.T) {
	reached := hits(t)
	for _, p := range points(t) {
		n := reached[p.number]
		if n == 0 {
			continue
		}
		for row, choices := range kinds[p.kind] {
			for i, k := range choices {
				if !machine.Nightly() && (i != p.number%len(choices) || k == inject.Loop && p.number%16 != row) {
					continue
				}
				t.Run(fmt.Sprintf("%d %s.%s %s", p.number, p.capsule, p.function, kindNames[k]), func(t *testing.T) {
					t.Parallel()
					o := run(t, inject.Fault{Point: uint32(p.number), Kind: k, Hit: uint32(n+1) / 2})
					if problem := judge(p, k, users(t, p.capsule), o); problem != "" {
						t.Errorf("%v: %s", p, problem)
					}
				})
			}
		}
	}
}
