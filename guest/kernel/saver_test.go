package kernel_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/kerneltest"
	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

// saving is a machine with a saver. The task in slot 1 is the one that tests save.
type saving struct {
	*loading
	saver kernel.Saver
	state []byte // what was saved last, or what is taken in
	saved []abi.ErrorCode
	ended []abi.ErrorCode
	hold  bool // what is saved is not read, nor what is set up written
}

func (m *saving) SetUpDone() {
	for at := 0; at < len(m.state) && !m.hold; at += 1000 {
		m.loader.Write(uint64(at), m.state[at:min(at+1000, len(m.state))])
	}
}
func (m *saving) LoadDone(kernel.TaskID, abi.ErrorCode) {}
func (m *saving) UnloadDone()                           {}

func (m *saving) SaveDone(e abi.ErrorCode) {
	m.saved = append(m.saved, e)
	if e != abi.OK || m.hold {
		return
	}
	m.state = nil
	for piece := make([]byte, 777); ; {
		n, e := m.saver.Read(piece)
		assert.Equal(m.tb, abi.OK, e)
		if n == 0 {
			return
		}
		m.state = append(m.state, piece[:n]...)
	}
}

func (m *saving) RestoreDone(_ kernel.TaskID, e abi.ErrorCode) { m.ended = append(m.ended, e) }

// newSaving makes a machine whose second task runs a program.
func newSaving(tb testing.TB, program kerneltest.Program, change func(*tbfbuild.Spec)) *saving {
	m := &saving{loading: newLoading(tb, 2<<20)}
	m.saver.Init(&m.Kernel, &m.CPU, &m.loader.Loader, m.Capabilities.TaskManagement)
	m.saver.SetSaverClient(m)
	m.CPU.Programs[1] = program
	require.Equal(tb, abi.OK, m.load(kerneltest.Object(tb, "saved", change)))
	m.loader.SetLoaderClient(m)
	return m
}

func (m *saving) task() *kernel.Task { return m.byName("saved") }

// save saves the task, and returns its state.
func (m *saving) save() []byte {
	m.tb.Helper()
	m.do(func() { require.Equal(m.tb, abi.OK, m.saver.Save(m.task().ID())) })
	require.Equal(m.tb, abi.OK, m.saved[len(m.saved)-1])
	return bytes.Clone(m.state)
}

// restore has a state taken in, and returns how that ended.
func (m *saving) restore(state []byte) abi.ErrorCode {
	m.tb.Helper()
	m.state = state
	e, before := abi.OK, len(m.ended)
	m.do(func() { e = m.loader.SetUp(uint64(len(state))) })
	if e != abi.OK {
		return e
	}
	m.do(func() { e = m.saver.Restore(m.task().ID()) })
	if e != abi.OK {
		m.do(func() { m.loader.Abort() })
		return e
	}
	require.Len(m.tb, m.ended, before+1)
	return m.ended[before]
}

// happen makes events of the probe happen to the task.
func (m *saving) happen(events ...[2]uint32) {
	m.tb.Helper()
	m.do(func() {
		for _, e := range events {
			assert.Equal(m.tb, abi.OK, m.probe.schedule(m.task().ID(), e[0], e[1]))
		}
	})
}

// diary is what a task says that has all that it does in its RAM: how often it waited, and for what.
type diary struct {
	lines []string
	wait  func(k *kerneltest.Task) [4]uint64
}

const diaryAt = 0x180 // in its RAM

func waitsForAny(k *kerneltest.Task) [4]uint64 { return k.Syscall(abi.Yield, abi.YieldWait) }
func waitsForOne(k *kerneltest.Task) [4]uint64 { return k.WaitFor(probeDriver, 1) }

