package kernel_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/kerneltest"
)

const stateDriver = 0x7a // a probe that publishes its state

// TestUserspaceReadable: a driver writes, in a later call, to the buffers that a task shared
// under class 7, whose numbers are their own; the task reads them all the time.
func TestUserspaceReadable(t *testing.T) {
	m := newMachine(t)
	state := &probe{}
	counts := kernel.SlotCounts{ReadWrite: 1, UserspaceReadable: 2}
	state.grant.Init(&m.Kernel, stateDriver, counts, m.Capabilities.MemoryAllocation)
	m.Drivers[stateDriver] = state
	var kept kernel.ReadWriteBuffer
	state.hook = func(id kernel.TaskID, n, v uint32) kernel.Result {
		wrote := 0
		state.grant.Enter(id, func(c *counter, task *kernel.TaskData) {
			kept = task.UserspaceReadable(n)
			wrote = kept.WriteAt([]byte{byte(v), byte(v + 1)}, 0)
		})
		return kernel.Value(uint32(wrote))
	}
	m.AddTask("task", func(k *kerneltest.Task) {
		ram := k.Start.RAMStart
		share := func(class abi.Class, number, addr, length uint64) [4]uint64 {
			return k.Syscall(class, stateDriver, number, addr, length)
		}
		readable := abi.AllowUserspaceReadable
		assert.Equal(t, [4]uint64{allowed, 0, 0}, share(readable, 0, ram, 2))
		assert.Equal(t, [4]uint64{allowed, 0, 0}, share(readable, 1, ram+8, 1))
		assert.Equal(t, [4]uint64{allowed, 0, 0}, share(abi.AllowReadWrite, 0, ram+16, 2), "numbers of other classes are others")
		assert.Equal(t, [4]uint64{refused, uint64(abi.NOSUPPORT), ram, 2}, share(readable, 2, ram, 2))
		assert.Equal(t, [4]uint64{refused, uint64(abi.INVAL), 0, 2}, share(readable, 0, 0, 2))

		for _, c := range []struct{ number, wrote uint64 }{{0, 2}, {1, 1}, {2, 0}} {
			assert.Equal(t, [4]uint64{value, c.wrote}, k.Command(stateDriver, probeHook, c.number, 10*(c.number+1)))
		}
		assert.Equal(t, []byte{10, 11}, k.Load(ram, 2))
		assert.Equal(t, []byte{20, 0}, k.Load(ram+8, 2))
		assert.Equal(t, []byte{0, 0}, k.Load(ram+16, 2))

		assert.Equal(t, [4]uint64{allowed, ram, 2}, share(readable, 0, 0, 0), "taken back")
		assert.Equal(t, [4]uint64{value, 0}, k.Command(stateDriver, probeHook, 0, 50))
		assert.Equal(t, [4]uint64{value, 1}, k.Command(stateDriver, probeCount, 1, 0), "the driver's own value is whole")
	}, nil)
	assert.False(t, m.Run())
	assert.Zero(t, kept.Len(), "dead behind the entry")
}
