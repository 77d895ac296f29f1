package benchmark

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/dma"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/kernel/kerneltest"
	"kapsel/guest/mmio"
)

// device collects what is written to a device.
type device struct {
	mmio.Bus                     // none: there are no other accesses
	values   map[uint16][]uint32 // by offset
	reads    int
}

func (d *device) Write(offset, _ uint16, v uint32) { d.values[offset] = append(d.values[offset], v) }

func (d *device) Read(offset, _ uint16) uint32 {
	d.reads++
	return uint32(offset)
}

// cycles counts a thousand for each tick of the machine's alarm.
type cycles struct{ alarm *kerneltest.Alarm }

func (c cycles) Cycles() uint64           { return 1000 * c.alarm.Now() }
func (c cycles) CyclesAt(t uint64) uint64 { return 1000 * t }

// alarmUser counts the calls of the alarm's client.
type alarmUser struct{ fired int }

func (u *alarmUser) AlarmFired() { u.fired++ }

// storage is a hil.NonvolatileStorage whose reads fill with their number, and end by deferred call.
type storage struct {
	hil.NonvolatileStorage // none: there are no other requests
	client                 hil.NonvolatileStorageClient
	done                   kernel.DeferredCall
	buf                    []byte
	reads                  int
	refuse, fail           int  // which read is refused, and which fails
	slow                   bool // no read ends
}

func (s *storage) SetNonvolatileStorageClient(c hil.NonvolatileStorageClient) { s.client = c }

func (s *storage) Read(buf []byte, address uint64) abi.ErrorCode {
	if s.reads+1 == s.refuse {
		return abi.INVAL
	}
	s.reads++
	s.buf = buf
	s.done.Set()
	return abi.OK
}

func (s *storage) HandleDeferredCall() {
	if s.slow {
		return
	}
	s.buf[0] = byte(s.reads)
	e := abi.OK
	if s.reads == s.fail {
		e = abi.FAIL
	}
	s.client.NonvolatileStorageDone(s.buf, e)
}

type testMachine struct {
	*kerneltest.Machine
	ports, page, memory device
	region              dma.Region
	buffer              dma.Buffer
	storage             storage
	from, to            [8]byte
	counter             Counter
	alarm               Alarm
	user                alarmUser
}

func newMachine(t *testing.T) *testMachine {
	m := &testMachine{Machine: kerneltest.New(t, capability.Mint())}
	m.ports.values, m.page.values = map[uint16][]uint32{}, map[uint16][]uint32{}
	m.alarm.Init(&m.Alarm, cycles{&m.Alarm})
	m.alarm.SetAlarmClient(&m.user)
	m.region = dma.NewRegion(new(dma.Store), make([]byte, 64), 0, m.Capabilities.Hardware)
	m.buffer = m.region.Buffer(64)
	m.storage.done.Register(&m.Kernel, &m.storage)
	driver := new(Benchmark)
	driver.Init(&m.Kernel, Devices{
		Ports:  mmio.NewDevice[Ports](&m.ports, m.Capabilities.Hardware),
		Page:   mmio.NewDevice[Page](&m.page, m.Capabilities.Hardware),
		Memory: mmio.NewDevice[Memory](&m.memory, m.Capabilities.Hardware),
		Other:  &m.counter,
		Buffer: m.buffer,

		Storage: &m.storage,
		From:    m.from[:],
		To:      m.to[:],
	}, &m.alarm, m.Capabilities.MemoryAllocation)
	m.Drivers[abi.DriverBenchmark] = driver
	return m
}

// Answers.
var (
	success   = [4]uint64{uint64(abi.Success)}
	nosupport = [4]uint64{uint64(abi.Failure), uint64(abi.NOSUPPORT)}
	inval     = [4]uint64{uint64(abi.Failure), uint64(abi.INVAL)}
)

// run runs a task that does f, to its end.
func (m *testMachine) run(t *testing.T, f kerneltest.Program) {
	t.Helper()
	m.AddTask("task", f, nil)
	require.False(t, m.Run(), "the task waits for ever")
}

func TestCommands(t *testing.T) {
	m := newMachine(t)
	m.Drivers[abi.DriverBenchmark].(*Benchmark).Boot[abi.BootLoaded] = 12
	m.run(t, func(k *kerneltest.Task) {
		const driver = abi.DriverBenchmark
		assert.Equal(t, success, k.Command(driver, 0, 0, 0))
		assert.Equal(t, nosupport, k.Command(driver, abi.BenchmarkRepeat+1, 0, 0))
		assert.Equal(t, [4]uint64{uint64(abi.SuccessU64), 12}, k.Command(driver, abi.BenchmarkBoot, abi.BootLoaded, 0))
		assert.Equal(t, inval, k.Command(driver, abi.BenchmarkBoot, abi.BootStages, 0))
		for call := range uint64(3) {
			assert.Equal(t, [4]uint64{uint64(abi.SuccessU32), call + 1}, k.Command(driver, abi.BenchmarkEnter, 0, 0))
		}
		assert.Equal(t, success, k.Command(driver, abi.BenchmarkMark, abi.MarkBegin, 9))
		assert.Equal(t, success, k.Command(driver, abi.BenchmarkMark, abi.MarkEnd, 9))
	})
	assert.Equal(t, map[uint16][]uint32{0: {abi.MarkBegin, abi.MarkEnd}}, m.ports.values)
}

