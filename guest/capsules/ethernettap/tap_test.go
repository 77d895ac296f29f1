package ethernettap

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/kernel/kerneltest"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

const (
	driver = abi.DriverEthernetTap
	line   = 5 // the device's interrupt
)

// A device sends a frame in 100 microseconds, and receives what a test gives it.
type device struct {
	t       *testing.T
	machine *kerneltest.Machine
	client  hil.EthernetClient
	mtu     int
	down    bool
	broken  bool

	out  []byte // that is being sent
	n    int
	sent [][]byte
	end  abi.ErrorCode // how sending ends

	in    []byte // that waits for a frame
	came  [][]byte
	given int
}

func (d *device) SetEthernetClient(client hil.EthernetClient) { d.client = client }
func (d *device) Address() hil.EthernetAddress                { return hil.EthernetAddress{2, 1, 2, 3, 4, 5} }
func (d *device) MTU() int                                    { return d.mtu }
func (d *device) LinkUp() bool                                { return !d.down }

func (d *device) SendFrame(buf []byte, n int) abi.ErrorCode {
	switch {
	case d.broken:
		return abi.FAIL
	case d.out != nil:
		return abi.BUSY
	case n < hil.MinFrame || n > hil.EthernetHeader+d.mtu || n > len(buf):
		return abi.SIZE
	}
	d.out, d.n = buf, n
	d.machine.Alarm.SetAlarm(d.machine.Alarm.Now() + 100)
	return abi.OK
}

// AlarmFired implements hil.AlarmClient: the frame is sent.
func (d *device) AlarmFired() {
	out := d.out
	d.out = nil
	if d.end == abi.OK {
		d.sent = append(d.sent, bytes.Clone(out[:d.n]))
	}
	d.client.FrameSent(out, d.end)
}

func (d *device) ReceiveFrame(buf []byte) abi.ErrorCode {
	require.Nil(d.t, d.in)
	require.GreaterOrEqual(d.t, len(buf), hil.MaxFrame)
	if d.broken {
		return abi.FAIL
	}
	d.in = buf
	d.machine.CPU.Raise(line)
	return abi.OK
}

// comes has frames come.
func (d *device) comes(frames ...[]byte) {
	d.came = append(d.came, frames...)
	d.machine.CPU.Raise(line)
}

// serve is the device's interrupt.
func (d *device) serve() {
	if d.in == nil || len(d.came) == 0 {
		return
	}
	in, frame := d.in, d.came[0]
	d.in, d.came = nil, d.came[1:]
	d.given++
	d.client.FrameReceived(in, copy(in, frame), abi.OK)
}

// breaks has the device break as virtionet's does.
func (d *device) breaks() {
	d.broken = true
	if d.out != nil {
		d.end = abi.FAIL
		d.AlarmFired()
	}
	if in := d.in; in != nil {
		d.in = nil
		d.client.FrameReceived(in, 0, abi.FAIL)
	}
}

func newMachine(t *testing.T) (*kerneltest.Machine, *device, *EthernetTap) {
	m := kerneltest.New(t, capability.Mint())
	d := &device{t: t, machine: m, mtu: 1500}
	m.Alarm.SetAlarmClient(d)
	m.Lines[line] = d.serve
	tap := new(EthernetTap)
	tap.Init(&m.Kernel, d, &m.Alarm, make([]byte, MemorySize), m.Capabilities.MemoryAllocation)
	m.Drivers[driver] = tap
	return m, d, tap
}

// widths are the two kinds of tasks.
var widths = map[string]func(*tbfbuild.Spec){"64": nil, "32": func(s *tbfbuild.Spec) { s.ABI64 = false }}

// Where tasks have their buffers, from the start of RAM on.
const (
	frameAt   = 64
	infoAt    = 1600
	streamAt  = 1616
	streamLen = 2048
	top       = 8192
)

// begin gives a task room for its buffers.
func begin(k *kerneltest.Task) { k.Memop(abi.MemopBrk, k.Start.RAMStart+top) }

