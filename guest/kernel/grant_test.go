package kernel_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/kerneltest"
)

func TestGrantKeepsAValueForEachTask(t *testing.T) {
	m := newMachine(t)
	for i := range uint64(3) {
		m.AddTask(fmt.Sprint("task", i), func(k *kerneltest.Task) {
			for n := range uint64(5) {
				assert.Equal(t, [4]uint64{value, (n + 1) * (i + 1)}, k.Command(probeDriver, probeCount, i+1, 0))
				k.Spin(15_000)
			}
		}, nil)
	}
	assert.False(t, m.Run())
}

func TestNestedEntryIsRefusedAndCounted(t *testing.T) {
	m := newMachine(t)
	m.probe.hook = func(id kernel.TaskID, _, _ uint32) kernel.Result {
		inner := [4]abi.ErrorCode{}
		e := m.probe.grant.Enter(id, func(*counter, *kernel.TaskData) {
			inner[0] = m.probe.grant.Enter(id, func(*counter, *kernel.TaskData) { t.Error("entered twice") })
			inner[1] = m.probe.grant.Each(func(*counter, *kernel.TaskData) { t.Error("entered twice") })
			inner[2] = m.other.grant.Enter(id, func(*counter, *kernel.TaskData) {})
		})
		assert.Equal(t, abi.OK, e)
		assert.Equal(t, [4]abi.ErrorCode{abi.BUSY, abi.BUSY, abi.OK}, inner)
		return kernel.Done()
	}
	m.AddTask("task", func(k *kerneltest.Task) { k.Command(probeDriver, probeHook, 0, 0) }, nil)
	assert.False(t, m.Run())
	assert.Equal(t, uint64(2), m.probe.grant.Nested())
}

func TestEachVisitsTasksThatHaveTheGrant(t *testing.T) {
	m := newMachine(t)
	var visited []uint64
	m.probe.hook = func(kernel.TaskID, uint32, uint32) kernel.Result {
		visited = nil
		m.probe.grant.Each(func(c *counter, task *kernel.TaskData) {
			visited = append(visited, task.ID().Number(), uint64(c.count))
		})
		return kernel.Done()
	}
	m.AddTask("ended", func(k *kerneltest.Task) { k.Command(probeDriver, probeCount, 5, 0) }, nil)
	m.AddTask("without", func(k *kerneltest.Task) { k.Wait() }, nil)
	m.AddTask("with", func(k *kerneltest.Task) {
		k.Command(probeDriver, probeCount, 7, 0)
		k.Command(probeDriver, probeHook, 0, 0)
		k.Wait()
	}, nil)
	assert.True(t, m.Run())
	assert.Equal(t, []uint64{3, 7}, visited)
}

// TestNextVisitsTasksThatHaveTheGrant: as Each does, a task at a time.
func TestNextVisitsTasksThatHaveTheGrant(t *testing.T) {
	m := newMachine(t)
	var visited, next []uint32
	visit := func(c *counter, task *kernel.TaskData) { visited = append(visited, task.ID().Slot()) }
	m.probe.hook = func(id kernel.TaskID, _, _ uint32) kernel.Result {
		visited, next = nil, nil
		for _, slot := range []uint32{0, 1, 2, 3, 4, 63, 64, 100} {
			next = append(next, m.probe.grant.Next(slot, visit))
		}
		m.probe.grant.Enter(id, func(*counter, *kernel.TaskData) { next = append(next, m.probe.grant.Next(0, visit)) })
		return kernel.Done()
	}
	m.AddTask("without", func(k *kerneltest.Task) { k.Wait() }, nil)
	m.AddTask("with", func(k *kerneltest.Task) {
		k.Command(probeDriver, probeCount, 5, 0)
		k.Wait()
	}, nil)
	m.AddTask("ended", func(k *kerneltest.Task) { k.Command(probeDriver, probeCount, 6, 0) }, nil)
	m.AddTask("last", func(k *kerneltest.Task) {
		k.Command(probeDriver, probeCount, 7, 0)
		k.Command(probeDriver, probeHook, 0, 0)
		k.Wait()
	}, nil)
	assert.True(t, m.Run())
	assert.Equal(t, []uint32{1, 1, 3, 3}, visited)
	assert.Equal(t, []uint32{2, 2, 4, 4, 0, 0, 0, 0, 0}, next)
	assert.Equal(t, uint64(1), m.probe.grant.Nested())
}