func (d *diary) say(format string, args ...any) {
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

func (d *diary) program(k *kerneltest.Task) {
	at := k.Start.RAMStart + diaryAt
	note := k.Function(func(args [3]uint32, userdata uint64) { d.say("upcall %d, %d", args, userdata) })
	if k.Restored {
		d.say("answer %d", k.GoOn())
	} else {
		k.Subscribe(probeDriver, 0, note, 77)
		k.Subscribe(probeDriver, 2, note, 78)
		k.AllowRW(probeDriver, 1, at, 40)
		k.AllowRO(otherDriver, 0, k.Start.RAMStart, 0x100)
		k.Memop(abi.MemopBrk, k.Start.InitialBreak+abi.PageSize+5)
		k.Store(k.Start.InitialBreak+abi.PageSize, 1, 2, 3, 4, 5, 6, 7)
		if !k.Start.Bits32 {
			k.Memop(abi.MemopSetFSBase, 0x1234)
		}
	}
	for {
		n := k.Load(at, 1)[0]
		k.Store(at, n+1)
		_, brk := k.Memop(abi.MemopSbrk, 0)
		_, grants := k.Memop(abi.MemopGrantStart, 0)
		d.say("step %d, break %#x, grants %#x, base %#x, memory %x", n, brk, grants, k.FS, k.Load(k.Start.InitialBreak+abi.PageSize, 7))
		d.say("buffer %d", k.AllowRW(probeDriver, 1, at, 40))
		d.say("answer %d", d.wait(k))
	}
}

// since is what was said behind so many lines.
func (d *diary) since(n int) []string { return slices.Clone(d.lines[n:]) }

// TestSavedTaskGoesOn: a task that is taken back does and finds what it did and found behind the save, as a new run of the same task; the
// other task finds nothing of it, and memory is as it was.
func TestSavedTaskGoesOn(t *testing.T) {
	for _, bits := range []int{64, 32} {
		for name, wait := range map[string]func(*kerneltest.Task) [4]uint64{"yielded": waitsForAny, "yielded for": waitsForOne} {
			t.Run(fmt.Sprintf("%s, %d bits", name, bits), func(t *testing.T) {
				d := &diary{wait: wait}
				m := newSaving(t, d.program, func(s *tbfbuild.Spec) { s.ABI64, s.MinimumRAM = bits == 64, 20*abi.PageSize })
				m.happen([2]uint32{0, 5}, [2]uint32{1, 9})
				state := m.save()
				free := m.Reuse.Free()
				follow := func() []string {
					at := len(d.lines)
					m.happen([2]uint32{1, 20}, [2]uint32{2, 30}, [2]uint32{0, 40}, [2]uint32{1, 50})
					return d.since(at)
				}
				want := follow()
				require.NotEmpty(t, want)
				for range 3 {
					follow()
				}
				id, restarts := m.task().ID(), m.task().Restarts()
				for i := range 3 {
					require.Equal(t, abi.OK, m.restore(state), m.Log.String())
					assert.Equal(t, free, m.Reuse.Free())
					assert.NotEqual(t, id, m.task().ID())
					assert.EqualValues(t, 1, m.task().ID().Slot())
					assert.Equal(t, restarts+uint64(i)+1, m.task().Restarts())
					assert.Equal(t, abi.INVAL, m.Kernel.Stop(id, m.Capabilities.TaskManagement), "the run before is over")
					assert.Equal(t, want, follow())
				}
				assert.Contains(t, m.Log.String(), "saved: restored\n")
				assert.EqualValues(t, 0, m.byName("keeper").Restarts())
			})
		}
	}
}

// TestSavedAgain: what was taken back is saved as what it was.
func TestSavedAgain(t *testing.T) {
	d := &diary{wait: waitsForOne}
	m := newSaving(t, d.program, nil)
	m.happen([2]uint32{0, 1}, [2]uint32{0, 2}, [2]uint32{2, 3})
	state := m.save()
	require.Equal(t, abi.OK, m.restore(state))
	assert.Equal(t, state, m.save())
}

// TestQueuedEventsAreRestored: upcalls that wait, those that are late, and events without a function, come in the order in which they would have.
func TestQueuedEventsAreRestored(t *testing.T) {
	d := &diary{wait: waitsForOne}
	m := newSaving(t, d.program, nil)
	m.do(func() { m.Kernel.Stop(m.task().ID(), m.Capabilities.TaskManagement) })
	for i := range uint32(14) {
		m.happen([2]uint32{0, i})
	}
	m.happen([2]uint32{2, 100}, [2]uint32{1, 200}, [2]uint32{1, 300})
	state := m.save()
	drain := func() []string {
		at := len(d.lines)
		d.wait = waitsForAny
		m.do(func() { m.Kernel.Start(m.task().ID(), m.Capabilities.TaskManagement) })
		return d.since(at)
	}
	want := drain()
	assert.Equal(t, 12, strings.Count(strings.Join(want, "\n"), "upcall"), "ten, the newest of those that were late, and the other event: %q", want)
	require.Equal(t, abi.OK, m.restore(state))
	drain()
	assert.Equal(t, want, d.since(len(d.lines)-len(want)))
}

// TestEverySizeOfMemory: memory of more than a piece of work is taken back, and is as it was.
func TestEverySizeOfMemory(t *testing.T) {
	for _, size := range []uint64{0, 1, abi.PageSize, 64 << 10, 64<<10 + 1, 200 << 10} {
		var sum uint64
		program := func(k *kerneltest.Task) {
			end := k.Start.InitialBreak + size
			if k.Restored {
				k.GoOn()
			} else {
				k.Memop(abi.MemopBrk, end)
				for at := k.Start.InitialBreak; at < end; at += 8 {
					k.Store(at, byte(at>>3), byte(at>>11))
				}
			}
			for {
				sum = 0
				for i, b := range k.Load(k.Start.RAMStart+diaryAt, end-k.Start.RAMStart-diaryAt) {
					sum += uint64(b) * uint64(i+1)
				}
				waitsForOne(k)
				k.Memop(abi.MemopBrk, k.Start.InitialBreak)
				k.Memop(abi.MemopBrk, end) // which clears it
			}
		}
		m := newSaving(t, program, func(s *tbfbuild.Spec) { s.MinimumRAM = 300 << 10 })
		state, want := m.save(), sum
		m.happen([2]uint32{1, 0})
		require.Equal(t, abi.OK, m.restore(state))
		m.happen([2]uint32{1, 0})
		assert.Equal(t, want, sum, "%d bytes", size)
	}
}

// TestOperationsEnd: what was under way when a task was saved ends when it is taken back, with the failure that the driver declares; nothing else
// does, nor what was begun behind that.
func TestOperationsEnd(t *testing.T) {
	for _, begun := range []bool{true, false} {
		l := newMortals(t)
		var told [][3]uint32
		m := &saving{loading: &loading{machine: l.machine, tb: t}}
		m.CPU.TakesTables, m.Forever = true, true
		m.loader.Init(&m.Kernel, &m.CPU, &m.Reuse, m.Capabilities.TaskManagement)
		m.saver.Init(&m.Kernel, &m.CPU, &m.loader.Loader, m.Capabilities.TaskManagement)
		m.loader.SetLoaderClient(m)
		m.saver.SetSaverClient(m)
		m.AddTask("saved", func(k *kerneltest.Task) {
			note := k.Function(func(args [3]uint32, _ uint64) { told = append(told, args) })
			if k.Restored {
				k.GoOn()
			} else {
				k.Subscribe(mortalDriver, 0, note, 0)
				k.Subscribe(mortalDriver, 1, note, 0)
				k.Command(mortalDriver, mortalCount, 0, 0)
				if begun {
					k.Command(mortalDriver, mortalBegin, 0, 0)
				}
			}
			for {
				k.Wait()
				k.Command(mortalDriver, mortalBegin, 0, 0)
			}
		}, nil)
		require.True(t, m.Run())
		state := m.save()
		require.Equal(t, abi.OK, m.restore(state))
		if begun {
			assert.Equal(t, [][3]uint32{{}}, told)
		} else {
			assert.Empty(t, told)
		}
	}
}

// resumed is a driver whose operation goes on.
type resumed struct {
	ongoing bool
	words   [2]uint64
	id      kernel.TaskID
}

func (r *resumed) Ongoing(kernel.TaskID) (uint64, uint64, bool) { return 7, 1 << 63, r.ongoing }
func (r *resumed) Resume(id kernel.TaskID, a, b uint64)         { r.id, r.words = id, [2]uint64{a, b} }

// TestOngoingOperations: the driver that knows how begins the operation again, for the new run.
func TestOngoingOperations(t *testing.T) {
	for _, ongoing := range []bool{true, false} {
		d, r := &diary{wait: waitsForOne}, &resumed{ongoing: ongoing}
		m := newSaving(t, d.program, nil)
		m.saver.SetResumer(probeDriver, r)
		state := m.save()
		require.Equal(t, abi.OK, m.restore(state))
		if ongoing {
			assert.Equal(t, &resumed{true, [2]uint64{7, 1 << 63}, m.task().ID()}, r)
		} else {
			assert.Equal(t, &resumed{}, r)
		}
	}
}

// TestPausedTaskIsRestoredPaused: who is paused when it is taken back goes on being paused, and who is not does not, whatever it was when it was saved.
func TestPausedTaskIsRestoredPaused(t *testing.T) {
	can := func(m *saving) func(f func(kernel.TaskID) abi.ErrorCode) {
		return func(f func(kernel.TaskID) abi.ErrorCode) {
			m.do(func() { assert.Equal(t, abi.OK, f(m.task().ID())) })
		}
	}
	d := &diary{wait: waitsForOne}
	m := newSaving(t, d.program, nil)
	do := can(m)
	pause := func(id kernel.TaskID) abi.ErrorCode { return m.Kernel.Pause(id, m.Capabilities.TaskManagement) }
	resume := func(id kernel.TaskID) abi.ErrorCode { return m.Kernel.Resume(id, m.Capabilities.TaskManagement) }
	do(pause)
	state := m.save()
	assert.Equal(t, "Paused(YieldedFor)", m.task().Doing())
	do(resume)
	require.Equal(t, abi.OK, m.restore(state))
	assert.Equal(t, "YieldedFor", m.task().Doing())
	do(pause)
	require.Equal(t, abi.OK, m.restore(state))
	assert.Equal(t, "Paused(YieldedFor)", m.task().Doing())
	at := len(d.lines)
	m.happen([2]uint32{1, 9})
	assert.Empty(t, d.since(at))
	do(resume)
	assert.Equal(t, "answer [9 10 11 0]", d.lines[at])
}

// TestEndedTaskIsRestored: a state brings back a task that has ended, however it did.
func TestEndedTaskIsRestored(t *testing.T) {
	d := &diary{wait: waitsForOne}
	m := newSaving(t, d.program, nil)
	state := m.save()
	m.do(func() { assert.Equal(t, abi.OK, m.Kernel.Kill(m.task().ID(), m.Capabilities.TaskManagement)) })
	assert.Equal(t, kernel.Faulted, m.task().State())
	assert.Contains(t, m.Log.String(), "saved faulted: killed; stopped\n")
	require.Equal(t, abi.OK, m.restore(state))
	assert.Equal(t, kernel.YieldedFor, m.task().State())
	m.do(func() {
		assert.Equal(t, abi.OK, m.Kernel.Terminate(m.task().ID(), m.Capabilities.TaskManagement))
	})
	require.Equal(t, abi.OK, m.restore(state))
	at := len(d.lines)
	m.happen([2]uint32{1, 9})
	assert.Equal(t, "answer [9 10 11 0]", d.lines[at])
}

// TestPauseAndKill: what they answer.
func TestPauseAndKill(t *testing.T) {
	m := newSaving(t, waits, nil)
	can := m.Capabilities.TaskManagement
	m.do(func() {
		id := m.task().ID()
		assert.Equal(t, abi.ALREADY, m.Kernel.Resume(id, can))
		assert.Equal(t, abi.OK, m.Kernel.Pause(id, can))
		assert.Equal(t, abi.ALREADY, m.Kernel.Pause(id, can))
		assert.True(t, m.task().Paused())
		assert.False(t, m.task().Stopped())
		assert.EqualValues(t, 3, m.task().TockState())
		assert.Equal(t, "Stopped(Yielded)", m.task().StateName())
		assert.Equal(t, abi.ALREADY, m.Kernel.Start(id, can), "nobody else lets it go on")
		assert.Equal(t, abi.OK, m.Kernel.Stop(id, can))
		assert.Equal(t, abi.OK, m.Kernel.Resume(id, can))
		assert.Equal(t, "Stopped(Yielded)", m.task().Doing(), "nor does Resume end a stop")
		assert.Equal(t, abi.OK, m.Kernel.Kill(id, can))
		for _, f := range []func() abi.ErrorCode{
			func() abi.ErrorCode { return m.Kernel.Kill(id, can) },
			func() abi.ErrorCode { return m.Kernel.Pause(id, can) },
			func() abi.ErrorCode { return m.Kernel.Resume(id, can) },
			func() abi.ErrorCode { return m.saver.Save(id) },
		} {
			assert.Equal(t, abi.INVAL, f())
		}
	})
}

// Where words of a state are, in bytes, as in state.go.
const (
	atDigest    = 8
	atSlot      = 40
	atShortID   = 44
	atRAM       = 48
	atBreak     = 56
	atHighWater = 64
	atState     = 72
	atEntries   = 76
	atGrowth    = 88
	atRegisters = 120
	atEntry     = atRegisters + kernel.RegistersSize
	entryWords  = 32
)

// entriesOf finds the entries of a kind, and returns where they begin.
func entriesOf(state []byte, kind uint32) (found []int) {
	for i := range int(binary.LittleEndian.Uint32(state[atEntries:])) {
		if at := atEntry + i*entryWords; binary.LittleEndian.Uint32(state[at:]) == kind {
			found = append(found, at)
		}
	}
	return found
}

// TestRefusedStates: whatever is wrong with a state, one line says what, the task goes on as it was, and memory is as it was.
func TestRefusedStates(t *testing.T) {
	const grant, upcall, buffer, event, borrowed = 1, 2, 3, 4, 6
	set := func(at int, v uint64) func([]byte) []byte {
		return func(b []byte) []byte {
			binary.LittleEndian.PutUint64(b[at:], v)
			return b
		}
	}
	set32 := func(at int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte {
			binary.LittleEndian.PutUint32(b[at:], v)
			return b
		}
	}
	in := func(kind uint32, offset int, v uint64) func([]byte) []byte {
		return func(b []byte) []byte { return set(entriesOf(b, kind)[0]+offset, v)(b) }
	}
	in32 := func(kind uint32, offset int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte { return set32(entriesOf(b, kind)[0]+offset, v)(b) }
	}
	resized := func(b []byte) []byte { return set32(4, uint32(len(b)))(b) }
	const with = "it has with drivers or other tasks what it cannot have"
	for _, tt := range []struct {
		name   string
		change func([]byte) []byte
		said   string
	}{
		{"another version", set32(0, 0x4b53_0002), ""},
		{"too short", func(b []byte) []byte { return resized(b[:atEntry-1]) }, "it is none, or of another version"},
		{"the last byte lacks", func(b []byte) []byte { return resized(b[:len(b)-1]) }, "its parts are not as long as it is"},
		{"a byte more", func(b []byte) []byte { return resized(append(b, 0)) }, "its parts are not as long as it is"},
		{"another object", func(b []byte) []byte { b[atDigest] ^= 1; return b }, "it is of another object"},
		{"another slot", set32(atSlot, 0), "it is another task's"},
		{"another ShortID", set32(atShortID, 8), "it is another task's"},
		{"other memory", set(atRAM, 4096), "its memory is none of the task's"},
		{"a break beyond", set(atBreak, ^uint64(0)), "its memory is none of the task's"},
		{"a break among the grants", func(b []byte) []byte {
			ram := binary.LittleEndian.Uint64(b[atRAM:])
			return resized(set(atBreak, ram)(append(b, make([]byte, ram-binary.LittleEndian.Uint64(b[atBreak:]))...)))
		}, "its parts are not as long as it is"},
		{"shared beyond the break", set(atHighWater, 1<<40), "its memory is none of the task's"},
		{"no state", set32(atState, 0), "it is in no state of a task that is alive"},
		{"ended", set32(atState, uint32(kernel.Terminated)), "it is in no state of a task that is alive"},
		{"a state that there is not", set32(atState, 200), "it is in no state of a task that is alive"},
		{"a state that would be one in fewer bits", set32(atState, 0x100|uint32(kernel.Yielded)), "it is in no state of a task that is alive"},
		{"growing from nowhere", func(b []byte) []byte {
			return set32(atState, uint32(kernel.Growing))(set(atGrowth, 1<<40)(b))
		}, "it is in no state of a task that is alive"},
		{"growing from below what is shared", func(b []byte) []byte {
			return set32(atState, uint32(kernel.Growing))(set(atGrowth, 1)(b))
		}, "it is in no state of a task that is alive"},
		{"entries without end", set32(atEntries, ^uint32(0)), "its parts are not as long as it is"},
		{"an entry less", func(b []byte) []byte {
			return set32(atEntries, binary.LittleEndian.Uint32(b[atEntries:])-1)(b)
		}, "its parts are not as long as it is"},
		{"registers", func(b []byte) []byte { b[atRegisters] ^= 1; return b }, "no task can have its registers"},
		{"a kind that there is not", in32(grant, 0, 99), with},
		{"no kind", in32(grant, 0, 0), with},
		{"a driver that there is not", in32(grant, 4, absentDriver), with},
		{"a driver without a grant", in32(grant, 4, plainDriver), with},
		{"a grant twice", in32(grant, 4, otherDriver), with},
		{"an upcall number", in32(upcall, 8, 3), with},
		{"a function outside", in(upcall, 16, abi.KernelBase), with},
		{"a function in the header", in(upcall, 16, abi.FlashStart), with},
		{"an upcall of a driver without a grant yet", func(b []byte) []byte {
			return in32(upcall, 4, otherDriver)(b)
		}, with},
		{"a buffer number", in32(buffer, 8, 2|uint32(abi.AllowReadWrite)<<24), with},
		{"a buffer of a class that there is not", in32(buffer, 8, 1|uint32(abi.Exit)<<24), with},
		{"a buffer outside", in(buffer, 16, abi.RAMStart-1), with},
		{"a buffer beyond the break", in(buffer, 24, 1<<20), with},
		{"a buffer without end", in(buffer, 24, ^uint64(0)), with},
		{"flash to write", in(buffer, 16, abi.FlashStart+0x400), with},
		{"a function behind an event", func(b []byte) []byte {
			upcalls, events := entriesOf(b, upcall), entriesOf(b, event)
			from, to := b[upcalls[0]:][:entryWords], b[events[0]:][:entryWords]
			for i := range from {
				from[i], to[i] = to[i], from[i]
			}
			return b
		}, with},
		{"an event number", in32(event, 8, 3), with},
		{"an event of another driver", in32(event, 4, absentDriver), with},
		{"an operation that does not go on", in32(event, 0, 5), with},
		{"lent by itself", func(b []byte) []byte { return in32(event, 0, borrowed)(in32(event, 8, 1)(b)) }, with},
		{"lent by nobody", func(b []byte) []byte { return in32(event, 0, borrowed)(in32(event, 8, 64)(b)) }, with},
		{"nothing lent", func(b []byte) []byte {
			return in32(event, 0, borrowed)(in32(event, 8, 2)(in(event, 16, 0)(b)))
		}, with},
		{"too much lent", func(b []byte) []byte {
			return in32(event, 0, borrowed)(in32(event, 8, 2)(in(event, 16, abi.LoanSize/abi.PageSize+1)(b)))
		}, with},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := &diary{wait: waitsForAny}
			m := newSaving(t, d.program, nil)
			m.do(func() { m.Kernel.Stop(m.task().ID(), m.Capabilities.TaskManagement) })
			m.happen([2]uint32{0, 5}, [2]uint32{1, 9})
			state := m.save()
			free, id, log := m.Reuse.Free(), m.task().ID(), m.Log.Len()
			want := abi.INVAL
			assert.Equal(t, want, m.restore(tt.change(bytes.Clone(state))))
			if tt.said != "" {
				assert.Equal(t, "task 2 saved: state refused: "+tt.said+"\n", m.Log.String()[log:])
			}
			assert.Equal(t, id, m.task().ID())
			assert.Equal(t, free, m.Reuse.Free())
			assert.Equal(t, state, m.save())
			assert.Equal(t, abi.OK, m.restore(state))
		})
	}
}

