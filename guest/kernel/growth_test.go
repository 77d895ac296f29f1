package kernel_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/kerneltest"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

// longRAM is what a task asks for that moves its break in several pieces.
const longRAM = 100 * abi.PageSize

func long(s *tbfbuild.Spec) { s.MinimumRAM = longRAM }

// TestLongBreak: a break that exposes much memory is answered as any other, and all of it is
// zero, though what was in it before was not.
func TestLongBreak(t *testing.T) {
	for _, tt := range []struct {
		name   string
		bits32 bool
		move   func(k *kerneltest.Task, by uint64) (variant, value uint64)
		want   [2]uint64
	}{
		{"brk", false, func(k *kerneltest.Task, by uint64) (uint64, uint64) {
			return k.Memop(abi.MemopBrk, k.Start.InitialBreak+by)
		}, [2]uint64{success, 0}},
		{"sbrk", false, func(k *kerneltest.Task, by uint64) (uint64, uint64) {
			return k.Memop(abi.MemopSbrk, by)
		}, [2]uint64{address, abi.RAMStart + abi.InitialRAM}},
		{"sbrk of a 32-bit task", true, func(k *kerneltest.Task, by uint64) (uint64, uint64) {
			return k.Memop(abi.MemopSbrk, by)
		}, [2]uint64{value, abi.RAMStart + abi.InitialRAM32}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const by = longRAM - 3*abi.PageSize + 5
			m := newMachine(t)
			polls, lives := 0, 0
			m.CPU.OnPoll = func() { polls++ }
			m.AddTask("long", func(k *kerneltest.Task) {
				polls = 0
				variant, value := tt.move(k, by)
				assert.Equal(t, tt.want, [2]uint64{variant, value})
				assert.GreaterOrEqual(t, polls, by/(64<<10)-1, "pieces")
				all := k.Load(k.Start.InitialBreak, by)
				assert.Equal(t, -1, bytes.IndexFunc(all, func(r rune) bool { return r != 0 }))
				k.Store(k.Start.InitialBreak, bytes.Repeat([]byte{'x'}, by)...)
				if lives++; lives < 2 {
					k.Restart(0)
				}
			}, func(s *tbfbuild.Spec) {
				long(s)
				s.ABI64 = !tt.bits32
			})
			assert.False(t, m.Run())
			assert.Equal(t, 2, lives)
			assert.NotContains(t, m.Log.String(), "faulted")
		})
	}
}

// TestLongBreakIsBounded: while a task's memory is cleared the others get their turns, and
// interrupts are served: an alarm is late by no more than a slice and a piece.
func TestLongBreakIsBounded(t *testing.T) {
	m := newMachine(t)
	m.CPU.PieceTime = 100
	growing := true
	m.AddTask("long", func(k *kerneltest.Task) {
		for range 20 {
			k.Memop(abi.MemopBrk, k.Start.InitialBreak+longRAM-2*abi.PageSize)
			k.Memop(abi.MemopBrk, k.Start.InitialBreak)
		}
		growing = false
	}, long)
	turns := 0
	m.AddTask("other", func(k *kerneltest.Task) {
		last := m.Alarm.Now()
		for growing {
			k.Spin(10)
			now := m.Alarm.Now()
			assert.Less(t, now-last, uint64(10_000+500), "microseconds without a turn")
			last = now
			turns++
		}
	}, nil)
	assert.False(t, m.Run())
	assert.Greater(t, turns, 100)
}

// TestLongBreakThatFails: grants that are allocated while a task grows may take the memory that it
// is to have. Then the call fails, and the break is where it was.
func TestLongBreakThatFails(t *testing.T) {
	m := newMachine(t)
	m.AddTask("long", func(k *kerneltest.Task) {
		m.CPU.OnPoll = func() {
			m.CPU.OnPoll = nil
			assert.Equal(t, abi.OK, m.probe.schedule(m.byName("long").ID(), 0, 1), "a driver's event allocates its grant")
		}
		_, grants := k.Memop(abi.MemopGrantStart, 0)
		variant, code := k.Memop(abi.MemopBrk, grants-8)
		assert.Equal(t, [2]uint64{failure, uint64(abi.NOMEM)}, [2]uint64{variant, code})
		_, at := k.Memop(abi.MemopSbrk, 0)
		assert.Equal(t, k.Start.InitialBreak, at)
		variant, _ = k.Memop(abi.MemopBrk, grants-abi.PageSize-8)
		assert.Equal(t, success, variant, "there is room for less")
	}, long)
	assert.False(t, m.Run())
	assert.NotContains(t, m.Log.String(), "faulted")
}

// TestLongBreakIsInterrupted: a task that grows can be stopped, started, ended and restarted as
// any other that runs.
func TestLongBreakIsInterrupted(t *testing.T) {
	for _, tt := range []struct {
		name    string
		then    func(m *machine, id kernel.TaskID)
		answers int
		state   string
	}{
		{"stopped and started", func(m *machine, id kernel.TaskID) {
			can := m.Capabilities.TaskManagement
			assert.Equal(t, abi.OK, m.Kernel.Stop(id, can))
			assert.Equal(t, "Stopped(Running)", m.byName("long").StateName())
			m.Alarm.SetAlarmClient(alarmFunc(func() { assert.Equal(t, abi.OK, m.Kernel.Start(id, can)) }))
			m.Alarm.SetAlarm(m.Alarm.Now() + 1000)
		}, 1, "Terminated"},
		{"terminated", func(m *machine, id kernel.TaskID) {
			assert.Equal(t, abi.OK, m.Kernel.Terminate(id, m.Capabilities.TaskManagement))
		}, 0, "Terminated"},
		{"restarted", func(m *machine, id kernel.TaskID) {
			assert.Equal(t, abi.OK, m.Kernel.Restart(id, m.Capabilities.TaskManagement))
		}, 1, "Terminated"},
		{"faulted", func(m *machine, id kernel.TaskID) {
			assert.Equal(t, abi.OK, m.Kernel.Fault(id, "told to", m.Capabilities.TaskManagement))
		}, 0, "Faulted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			m.CPU.PieceTime = 100
			lives, answers := 0, 0
			m.AddTask("long", func(k *kerneltest.Task) {
				if lives++; lives == 1 {
					m.CPU.OnPoll = func() {
						m.CPU.OnPoll = nil
						tt.then(m, m.byName("long").ID())
					}
				}
				variant, _ := k.Memop(abi.MemopBrk, k.Start.InitialBreak+longRAM-2*abi.PageSize)
				assert.Equal(t, success, variant)
				answers++
			}, long)
			m.Run()
			assert.Equal(t, tt.answers, answers)
			assert.Equal(t, tt.state, m.byName("long").StateName())
		})
	}
}

// alarmFunc is a function as a hil.AlarmClient.
type alarmFunc func()

func (f alarmFunc) AlarmFired() { f() }