func TestNoRoomForAGrant(t *testing.T) {
	runTask(t, func(k *kerneltest.Task) {
		_, end := k.Memop(abi.MemopRAMEnd, 0)
		k.Memop(abi.MemopBrk, end-1000)
		nomem := uint64(abi.NOMEM)
		assert.Equal(t, failed(abi.NOMEM), k.Command(probeDriver, probeCount, 1, 0))
		assert.Equal(t, failed(abi.NOMEM), k.Command(probeDriver, probeSchedule, 0, 0))
		assert.Equal(t, [4]uint64{unswapped, nomem, 0, 1}, k.Subscribe(probeDriver, 0, 0, 1))
		assert.Equal(t, [4]uint64{refused, nomem, 0, 0}, k.AllowRO(probeDriver, 0, 0, 0))
		k.Memop(abi.MemopBrk, k.Start.InitialBreak)
		assert.Equal(t, [4]uint64{value, 1}, k.Command(probeDriver, probeCount, 1, 0), "once there is room")
	})
}

// TestGrantsNeverMeetThePagesOfTheTask tries all ends of the break around the last page.
func TestGrantsNeverMeetThePagesOfTheTask(t *testing.T) {
	for below := uint64(1); below < 2*abi.PageSize; below += 37 {
		runTask(t, func(k *kerneltest.Task) {
			_, end := k.Memop(abi.MemopRAMEnd, 0)
			k.Memop(abi.MemopBrk, end-below)
			allocated := k.Subscribe(probeDriver, 0, 0, 0)[0] == swapped
			assert.Equal(t, below >= abi.PageSize, allocated, "break %d bytes below the end", below)
			_, grants := k.Memop(abi.MemopGrantStart, 0)
			k.Mapped(func(addr uint64, _ []byte, _ kernel.Rights) {
				assert.LessOrEqual(t, addr+abi.PageSize, grants)
			})
		})
	}
}

// TestGrantMemoryIsCleared has a task fill all its RAM, give it back and then make the
// driver allocate a grant there.
func TestGrantMemoryIsCleared(t *testing.T) {
	runTask(t, func(k *kerneltest.Task) {
		_, end := k.Memop(abi.MemopRAMEnd, 0)
		k.Memop(abi.MemopBrk, end-1)
		for addr := k.Start.RAMStart; addr < end; addr++ {
			k.Store(addr, 0xff)
		}
		k.Memop(abi.MemopBrk, k.Start.InitialBreak)
		assert.Equal(t, [4]uint64{value, 1}, k.Command(probeDriver, probeCount, 1, 0))
		assert.Equal(t, [4]uint64{swapped}, k.Subscribe(probeDriver, 0, 0, 0))
	})
}

func TestStaleHandles(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart %v", restart), func(t *testing.T) {
			m := newMachine(t)
			var old kernel.TaskID
			m.probe.hook = func(id kernel.TaskID, _, _ uint32) kernel.Result { old = id; return kernel.Done() }
			run := 0
			m.AddTask("task", func(k *kerneltest.Task) {
				if run++; run > 1 {
					k.Wait()
				}
				k.Command(probeDriver, probeHook, 0, 0)
				if restart {
					k.Restart(0)
				}
			}, nil)
			assert.Equal(t, restart, m.Run())
			assert.Equal(t, abi.INVAL, m.probe.schedule(old, 0, 0))
			e := m.probe.grant.Enter(old, func(*counter, *kernel.TaskData) { t.Error("entered") })
			assert.Equal(t, abi.INVAL, e)
			assert.Equal(t, abi.INVAL, m.probe.schedule(kernel.TaskID{}, 0, 0))
		})
	}
}