// TestStateOfAnOlderObject, and of another task, is refused.
func TestStateOfAnOlderObject(t *testing.T) {
	d := &diary{wait: waitsForOne}
	m := newSaving(t, d.program, func(s *tbfbuild.Spec) { s.ShortID = 5 })
	state := m.save()
	m.do(func() { assert.Equal(t, abi.OK, m.loader.Unload(m.task().ID())) })
	m.loader.SetLoaderClient(&m.loader)
	m.CPU.Programs[2] = d.program
	newer := kerneltest.Object(t, "saved", func(s *tbfbuild.Spec) {
		s.ShortID = 5
		s.Binary = bytes.Repeat([]byte{0x91}, 0xf00)
	})
	require.Equal(t, abi.OK, m.load(newer))
	m.loader.SetLoaderClient(m)
	assert.Equal(t, abi.INVAL, m.restore(state))
	assert.Contains(t, m.Log.String(), "state refused: it is another task's\n", "another slot")
	binary.LittleEndian.PutUint32(state[atSlot:], m.task().ID().Slot())
	assert.Equal(t, abi.INVAL, m.restore(state))
	assert.Contains(t, m.Log.String(), "state refused: it is of another object\n")
}

// TestWriteableFlashIsNoState: pages of its object that a task may write are as they are, as over a restart, and keep no state from being taken in.
func TestWriteableFlashIsNoState(t *testing.T) {
	const page = abi.FlashStart + 2*abi.PageSize
	var seen []byte
	m := newSaving(t, func(k *kerneltest.Task) {
		if k.Restored {
			k.GoOn()
		}
		for {
			seen = append(seen, k.Load(page, 1)[0])
			waitsForOne(k)
			k.Store(page, 9)
		}
	}, func(s *tbfbuild.Spec) {
		s.Binary = make([]byte, 4*abi.PageSize)
		s.BinaryOffset = abi.PageSize
		s.Writeable = []tbf.Region{{Offset: abi.PageSize, Size: abi.PageSize}}
	})
	state := m.save()
	m.happen([2]uint32{1, 0})
	require.Equal(t, abi.OK, m.restore(state), m.Log.String())
	m.happen([2]uint32{1, 0})
	assert.Equal(t, []byte{0, 9, 9}, seen)
}

