package boot

import (
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/tests/machine"
	"kapsel/vmm"
	"kapsel/vmm/qemu"
)

// TestSchedulers: the image runs under each scheduler that the command line can choose.
func TestSchedulers(t *testing.T) {
	for _, name := range []string{"roundrobin", "cooperative", "priority", "mlfq"} {
		t.Run(name, func(t *testing.T) {
			out := machine.Boot(t, machine.Guest{Image: "two.elf", Cmdline: "no-dump scheduler=" + name})
			ended(t, out, abi.ExitOK)
			assert.NotContains(t, out.Console, "unknown word")
			assert.Contains(t, out.Console, "hello: greeting 10 of 10\n")
			assert.Contains(t, out.Console, "counter: 10\n")
		})
	}
}

// TestSchedulersAgainstASpinner: a task that sleeps and wakes gets the CPU from one that
// spins, which by priority alone depends on their order.
func TestSchedulersAgainstASpinner(t *testing.T) {
	spinner, hello := machine.Object(t, "test/spinner.tbf"), machine.Object(t, "hello.tbf")
	for name, modules := range map[string][][]byte{
		"mlfq":     {spinner, hello},
		"priority": {hello, spinner},
	} {
		t.Run(name, func(t *testing.T) {
			out := machine.Boot(t, machine.Guest{
				Image: "bare.elf", Modules: modules, Cmdline: "scheduler=" + name, Until: "hello: greeting 10 of 10\n",
			})
			assert.Equal(t, vmm.Cancelled, out.Exit.Reason)
			assert.Contains(t, out.Console, "spinner: spinning\n")
			assert.Contains(t, out.Console, "hello: greeting 10 of 10\n")
		})
	}
}

func TestUnknownScheduler(t *testing.T) {
	out := machine.Boot(t, machine.Guest{Image: "bare.elf", Cmdline: "scheduler=fair"})
	ended(t, out, abi.ExitNoTask)
	assert.Contains(t, out.Console, "command line: unknown word: scheduler=fair (want ")
}

// TestSwitchAtOnce: under a preemptive scheduler a notification switches to the task that waits
// for it, if that comes first, within 600 instructions: from the SYSCALL of the one to the next
// instruction of the other. In the first calls grants are allocated, and slices begin.
func TestSwitchAtOnce(t *testing.T) {
	if machine.Accelerator(t) != "qemu" {
		t.Skip("instructions are counted by QEMU's emulator")
	}
	out := machine.Boot(t, machine.Guest{
		Image: "bare.elf", Modules: [][]byte{machine.Object(t, "test/woken.tbf"), machine.Object(t, "test/waker.tbf")},
		Cmdline: "scheduler=priority", Options: qemu.Deterministic,
	})
	ended(t, out, abi.ExitOK)
	var empty uint64
	scan(t, out.Console, "\nwoken: measuring takes ", "%d", &empty)
	called, went := numbers(t, out.Console, "waker"), numbers(t, out.Console, "woken")
	require.Len(t, called, 20)
	require.Len(t, went, len(called))
	for i := 4; i < len(went); i++ {
		took := went[i] - called[i] - empty
		assert.Greater(t, took, uint64(100))
		assert.LessOrEqual(t, took, uint64(600))
		t.Logf("%d instructions", took)
	}
}

// numbers are those that a task printed, each on its line.
func numbers(t *testing.T, console, name string) []uint64 {
	t.Helper()
	var all []uint64
	for _, line := range regexp.MustCompile(`(?m)^`+name+`: (\d+)$`).FindAllStringSubmatch(console, -1) {
		n, err := strconv.ParseUint(line[1], 10, 64)
		require.NoError(t, err)
		all = append(all, n)
	}
	return all
}