// share shares a frame that is to be sent.
func share(k *kerneltest.Task, frame []byte) {
	k.Store(k.Start.RAMStart+frameAt, frame...)
	k.AllowRO(driver, abi.TapFrame, k.Start.RAMStart+frameAt, uint64(len(frame)))
}

// listen shares an empty stream.
func listen(k *kerneltest.Task, length uint64) {
	k.Store(k.Start.RAMStart+streamAt, make([]byte, abi.StreamHeaderSize)...)
	k.AllowRW(driver, abi.TapFrames, k.Start.RAMStart+streamAt, length)
}

// A received frame, as a task finds it.
type received struct {
	flags uint16
	time  uint64
	frame string
}

// heard takes a stream apart.
func heard(t *testing.T, stream []byte) (frames []received) {
	le := binary.LittleEndian
	for at, end := uint32(8), 8+le.Uint32(stream[4:]); at < end; {
		h := stream[at:]
		n := uint32(le.Uint16(h[2:]))
		frames = append(frames, received{le.Uint16(h), le.Uint64(h[4:]), string(h[12 : 12+n])})
		at += 12 + n
		require.LessOrEqual(t, at, end)
	}
	return frames
}

func frame(n, which int) []byte {
	return append(fmt.Appendf(nil, "frame %8d", which), make([]byte, n-14)...)
}

const (
	success = uint64(abi.Success)
	failure = uint64(abi.Failure)
)

func failed(e abi.ErrorCode) [4]uint64 { return [4]uint64{failure, uint64(e)} }

// TestCommandsOfTock: each command by its number, with the variant that it answers, for 32-bit and for 64-bit tasks
// (capsules/extra/src/ethernet_tap.rs, command and command_transmit_frame).
func TestCommandsOfTock(t *testing.T) {
	for width, change := range widths {
		t.Run(width, func(t *testing.T) {
			m, d, _ := newMachine(t)
			d.mtu = 1000
			m.AddTask("task", func(k *kerneltest.Task) {
				begin(k)
				share(k, frame(1200, 1))
				address := [4]uint64{uint64(abi.SuccessU64), 0x0504_0302_0102}
				if width == "32" {
					address = [4]uint64{uint64(abi.SuccessU64), 0x0302_0102, 0x0504}
				}
				for _, tt := range []struct {
					says            string
					command, a0, a1 uint64
					want            [4]uint64
				}{
					{"0: CommandReturn::success()", 0, 0, 0, [4]uint64{success}},
					{"1: success_u32_u32_u32(rx_frames, rx_bytes, rx_frames_dropped)", 1, 0, 0, [4]uint64{uint64(abi.Success3U32), 0, 0, 0}},
					{"2: success_u32_u32(tx_frames, tx_bytes)", 2, 0, 0, [4]uint64{uint64(abi.Success2U32), 0, 0}},
					{"3: SIZE: the frame exceeds the MTU", 3, 1015, 0, failed(abi.SIZE)},
					{"3: SIZE: the frame exceeds the buffer", 3, 1201, 0, failed(abi.SIZE)},
					{"3: SIZE: it exceeds u16::MAX", 3, 0x1_0040, 0, failed(abi.SIZE)},
					{"3: SIZE: shorter than an Ethernet header, which a frame starts with", 3, 13, 0, failed(abi.SIZE)},
					{"3: success: the frame was queued", 3, 1014, 7, [4]uint64{success}},
					{"3: BUSY: a frame is being transmitted", 3, 1014, 8, failed(abi.BUSY)},
					{"4: NOSUPPORT", 4, 0, 0, failed(abi.NOSUPPORT)},
					{"0xff: NOSUPPORT", 0xff, 0, 0, failed(abi.NOSUPPORT)},
					{"Kapsel's own, 0x100: the address", 0x100, 0, 0, address},
					{"Kapsel's own, 0x101: MTU and link", 0x101, 0, 0, [4]uint64{uint64(abi.Success2U32), 1000, 1}},
					{"0x102: NOSUPPORT", 0x102, 0, 0, failed(abi.NOSUPPORT)},
				} {
					assert.Equal(t, tt.want, k.Command(driver, tt.command, tt.a0, tt.a1), tt.says)
				}
				for _, n := range []uint64{abi.TapSent + 1, 99} {
					assert.Equal(t, uint64(abi.NOSUPPORT), k.Subscribe(driver, n, 0, 0)[1], "upcall::COUNT is 2")
				}
				assert.Equal(t, uint64(abi.NOSUPPORT), k.AllowRO(driver, 1, 0, 0)[1], "ro_allow::COUNT is 1")
				assert.Equal(t, uint64(abi.NOSUPPORT), k.AllowRW(driver, 2, 0, 0)[1], "rw_allow::COUNT is 2")
			}, change)
			assert.False(t, m.Run())
		})
	}
}

