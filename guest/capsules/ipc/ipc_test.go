package ipc

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

const driver = abi.DriverIPC

func newMachine(t *testing.T) *kerneltest.Machine {
	m := kerneltest.New(t, capability.Mint())
	d := &IPC{}
	d.Init(&m.Kernel, m.Capabilities.MemoryAllocation, m.Capabilities.MemorySharing)
	m.Drivers[driver] = d
	return m
}

func failed(e abi.ErrorCode) [4]uint64 { return [4]uint64{uint64(abi.Failure), uint64(e)} }

func value(v uint64) [4]uint64 { return [4]uint64{uint64(abi.SuccessU32), v} }

var done = [4]uint64{uint64(abi.Success)}

// find discovers a task by name.
func find(k *kerneltest.Task, name string) [4]uint64 {
	k.Store(k.Start.RAMStart, []byte(name)...)
	k.AllowRO(driver, nameBuffer, k.Start.RAMStart, uint64(len(name)))
	return k.Command(driver, discover, 0, 0)
}

func waits(k *kerneltest.Task) {
	for {
		k.Wait()
	}
}

func TestDiscover(t *testing.T) {
	m := newMachine(t)
	m.AddTask("ended", func(*kerneltest.Task) {}, nil)
	m.AddTask("client", func(k *kerneltest.Task) {
		k.Spin(20_000) // until the first has ended
		assert.Equal(t, done, k.Command(driver, exists, 0, 0))
		assert.Equal(t, failed(abi.NOSUPPORT), k.Command(driver, 4, 0, 0))
		assert.Equal(t, failed(abi.INVAL), k.Command(driver, discover, 0, 0), "no name")
		assert.Equal(t, value(2), find(k, "service"))
		assert.Equal(t, value(1), find(k, "client"), "its own slot")
		assert.Equal(t, failed(abi.NODEVICE), find(k, "servic"))
		assert.Equal(t, failed(abi.NODEVICE), find(k, "ended"))
		k.AllowRO(driver, nameBuffer, k.Start.RAMStart, maxName+1)
		assert.Equal(t, failed(abi.INVAL), k.Command(driver, discover, 0, 0), "too long")
	}, nil)
	m.AddTask("service", waits, nil)
	assert.True(t, m.Run())
}

// TestNamesThatSeveralHave: no task can pose as another by its name, whatever slots they have, and
// even if the other has ended: nobody finds either, and the kernel says so.
func TestNamesThatSeveralHave(t *testing.T) {
	m := newMachine(t)
	m.AddTask("service", waits, nil)
	m.AddTask("client", func(k *kerneltest.Task) {
		for range 3 {
			assert.Equal(t, failed(abi.FAIL), find(k, "service"))
		}
		k.Spin(20_000) // until one has ended
		assert.Equal(t, failed(abi.FAIL), find(k, "service"))
	}, nil)
	m.AddTask("service", func(k *kerneltest.Task) {
		assert.Equal(t, failed(abi.FAIL), find(k, "service"), "nor does it find itself")
	}, nil)
	assert.True(t, m.Run())
	const message = " asks for a task named service: not found, because several have that name, the first two in slots 0 and 2\n"
	assert.Equal(t, 1, strings.Count(m.Log.String(), "task 2 client"+message), m.Log.String())
	assert.Equal(t, 1, strings.Count(m.Log.String(), "task 3 service"+message), m.Log.String())
}

// TestGrantFitsTheReserve: a task that uses all memory that it asked for can use IPC and all other
// drivers.
func TestGrantFitsTheReserve(t *testing.T) {
	const pages = 4
	m := newMachine(t)
	var others kernel.Grant[[480]byte] // more than the grants of all others
	others.Init(&m.Kernel, 99, kernel.SlotCounts{}, m.Capabilities.MemoryAllocation)
	m.AddTask("task", func(k *kerneltest.Task) {
		all, _ := k.Memop(abi.MemopBrk, k.Start.RAMStart+pages*abi.PageSize)
		assert.EqualValues(t, abi.Success, all)
		assert.Equal(t, value(0), find(k, "task"))
		var task kernel.Task
		m.Kernel.EachTask(m.Capabilities.TaskManagement, &task, func() {
			assert.Equal(t, abi.OK, others.Enter(task.ID(), func(*[480]byte, *kernel.TaskData) {}))
		})
	}, func(s *tbfbuild.Spec) { s.MinimumRAM = pages * abi.PageSize })
	assert.False(t, m.Run())
}

