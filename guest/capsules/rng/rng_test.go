package rng

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/kernel/kerneltest"
)

const driver = abi.DriverRNG

// source counts: its bytes are 1, 2, 3 and so on. An answer takes it 100 microseconds.
type source struct {
	machine *kerneltest.Machine
	client  hil.EntropyClient
	most    int // bytes in an answer
	asked   []int
	buf     []byte
	n       int
	last    byte
	refuse  abi.ErrorCode // what GetEntropy returns
	end     abi.ErrorCode // how an answer ends
}

func (s *source) SetEntropyClient(client hil.EntropyClient) { s.client = client }

func (s *source) GetEntropy(buf []byte, n int) abi.ErrorCode {
	s.asked = append(s.asked, n)
	if s.refuse != abi.OK {
		return s.refuse
	}
	s.buf, s.n = buf, min(n, s.most)
	s.machine.Alarm.SetAlarm(s.machine.Alarm.Now() + 100)
	return abi.OK
}

func (s *source) AlarmFired() {
	if s.end != abi.OK {
		s.client.EntropyDone(s.buf, 0, s.end)
		return
	}
	for i := range s.n {
		s.last++
		s.buf[i] = s.last
	}
	s.client.EntropyDone(s.buf, s.n, abi.OK)
}

func newMachine(t *testing.T) (*kerneltest.Machine, *source, *RNG) {
	m := kerneltest.New(t, capability.Mint())
	s := &source{machine: m, most: 100}
	m.Alarm.SetAlarmClient(s)
	r := new(RNG)
	r.Init(&m.Kernel, s, m.Capabilities.MemoryAllocation)
	m.Drivers[driver] = r
	return m, s, r
}

// ask asks for bytes in a buffer of a length, and returns the upcall's arguments and the buffer.
func ask(k *kerneltest.Task, length, n uint64) ([4]uint64, []byte) {
	at := k.Start.RAMStart + 64
	k.Store(at, make([]byte, length+1)...)
	k.AllowRW(driver, buffer, at, length)
	if r := k.Command(driver, get, n, 0); r != [4]uint64{128} {
		panic(abi.ErrorCode(r[1]).Error())
	}
	return k.WaitFor(driver, gotten), k.Load(at, length+1)
}

// count is the bytes from first on, and zeros.
func count(first byte, n, zeros int) []byte {
	b := make([]byte, n+zeros)
	for i := range n {
		b[i] = first + byte(i)
	}
	return b
}

func TestGet(t *testing.T) {
	m, s, r := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		assert.Equal(t, [4]uint64{128}, k.Command(driver, exists, 0, 0))
		assert.Equal(t, [4]uint64{0, uint64(abi.NOSUPPORT)}, k.Command(driver, 2, 0, 0))
		args, b := ask(k, 16, 10)
		assert.Equal(t, [4]uint64{0, 10}, args)
		assert.Equal(t, count(1, 10, 7), b)
		args, b = ask(k, 16, 1<<32-1)
		assert.Equal(t, [4]uint64{0, 16}, args, "no more than the buffer has")
		assert.Equal(t, count(11, 16, 1), b)
		args, b = ask(k, 150, 150)
		assert.Equal(t, [4]uint64{0, 150}, args, "more than the source gives at once")
		assert.Equal(t, count(27, 150, 1), b)
		args, _ = ask(k, 16, 0)
		assert.Equal(t, [4]uint64{0, 0}, args, "nothing is done at once")
		args, _ = ask(k, 0, 10)
		assert.Equal(t, [4]uint64{0, 0}, args, "no buffer")
	}, nil)
	assert.False(t, m.Run())
	assert.Equal(t, []int{10, 16, 150, 50}, s.asked)
	assert.Equal(t, [pieceSize]byte{}, r.piece, "no byte stays in the driver")
}