// TestAsLibtockCalls: subscribe, allow, command, yield-wait-for, by 32-bit and by 64-bit tasks: a frame out, with its upcall
// (status, flags and length, identifier) and its time, and a frame in, with its header.
func TestAsLibtockCalls(t *testing.T) {
	for width, change := range widths {
		t.Run(width, func(t *testing.T) {
			m, d, _ := newMachine(t)
			m.AddTask("task", func(k *kerneltest.Task) {
				begin(k)
				ram := k.Start.RAMStart
				k.Subscribe(driver, abi.TapSent, 0, 0)
				k.AllowRW(driver, abi.TapSentInfo, ram+infoAt, 8)
				share(k, frame(80, 1))
				before := m.Alarm.Now()
				assert.Equal(t, [4]uint64{success}, k.Command(driver, 3, 70, 0xdead_beef))
				assert.Equal(t, [4]uint64{0, 1<<16 | 70, 0xdead_beef}, k.WaitFor(driver, abi.TapSent))
				at := binary.BigEndian.Uint64(k.Load(ram+infoAt, 8))
				assert.True(t, before+100 <= at && at <= m.Alarm.Now(), "sent at %d", at)
				assert.Equal(t, [4]uint64{130, 1, 70}, k.Command(driver, 2, 0, 0))

				k.Subscribe(driver, abi.TapReceived, 0, 0)
				listen(k, streamLen)
				before = m.Alarm.Now()
				d.comes(frame(61, 2))
				assert.Equal(t, [4]uint64{}, k.WaitFor(driver, abi.TapReceived))
				got := heard(t, k.Load(ram+streamAt, streamLen))
				require.Len(t, got, 1)
				assert.Equal(t, string(frame(61, 2)), got[0].frame)
				assert.Equal(t, uint16(1), got[0].flags)
				assert.True(t, before <= got[0].time && got[0].time <= m.Alarm.Now(), "came at %d", got[0].time)
				assert.Equal(t, [4]uint64{132, 1, 61, 0}, k.Command(driver, 1, 0, 0))
			}, change)
			assert.False(t, m.Run())
			assert.Equal(t, [][]byte{frame(80, 1)[:70]}, d.sent)
		})
	}
}

// TestWithoutAClock: the flags of times are clear.
func TestWithoutAClock(t *testing.T) {
	m, d, tap := newMachine(t)
	tap.time = nil
	m.AddTask("task", func(k *kerneltest.Task) {
		begin(k)
		k.AllowRW(driver, abi.TapSentInfo, k.Start.RAMStart+infoAt, 7) // too short for a time
		share(k, frame(60, 1))
		listen(k, streamLen)
		k.Command(driver, 3, 60, 5)
		assert.Equal(t, [4]uint64{0, 60, 5}, k.WaitFor(driver, abi.TapSent))
		assert.Equal(t, make([]byte, 8), k.Load(k.Start.RAMStart+infoAt, 8))
		d.comes(frame(60, 2))
		k.WaitFor(driver, abi.TapReceived)
		assert.Equal(t, []received{{0, 0, string(frame(60, 2))}}, heard(t, k.Load(k.Start.RAMStart+streamAt, streamLen)))
	}, nil)
	assert.False(t, m.Run())
}