// TestUniqueNames: where names are identities no two tasks have the same.
func TestUniqueNames(t *testing.T) {
	m := newMachine(t)
	m.Identity = &kernel.NameIdentity{}
	m.AddTask("service", waits, func(s *tbfbuild.Spec) { s.Version = 2 })
	m.AddTask("service", waits, func(s *tbfbuild.Spec) { s.Version = 1 })
	m.AddTask("client", func(k *kerneltest.Task) { assert.Equal(t, value(0), find(k, "service")) }, nil)
	assert.True(t, m.Run())
	assert.Contains(t, m.Log.String(), "skipped: it is the same application as service")
}

// TestService: a service adds 1 to the bytes that its client lends to it.
func TestService(t *testing.T) {
	m := newMachine(t)
	m.AddTask("service", func(k *kerneltest.Task) {
		own := find(k, "service")[1]
		for range 2 {
			event := k.WaitFor(driver, own)
			client, length, addr := event[0], event[1], event[2]
			for i := range length {
				k.Store(addr+i, k.Load(addr+i, 1)[0]+1)
			}
			assert.Equal(t, done, k.Command(driver, notifyClient, client, 0))
		}
	}, nil)
	m.AddTask("client", func(k *kerneltest.Task) {
		service := find(k, "service")[1]
		page := k.Start.RAMStart + abi.PageSize
		k.Memop(abi.MemopBrk, page+abi.PageSize)
		k.Store(page, 'H', 'A', 'L')
		k.AllowRW(driver, service, page, abi.PageSize)
		assert.Equal(t, done, k.Command(driver, notifyService, service, 0))
		assert.Equal(t, [4]uint64{service, 0, 0}, k.WaitFor(driver, service), "the service lends nothing")
		assert.Equal(t, "IBM", string(k.Load(page, 3)))

		k.AllowRW(driver, service, 0, 0)
		var args [3]uint32
		k.Subscribe(driver, service, k.Function(func(a [3]uint32, _ uint64) { args = a }), 0)
		assert.Equal(t, done, k.Command(driver, notifyService, service, 0))
		k.Wait()
		assert.Equal(t, [3]uint32{uint32(service), 0, 0}, args)
		assert.Equal(t, "IBM", string(k.Load(page, 3)), "nothing was lent")
	}, nil)
	assert.False(t, m.Run(), m.Log.String())
	assert.Equal(t, uint32(abi.ExitOK), m.Kernel.ExitStatus(), m.Log.String())
}

func TestNotifyRefuses(t *testing.T) {
	m := newMachine(t)
	m.AddTask("client", func(k *kerneltest.Task) {
		page := k.Start.RAMStart + abi.PageSize
		k.Memop(abi.MemopBrk, page+abi.PageSize)
		k.Spin(20_000) // until the others wait or have ended
		for name, c := range map[string]struct {
			peer uint64
			want abi.ErrorCode
		}{
			"itself": {0, abi.INVAL}, "no task": {9, abi.INVAL}, "no slot": {1 << 31, abi.INVAL}, "an ended task": {1, abi.NODEVICE},
			"no room for the peer's grant": {2, abi.NOMEM},
		} {
			assert.Equal(t, failed(c.want), k.Command(driver, notifyService, c.peer, 0), name)
			assert.Equal(t, failed(c.want), k.Command(driver, notifyClient, c.peer, 0), name)
		}
		k.AllowRW(driver, 3, page, 100)
		assert.Equal(t, failed(abi.INVAL), k.Command(driver, notifyService, 3, 0), "not whole pages")
		k.AllowRW(driver, 3, 0, 0)
		for range 20 {
			assert.Equal(t, done, k.Command(driver, notifyService, 3, 0), "more than its queue takes")
		}
	}, nil)
	m.AddTask("ended", func(*kerneltest.Task) {}, nil)
	m.AddTask("full", func(k *kerneltest.Task) {
		_, end := k.Memop(abi.MemopRAMEnd, 0)
		k.Memop(abi.MemopBrk, end-8)
		k.Wait()
	}, nil)
	m.AddTask("busy", func(k *kerneltest.Task) {
		k.Subscribe(driver, 3, k.Function(nil), 0)
		k.Spin(100_000)
	}, nil)
	m.Run()
	assert.NotContains(t, m.Log.String(), "faulted")
}

func TestNoRoomForTheGrant(t *testing.T) {
	m := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		_, end := k.Memop(abi.MemopRAMEnd, 0)
		k.Memop(abi.MemopBrk, end-8)
		assert.Equal(t, failed(abi.NOMEM), k.Command(driver, discover, 0, 0))
		assert.Equal(t, done, k.Command(driver, notifyService, 1, 0), "who lends nothing needs no room")
	}, func(s *tbfbuild.Spec) { s.MinimumRAM = abi.PageSize })
	m.AddTask("peer", waits, nil)
	assert.True(t, m.Run())
}