// TestSaverIsInterrupted: whatever becomes of a task meanwhile, the client is told, and the memory is as it was.
func TestSaverIsInterrupted(t *testing.T) {
	stopped := func(m *saving, f func(m *saving)) {
		state := m.save()
		m.state, m.hold = state, true
		f(m)
	}
	for _, tt := range []struct {
		name string
		f    func(m *saving)
	}{
		{"saved, and killed before that", func(m *saving) {
			m.do(func() {
				m.saver.Save(m.task().ID())
				assert.Equal(t, abi.BUSY, m.saver.Save(m.task().ID()))
				assert.Equal(t, abi.BUSY, m.saver.Restore(m.task().ID()))
				m.Kernel.Kill(m.task().ID(), m.Capabilities.TaskManagement)
			})
			assert.Equal(t, abi.CANCEL, m.saved[len(m.saved)-1])
		}},
		{"saved, and unloaded before that", func(m *saving) {
			m.do(func() {
				m.saver.Save(m.task().ID())
				m.second.Unload(m.task().ID())
			})
			assert.Equal(t, abi.CANCEL, m.saved[len(m.saved)-1])
		}},
		{"read, and restarted", func(m *saving) {
			m.do(func() { m.saver.Save(m.task().ID()) })
			m.do(func() {
				_, e := m.saver.Read(make([]byte, 10))
				assert.Equal(t, abi.OK, e)
				m.Kernel.Restart(m.task().ID(), m.Capabilities.TaskManagement)
				_, e = m.saver.Read(make([]byte, 10))
				assert.Equal(t, abi.CANCEL, e)
				_, e = m.saver.Read(make([]byte, 10))
				assert.Equal(t, abi.INVAL, e)
			})
		}},
		{"read, and given up", func(m *saving) {
			m.do(func() { m.saver.Save(m.task().ID()) })
			m.happen([2]uint32{1, 7})
			assert.Equal(t, "Running", m.task().Doing(), "it does not run, though what it waited for has happened")
			m.do(func() { m.saver.Abort() })
			assert.Equal(t, "YieldedFor", m.task().Doing())
		}},
		{"nothing was written", func(m *saving) {
			m.do(func() { assert.Equal(t, abi.INVAL, m.saver.Restore(m.task().ID())) })
			m.do(func() { m.loader.SetUp(5000) })
			m.do(func() { assert.Equal(t, abi.OK, m.saver.Restore(m.task().ID())) })
			assert.Equal(t, abi.INVAL, m.ended[len(m.ended)-1])
		}},
		{"taken in, and restarted before that", func(m *saving) {
			m.hold = false
			m.do(func() { m.loader.SetUp(uint64(len(m.state))) })
			m.do(func() {
				m.saver.Restore(m.task().ID())
				m.Kernel.Restart(m.task().ID(), m.Capabilities.TaskManagement)
			})
			assert.Equal(t, abi.CANCEL, m.ended[len(m.ended)-1])
		}},
		{"taken in, and given up before that", func(m *saving) {
			m.hold = false
			m.do(func() { m.loader.SetUp(uint64(len(m.state))) })
			m.do(func() {
				m.saver.Restore(m.task().ID())
				m.saver.Abort()
			})
			assert.Empty(t, m.ended)
			m.happen([2]uint32{1, 7})
			assert.Equal(t, "YieldedFor", m.task().Doing())
		}},
		{"taken in, while others would boot or unload it", func(m *saving) {
			m.hold = false
			m.do(func() { m.loader.SetUp(uint64(len(m.state))) })
			ids := map[kernel.TaskID]bool{m.task().ID(): true}
			tries := 0
			m.CPU.OnPoll = func() {
				t := m.task()
				if t.State() != kernel.Terminated {
					return
				}
				tries++
				ids[t.ID()] = true
				m.saver.Abort()
				for id := range ids {
					assert.Equal(m.tb, abi.INVAL, m.second.Unload(id))
					assert.Equal(m.tb, abi.INVAL, m.Kernel.Boot(id, m.Capabilities.TaskManagement))
					assert.Equal(m.tb, abi.BUSY, m.saver.Restore(id))
				}
			}
			m.do(func() { m.Kernel.Pause(m.byName("keeper").ID(), m.Capabilities.TaskManagement) })
			m.do(func() { assert.Equal(t, abi.OK, m.saver.Restore(m.task().ID())) })
			m.CPU.OnPoll = nil
			assert.NotZero(t, tries)
			assert.Equal(t, []abi.ErrorCode{abi.OK}, m.ended)
			assert.Equal(t, "YieldedFor", m.task().Doing())
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := &diary{wait: waitsForOne}
			m := newSaving(t, d.program, nil)
			free := m.Reuse.Free()
			stopped(m, tt.f)
			if m.task() != nil {
				assert.Equal(t, free, m.Reuse.Free())
			}
		})
	}
}