// TestReceive: one upcall for each buffer; what has no room is dropped, wholly, and counted, and a smaller frame behind it still comes.
func TestReceive(t *testing.T) {
	m, d, _ := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		begin(k)
		upcalls := 0
		k.Subscribe(driver, abi.TapReceived, k.Function(func([3]uint32, uint64) { upcalls++ }), 0)
		listen(k, 8+3*(12+100))
		d.comes(frame(100, 1), frame(100, 2), frame(101, 3), frame(100, 4), frame(14, 5))
		k.Spin(500)
		for k.NoWait() {
		}
		assert.Equal(t, 1, upcalls)
		stream := k.Load(k.Start.RAMStart+streamAt, streamLen)
		var got []string
		for _, r := range heard(t, stream) {
			got = append(got, r.frame)
		}
		assert.Equal(t, []string{string(frame(100, 1)), string(frame(100, 2)), string(frame(100, 4))}, got)
		assert.Equal(t, byte(abi.StreamExceeded), stream[3])
		assert.Equal(t, [4]uint64{132, 3, 300, 2}, k.Command(driver, 1, 0, 0))

		listen(k, streamLen)
		d.comes(frame(60, 6))
		k.Spin(200)
		assert.True(t, k.NoWait())
		assert.Equal(t, 2, upcalls, "the first in another buffer")

		k.AllowRW(driver, abi.TapFrames, 0, 0)
		d.comes(frame(60, 7))
		k.Spin(200)
		assert.Equal(t, [4]uint64{132, 4, 360, 3}, k.Command(driver, 1, 0, 0), "without a buffer all are dropped, as on Tock")
	}, nil)
	assert.False(t, m.Run())
	assert.Equal(t, 7, d.given)
}

// TestSwapLosesNothing: frames that come all the time are in one of two buffers that a task swaps.
func TestSwapLosesNothing(t *testing.T) {
	const frames = 500
	m, d, _ := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		begin(k)
		size := uint64(8 + 1000)
		at := [2]uint64{k.Start.RAMStart + 1024, k.Start.RAMStart + 4096}
		k.AllowRW(driver, abi.TapFrames, at[0], size)
		next := 0
		for i := 1; i <= frames; i++ {
			d.comes(frame(14+i%50, i)) // at the next interrupt, in front of the swap or behind it
			k.Spin(uint64(i % 3))
			k.Store(at[i%2], make([]byte, 8)...)
			r := k.AllowRW(driver, abi.TapFrames, at[i%2], size)
			assert.Equal(t, [4]uint64{135, at[1-i%2], size}, r)
			for _, r := range heard(t, k.Load(at[1-i%2], size)) {
				next++
				assert.Equal(t, string(frame(14+next%50, next)), r.frame)
			}
		}
		assert.Equal(t, frames, next)
		assert.Zero(t, k.Command(driver, 1, 0, 0)[3], "dropped")
	}, nil)
	assert.False(t, m.Run())
}

// TestFrameForManyTasks: each gets it, and no more than a few in one piece of work; the device receives the next one when all have it.
func TestFrameForManyTasks(t *testing.T) {
	const tasks = 11
	m, d, tap := newMachine(t)
	for i := range tasks {
		m.AddTask(fmt.Sprint(i), func(k *kerneltest.Task) {
			begin(k)
			listen(k, streamLen)
			k.Wait()
		}, nil)
	}
	assert.True(t, m.Run())
	have := func() (n int) {
		for i := range tasks {
			k := m.Task(i)
			n += len(heard(t, k.Load(k.Start.RAMStart+streamAt, streamLen)))
		}
		return n
	}
	assert.Equal(t, 0, have())
	d.came = append(d.came, frame(1000, 1), frame(14, 2))
	d.serve()
	for _, want := range []int{4, 8} {
		assert.Equal(t, want, have())
		d.serve() // the second frame waits
		assert.Nil(t, d.in)
		tap.HandleDeferredCall()
	}
	assert.Equal(t, tasks, have())
	assert.NotNil(t, d.in)
}

