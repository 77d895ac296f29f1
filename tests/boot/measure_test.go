package boot

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/tests/machine"
	"kapsel/vmm/qemu"
)

// A measured is a path of the image that measures itself, as its tasks print it.
type measured struct {
	name       string
	operations int
	base       string   // "" or "base=none"
	ticks      []uint64 // one for each operation, sorted
}

// paths are what build/bench.elf measures, in this order.
var paths = []measured{
	{name: "Empty", operations: 1000},
	{name: "NullCommand", operations: 1000},
	{name: "CapsuleCommand", operations: 1000},
	{name: "YieldNoWait", operations: 1000},
	{name: "Subscribe", operations: 1000},
	{name: "AllowReadWrite", operations: 1000},
	{name: "AllowReadOnly", operations: 1000},
	{name: "Memop", operations: 1000},
	{name: "UpcallRoundTrip", operations: 1000},
	{name: "UpcallFunction", operations: 1000},
	{name: "TaskSwitch", operations: 2000, base: "base=none"},
	{name: "IPCBuffer", operations: 1000, base: "base=none"},
	{name: "Preemption", operations: 30, base: "base=none"},
	{name: "FaultToDeadTask", operations: 24, base: "base=none"},
	{name: "InterruptToCapsule", operations: 100, base: "base=none"},
	{name: "InterruptToTask", operations: 100, base: "base=none"},
	{name: "AlarmLatency", operations: 50, base: "base=none"},
	{name: "ConsoleWrite1", operations: 200, base: "base=none"},
	{name: "ConsoleWrite64", operations: 100, base: "base=none"},
	{name: "ConsoleWrite4096", operations: 10, base: "base=none"},
	{name: "ExitPIO", operations: 200},
	{name: "ExitMMIO", operations: 200},
	{name: "ExitIOEventFD", operations: 200},
	{name: "PlainGo", operations: 100, base: "base=none"},
	{name: "RegisterRead", operations: 100, base: "base=none"},
	{name: "CapsuleCall", operations: 100, base: "base=none"},
	{name: "BufferHandOver", operations: 100, base: "base=none"},
	{name: "PlainCopy4096", operations: 100, base: "base=none"},
	{name: "CacheHit4096", operations: 100, base: "base=none"},
	{name: "Empty32", operations: 1000},
	{name: "NullCommand32", operations: 1000},
	{name: "YieldNoWait32", operations: 1000},
	{name: "Subscribe32", operations: 1000},
	{name: "AllowReadWrite32", operations: 1000},
	{name: "Memop32", operations: 1000},
	{name: "UpcallRoundTrip32", operations: 1000},
}

// measurements reads what the console shows: every path, all of its samples, nothing else.
func measurements(t *testing.T, console string) []measured {
	t.Helper()
	var all []measured
	lines := regexp.MustCompile(`(?m)^bench .*$`).FindAllString(console, -1)
	require.NotEmpty(t, lines)
	require.Equal(t, "bench done", lines[len(lines)-1])
	for _, line := range lines[:len(lines)-1] {
		assert.Less(t, len(line), 256, line)
		fields := strings.Fields(line)
		require.Greater(t, len(fields), 4, line)
		require.Equal(t, "unit=ticks", fields[3], line)
		m := measured{name: fields[1]}
		var err error
		m.operations, err = strconv.Atoi(fields[2])
		require.NoError(t, err, line)
		if fields = fields[4:]; strings.HasPrefix(fields[0], "base=") {
			m.base, fields = fields[0], fields[1:]
		}
		if n := len(all); n > 0 && all[n-1].name == m.name {
			require.Equal(t, [2]any{all[n-1].operations, all[n-1].base}, [2]any{m.operations, m.base}, line)
		} else {
			all = append(all, m)
		}
		last := &all[len(all)-1]
		for _, f := range fields {
			var ticks, times uint64
			_, err := fmt.Sscanf(f, "%d*%d", &ticks, &times)
			require.NoError(t, err, line)
			for range times {
				last.ticks = append(last.ticks, ticks)
			}
		}
	}
	return all
}

