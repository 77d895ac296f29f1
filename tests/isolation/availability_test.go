package isolation

import (
	"flag"
	"fmt"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/tests/machine"
	"kapsel/vmm"
	"kapsel/vmm/qemu"
)

// attacks are what the task rival does to keep the processor from the task victim.
var attacks = []struct {
	scenario, order string // order: its word in tests/guest/rival
}{
	{"alone", "nothing"},
	{"hog: spins", "spin"},
	{"hog: commands", "command"},
	{"hog: yields without waiting", "yield"},
	{"hog: moves its break", "break"},
	{"flood: notifications", "notify"},
	{"flood: console", "write"},
	{"flood: low-level debug", "debug"},
	{"flood: alarms due at once", "alarm"},
	{"revoke: lends, and takes back later", "lend"},
	{"revoke: lends, and takes back at once", "revoke"},
	{"restart storm: restarts itself", "restart"},
	{"restart storm: faults", "fault"},
}

// fairShares are what a scheduler means the victim to get beside one that never waits, in
// thousandths of the processor. The victim comes first.
var fairShares = []struct {
	scheduler     string
	share         int
	victim, rival string // what is added to their orders
}{
	{"roundrobin", 500, "", ""}, // a slice each in turn
	{"mlfq", 500, "", ""},       // a quantum each in turn, at whatever level
	// Whenever it is ready, as it comes first. It sleeps, or no other would run: one part of six.
	{"priority", 833, "sleeps", ""},
	// Whatever the other leaves. It waits after each time, or it would leave nothing.
	{"cooperative", 500, "sleeps", " waits"},
}

// TestAvailability: whatever one task does, the other gets at least half of what its scheduler
// means it to get, its alarms go on, and it lives.
func TestAvailability(t *testing.T) {
	record(t)
	table := make([]string, len(attacks)*len(fairShares)) // of what is measured
	t.Cleanup(func() { printAvailability(table) })
	for i, a := range attacks {
		for j, f := range fairShares {
			t.Run(a.scenario+"/"+f.scheduler, func(t *testing.T) {
				besideOthers(t)
				got := attacked(t, "scheduler="+f.scheduler, f.victim, a.order+f.rival)
				table[i*len(fairShares)+j] = fmt.Sprintf("%-40s %-12s %5d.%d %% %6d.%d %% %9d us %6d %7d",
					a.scenario, f.scheduler, f.share/10, f.share%10, got["share"]/10, got["share"]%10, got["gap"], got["woken"], got["served"])
				assert.GreaterOrEqual(t, got["share"], f.share/2, "thousandths of the processor")
				assert.GreaterOrEqual(t, got["woken"], 5, "its alarms went on")
				if a.order == "notify" || a.order == "lend" {
					assert.NotZero(t, got["served"], "notifications come")
				}
			})
		}
	}
}

// besideOthers has a test run beside others where its machine's time is counted in instructions: they are no part of it.
func besideOthers(t *testing.T) {
	if machine.Accelerator(t) == "qemu" {
		t.Parallel()
	}
}

func printAvailability(table []string) {
	if flag.Lookup("test.v").Value.String() != "true" {
		return
	}
	fmt.Printf("\n%-40s %-12s %9s %10s %12s %6s %7s\n", "a task beside", "scheduler", "fair", "got", "longest gap", "alarms", "served")
	for _, line := range table {
		if line != "" { // it was run
			fmt.Println(line)
		}
	}
}

var measured = regexp.MustCompile(`victim: (share|gap|woken|served|lent) (\d+)\n`)

// attacked boots the victim and the rival with their orders, and returns what the victim measured.
func attacked(t *testing.T, cmdline, victim, rival string) map[string]int {
	t.Helper()
	g := machine.Guest{
		Image:   "bare.elf",
		Modules: [][]byte{ordered(t, "victim", victim), ordered(t, "rival", rival)},
		Cmdline: "no-dump " + cmdline,
		Until:   "victim: lives\n",
	}
	if machine.Accelerator(t) == "qemu" {
		g.Options = qemu.Deterministic  // the host's other work is no part of it
		g.Timeout = 4 * machine.Timeout // which it lengthens, though: a flood takes the emulator most of a minute by itself
	}
	out := machine.Boot(t, g)
	assert.Equal(t, vmm.Cancelled, out.Exit.Reason)
	assert.Contains(t, out.Console, "victim: lives\n")
	assert.NotContains(t, out.Console, "victim faulted")
	got := map[string]int{}
	for _, m := range measured.FindAllStringSubmatch(out.Console, -1) {
		n, err := strconv.Atoi(m[2])
		require.NoError(t, err)
		got[m[1]] = n
	}
	require.Len(t, got, 5, "all figures of the victim")
	return got
}

// ordered is a task of tests/guest that finds its order in its flash region.
func ordered(t *testing.T, name, order string) []byte {
	t.Helper()
	return machine.Ordered(t, machine.Object(t, "test/"+name+".tbf"), order+" ")
}
