package readonlystate

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/capsules/alarm"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
)

const driver = abi.DriverReadOnlyState

func newMachine(t *testing.T) (*kerneltest.Machine, *State) {
	m := kerneltest.New(t, capability.Mint())
	s := &State{}
	s.Init(&m.Kernel, &m.Alarm, m.Capabilities.MemoryAllocation)
	m.Drivers[driver] = s
	m.Kernel.OnContextSwitch(s, m.Capabilities.MainLoop)
	return m, s
}

func share(k *kerneltest.Task, addr, length uint64) [4]uint64 {
	return k.Syscall(abi.AllowUserspaceReadable, driver, state, addr, length)
}

// seen is the buffer at the start of RAM, as the task reads it.
func seen(k *kerneltest.Task) (turn, waiting uint32, now uint64) {
	b := k.Load(k.Start.RAMStart, size)
	return binary.LittleEndian.Uint32(b[turns:]), binary.LittleEndian.Uint32(b[pending:]), binary.LittleEndian.Uint64(b[ticks:])
}

func TestCommands(t *testing.T) {
	m, _ := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		assert.Equal(t, [4]uint64{uint64(abi.Success)}, k.Command(driver, exists, 0, 0))
		assert.Equal(t, [4]uint64{uint64(abi.SuccessU32), 1}, k.Command(driver, version, 0, 0))
		nosupport := uint64(abi.NOSUPPORT)
		assert.Equal(t, [4]uint64{0, nosupport}, k.Command(driver, version+1, 0, 0))
		assert.Equal(t, nosupport, k.Subscribe(driver, 0, 0, 0)[1])
		assert.Equal(t, nosupport, k.AllowRO(driver, 0, 0, 0)[1])
		assert.Equal(t, nosupport, k.AllowRW(driver, 0, 0, 0)[1])
		assert.Equal(t, nosupport, k.Syscall(abi.AllowUserspaceReadable, driver, state+1, 0, 0)[1])
	}, nil)
	assert.False(t, m.Run())
}

// TestTurns: the buffer changes at each turn, and at no system call within one.
func TestTurns(t *testing.T) {
	m, _ := newMachine(t)
	m.AddTask("reader", func(k *kerneltest.Task) {
		assert.Equal(t, uint64(abi.SuccessAddrLen), share(k, k.Start.RAMStart, size)[0])
		for range 5 {
			k.Command(driver, exists, 0, 0)
		}
		turn, _, now := seen(k)
		assert.Zero(t, turn)
		assert.Zero(t, now, "nothing is written within a turn")
		for want := range uint32(4) {
			before := now
			k.Spin(10_000) // a slice: at its end another turn begins
			turn, _, now = seen(k)
			assert.Equal(t, want, turn)
			assert.GreaterOrEqual(t, now, before+9_000)
			assert.LessOrEqual(t, now, m.Alarm.Now())
		}
		share(k, 0, 0)
		k.Spin(10_000)
		after, _, _ := seen(k)
		assert.Equal(t, turn, after, "a buffer that was taken back is written no more")
	}, nil)
	m.AddTask("other", func(k *kerneltest.Task) { k.Spin(100_000) }, nil)
	assert.False(t, m.Run())
}

// TestPending: upcalls that wait are counted, less the one that the task runs.
func TestPending(t *testing.T) {
	m, _ := newMachine(t)
	clock := &alarm.Alarm{}
	clock.Init(&m.Kernel, &m.Alarm, m.Capabilities.MemoryAllocation)
	m.Drivers[abi.DriverAlarm] = clock
	m.AddTask("task", func(k *kerneltest.Task) {
		share(k, k.Start.RAMStart, size)
		var inUpcall uint32
		k.Subscribe(abi.DriverAlarm, 0, k.Function(func([3]uint32, uint64) { _, inUpcall, _ = seen(k) }), 0)
		const relative = 5
		k.Command(abi.DriverAlarm, relative, 100, 0)
		k.Spin(1000)
		_, waiting, _ := seen(k)
		assert.Equal(t, uint32(1), waiting)
		k.Command(abi.DriverAlarm, relative, 100, 0)
		k.Spin(1000)
		_, waiting, _ = seen(k)
		assert.Equal(t, uint32(2), waiting)
		k.Wait()
		assert.Equal(t, uint32(2), inUpcall, "no turn has begun since")
		k.Spin(10_000)
		_, waiting, _ = seen(k)
		assert.Equal(t, uint32(1), waiting)
	}, nil)
	assert.False(t, m.Run())
}

// TestShortBuffers: fields that do not fit are not written, whole or in part.
func TestShortBuffers(t *testing.T) {
	for _, c := range []struct {
		name            string
		length, written uint64
	}{
		{"nothing", 3, 0},
		{"turns", 4, 4},
		{"turns, part of pending", 7, 4},
		{"turns and pending", 8, 8},
		{"all but a byte", 15, 8},
		{"all", 16, 16},
		{"more", 20, 16},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, _ := newMachine(t)
			m.AddTask("task", func(k *kerneltest.Task) {
				mark := make([]byte, 24)
				for i := range mark {
					mark[i] = 0xee
				}
				k.Store(k.Start.RAMStart, mark...)
				share(k, k.Start.RAMStart, c.length)
				k.Spin(20_000)
				b := k.Load(k.Start.RAMStart, 24)
				assert.Equal(t, mark[c.written:], b[c.written:])
				if c.written > 0 {
					assert.Equal(t, byte(0), b[3], "the number of turns is small")
				}
				if c.written == 16 {
					assert.Equal(t, byte(0), b[15], "so are the ticks")
				}
			}, nil)
			assert.False(t, m.Run())
		})
	}
}

// TestOthersPayNothing: a task that has not used the driver gets no grant by its turns.
func TestOthersPayNothing(t *testing.T) {
	m, _ := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		_, end := k.Memop(abi.MemopRAMEnd, 0)
		k.Spin(30_000)
		_, grants := k.Memop(abi.MemopGrantStart, 0)
		assert.Equal(t, end, grants)
	}, nil)
	assert.False(t, m.Run())
}
