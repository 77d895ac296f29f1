package boot

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/tests/machine"
	"kapsel/vmm"
)

// TestSchedulers: the image runs under each scheduler that the command line can choose.
func TestSchedulers(t *testing.T) {
	for _, name := range []string{"roundrobin", "cooperative", "priority", "mlfq"} {
		t.Run(name, func(t *testing.T) {
			out := machine.Boot(t, machine.Guest{Image: "kapsel.elf", Cmdline: "no-dump scheduler=" + name})
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
				Image: "test/bare.elf", Modules: modules, Cmdline: "scheduler=" + name, Until: "hello: greeting 10 of 10\n",
			})
			assert.Equal(t, vmm.Cancelled, out.Exit.Reason)
			assert.Contains(t, out.Console, "spinner: spinning\n")
			assert.Contains(t, out.Console, "hello: greeting 10 of 10\n")
		})
	}
}

func TestUnknownScheduler(t *testing.T) {
	out := machine.Boot(t, machine.Guest{Image: "test/bare.elf", Cmdline: "scheduler=fair"})
	ended(t, out, abi.ExitOK)
	assert.Contains(t, out.Console, "command line: unknown word: scheduler=fair (want ")
}