// TestNoMemoryToSave: without memory the client is told, and the task goes on.
func TestNoMemoryToSave(t *testing.T) {
	d := &diary{wait: waitsForOne}
	m := newSaving(t, d.program, nil)
	state := m.save()
	taken := m.Reuse.Take(m.Reuse.Free() - abi.PageSize*uint64(1+len(state)/abi.PageSize) - 0)
	for m.Reuse.Free() >= abi.PageSize { // of what is not in one piece
		if m.Reuse.Take(abi.PageSize) == nil {
			break
		}
	}
	_ = taken
	m.do(func() { m.saver.Save(m.task().ID()) })
	assert.Equal(t, abi.NOMEM, m.saved[len(m.saved)-1])
	assert.Equal(t, abi.NOMEM, m.restore(state))
	m.happen([2]uint32{1, 9})
	assert.Contains(t, strings.Join(d.lines, "\n"), "answer [9 10 11 0]")
}

// borrows is a task that writes and reads what the task in slot 0 lends it.
func borrows(seen *[]byte, at uint64) kerneltest.Program {
	return func(k *kerneltest.Task) {
		if k.Restored {
			k.GoOn()
		} else {
			waitsForOne(k)
		}
		for {
			*seen = append(*seen, k.Load(loanOf(at), 1)[0])
			k.Store(loanOf(at), 99)
			waitsForOne(k)
		}
	}
}

