package isolation

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/tests/machine"
	"kapsel/vmm"
)

const debugImage = "test/debug.elf"

// TestDebugImage: a debug build has the check of the rules of memory, and no other has it.
func TestDebugImage(t *testing.T) {
	check := []byte("checkPages")
	assert.True(t, bytes.Contains(machine.Object(t, debugImage), check), "in a debug build")
	assert.False(t, bytes.Contains(machine.Object(t, "bare.elf"), check), "in a normal build")
}

// TestRulesOfMemory: a debug build walks the page tables after each change while tasks move
// their breaks, restart, fault, and lend memory. What it prints if a rule is broken, the
// tests of guest/arch/amd64 and guest/kernel show.
func TestRulesOfMemory(t *testing.T) {
	for _, c := range []struct {
		name   string
		tasks  [][]byte
		shown  string
		status int
	}{
		{"random calls", [][]byte{stress(t, 5000, 1), stress(t, 5000, 2)}, ` calls in \d+ lives, `, abi.ExitOK},
		{"loans", [][]byte{machine.Object(t, "test/rot13.tbf"), machine.Object(t, "test/client.tbf")},
			`rot13 faulted: page fault: read where no page is at 0x7f820000,`, abi.ExitTaskFault},
		{"faults", [][]byte{machine.Object(t, "intruder.tbf")}, `all 20 attempts were stopped\n`, abi.ExitOK},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmdline := "no-dump"
			if c.status == abi.ExitTaskFault {
				cmdline += " fault=stop"
			}
			out := machine.Boot(t, machine.Guest{Image: debugImage, Modules: c.tasks, Cmdline: cmdline})
			assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit, Status: c.status}, out.Exit)
			assert.Regexp(t, c.shown, out.Console)
			assert.NotContains(t, out.Console, "against the rule")
		})
	}
}