// least is the fewest ticks that a path took: what disturbs a machine only adds.
func least(t *testing.T, all []measured, name string) int {
	t.Helper()
	for _, m := range all {
		if m.name == name {
			return int(m.ticks[0])
		}
	}
	require.Fail(t, "not measured", name)
	return 0
}

// measure boots the image that measures itself and checks that nothing is missing.
func measure(t *testing.T, options []string) (out machine.Outcome, all []measured) {
	t.Helper()
	out = machine.Boot(t, machine.Guest{Image: "bench.elf", Options: options})
	ended(t, out, abi.ExitOK)
	all = measurements(t, out.Console)
	var found []measured
	for _, m := range all {
		assert.Len(t, m.ticks, m.operations, m.name)
		assert.IsNonDecreasing(t, m.ticks, m.name)
		found = append(found, measured{name: m.name, operations: m.operations, base: m.base})
	}
	require.Equal(t, paths, found)

	var entered, main, loaded, first uint64
	scan(t, out.Console, "\nbench-boot entered ", "%d main %d loaded %d", &entered, &main, &loaded)
	scan(t, out.Console, "\nbench-boot first-task ", "%d", &first)
	assert.IsIncreasing(t, []uint64{entered, main, loaded, first})
	for _, m := range all {
		n := len(m.ticks)
		t.Logf("%-18s ticks: least %d, median %d, 99 %% %d, most %d", m.name, m.ticks[0], m.ticks[n/2], m.ticks[n*99/100], m.ticks[n-1])
	}
	return out, all
}

// TestMeasurements: the image that measures itself measures every path, and a path takes longer
// than another that it contains. Under QEMU an instruction is a tick, as the emulator's time is
// no measure. In the nested machine, where the bytes that it writes to the console take most of a minute, scripts/bench and
// scripts/nightly run it.
func TestMeasurements(t *testing.T) {
	if machine.InRig() && !machine.Nightly() {
		t.Skip("it takes a minute where KVM is nested: scripts/nightly runs it, and scripts/bench the image")
	}
	var options []string
	if machine.Accelerator(t) == "qemu" {
		options = qemu.Deterministic
	}
	_, all := measure(t, options)
	for _, order := range [][2]string{
		{"Empty", "NullCommand"}, {"NullCommand", "UpcallRoundTrip"}, {"Empty", "YieldNoWait"}, {"Empty", "Memop"},
		{"NullCommand", "TaskSwitch"}, {"TaskSwitch", "IPCBuffer"}, {"Empty", "FaultToDeadTask"},
		{"InterruptToCapsule", "InterruptToTask"}, {"ConsoleWrite1", "ConsoleWrite4096"},
		{"Empty32", "NullCommand32"}, {"NullCommand32", "UpcallRoundTrip32"},
	} {
		assert.Less(t, least(t, all, order[0]), least(t, all, order[1]), order)
	}
}

// TestMeasurementsRepeat: where an instruction is a tick every run measures the same, and what
// does not wait for anything takes as many instructions each time, but for the one more of a
// queue that wraps around. A busy host that is late to take what the guest prints can show in one run of three.
func TestMeasurementsRepeat(t *testing.T) {
	if machine.Accelerator(t) != "qemu" {
		t.Skip("instructions are counted by QEMU's emulator")
	}
	first, all := measure(t, qemu.Deterministic)
	second, _ := measure(t, qemu.Deterministic)
	if first.Console != second.Console {
		third, _ := measure(t, qemu.Deterministic)
		assert.Contains(t, []string{first.Console, second.Console}, third.Console)
	}
	for _, bits := range []string{"", "32"} {
		null := least(t, all, "NullCommand"+bits) - least(t, all, "Empty"+bits)
		assert.Greater(t, null, 20, "NullCommand%s", bits)
		assert.Less(t, null, 1000, "NullCommand%s", bits)
	}
	for _, m := range all {
		if m.base == "" {
			assert.LessOrEqual(t, m.ticks[len(m.ticks)-1]-m.ticks[0], uint64(1), m.name)
		}
	}
}
