package appflash

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

const driver = abi.DriverAppFlash

var success = [4]uint64{128}

func failed(e abi.ErrorCode) [4]uint64 { return [4]uint64{0, uint64(e)} }

func newMachine(t *testing.T) (*kerneltest.Machine, *AppFlash) {
	m := kerneltest.New(t, capability.Mint())
	a := new(AppFlash)
	a.Init(&m.Kernel, m.Capabilities.MemoryAllocation, m.Capabilities.FlashWriting)
	m.Drivers[driver] = a
	return m, a
}

// regions give an object two writeable flash regions behind one another, of no whole pages.
func regions(s *tbfbuild.Spec) {
	s.BinaryOffset = 0x80
	s.Binary = bytes.Repeat([]byte{0x90}, 0x2000)
	s.Writeable = []tbf.Region{{Offset: 0x400, Size: 0x40}, {Offset: 0x440, Size: 0x1000}}
}

const first, second = abi.FlashStart + 0x480, abi.FlashStart + 0x4c0 // where they are

// ask shares bytes and writes them.
func ask(k *kerneltest.Task, b []byte, address uint64) [4]uint64 {
	share(k, b)
	return k.Command(driver, write, address, 0)
}

// TestCommands: answers and upcalls of capsules/extra/src/app_flash_driver.rs.
func TestCommands(t *testing.T) {
	m, _ := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		assert.Equal(t, success, k.Command(driver, exists, 0, 0))
		assert.Equal(t, failed(abi.NOSUPPORT), k.Command(driver, 2, 0, 0))
		assert.Equal(t, failed(abi.RESERVE), k.Command(driver, write, first, 0), "no buffer")
		assert.Equal(t, success, ask(k, []byte("kept"), first))
		assert.Equal(t, [4]uint64{}, k.WaitFor(driver, written))
		assert.Equal(t, []byte("\x90kept\x90"), k.Load(first-1, 6))
		assert.Equal(t, success, ask(k, bytes.Repeat([]byte{7}, 0x40), first), "all of the region")
		assert.Equal(t, [4]uint64{}, k.WaitFor(driver, written))
		assert.Equal(t, []byte{0x90, 7}, k.Load(first-1, 2))
		assert.Equal(t, []byte{7, 0x90}, k.Load(second-1, 2))
	}, regions)
	assert.False(t, m.Run())
}

// TestRefusedPlaces: nothing outside of one region is written: no header, no code, no RAM, nothing across its end.
func TestRefusedPlaces(t *testing.T) {
	m, _ := newMachine(t)
	check := func(k *kerneltest.Task) {
		for _, at := range []uint64{0, first - 1, first + 0x3f, second + 0xfff, second + 0x1000, abi.FlashStart, abi.FlashStart + 0x80,
			abi.RAMStart, 0xffff_ffff, 0xffff_fffe} {
			assert.Equal(t, failed(abi.INVAL), ask(k, []byte{1, 2}, at), "%#x", at)
			k.AllowRO(driver, buffer, 0, 0)
			if at-first >= 0x1040 {
				assert.Equal(t, failed(abi.INVAL), k.Command(driver, write, at, 0), "%#x, no buffer", at)
			}
		}
		assert.NotContains(t, k.Load(abi.FlashStart+0x80, 0x2000), byte(1))
	}
	m.AddTask("task", check, regions)
	m.AddTask("without a region", func(k *kerneltest.Task) {
		assert.Equal(t, failed(abi.INVAL), ask(k, []byte{1}, first))
	}, nil)
	assert.False(t, m.Run())
}

// share shares bytes to write.
func share(k *kerneltest.Task, b []byte) {
	at := k.Start.RAMStart + 64
	k.Store(at, b...)
	k.AllowRO(driver, buffer, at, uint64(len(b)))
}

// holders are the tasks that share something. A task that calls begin of one goes on before the deferred call is served.
func holders(a *AppFlash) (ids []kernel.TaskID) {
	a.grant.Each(func(_ *request, task *kernel.TaskData) { ids = append(ids, task.ID()) })
	return ids
}

// TestLongWrites take turns with those of others; one write of a task goes on at a time.
func TestLongWrites(t *testing.T) {
	m, a := newMachine(t)
	check := func(k *kerneltest.Task, b []byte) {
		assert.Equal(t, [4]uint64{}, k.WaitFor(driver, written))
		assert.Equal(t, b, k.Load(second, uint64(len(b))))
		assert.Equal(t, byte(0x90), k.Load(second+uint64(len(b)), 1)[0])
	}
	m.AddTask("long", func(k *kerneltest.Task) {
		b := bytes.Repeat([]byte("l"), 4*pieceSize+1)
		share(k, b)
		check(k, b)
	}, regions)
	m.AddTask("short", func(k *kerneltest.Task) {
		b := bytes.Repeat([]byte("s"), pieceSize)
		share(k, b)
		ids := holders(a)
		assert.Equal(t, abi.OK, a.begin(ids[0], second))
		assert.Equal(t, abi.OK, a.begin(ids[1], second))
		assert.Equal(t, abi.NOMEM, a.begin(ids[0], second))
		a.HandleDeferredCall()
		a.HandleDeferredCall()
		var left []uint64
		a.grant.Each(func(q *request, _ *kernel.TaskData) { left = append(left, q.length) })
		assert.Equal(t, []uint64{3*pieceSize + 1, 0}, left, "a piece each")
		check(k, b)
	}, regions)
	assert.False(t, m.Run())
}

// TestBufferTakenBack, or shorter, at its turn: RESERVE, and nothing of that turn is written.
func TestBufferTakenBack(t *testing.T) {
	m, a := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		for _, length := range []uint64{0, 7} {
			share(k, []byte("eight by"))
			a.begin(holders(a)[0], second)
			k.AllowRO(driver, buffer, k.Start.RAMStart+64, length)
			assert.Equal(t, [4]uint64{uint64(abi.RESERVE)}, k.WaitFor(driver, written))
			assert.Equal(t, byte(0x90), k.Load(second, 1)[0])
		}
	}, regions)
	assert.False(t, m.Run())
}

// TestRestart: what was written is there in the task's next life.
func TestRestart(t *testing.T) {
	m, _ := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		if k.Load(first, 1)[0] == 3 {
			return
		}
		ask(k, []byte{3}, first)
		k.WaitFor(driver, written)
		k.Restart(0)
	}, regions)
	assert.False(t, m.Run())
}

// TestTaskThatEnds while its write waits: others are served.
func TestTaskThatEnds(t *testing.T) {
	m, a := newMachine(t)
	m.AddTask("ends", func(k *kerneltest.Task) {
		share(k, make([]byte, 0x1000))
		a.begin(holders(a)[0], second)
	}, regions)
	m.AddTask("goes on", func(k *kerneltest.Task) {
		ask(k, []byte{1}, first)
		assert.Equal(t, [4]uint64{}, k.WaitFor(driver, written))
	}, regions)
	assert.False(t, m.Run())
}

// TestLateCall: a deferred call that comes when nothing is written does nothing.
func TestLateCall(t *testing.T) {
	m, a := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) { a.HandleDeferredCall() }, nil)
	assert.False(t, m.Run())
}

func TestNoRoom(t *testing.T) {
	m, _ := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		_, end := k.Memop(abi.MemopRAMEnd, 0)
		k.Memop(abi.MemopBrk, end-1)
		assert.Equal(t, failed(abi.NOMEM), k.Command(driver, write, first, 0))
	}, regions)
	assert.False(t, m.Run())
}
