package crc

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/kernel/kerneltest"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

const number = abi.DriverCRC

// engine is a device that knows CRC-32 alone: an answer takes it 100 microseconds.
type engine struct {
	machine *kerneltest.Machine
	client  hil.CRCClient
	data    []byte
	sum     uint32
	sizes   []int
	refuse  abi.ErrorCode // what AddToCRC returns
	end     abi.ErrorCode // how an answer ends
}

func (e *engine) SetCRCClient(client hil.CRCClient) { e.client = client }

func (e *engine) EmptyCRC(hil.CRCAlgorithm) uint32 { return 0 }

func (e *engine) AddToCRC(_ hil.CRCAlgorithm, sum uint32, data []byte) abi.ErrorCode {
	if e.refuse != abi.OK {
		return e.refuse
	}
	e.data, e.sum = data, sum
	e.sizes = append(e.sizes, len(data))
	e.machine.Alarm.SetAlarm(e.machine.Alarm.Now() + 100)
	return abi.OK
}

func (e *engine) AlarmFired() {
	e.client.CRCDone(e.data, crc32.Update(e.sum, crc32.IEEETable, e.data), e.end)
}

func newMachine(t *testing.T) (*kerneltest.Machine, *engine, *CRC) {
	m := kerneltest.New(t, capability.Mint())
	e := &engine{machine: m}
	m.Alarm.SetAlarmClient(e)
	c := new(CRC)
	c.Init(&m.Kernel, e, m.Capabilities.MemoryAllocation)
	m.Drivers[number] = c
	return m, e, c
}

const at = 64 // where a task has its buffer, from the start of its RAM

// share shares a buffer.
func share(k *kerneltest.Task, data []byte) {
	k.Memop(abi.MemopBrk, k.Start.RAMStart+4*abi.PageSize)
	k.Store(k.Start.RAMStart+at, data...)
	k.AllowRO(number, buffer, k.Start.RAMStart+at, uint64(len(data)))
}

// success, failure and told are answers and upcalls.
var success = [4]uint64{128}

func failure(e abi.ErrorCode) [4]uint64 { return [4]uint64{0, uint64(e)} }

func told(data []byte) [4]uint64 { return [4]uint64{0, uint64(crc32.ChecksumIEEE(data)), 0} }

// TestCommands are those of Tock's capsules/extra/src/crc.rs, with its answers, in tasks of both widths.
func TestCommands(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 1000)
	for _, width := range []int{32, 64} {
		t.Run(fmt.Sprintf("in a task of %d bits", width), func(t *testing.T) {
			m, e, c := newMachine(t)
			m.AddTask("task", func(k *kerneltest.Task) {
				assert.Equal(t, success, k.Command(number, exists, 0, 0), "0 exists")
				assert.Equal(t, failure(abi.NOSUPPORT), k.Command(number, 2, 0, 0), "2 is none")
				assert.Equal(t, failure(abi.INVAL), k.Command(number, compute, 3, 0), "an algorithm that is none")
				assert.Equal(t, failure(abi.SIZE), k.Command(number, compute, 0, 1), "no buffer")
				share(k, data)
				assert.Equal(t, failure(abi.SIZE), k.Command(number, compute, 0, 10_001), "more than the buffer has")
				assert.Equal(t, failure(abi.SIZE), k.Command(number, compute, 0, 0), "nothing")
				for _, n := range []uint64{1, 1023, 1024, 1025, 10_000} {
					assert.Equal(t, success, k.Command(number, compute, 0, n))
					assert.Equal(t, failure(abi.BUSY), k.Command(number, compute, 0, n), "one at a time")
					assert.Equal(t, told(data[:n]), k.WaitFor(number, computed), "%d bytes", n)
				}
				assert.Equal(t, success, k.Command(number, compute, 2, 10))
				assert.EqualValues(t, 2, k.WaitFor(number, computed)[2], "the algorithm is told")
			}, func(spec *tbfbuild.Spec) { spec.ABI64 = width == 64 })
			assert.False(t, m.Run())
			assert.Equal(t, []int{1, 1023, 1024, 1024, 1}, e.sizes[:5], "in pieces")
			assert.False(t, c.busy)
		})
	}
}

