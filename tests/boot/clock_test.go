package boot

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/tests/machine"
	"kapsel/vmm"
)

// TestClockOfTasks: a task's time never goes back, an alarm is set without waiting for it, and Sleep and it leave each other alone.
func TestClockOfTasks(t *testing.T) {
	out := machine.Boot(t, machine.Guest{Image: "bare.elf", Modules: [][]byte{machine.Object(t, "test/clock.tbf")}})
	assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit}, out.Exit, "another status is the check that failed")
	assert.Contains(t, out.Console, "clock: all is right\n")
}