func TestEnterCountsForEachTask(t *testing.T) {
	m := newMachine(t)
	var counts []uint64
	for range 2 {
		m.AddTask("task", func(k *kerneltest.Task) {
			k.Command(abi.DriverBenchmark, abi.BenchmarkEnter, 0, 0)
			counts = append(counts, k.Command(abi.DriverBenchmark, abi.BenchmarkEnter, 0, 0)[1])
		}, nil)
	}
	require.False(t, m.Run())
	assert.Equal(t, []uint64{2, 2}, counts)
}

func TestEvent(t *testing.T) {
	m := newMachine(t)
	m.run(t, func(k *kerneltest.Task) {
		const driver = abi.DriverBenchmark
		assert.Equal(t, success, k.Command(driver, abi.BenchmarkEvent, 5, 6))
		assert.Equal(t, [4]uint64{5, 6}, k.WaitFor(driver, event), "without a function it is kept for WaitFor")

		var calls [][3]uint32
		k.Subscribe(driver, event, k.Function(func(args [3]uint32, _ uint64) { calls = append(calls, args) }), 0)
		assert.Equal(t, success, k.Command(driver, abi.BenchmarkEvent, 7, 8))
		assert.Empty(t, calls, "it is called during a Yield alone")
		k.Wait()
		assert.Equal(t, [][3]uint32{{7, 8, 0}}, calls)

		for i := range uint64(12) {
			assert.Equal(t, success, k.Command(driver, abi.BenchmarkEvent, i, 0))
		}
		for range 11 {
			k.Wait()
		}
		assert.False(t, k.NoWait())
		assert.Equal(t, [3]uint32{11}, calls[11], "the newest of those for which the queue had no room")
	})
}

func TestExits(t *testing.T) {
	for _, tt := range []struct {
		name        string
		command     uint64
		ports, page map[uint16][]uint32
	}{
		{"by port I/O", abi.BenchmarkExitPIO, map[uint16][]uint32{abi.PortExit - abi.PortMark: {0, 1, 2}}, map[uint16][]uint32{}},
		{"by device memory", abi.BenchmarkExitMMIO, map[uint16][]uint32{}, map[uint16][]uint32{0: {0, 1, 2}}},
		{"by ioeventfd", abi.BenchmarkExitFD, map[uint16][]uint32{abi.PortEvent - abi.PortMark: {0, 1, 2}}, map[uint16][]uint32{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			m.run(t, func(k *kerneltest.Task) {
				assert.Equal(t, success, k.Command(abi.DriverBenchmark, tt.command, 3, 0))
				assert.Equal(t, success, k.Command(abi.DriverBenchmark, tt.command, 0, 0))
				assert.Equal(t, inval, k.Command(abi.DriverBenchmark, tt.command, abi.BenchmarkMost+1, 0), "ring 0 would not come to an end")
				assert.Equal(t, inval, k.Command(abi.DriverBenchmark, tt.command, 1<<32-1, 0))
			})
			assert.Equal(t, tt.ports, m.ports.values)
			assert.Equal(t, tt.page, m.page.values)
		})
	}
}

func TestRepeat(t *testing.T) {
	m := newMachine(t)
	m.run(t, func(k *kerneltest.Task) {
		repeat := func(n, what uint64) [4]uint64 { return k.Command(abi.DriverBenchmark, abi.BenchmarkRepeat, n, what) }
		assert.Equal(t, success, repeat(5, abi.RepeatPlain))
		assert.Zero(t, m.memory.reads)
		assert.Equal(t, success, repeat(6, abi.RepeatRegister))
		assert.Equal(t, 6, m.memory.reads)
		assert.Equal(t, success, repeat(abi.BenchmarkMost, abi.RepeatCall))
		assert.EqualValues(t, abi.BenchmarkMost, m.counter.calls)
		assert.Equal(t, inval, repeat(abi.BenchmarkMost+1, abi.RepeatCall), "ring 0 would not come to an end")
		assert.Equal(t, success, repeat(7, abi.RepeatBuffer))
		assert.Zero(t, m.region.Refused(), "it is lent when it was")
		_, e := m.buffer.Lend(1)
		assert.Equal(t, abi.OK, e, "it stays lent")
		m.from[3] = 9
		assert.Equal(t, success, repeat(1, abi.RepeatCopy))
		assert.Equal(t, m.from, m.to)
		assert.Equal(t, inval, repeat(1, abi.RepeatCached+1))
	})
}