// TestRestoredBorrower: what was lent to a task when it was saved is a page of its own behind that, until it is told: it does not fault. The lender
// loses nothing, and may be gone.
func TestRestoredBorrower(t *testing.T) {
	for _, gone := range []bool{false, true} {
		m := newSaving(t, waits, nil)
		loanHook(m.machine)
		var seen []byte
		var lenderSees byte
		lender := func(k *kerneltest.Task) {
			page := k.Start.RAMStart + abi.PageSize
			k.Memop(abi.MemopBrk, page+abi.PageSize)
			k.AllowRW(probeDriver, 0, page, abi.PageSize)
			k.Store(page, 55)
			for {
				k.WaitFor(probeDriver, 2)
				lenderSees = k.Load(page, 1)[0]
			}
		}
		m.do(func() { m.loader.Unload(m.task().ID()) })
		m.loader.SetLoaderClient(&m.loader)
		m.CPU.Programs[2], m.CPU.Programs[3] = borrows(&seen, 3), lender
		require.Equal(t, abi.OK, m.load(kerneltest.Object(t, "saved", nil)))
		require.Equal(t, abi.OK, m.load(kerneltest.Object(t, "lender", nil)))
		m.loader.SetLoaderClient(m)
		notify := func() {
			m.do(func() {
				e := m.probe.grant.Slots().Notify(m.byName("lender").ID(), m.task().ID().Slot(), 1, 0, m.Capabilities.MemorySharing)
				assert.Equal(t, abi.OK, e)
			})
		}
		notify()
		assert.Equal(t, []byte{55}, seen)
		state := m.save()
		notify()
		assert.Equal(t, []byte{55, 99}, seen)
		if gone {
			m.do(func() { m.loader.Unload(m.byName("lender").ID()) })
		}
		require.Equal(t, abi.OK, m.restore(state), m.Log.String())
		m.happen([2]uint32{1, 0})
		m.happen([2]uint32{1, 0})
		assert.Equal(t, []byte{55, 99, 0, 99}, seen, "a page of its own, where it can write")
		if !gone {
			m.do(func() { m.probe.schedule(m.byName("lender").ID(), 2, 0) })
			assert.EqualValues(t, 99, lenderSees)
			notify()
			assert.EqualValues(t, 99, seen[4], "lent anew")
		}
		assert.NotContains(t, m.Log.String(), "faulted")
		m.do(func() { m.loader.Unload(m.task().ID()) })
	}
}