// TestTasksTakeTurns: who sends again and again holds nobody up; a task's second frame does not wait beside its first.
func TestTasksTakeTurns(t *testing.T) {
	m, d, _ := newMachine(t)
	for i := range 3 {
		m.AddTask(fmt.Sprint(i), func(k *kerneltest.Task) {
			begin(k)
			for n := range uint64(5) {
				share(k, frame(60, i))
				assert.Equal(t, [4]uint64{success}, k.Command(driver, 3, 60, n))
				assert.Equal(t, failed(abi.BUSY), k.Command(driver, 3, 60, n))
				assert.Equal(t, [4]uint64{0, 1<<16 | 60, n}, k.WaitFor(driver, abi.TapSent))
			}
			assert.Equal(t, [4]uint64{130, 5, 300}, k.Command(driver, 2, 0, 0))
		}, nil)
	}
	assert.False(t, m.Run())
	require.Len(t, d.sent, 15)
	for i := range 15 {
		assert.Equal(t, frame(60, i%3), d.sent[i], "frame %d", i)
	}
}

// TestBufferTakenBack, or replaced by a shorter one, while another task's frame is sent: the task is told at its turn, by the
// upcall, as on Tock; the next has its turn.
func TestBufferTakenBack(t *testing.T) {
	m, d, _ := newMachine(t)
	m.AddTask("first", func(k *kerneltest.Task) {
		begin(k)
		share(k, frame(60, 1))
		k.Command(driver, 3, 60, 1)
		k.WaitFor(driver, abi.TapSent)
	}, nil)
	for i := range 8 {
		m.AddTask(fmt.Sprint("takes back ", i), func(k *kerneltest.Task) {
			begin(k)
			share(k, frame(60, 2))
			assert.Equal(t, [4]uint64{success}, k.Command(driver, 3, 60, 2))
			k.AllowRO(driver, abi.TapFrame, k.Start.RAMStart+frameAt, uint64(i*7))
			assert.Equal(t, [4]uint64{uint64(abi.SIZE), 0, 2}, k.WaitFor(driver, abi.TapSent))
			assert.Equal(t, [4]uint64{130, 0, 0}, k.Command(driver, 2, 0, 0))
		}, nil)
	}
	m.AddTask("last", func(k *kerneltest.Task) {
		begin(k)
		share(k, frame(60, 3))
		assert.Equal(t, [4]uint64{success}, k.Command(driver, 3, 60, 3))
		assert.Equal(t, [4]uint64{0, 1<<16 | 60, 3}, k.WaitFor(driver, abi.TapSent))
	}, nil)
	assert.False(t, m.Run())
	assert.Equal(t, [][]byte{frame(60, 1), frame(60, 3)}, d.sent)
}

// TestTaskThatEnds or restarts while its frame is sent or waits: what was given to the device goes out, nobody is told, and
// others have their turns.
func TestTaskThatEnds(t *testing.T) {
	m, d, tap := newMachine(t)
	for i := range 2 {
		m.AddTask(fmt.Sprint("ends ", i), func(k *kerneltest.Task) {
			begin(k)
			share(k, frame(60, i))
			k.Command(driver, 3, 60, 9)
		}, nil)
	}
	lives := 0
	m.AddTask("restarts", func(k *kerneltest.Task) {
		lives++
		begin(k)
		share(k, frame(60, 10+lives))
		assert.Equal(t, [4]uint64{success}, k.Command(driver, 3, 60, uint64(lives)))
		if lives == 1 {
			k.Restart(0)
		}
		assert.Equal(t, [4]uint64{0, 1<<16 | 60, 2}, k.WaitFor(driver, abi.TapSent))
	}, nil)
	assert.False(t, m.Run())
	assert.Equal(t, [][]byte{frame(60, 0), frame(60, 12)}, d.sent)
	assert.Equal(t, [2]bool{false, false}, [2]bool{tap.sending, tap.waiting})
}

