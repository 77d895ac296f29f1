package kernel_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/kernel"
	"kapsel/guest/kernel/kerneltest"
)

// TestRestartEndsTheTurn: a task that restarts itself over and over never waits, but each life
// ends its turn, so that a scheduler without slices runs the others in between.
func TestRestartEndsTheTurn(t *testing.T) {
	m := newMachine(t)
	m.Kernel.Rewire(kernel.Config{
		CPU: &m.CPU, Platform: m.Machine, Scheduler: &kernel.Cooperative{}, Policy: m.Machine, Debug: &m.Log, Credentials: m, Identity: m,
		RAM: &kernel.RAM{Low: make([]byte, 1<<20)},
	})
	var order []string
	for _, name := range []string{"one", "other"} {
		lives := 0
		m.AddTask(name, func(k *kerneltest.Task) {
			order = append(order, name)
			if lives++; lives < 3 {
				k.Restart(1)
			}
		}, nil)
	}
	m.Run()
	assert.Equal(t, []string{"one", "other", "one", "other", "one", "other"}, order)
}