// TestRestoredLender: what a task lent when it is taken back ends, and the borrower goes on with a page of its own; what is shared still is lent anew.
func TestRestoredLender(t *testing.T) {
	var seen []byte
	m := newSaving(t, func(k *kerneltest.Task) {
		page := k.Start.RAMStart + abi.PageSize
		if k.Restored {
			k.GoOn()
		} else {
			k.Memop(abi.MemopBrk, page+abi.PageSize)
			k.AllowRW(probeDriver, 0, page, abi.PageSize)
			k.Store(page, 55)
		}
		for {
			waitsForOne(k)
		}
	}, nil)
	m.loader.SetLoaderClient(&m.loader)
	m.CPU.Programs[2] = borrows(&seen, 1)
	require.Equal(t, abi.OK, m.load(kerneltest.Object(t, "borrower", nil)))
	m.loader.SetLoaderClient(m)
	notify := func() {
		m.do(func() {
			assert.Equal(t, abi.OK, m.probe.grant.Slots().Notify(m.task().ID(), 2, 1, 0, m.Capabilities.MemorySharing))
		})
	}
	state := m.save()
	notify()
	again := m.save()
	for _, state := range [][]byte{state, again} {
		require.Equal(t, abi.OK, m.restore(state))
		assert.Zero(t, m.Kernel.Lent(1, 2))
		m.do(func() { m.probe.schedule(m.byName("borrower").ID(), 1, 0) })
		notify()
	}
	assert.Equal(t, []byte{55, 0, 55, 0, 99}, seen)
	assert.NotContains(t, m.Log.String(), "faulted")
}