// TestRestartWhileSending: the new run is not told of the old one's frame.
func TestRestartWhileSending(t *testing.T) {
	m, d, _ := newMachine(t)
	lives := 0
	m.AddTask("restarts", func(k *kerneltest.Task) {
		lives++
		begin(k)
		share(k, frame(60, lives))
		assert.Equal(t, [4]uint64{success}, k.Command(driver, 3, 60, uint64(lives)))
		if lives == 1 {
			k.Restart(0)
		}
		assert.Equal(t, [4]uint64{0, 1<<16 | 60, 2}, k.WaitFor(driver, abi.TapSent))
		assert.Equal(t, [4]uint64{130, 1, 60}, k.Command(driver, 2, 0, 0))
	}, nil)
	assert.False(t, m.Run())
	assert.Equal(t, [][]byte{frame(60, 1), frame(60, 2)}, d.sent)
}

// TestTaskThatEndsWhileAFrameIsPassedOn, with tasks on both sides of it.
func TestTaskThatEndsWhileAFrameIsPassedOn(t *testing.T) {
	m, d, tap := newMachine(t)
	for i := range 6 {
		m.AddTask(fmt.Sprint(i), func(k *kerneltest.Task) {
			begin(k)
			listen(k, streamLen)
			if i > 3 {
				k.WaitFor(driver, abi.TapReceived)
			}
			k.Wait()
		}, nil)
	}
	assert.True(t, m.Run())
	d.came = append(d.came, frame(60, 1))
	d.serve()
	assert.Equal(t, abi.OK, m.Kernel.Terminate(tapTask(tap, 4), m.Capabilities.TaskManagement))
	tap.HandleDeferredCall()
	k := m.Task(5)
	assert.Len(t, heard(t, k.Load(k.Start.RAMStart+streamAt, streamLen)), 1)
	assert.NotNil(t, d.in)
}

// tapTask is the task in a slot.
func tapTask(tap *EthernetTap, slot uint32) (id kernel.TaskID) {
	tap.grant.Next(slot, func(_ *station, task *kernel.TaskData) { id = task.ID() })
	return id
}

// TestDeviceBreaks: who sends and who waits is told, commands fail, and the link is down.
func TestDeviceBreaks(t *testing.T) {
	m, d, _ := newMachine(t)
	for i := range 3 {
		m.AddTask(fmt.Sprint(i), func(k *kerneltest.Task) {
			begin(k)
			share(k, frame(60, i))
			assert.Equal(t, [4]uint64{success}, k.Command(driver, 3, 60, uint64(i)))
			if i == 2 {
				d.breaks()
			}
			assert.Equal(t, [4]uint64{uint64(abi.FAIL), 0, uint64(i)}, k.WaitFor(driver, abi.TapSent))
			assert.Equal(t, failed(abi.FAIL), k.Command(driver, 3, 60, 0))
			assert.Equal(t, [4]uint64{130, 1500, 0}, k.Command(driver, abi.TapLink, 0, 0))
		}, nil)
	}
	assert.False(t, m.Run())
	assert.Empty(t, d.sent)
}

// TestLinkDown is told to who asks.
func TestLinkDown(t *testing.T) {
	m, d, _ := newMachine(t)
	d.down = true
	m.AddTask("task", func(k *kerneltest.Task) {
		assert.Equal(t, [4]uint64{130, 1500, 0}, k.Command(driver, abi.TapLink, 0, 0))
	}, nil)
	assert.False(t, m.Run())
}

func TestNoRoomForTheGrant(t *testing.T) {
	m, d, _ := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		_, end := k.Memop(abi.MemopRAMEnd, 0)
		k.Memop(abi.MemopBrk, end-1)
		for _, command := range []uint64{1, 2, 3} {
			assert.Equal(t, failed(abi.NOMEM), k.Command(driver, command, 60, 0))
		}
	}, nil)
	assert.False(t, m.Run())
	assert.Empty(t, d.sent)
}

// TestNobodyListens: frames that come before any task uses the driver are gone, and the device receives on.
func TestNobodyListens(t *testing.T) {
	m, d, _ := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		d.comes(frame(60, 1), frame(60, 2))
		k.Spin(100)
		assert.Equal(t, 2, d.given)
	}, nil)
	assert.False(t, m.Run())
	assert.NotNil(t, d.in)
}
