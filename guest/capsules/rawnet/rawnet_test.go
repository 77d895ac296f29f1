package rawnet

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/kernel/kerneltest"
)

const driver = abi.DriverRawNet

// loop is a network that gives each frame back, to who waits for one, a while after it was sent.
type loop struct {
	machine *kerneltest.Machine
	client  hil.EthernetClient
	out, in []byte // the client's
	size    int
	sizes   []int
	end     abi.ErrorCode
}

func (l *loop) SetEthernetClient(client hil.EthernetClient) { l.client = client }
func (l *loop) Address() hil.EthernetAddress                { return hil.EthernetAddress{2, 1, 2, 3, 4, 5} }
func (l *loop) MTU() int                                    { return 1500 }
func (l *loop) LinkUp() bool                                { return true }

func (l *loop) SendFrame(buf []byte, n int) abi.ErrorCode {
	if n < hil.MinFrame {
		return abi.SIZE
	}
	l.out, l.size, l.sizes = buf, n, append(l.sizes, n)
	l.machine.Alarm.SetAlarm(l.machine.Alarm.Now() + 100)
	return abi.OK
}

func (l *loop) ReceiveFrame(buf []byte) abi.ErrorCode {
	if l.in != nil {
		return abi.BUSY
	}
	l.in = buf
	return abi.OK
}

func (l *loop) AlarmFired() {
	frame, out, in := bytes.Clone(l.out[:l.size]), l.out, l.in
	l.out, l.in = nil, nil
	l.client.FrameSent(out, l.end)
	if in != nil {
		l.client.FrameReceived(in, copy(in, frame), abi.OK)
	}
}

func newMachine(t *testing.T) (*kerneltest.Machine, *loop) {
	m := kerneltest.New(t, capability.Mint())
	l := &loop{machine: m}
	m.Alarm.SetAlarmClient(l)
	r := new(RawNet)
	r.Init(&m.Kernel, l, m.Capabilities.MemoryAllocation)
	m.Drivers[driver] = r
	return m, l
}

var success = [4]uint64{128}

func TestFrames(t *testing.T) {
	m, l := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		at := k.Start.RAMStart
		k.Memop(abi.MemopBrk, at+2*4096)
		assert.Equal(t, success, k.Command(driver, 0, 0, 0))
		assert.Equal(t, [4]uint64{131, 0x0504_0302_0102}, k.Command(driver, abi.RawNetAddress, 0, 0))
		assert.Equal(t, [4]uint64{0, uint64(abi.NOSUPPORT)}, k.Command(driver, abi.RawNetReceive+1, 0, 0))
		assert.Equal(t, [4]uint64{0, uint64(abi.SIZE)}, k.Command(driver, abi.RawNetSend, 100, 0), "nothing is shared")
		k.Store(at, []byte("a frame of 20 bytes.")...)
		k.AllowRO(driver, out, at, 4096)
		k.AllowRW(driver, in, at+4096, 16)
		assert.Equal(t, success, k.Command(driver, abi.RawNetReceive, 0, 0))
		assert.Equal(t, [4]uint64{0, uint64(abi.BUSY)}, k.Command(driver, abi.RawNetReceive, 0, 0))
		assert.Equal(t, success, k.Command(driver, abi.RawNetSend, 20, 0))
		assert.Equal(t, [4]uint64{0, uint64(abi.BUSY)}, k.Command(driver, abi.RawNetSend, 20, 0))
		assert.Equal(t, [4]uint64{0, 0}, k.WaitFor(driver, sent))
		assert.Equal(t, [4]uint64{0, 20}, k.WaitFor(driver, received), "its length, though the buffer has 16 bytes")
		assert.Equal(t, "a frame of 20 by\x00", string(k.Load(at+4096, 17)))
		l.end = abi.FAIL
		assert.Equal(t, success, k.Command(driver, abi.RawNetSend, 1<<32-1, 0))
		assert.Equal(t, [4]uint64{uint64(abi.FAIL)}, k.WaitFor(driver, sent))
	}, nil)
	assert.False(t, m.Run())
	assert.Equal(t, []int{20, hil.MaxFrame}, l.sizes)
}

// TestTaskThatEnds: a task that ends while its frame is sent, and while it waits for one, takes that one along, and leaves the
// network to the others.
func TestTaskThatEnds(t *testing.T) {
	m, l := newMachine(t)
	m.AddTask("ends", func(k *kerneltest.Task) {
		k.AllowRO(driver, out, k.Start.RAMStart, 64)
		assert.Equal(t, success, k.Command(driver, abi.RawNetReceive, 0, 0))
		assert.Equal(t, success, k.Command(driver, abi.RawNetSend, 64, 0))
	}, nil)
	m.AddTask("task", func(k *kerneltest.Task) {
		at := k.Start.RAMStart
		k.AllowRO(driver, out, at, 32)
		k.AllowRW(driver, in, at, 64)
		busy := [4]uint64{0, uint64(abi.BUSY)}
		assert.Equal(t, busy, k.Command(driver, abi.RawNetSend, 32, 0))
		for k.Command(driver, abi.RawNetReceive, 0, 0) == busy {
			k.Spin(100)
		}
		assert.Equal(t, success, k.Command(driver, abi.RawNetSend, 32, 0))
		assert.Equal(t, [4]uint64{0, 0}, k.WaitFor(driver, sent))
		assert.Equal(t, [4]uint64{0, 32}, k.WaitFor(driver, received))
	}, nil)
	assert.False(t, m.Run())
	assert.Equal(t, []int{64, 32}, l.sizes)
}