func TestBuffers(t *testing.T) {
	m := newMachine(t)
	var kept kernel.ReadWriteBuffer
	var keptTask *kernel.TaskData
	m.probe.hook = func(id kernel.TaskID, _, _ uint32) kernel.Result {
		e := m.probe.grant.Enter(id, func(_ *counter, task *kernel.TaskData) {
			got := make([]byte, 8)
			ro, rw := task.ReadOnly(1), task.ReadWrite(0)
			assert.Equal(t, []uint64{5, 4}, []uint64{ro.Len(), rw.Len()})
			assert.Equal(t, 5, ro.ReadAt(got, 0))
			assert.Equal(t, []byte{1, 2, 3, 4, 5}, got[:5])
			assert.Equal(t, 2, ro.ReadAt(got, 3), "as much as there is")
			assert.Equal(t, 0, ro.ReadAt(got, 5), "at the end")
			assert.Equal(t, 0, ro.ReadAt(got, ^uint64(0)), "beyond the end")
			assert.Equal(t, 4, rw.WriteAt([]byte{9, 8, 7, 6, 5}, 0), "no more than fits")
			assert.Equal(t, 1, rw.WriteAt([]byte{1, 1}, 3))
			assert.Equal(t, 0, rw.WriteAt([]byte{1}, 4))
			assert.Equal(t, 4, ro.ReadAt(got[:4], 1), "buffers may overlap")
			assert.Equal(t, []byte{9, 8, 7, 1}, got[:4])
			assert.Zero(t, task.ReadOnly(0).Len(), "one not shared")
			assert.Zero(t, task.ReadOnly(2).Len(), "one out of range")
			assert.Zero(t, task.ReadWrite(0xffff_ffff).Len(), "one far out of range")
			kept, keptTask = rw, task
		})
		assert.Equal(t, abi.OK, e)
		dead := func(when string) {
			assert.Zero(t, kept.Len(), when)
			assert.Zero(t, kept.ReadAt(make([]byte, 4), 0), when)
			assert.Zero(t, kept.WriteAt([]byte{1}, 0), when)
		}
		dead("after the entry")
		assert.Equal(t, abi.INVAL, keptTask.ScheduleUpcall(0, 0, 0, 0), "after the entry")
		assert.Zero(t, keptTask.ReadOnly(1).Len(), "after the entry")
		m.probe.grant.Enter(id, func(*counter, *kernel.TaskData) { dead("in another entry") })
		return kernel.Done()
	}
	m.AddTask("task", func(k *kerneltest.Task) {
		ram := k.Start.RAMStart
		k.Store(ram, 1, 2, 3, 4, 5)
		require.Equal(t, allowed, k.AllowRO(probeDriver, 1, ram, 5)[0])
		require.Equal(t, allowed, k.AllowRW(probeDriver, 0, ram+1, 4)[0])
		k.Command(probeDriver, probeHook, 0, 0)
		assert.Equal(t, []byte{1, 9, 8, 7, 1}, k.Load(ram, 5))
	}, nil)
	assert.False(t, m.Run())
	assert.Zero(t, kernel.ReadOnlyBuffer{}.Len())
}

func TestEmptyBufferIsNeverTouched(t *testing.T) {
	m := newMachine(t)
	m.probe.hook = func(id kernel.TaskID, _, _ uint32) kernel.Result {
		m.probe.grant.Enter(id, func(_ *counter, task *kernel.TaskData) {
			assert.Zero(t, task.ReadWrite(0).Len())
			assert.Zero(t, task.ReadWrite(0).WriteAt([]byte{1}, 0))
		})
		return kernel.Done()
	}
	m.AddTask("task", func(k *kerneltest.Task) {
		k.AllowRW(probeDriver, 0, abi.KernelBase, 0)
		k.Command(probeDriver, probeHook, 0, 0)
	}, nil)
	assert.False(t, m.Run())
}

// TestOldest: the lowest ticket is first, 0 is none, and from within an entry nobody is found.
func TestOldest(t *testing.T) {
	for _, tt := range []struct {
		name    string
		tickets []uint32
		want    int // the task, 0: none
	}{
		{"nobody has the grant", nil, 0},
		{"nobody waits", []uint32{0, 0}, 0},
		{"one waits", []uint32{0, 7, 0}, 2},
		{"the lowest of all", []uint32{9, 4, 5}, 2},
		{"the first slot", []uint32{1, 0, 2}, 1},
		{"the highest there is", []uint32{0, 1<<32 - 1}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			for _, ticket := range tt.tickets {
				m.AddTask("task", func(k *kerneltest.Task) {
					k.Command(probeDriver, probeCount, uint64(ticket), 0)
					k.Wait()
				}, nil)
			}
			m.Run()
			id, ticket := m.probe.grant.Oldest(func(c *counter) uint64 { return uint64(c.count) })
			assert.EqualValues(t, tt.want, id.Number())
			if tt.want != 0 {
				assert.EqualValues(t, tt.tickets[tt.want-1], ticket)
			}
			m.probe.grant.Each(func(*counter, *kernel.TaskData) {
				_, ticket := m.probe.grant.Oldest(func(*counter) uint64 { t.Error("entered twice"); return 1 })
				assert.Zero(t, ticket)
			})
		})
	}
}