// TestSavesAndRestores: memory is as it was behind 64 of each.
func TestSavesAndRestores(t *testing.T) {
	d := &diary{wait: waitsForAny}
	m := newSaving(t, d.program, nil)
	m.save()
	free := m.Reuse.Free()
	for i := range uint32(64) {
		state := m.save()
		m.happen([2]uint32{0, i})
		require.Equal(t, abi.OK, m.restore(state))
		assert.Equal(t, free, m.Reuse.Free())
	}
}

// clone is a copy of the model.
func (m *model) clone() *model {
	c := *m
	c.drivers = map[uint64]*slots{}
	for number, s := range m.drivers {
		same := *s
		same.buffers = map[abi.Class]*[2][2]uint64{}
		for class, b := range s.buffers {
			buffers := *b
			same.buffers[class] = &buffers
		}
		same.count = 0 // a driver's own value is no state
		c.drivers[number] = &same
	}
	return &c
}

// TestRandomRestores: a task that makes random system calls is saved and taken back at random times, and what it is answered is what the model says of
// the calls that were made up to the save.
func TestRandomRestores(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 13))
		var rules *model
		program := func(k *kerneltest.Task) {
			k.Function(func([3]uint32, uint64) {})
			if k.Restored {
				rules.task = k
				k.GoOn()
			} else {
				rules = newModel(k)
			}
			words := interesting(k)
			for {
				for range 1 + random.IntN(10) {
					var args [4]uint64
					for i := range args {
						args[i] = words[random.IntN(len(words))] + uint64(int64(random.IntN(9)-4))*uint64(random.IntN(2))
						if k.Start.Bits32 {
							args[i] &= 0xffff_ffff
						}
					}
					class := []abi.Class{abi.Subscribe, abi.Command, abi.AllowReadWrite, abi.AllowReadOnly, abi.Memop}[random.IntN(5)]
					if random.IntN(2) == 0 {
						args[0], args[1] = probeDriver, uint64(random.IntN(4))
					}
					if class == abi.Memop {
						args[0] = uint64(random.IntN(2))
					}
					if class == abi.Command && uint32(args[1]) != probeExists {
						args[1] = probeCount
					}
					rules.check(t, class, args)
				}
				k.WaitFor(otherDriver, 2)
			}
		}
		m := newSaving(t, program, func(s *tbfbuild.Spec) { s.ABI64, s.MinimumRAM = seed%2 == 0, 20*abi.PageSize })
		var states [][]byte
		var models []*model
		free := m.Reuse.Free()
		for range 60 {
			switch i := random.IntN(len(states) + 1); {
			case random.IntN(3) == 0:
				states, models = append(states, m.save()), append(models, rules.clone())
			case i < len(states) && random.IntN(2) == 0:
				rules = models[i].clone()
				require.Equal(t, abi.OK, m.restore(states[i]), m.Log.String())
			default:
				m.do(func() { m.other.schedule(m.task().ID(), 2, 0) })
				if rules.drivers[otherDriver] == nil { // that has allocated its grant
					rules.slots(otherDriver, true)
				}
			}
			require.Equal(t, free, m.Reuse.Free())
		}
	}
}

// FuzzRestore: whatever is taken in, nothing breaks: the rules of memory hold, the task goes on, if it was taken as a new run, and the other task does not notice.
func FuzzRestore(f *testing.F) {
	f.Add(uint32(0), []byte{1})
	f.Add(uint32(atBreak), []byte{0, 0x20})
	f.Add(uint32(atState), []byte{2, 0, 0, 0, 3})
	f.Add(uint32(atEntry), bytes.Repeat([]byte{6, 0, 0, 0, 0x77, 0, 0, 0}, 8))
	d := &diary{wait: waitsForAny}
	m := newSaving(f, d.program, nil)
	f.Fuzz(func(t *testing.T, at uint32, change []byte) {
		m.tb, m.loading.tb = t, t
		if m.task().State() != kernel.Yielded { // by what was taken in before
			m.do(func() {
				m.Kernel.Restart(m.task().ID(), m.Capabilities.TaskManagement)
				m.Kernel.Boot(m.task().ID(), m.Capabilities.TaskManagement)
			})
		}
		m.happen([2]uint32{0, 5}, [2]uint32{1, 9})
		state := m.save()
		for i, b := range change {
			state[(int(at)+i)%len(state)] ^= b
		}
		if at%2 == 0 {
			binary.LittleEndian.PutUint32(state[4:], uint32(len(state)))
		}
		free, keeper := m.Reuse.Free(), m.byName("keeper").ID()
		m.restore(state)
		m.Kernel.CheckMemory()
		m.do(func() { // it may have faulted by now: its stack is anywhere
			for n := range uint32(3) {
				m.probe.schedule(m.task().ID(), n, 5)
			}
		})
		require.Equal(t, keeper, m.byName("keeper").ID())
		require.LessOrEqual(t, m.Reuse.Free(), free)
	})
}