// TestCached: reads one behind the other, as many as are asked for, and one event for all.
func TestCached(t *testing.T) {
	m := newMachine(t)
	m.run(t, func(k *kerneltest.Task) {
		const driver = abi.DriverBenchmark
		read := func(n uint64) [4]uint64 { return k.Command(driver, abi.BenchmarkRepeat, n, abi.RepeatCached) }
		assert.Equal(t, inval, read(0))
		assert.Equal(t, inval, read(abi.BenchmarkMost+1))
		m.storage.refuse = 1
		assert.Equal(t, inval, read(1))
		m.storage.refuse = 0
		m.storage.slow = true
		assert.Equal(t, success, read(5))
		assert.Equal(t, [4]uint64{uint64(abi.Failure), uint64(abi.BUSY)}, read(1))
		m.storage.slow = false
		m.storage.done.Set()
		assert.Equal(t, [4]uint64{}, k.WaitFor(driver, event))
		assert.Equal(t, 5, m.storage.reads)
		assert.EqualValues(t, 5, m.to[0])
		m.storage.fail = 7
		assert.Equal(t, success, read(4))
		assert.Equal(t, [4]uint64{uint64(abi.FAIL)}, k.WaitFor(driver, event))
		m.storage.refuse = 9
		assert.Equal(t, success, read(4))
		assert.Equal(t, [4]uint64{uint64(abi.INVAL)}, k.WaitFor(driver, event))
		assert.Equal(t, 8, m.storage.reads)
	})
}

// sectors is a hil.BlockClient.
type sectors struct{ ended []byte }

func (s *sectors) BlockDone(tag uint32, buf []byte, e abi.ErrorCode) {
	s.ended = append(s.ended, byte(tag), buf[0], byte(e))
}

func TestDisk(t *testing.T) {
	m := kerneltest.New(t, capability.Mint())
	d, s := new(Disk), new(sectors)
	d.Init(&m.Kernel)
	d.SetBlockClient(s)
	buf := bytes.Repeat([]byte{5}, 1024)
	assert.EqualValues(t, 8, d.Sectors())
	assert.Equal(t, abi.SIZE, d.Read(1, nil, 0))
	assert.Equal(t, abi.SIZE, d.Read(1, buf[:100], 0))
	assert.Equal(t, abi.INVAL, d.Read(1, buf, 7))
	assert.Equal(t, abi.INVAL, d.Read(1, buf, 1<<64-1))
	assert.Equal(t, abi.NOSUPPORT, d.Write(1, buf, 0))
	assert.Equal(t, abi.OK, d.Read(2, buf, 6))
	assert.Equal(t, abi.BUSY, d.Read(3, buf, 6))
	assert.Empty(t, s.ended)
	m.AddTask("task", func(k *kerneltest.Task) { k.NoWait() }, nil)
	assert.False(t, m.Run())
	assert.Equal(t, []byte{2, 0, 0}, s.ended)
	assert.Equal(t, make([]byte, 1024), buf)
}

// The alarm does what it would do without the capsule, and its times can be read.
func TestAlarm(t *testing.T) {
	m := newMachine(t)
	m.run(t, func(k *kerneltest.Task) {
		read := func(command uint64) uint64 {
			r := k.Command(abi.DriverBenchmark, command, 0, 0)
			assert.Equal(t, uint64(abi.SuccessU64), r[0])
			return r[1]
		}
		assert.Zero(t, read(abi.BenchmarkFired))
		deadline := m.alarm.Now() + 500
		m.alarm.SetAlarm(deadline)
		assert.Equal(t, 1000*deadline, read(abi.BenchmarkDeadline))
		k.Spin(400)
		assert.Zero(t, m.user.fired)
		k.Spin(400)
		assert.Equal(t, 1, m.user.fired)
		fired := read(abi.BenchmarkFired)
		assert.GreaterOrEqual(t, fired, 1000*deadline)
		assert.Less(t, fired, 1000*(deadline+100))

		m.alarm.SetAlarm(m.alarm.Now() + 500)
		m.alarm.Disarm()
		k.Spin(1000)
		assert.Equal(t, 1, m.user.fired)
		assert.Equal(t, fired, read(abi.BenchmarkFired))
	})
}

// Buffers can be shared, so that Allow can be measured, and only under number 0.
func TestBuffers(t *testing.T) {
	m := newMachine(t)
	m.run(t, func(k *kerneltest.Task) {
		buffer := k.Start.RAMStart
		first := [4]uint64{uint64(abi.SuccessAddrLen)}
		again := [4]uint64{uint64(abi.SuccessAddrLen), buffer, 8}
		assert.Equal(t, first, k.AllowRW(abi.DriverBenchmark, 0, buffer, 8))
		assert.Equal(t, again, k.AllowRW(abi.DriverBenchmark, 0, buffer, 8))
		assert.Equal(t, first, k.AllowRO(abi.DriverBenchmark, 0, buffer, 8))
		assert.Equal(t, again, k.AllowRO(abi.DriverBenchmark, 0, buffer, 8))
		refused := [4]uint64{uint64(abi.FailureAddrLen), uint64(abi.NOSUPPORT), buffer, 8}
		assert.Equal(t, refused, k.AllowRW(abi.DriverBenchmark, 1, buffer, 8))
		assert.Equal(t, refused, k.AllowRO(abi.DriverBenchmark, 1, buffer, 8))
	})
}
