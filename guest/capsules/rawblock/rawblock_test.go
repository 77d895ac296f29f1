package rawblock

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/kernel/kerneltest"
)

const driver = abi.DriverRawBlock

// asked is a request that the disk was given.
type asked struct {
	what      string
	tag       uint32
	buf       []byte
	sector, n uint64
}

// disk notes what it is asked for, and answers all of it a while later, or when it is full.
type disk struct {
	machine *kerneltest.Machine
	client  hil.BlockClient
	asked   []asked
	waiting []asked
	refuse  abi.ErrorCode
	end     abi.ErrorCode
}

func (d *disk) SetBlockClient(client hil.BlockClient) { d.client = client }
func (d *disk) Sectors() uint64                       { return 1 << 40 }
func (d *disk) MaxBytes() int                         { return abi.RawBlockPiece }

func (d *disk) ask(a asked) abi.ErrorCode {
	if d.refuse != abi.OK {
		return d.refuse
	}
	d.waiting = append(d.waiting, a)
	a.buf = bytes.Clone(a.buf)
	d.asked = append(d.asked, a)
	d.machine.Alarm.SetAlarm(d.machine.Alarm.Now() + 100)
	return abi.OK
}

func (d *disk) Read(tag uint32, buf []byte, sector uint64) abi.ErrorCode {
	return d.ask(asked{"read", tag, buf, sector, 0})
}

func (d *disk) Write(tag uint32, buf []byte, sector uint64) abi.ErrorCode {
	return d.ask(asked{"write", tag, buf, sector, 0})
}
func (d *disk) Flush(tag uint32) abi.ErrorCode { return d.ask(asked{what: "flush", tag: tag}) }

func (d *disk) Discard(tag uint32, sector, n uint64) abi.ErrorCode {
	return d.ask(asked{"discard", tag, nil, sector, n})
}

func (d *disk) WriteZeroes(tag uint32, sector, n uint64) abi.ErrorCode {
	return d.ask(asked{"zero", tag, nil, sector, n})
}

func (d *disk) Identify(tag uint32, buf []byte) abi.ErrorCode {
	return d.ask(asked{"identify", tag, buf, 0, 0})
}

// AlarmFired answers, the last request first: what is read is the request's tag, over and over.
func (d *disk) AlarmFired() {
	waiting := d.waiting
	d.waiting = nil
	for i := len(waiting) - 1; i >= 0; i-- {
		a := waiting[i]
		if a.what == "read" || a.what == "identify" {
			copy(a.buf, bytes.Repeat([]byte{'0' + byte(a.tag)}, len(a.buf)))
		}
		d.client.BlockDone(a.tag, a.buf, d.end)
	}
}

func newMachine(t *testing.T) (*kerneltest.Machine, *disk) {
	m := kerneltest.New(t, capability.Mint())
	d := &disk{machine: m}
	m.Alarm.SetAlarmClient(d)
	r := new(RawBlock)
	r.Init(&m.Kernel, d, m.Capabilities.MemoryAllocation)
	m.Drivers[driver] = r
	return m, d
}

// do makes a request and waits for its end.
func do(k *kerneltest.Task, command, a0, a1 uint64) [4]uint64 {
	if r := k.Command(driver, command, a0, a1); r != [4]uint64{128} {
		return r
	}
	return k.WaitFor(driver, done)
}

func TestRequests(t *testing.T) {
	m, d := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		at := k.Start.RAMStart
		k.Memop(abi.MemopBrk, at+2*4096)
		k.AllowRO(driver, buffer, at, 4096+512)
		k.AllowRW(driver, buffer, at+512, 1024)
		assert.Equal(t, [4]uint64{128}, k.Command(driver, 0, 0, 0))
		assert.Equal(t, [4]uint64{131, 1 << 40}, k.Command(driver, abi.RawBlockSectors, 0, 0))
		assert.Equal(t, [4]uint64{0, uint64(abi.NOSUPPORT)}, k.Command(driver, abi.RawBlockZero+1, 0, 0))
		assert.Equal(t, [4]uint64{0, 1}, do(k, abi.RawBlockWrite, 7, 1))
		assert.Equal(t, [4]uint64{0, 0}, do(k, abi.RawBlockRead, 8, 0))
		assert.Equal(t, []byte("0000"), k.Load(at+512+1020, 4))
		assert.Equal(t, [4]uint64{0, 0}, do(k, abi.RawBlockIdentify, 0, 0))
		assert.Equal(t, [4]uint64{0, 5}, do(k, abi.RawBlockFlush, 0, 5))
		assert.Equal(t, [4]uint64{0, 8}, do(k, abi.RawBlockDiscard, 9, 8))
		assert.Equal(t, [4]uint64{0, 3}, do(k, abi.RawBlockZero, 1, 3))
		d.end = abi.FAIL
		assert.Equal(t, [4]uint64{uint64(abi.FAIL), 0}, do(k, abi.RawBlockRead, 8, 0))
		d.refuse = abi.INVAL
		assert.Equal(t, [4]uint64{0, uint64(abi.INVAL)}, do(k, abi.RawBlockRead, 8, 0))
	}, nil)
	assert.False(t, m.Run())
	lengths := []int{}
	for i, want := range []asked{{"write", 0, nil, 7, 0}, {"read", 0, nil, 8, 0}, {"identify", 0, nil, 0, 0}, {"flush", 0, nil, 0, 0},
		{"discard", 0, nil, 9, 8}, {"zero", 0, nil, 1, 3}, {"read", 0, nil, 8, 0}} {
		lengths = append(lengths, len(d.asked[i].buf))
		d.asked[i].buf = nil
		assert.Equal(t, want, d.asked[i])
	}
	assert.Equal(t, []int{512, 1024, 1024, 0, 0, 0, 1024}, lengths, "what the buffers have from the pieces on")
}

// TestSideBySide: four requests at once, each about a piece of its own, also of a task that ends meanwhile.
func TestSideBySide(t *testing.T) {
	m, d := newMachine(t)
	m.AddTask("ends", func(k *kerneltest.Task) {
		k.AllowRW(driver, buffer, k.Start.RAMStart, 4096)
		k.Command(driver, abi.RawBlockRead, 0, 0)
	}, nil)
	m.AddTask("task", func(k *kerneltest.Task) {
		k.Memop(abi.MemopBrk, k.Start.RAMStart+2*4096)
		k.AllowRW(driver, buffer, k.Start.RAMStart, 2*4096)
		var ended []uint32
		k.Subscribe(driver, done, k.Function(func(a [3]uint32, _ uint64) { ended = append(ended, a[1]) }), 0)
		for i := range uint64(3) {
			assert.Equal(t, [4]uint64{128}, k.Command(driver, abi.RawBlockRead, i, i))
		}
		assert.Equal(t, [4]uint64{0, uint64(abi.BUSY)}, k.Command(driver, abi.RawBlockRead, 0, 0))
		for len(ended) < 3 {
			k.Wait()
		}
		assert.Equal(t, []uint32{2, 1, 0}, ended)
		assert.Equal(t, []byte("1112"), append(k.Load(k.Start.RAMStart, 3), k.Load(k.Start.RAMStart+4096, 1)...))
	}, nil)
	assert.False(t, m.Run())
	assert.Len(t, d.asked, 4)
}
