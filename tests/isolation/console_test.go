package isolation

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/tests/guest/gauge/phases"
	"kapsel/tests/machine"
	"kapsel/vmm"
	"kapsel/vmm/qemu"
)

// TestConsoleWriteBesideATask: a task that writes 4 MiB to the console in one command leaves
// another half of what it has alone, and no long gaps, under every scheduler. Under QEMU an
// instruction is a nanosecond, so that it is the same each time; elsewhere, where the machine
// itself is stopped now and then, a quarter is enough.
func TestConsoleWriteBesideATask(t *testing.T) {
	record(t)
	least, most := 45, uint64(3_000) // percent, microseconds
	var options []string
	if machine.Accelerator(t) == "qemu" {
		options = qemu.Deterministic
	} else {
		least, most = 25, 1_000_000
	}
	for _, scheduler := range []string{"roundrobin", "cooperative", "priority", "mlfq"} {
		t.Run(scheduler, func(t *testing.T) {
			besideOthers(t)
			out := machine.Boot(t, machine.Guest{
				Image: "bare.elf", Cmdline: "scheduler=" + scheduler, Options: options,
				Until:   fmt.Sprintf("App 0x2 status code %#x\n", phases.Done),
				Modules: [][]byte{machine.Object(t, "test/babbler.tbf"), machine.Object(t, "test/gauge.tbf")},
			})
			require.Equal(t, vmm.Cancelled, out.Exit.Reason)
			reads := regexp.MustCompile(`App 0x2 prints 0x(\w+) 0x(\w+)\n`).FindStringSubmatch(out.Console)
			gaps := regexp.MustCompile(`App 0x2 prints 0x(\w+)\n`).FindStringSubmatch(out.Console)
			require.NotNil(t, reads)
			require.NotNil(t, gaps)
			alone, beside, gap := hex(t, reads[1]), hex(t, reads[2]), hex(t, gaps[1])
			require.NotZero(t, alone)
			percent := int(100 * beside / alone)
			assert.GreaterOrEqual(t, percent, least, "percent of the reads that it makes alone")
			assert.LessOrEqual(t, gap, most, "microseconds between two reads")
			babble := strings.Count(out.Console, phases.Line)
			assert.NotZero(t, babble, "lines of 64 bytes that were written beside it")
			t.Logf("%d %% of what it does alone, at most %d us without an instruction, while %d lines of 64 bytes were written",
				percent, gap, babble)
		})
	}
}

func hex(t *testing.T, text string) uint64 {
	t.Helper()
	v, err := strconv.ParseUint(text, 16, 64)
	require.NoError(t, err)
	return v
}