// TestTasksTakeTurns: who asks for much does not hold the others up.
func TestTasksTakeTurns(t *testing.T) {
	m, _, _ := newMachine(t)
	var order []string
	for _, tt := range []struct {
		name string
		size int
	}{{"much", 10_000}, {"little", 100}, {"some", 2000}} {
		data := bytes.Repeat([]byte{byte(tt.size)}, tt.size)
		m.AddTask(tt.name, func(k *kerneltest.Task) {
			share(k, data)
			require.Equal(t, success, k.Command(number, compute, 0, uint64(len(data))))
			assert.Equal(t, told(data), k.WaitFor(number, computed))
			order = append(order, tt.name)
		}, nil)
	}
	assert.False(t, m.Run())
	assert.Equal(t, []string{"little", "some", "much"}, order)
}

// TestBufferThatShrinks: the checksum is of what was there.
func TestBufferThatShrinks(t *testing.T) {
	data := bytes.Repeat([]byte{7}, 5000)
	m, _, _ := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		for left, want := range map[uint64]int{0: 1024, 1500: 1500} {
			share(k, data)
			require.Equal(t, success, k.Command(number, compute, 0, 5000))
			k.AllowRO(number, buffer, k.Start.RAMStart+at, left)
			assert.Equal(t, told(data[:want]), k.WaitFor(number, computed), "%d bytes are left", left)
		}
	}, nil)
	assert.False(t, m.Run())
}

// TestTaskThatEnds, or restarts, with a request: nobody is told, and others are served.
func TestTaskThatEnds(t *testing.T) {
	data := bytes.Repeat([]byte{7}, 5000)
	m, _, c := newMachine(t)
	lives := 0
	m.AddTask("restarts", func(k *kerneltest.Task) {
		lives++
		share(k, data)
		require.Equal(t, success, k.Command(number, compute, 0, 5000), "life %d", lives)
		k.Spin(uint64(lives) * 70)
		if lives < 5 {
			k.Restart(0)
		}
		assert.Equal(t, told(data), k.WaitFor(number, computed))
	}, nil)
	m.AddTask("ends", func(k *kerneltest.Task) {
		share(k, data)
		k.Command(number, compute, 0, 5000)
	}, nil)
	m.AddTask("goes on", func(k *kerneltest.Task) {
		for n := uint64(1); n < 20; n++ {
			share(k, data)
			require.Equal(t, success, k.Command(number, compute, 0, n*100))
			assert.Equal(t, told(data[:n*100]), k.WaitFor(number, computed))
		}
	}, nil)
	assert.False(t, m.Run())
	assert.Equal(t, 5, lives)
	assert.False(t, c.busy)
}

// TestEngineThatFails: who asks is told; a call that nobody asked for changes nothing.
func TestEngineThatFails(t *testing.T) {
	m, e, c := newMachine(t)
	c.CRCDone(nil, 0, abi.OK)
	m.AddTask("task", func(k *kerneltest.Task) {
		share(k, []byte("data"))
		status := func(e abi.ErrorCode) [4]uint64 { return [4]uint64{uint64(e.Status())} }
		e.refuse = abi.NOSUPPORT
		assert.Equal(t, success, k.Command(number, compute, 0, 4))
		assert.Equal(t, status(abi.NOSUPPORT), k.WaitFor(number, computed))
		e.refuse, e.end = abi.OK, abi.FAIL
		assert.Equal(t, success, k.Command(number, compute, 0, 4))
		assert.Equal(t, status(abi.FAIL), k.WaitFor(number, computed))
		e.end = abi.OK
		assert.Equal(t, success, k.Command(number, compute, 0, 4))
		assert.Equal(t, told([]byte("data")), k.WaitFor(number, computed))
		c.CRCDone([]byte("late"), 0, abi.OK)
	}, nil)
	assert.False(t, m.Run())
}

func TestNoRoom(t *testing.T) {
	m, e, _ := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		_, end := k.Memop(abi.MemopRAMEnd, 0)
		k.Memop(abi.MemopBrk, end-1)
		assert.Equal(t, failure(abi.NOMEM), k.Command(number, compute, 0, 1))
	}, nil)
	assert.False(t, m.Run())
	assert.Empty(t, e.sizes)
}