// TestTasksTakeTurns: who asks for very much, or again and again, holds nobody up; no byte is given twice.
func TestTasksTakeTurns(t *testing.T) {
	m, s, _ := newMachine(t)
	s.most = 1
	var order []string
	for _, name := range []string{"a", "b"} {
		m.AddTask(name, func(k *kerneltest.Task) {
			for range 10 {
				_, b := ask(k, 2, 2)
				assert.Less(t, b[0], b[1])
				order = append(order, name)
			}
		}, nil)
	}
	m.AddTask("much", func(k *kerneltest.Task) { ask(k, 60, 60) }, nil)
	assert.False(t, m.Run())
	assert.Len(t, order, 20)
	assert.NotEqual(t, []string{"a", "a", "a"}, order[:3])
	assert.EqualValues(t, 100, s.last, "bytes given and made")
}

// TestNewRequestReplacesTheOld, as on Tock: one upcall comes, for the new one.
func TestNewRequestReplacesTheOld(t *testing.T) {
	m, _, _ := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		at := k.Start.RAMStart + 64
		k.AllowRW(driver, buffer, at, 20)
		upcalls := 0
		k.Subscribe(driver, gotten, k.Function(func(a [3]uint32, _ uint64) {
			upcalls++
			assert.Equal(t, [3]uint32{0, 5, 0}, a)
		}), 0)
		k.Command(driver, get, 20, 0)
		k.Command(driver, get, 5, 0)
		k.Wait()
		k.Spin(1000)
		assert.False(t, k.NoWait())
		assert.Equal(t, 1, upcalls)
	}, nil)
	assert.False(t, m.Run())
}

// TestBufferTakenBack, or replaced by a shorter one, while bytes are on their way: the request ends with what fitted.
func TestBufferTakenBack(t *testing.T) {
	m, s, _ := newMachine(t)
	s.most = 4
	m.AddTask("task", func(k *kerneltest.Task) {
		at := k.Start.RAMStart + 64
		for _, tt := range []struct{ length, want uint64 }{{0, 0}, {2, 2}, {6, 6}} {
			k.AllowRW(driver, buffer, at, 20)
			k.Command(driver, get, 20, 0)
			k.AllowRW(driver, buffer, at, tt.length)
			got := k.WaitFor(driver, gotten)
			assert.Zero(t, got[0])
			assert.LessOrEqual(t, got[1], tt.want+4)
		}
	}, nil)
	assert.False(t, m.Run())
}

// TestSourceFails: every task that asks is told, with what it got until then.
func TestSourceFails(t *testing.T) {
	m, s, _ := newMachine(t)
	for range 2 {
		m.AddTask("task", func(k *kerneltest.Task) {
			args, _ := ask(k, 150, 150)
			assert.Equal(t, uint64(abi.FAIL), args[0])
			args, _ = ask(k, 10, 10)
			assert.Equal(t, [4]uint64{uint64(abi.FAIL), 0}, args)
		}, nil)
	}
	s.end, s.refuse = abi.FAIL, abi.OK
	m.AddTask("last", func(k *kerneltest.Task) {
		s.refuse = abi.FAIL
		args, _ := ask(k, 10, 10)
		assert.Equal(t, [4]uint64{uint64(abi.FAIL), 0}, args)
	}, nil)
	assert.False(t, m.Run())
}

// TestTaskThatEnds while bytes are on their way to it: they go to nobody, and others are served.
func TestTaskThatEnds(t *testing.T) {
	m, _, r := newMachine(t)
	m.AddTask("ends", func(k *kerneltest.Task) {
		k.AllowRW(driver, buffer, k.Start.RAMStart+64, 20)
		k.Command(driver, get, 20, 0)
	}, nil)
	m.AddTask("goes on", func(k *kerneltest.Task) {
		args, b := ask(k, 10, 10)
		assert.Equal(t, [4]uint64{0, 10}, args)
		assert.NotEqual(t, count(1, 10, 1), b, "they are others")
	}, nil)
	assert.False(t, m.Run())
	assert.False(t, r.busy)
}

func TestNoRoom(t *testing.T) {
	m, s, _ := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		_, end := k.Memop(abi.MemopRAMEnd, 0)
		k.Memop(abi.MemopBrk, end-1)
		assert.Equal(t, [4]uint64{0, uint64(abi.NOMEM)}, k.Command(driver, get, 1, 0))
	}, nil)
	assert.False(t, m.Run())
	assert.Empty(t, s.asked)
}
