package kernel_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"regexp"
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

// loading is a machine with two loaders, and a task in slot 0 that waits for ever. Steps are taken one behind another, each when nothing
// else can happen.
type loading struct {
	*machine
	tb             testing.TB
	loader, second load
}

// load is a Loader and what its client was told.
type load struct {
	kernel.Loader
	object   []byte // what is written and loaded once it is set up, if not nil
	setUp    int
	id       kernel.TaskID
	ends     []abi.ErrorCode
	unloaded int
}

func (l *load) SetUpDone() {
	l.setUp++
	if l.object == nil {
		return
	}
	for at := 0; at < len(l.object); at += abi.PageSize {
		l.Write(uint64(at), l.object[at:min(at+abi.PageSize, len(l.object))])
	}
	l.Load()
}

func (l *load) LoadDone(id kernel.TaskID, e abi.ErrorCode) { l.id, l.ends = id, append(l.ends, e) }
func (l *load) UnloadDone()                                { l.unloaded++ }

// last is how the last load ended.
func (l *load) last() abi.ErrorCode { return l.ends[len(l.ends)-1] }

func newLoading(tb testing.TB, ram int) *loading {
	m := &loading{machine: newMachineWithRAM(tb, ram), tb: tb}
	m.CPU.TakesTables, m.Forever = true, true
	for _, l := range []*load{&m.loader, &m.second} {
		l.Init(&m.Kernel, &m.CPU, &m.Reuse, m.Capabilities.TaskManagement)
		l.SetLoaderClient(l)
	}
	m.AddTask("keeper", waits, nil)
	for slot := 1; slot < kernel.MaxTasks; slot++ {
		m.CPU.Programs[slot] = waits
	}
	require.True(tb, m.Run())
	return m
}

// do runs the machine until nothing can happen any more behind f.
func (m *loading) do(f func()) {
	m.tb.Helper()
	m.CPU.OnIdle = func() {
		m.CPU.OnIdle = nil
		f()
	}
	require.True(m.tb, m.Continue(), "the machine ended: %s", m.Log.String())
}

// load loads an object, and returns how that ended.
func (m *loading) load(object []byte) abi.ErrorCode {
	m.tb.Helper()
	m.loader.object = object
	before := len(m.loader.ends)
	e := abi.OK
	m.do(func() { e = m.loader.SetUp(uint64(len(object))) })
	if e != abi.OK {
		return e
	}
	require.Len(m.tb, m.loader.ends, before+1)
	return m.loader.last()
}

// unload unloads a task.
func (m *loading) unload(id kernel.TaskID) {
	m.tb.Helper()
	before := m.loader.unloaded
	m.do(func() { assert.Equal(m.tb, abi.OK, m.loader.Unload(id)) })
	assert.Equal(m.tb, before+1, m.loader.unloaded)
}

// TestLoadWhileItRuns: an object that came in pieces is a task like those that were there at the start, and none once it is unloaded.
func TestLoadWhileItRuns(t *testing.T) {
	for _, bits := range []int{64, 32} {
		t.Run(fmt.Sprint(bits, " bits"), func(t *testing.T) {
			m := newLoading(t, 1<<20)
			free := m.Reuse.Free()
			object := kerneltest.Object(t, "late", func(s *tbfbuild.Spec) {
				s.ABI64, s.SHA256, s.ShortID = bits == 64, true, 77
				s.Binary = bytes.Repeat([]byte{7}, 5*abi.PageSize)
			})
			ran := 0
			m.CPU.Programs[1] = func(k *kerneltest.Task) {
				ran++
				assert.EqualValues(t, 77, k.Start.ShortID)
				assert.Equal(t, object, k.Load(abi.FlashStart, uint64(len(object))))
				assert.Equal(t, make([]byte, 40), k.Load(k.Start.RAMStart, 40))
				assert.Equal(t, value, k.Command(probeDriver, probeCount, 3, 0)[0])
				if bits == 64 {
					k.Store(k.Start.RAMStart, 9)
				}
				k.Wait()
			}
			require.Equal(t, abi.OK, m.load(object), m.Log.String())
			assert.Equal(t, 1, ran)
			assert.EqualValues(t, 1, m.loader.id.Slot())
			assert.Contains(t, m.Tasks(), "late")
			assert.Contains(t, m.Log.String(), "task 2 late: flash 0x40000000")
			m.unload(m.loader.id)
			assert.Equal(t, 1, strings.Count(m.Tasks(), "\n")-1, m.Tasks())
			assert.Equal(t, free, m.Reuse.Free())
			assert.Regexp(t, fmt.Sprintf("task 2 late: unloaded\nmemory: %d bytes are free, .* were before\n", free), m.Log.String())
			assert.Contains(t, m.Log.String(), fmt.Sprintf(" bytes are free, %d were before\n", free))
			assert.Equal(t, abi.INVAL, m.loader.Unload(m.loader.id))
			assert.Equal(t, abi.INVAL, m.Kernel.Boot(m.loader.id, m.Capabilities.TaskManagement))
		})
	}
}

// TestLoadsAndUnloadsGiveMemoryBack: 64 loads and unloads, one by one and all at once, leave the memory as it was.
func TestLoadsAndUnloadsGiveMemoryBack(t *testing.T) {
	m := newLoading(t, 4<<20)
	free := m.Reuse.Free()
	object := func(i int) []byte {
		return kerneltest.Object(t, fmt.Sprint("task", i), func(s *tbfbuild.Spec) {
			s.ABI64, s.SHA256 = i%3 != 0, i%2 == 0
			s.MinimumRAM = uint32(1+i%5) * abi.PageSize
			s.Binary = bytes.Repeat([]byte{1}, 100+i*500)
		})
	}
	for i := range 64 {
		require.Equal(t, abi.OK, m.load(object(i)), m.Log.String())
		m.unload(m.loader.id)
		require.Equal(t, free, m.Reuse.Free(), "behind %d", i)
	}
	var ids []kernel.TaskID
	for i := range 63 {
		require.Equal(t, abi.OK, m.load(object(i)), m.Log.String())
		ids = append(ids, m.loader.id)
	}
	assert.Equal(t, abi.FAIL, m.load(object(99)))
	assert.Contains(t, m.Log.String(), "task object refused: all task slots are in use\n")
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	for _, id := range ids {
		m.unload(id)
	}
	assert.Equal(t, free, m.Reuse.Free())
	figures := regexp.MustCompile(`memory: (\d+) bytes are free`).FindAllStringSubmatch(m.Log.String(), -1)
	assert.Equal(t, fmt.Sprint(free), figures[len(figures)-1][1], "what the kernel prints")
}

// TestLoadsRandomly: loads, unloads, ends, loans and restarts in any order, with the rules of memory checked behind each change. What a slot
// holds is what was loaded into it; at the end all memory is there again.
func TestLoadsRandomly(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { loadsRandomly(t, rand.New(rand.NewPCG(seed, 3))) })
	}
}

func loadsRandomly(t *testing.T, r *rand.Rand) {
	m := newLoading(t, 1<<20)
	loanHook(m.machine)
	for slot := 1; slot < kernel.MaxTasks; slot++ {
		m.CPU.Programs[slot] = func(k *kerneltest.Task) {
			assert.Equal(t, make([]byte, 64), k.Load(k.Start.RAMStart, 64), "memory is clean")
			page := k.Start.RAMStart + abi.PageSize
			k.Memop(abi.MemopBrk, page+2*abi.PageSize)
			assert.Equal(t, make([]byte, 2*abi.PageSize), k.Load(page, 2*abi.PageSize), "memory is clean")
			k.Store(page, bytes.Repeat([]byte{0xee}, 2*abi.PageSize)...)
			for {
				k.AllowRW(probeDriver, 1, page, uint64(1+r.IntN(2))*abi.PageSize)
				k.Command(probeDriver, probeHook, 1, uint64(r.IntN(8)))
				switch r.IntN(6) {
				case 0:
					return
				case 1:
					k.WaitFor(probeDriver, 0)
				case 2:
					k.Restart(0)
				default:
					k.Wait()
				}
			}
		}
	}
	free := m.Reuse.Free()
	live := map[kernel.TaskID]bool{} // as they were loaded
	slots := map[uint32]kernel.TaskID{}
	for step := range 150 {
		if len(live) != 0 && (r.IntN(2) == 0 || len(live) > 20) {
			for _, task := range m.Kernel.Records()[1:] {
				if r.IntN(len(live)) == 0 {
					id := task.ID()
					m.unload(id)
					delete(live, slots[id.Slot()])
					break
				}
			}
			continue
		}
		e := m.load(kerneltest.Object(t, fmt.Sprint("t", step), func(s *tbfbuild.Spec) {
			s.MinimumRAM = uint32(4+r.IntN(6)) * abi.PageSize
			s.Binary = bytes.Repeat([]byte{1}, 200+r.IntN(9000))
			s.SHA256 = r.IntN(2) == 0
		}))
		require.Contains(t, []abi.ErrorCode{abi.OK, abi.NOMEM}, e, m.Log.String())
		if e == abi.OK {
			live[m.loader.id] = true
			slots[m.loader.id.Slot()] = m.loader.id
		}
		require.Len(t, m.Kernel.Records(), len(live)+1)
	}
	for _, task := range m.Kernel.Records()[1:] {
		m.unload(task.ID())
	}
	// The keeper, which others lent to, may have taken page tables and a page of its own for that.
	kept := free - m.Reuse.Free()
	assert.LessOrEqual(t, kept, uint64(64*abi.PageSize))
	assert.Zero(t, kept%abi.PageSize)
	m.unload(m.Kernel.Records()[0].ID())
	assert.Greater(t, m.Reuse.Free(), free, "the keeper is gone too")
	assert.Len(t, m.RAM.Low, 1<<20, "all memory is one piece that nobody ever had")
}

// TestRefusedLoads: what may not run costs nothing, and the kernel says why.
func TestRefusedLoads(t *testing.T) {
	change := func(f func(b []byte)) func(*loading) []byte {
		return func(m *loading) []byte {
			b := kerneltest.Object(m.tb, "bad", func(s *tbfbuild.Spec) { s.SHA256 = true })
			f(b)
			return b
		}
	}
	spec := func(f func(s *tbfbuild.Spec)) func(*loading) []byte {
		return func(m *loading) []byte { return kerneltest.Object(m.tb, "bad", f) }
	}
	for name, c := range map[string]struct {
		object func(m *loading) []byte
		want   abi.ErrorCode
		said   string
	}{
		"a byte of the header": {change(func(b []byte) { b[9] ^= 1 }), abi.FAIL, "header checksum"},
		"a byte of the binary": {change(func(b []byte) { b[0x300] ^= 1 }), abi.FAIL, "a credential does not fit"},
		"no header":            {func(*loading) []byte { return make([]byte, 8192) }, abi.FAIL, "version"},
		"padding": {func(m *loading) []byte {
			b := make([]byte, 4096)
			b[0], b[2], b[5] = tbf.Version, tbf.BaseSize, 0x10
			tbfbuild.Seal(b)
			return b
		}, abi.FAIL, "Program element is missing"},
		"disabled":               {spec(func(s *tbfbuild.Spec) { s.Disabled = true }), abi.FAIL, "enabled flag"},
		"on the loans":           {spec(func(s *tbfbuild.Spec) { s.FixedAddresses = &tbf.FixedAddresses{RAM: abi.LoanStart, Flash: tbf.Unset} }), abi.FAIL, "lent to it"},
		"more RAM than there is": {spec(func(s *tbfbuild.Spec) { s.MinimumRAM = 1 << 20 }), abi.NOMEM, "not enough RAM left"},
		"the same application":   {spec(func(s *tbfbuild.Spec) { s.ShortID, s.Version = 5, 99 }), abi.FAIL, "same application"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newLoading(t, 1<<20)
			require.Equal(t, abi.OK, m.load(kerneltest.Object(t, "five", func(s *tbfbuild.Spec) { s.ShortID = 5 })))
			free := m.Reuse.Free()
			log := m.Log.Len()
			assert.Equal(t, c.want, m.load(c.object(m)))
			said := m.Log.String()[log:]
			assert.Regexp(t, "^task object refused: .*"+c.said+".*\n$", said)
			assert.Equal(t, free, m.Reuse.Free())
			assert.Len(t, m.Kernel.Records(), 2)
			assert.Equal(t, abi.OK, m.load(kerneltest.Object(t, "good", nil)), "the loader goes on")
		})
	}
}

// TestNoPageTablesForALoad: an object without page tables gives back what it has taken.
func TestNoPageTablesForALoad(t *testing.T) {
	m := newLoading(t, 1<<20)
	free := m.Reuse.Free()
	m.CPU.ReserveFails = true
	assert.Equal(t, abi.NOMEM, m.load(kerneltest.Object(t, "late", nil)))
	assert.Equal(t, free, m.Reuse.Free())
	m.CPU.ReserveFails = false
	hole := m.Reuse.Take(m.Reuse.Free() - 7*abi.PageSize) // for object, record, RAM of 5 pages, but no tables
	assert.Equal(t, abi.NOMEM, m.load(kerneltest.Object(t, "late", nil)), m.Log.String())
	assert.EqualValues(t, 7*abi.PageSize, m.Reuse.Free())
	m.RAM.Give(hole)
	assert.Equal(t, abi.OK, m.load(kerneltest.Object(t, "late", nil)))
}

// TestWrites: what may be written of an object, and when.
func TestWrites(t *testing.T) {
	object := kerneltest.Object(t, "late", func(s *tbfbuild.Spec) { s.Binary = make([]byte, 3000) })
	size := uint64(len(object))
	other := bytes.Clone(object[:64])
	binary.LittleEndian.PutUint32(other[tbf.OffsetTotalSize:], uint32(size)-4)
	wrongVersion := bytes.Clone(object[:64])
	wrongVersion[0] = 3
	m := newLoading(t, 1<<20)
	l := &m.loader
	assert.Equal(t, abi.INVAL, l.Write(0, object[:8]), "nothing was set up")
	assert.Equal(t, abi.INVAL, l.Load())
	assert.Equal(t, abi.INVAL, l.Abort())
	for _, n := range []uint64{0, tbf.BaseSize - 1, 1 << 32, ^uint64(0)} {
		assert.Equal(t, abi.INVAL, l.SetUp(n), "%d bytes", n)
	}
	assert.Equal(t, abi.NOMEM, l.SetUp(1<<32-abi.PageSize))
	m.do(func() {
		assert.Equal(t, abi.OK, l.SetUp(size))
		assert.Equal(t, abi.INVAL, l.Write(0, object[:8]), "it is not cleared yet")
		assert.Equal(t, abi.BUSY, l.SetUp(size))
	})
	require.Equal(t, 1, l.setUp)
	for _, c := range []struct {
		name   string
		offset uint64
		b      []byte
		want   abi.ErrorCode
	}{
		{"the header", 0, object[:64], abi.OK},
		{"its first bytes", 0, object[:8], abi.OK},
		{"less than these", 0, object[:7], abi.INVAL},
		{"a part of these", 4, object[4:64], abi.INVAL},
		{"another length", 0, other, abi.INVAL},
		{"another version", 0, wrongVersion, abi.INVAL},
		{"nothing", 8, nil, abi.OK},
		{"nothing, at the start", 0, nil, abi.INVAL},
		{"nothing, at the end", size, nil, abi.OK},
		{"the last byte", size - 1, object[size-1:], abi.OK},
		{"a byte more", size, []byte{1}, abi.INVAL},
		{"across the end", size - 1, []byte{1, 2}, abi.INVAL},
		{"far beyond", 1 << 40, []byte{1}, abi.INVAL},
		{"around the end of all", ^uint64(0), []byte{1, 2}, abi.INVAL},
		{"more than a page", 64, make([]byte, abi.PageSize+1), abi.INVAL},
		{"the rest", 64, object[64:], abi.OK},
	} {
		assert.Equal(t, c.want, l.Write(c.offset, c.b), c.name)
	}
	m.do(func() {
		assert.Equal(t, abi.OK, l.Load())
		assert.Equal(t, abi.INVAL, l.Write(64, object[64:]), "it is being looked at")
		assert.Equal(t, abi.INVAL, l.Load())
		assert.Equal(t, abi.BUSY, l.SetUp(size))
	})
	assert.Equal(t, []abi.ErrorCode{abi.OK}, l.ends)
	assert.Equal(t, abi.INVAL, l.Abort(), "it is loaded")
}

// TestAbortAnywhere: an object is given up in each stage, and nothing of it stays.
func TestAbortAnywhere(t *testing.T) {
	object := kerneltest.Object(t, "late", func(s *tbfbuild.Spec) {
		s.SHA256, s.Binary = true, make([]byte, 200<<10)
	})
	for pieces := 1; pieces < 40; pieces++ {
		m := newLoading(t, 1<<20)
		free := m.Reuse.Free()
		m.loader.object = object
		m.do(func() {
			assert.Equal(t, abi.OK, m.loader.SetUp(uint64(len(object))))
			left := pieces
			m.CPU.OnPoll = func() { // between two pieces: no task is ready
				if left--; left == 0 {
					m.loader.Abort()
				}
			}
		})
		m.CPU.OnPoll = nil
		if len(m.loader.ends) == 1 {
			require.Greater(t, pieces, 15, "clearing and hashing come in pieces")
			assert.Equal(t, abi.OK, m.loader.last())
			return
		}
		assert.Equal(t, free, m.Reuse.Free(), "behind %d pieces", pieces)
		assert.Len(t, m.Kernel.Records(), 1)
	}
	t.Fatal("it was never loaded")
}

// TestUnloadOfALender: a borrower that does not know yet finds zeroes, and no fault; a task that is loaded into the slot then lends anew.
func TestUnloadOfALender(t *testing.T) {
	m := newLoading(t, 1<<20)
	loanHook(m.machine)
	lends := func(k *kerneltest.Task) {
		page := k.Start.RAMStart + abi.PageSize
		k.Memop(abi.MemopBrk, page+2*abi.PageSize)
		k.Store(page, 1, 2, 3)
		k.AllowRW(probeDriver, 0, page, 2*abi.PageSize)
		want := lent(2 * abi.PageSize)
		if m.byName("borrower") == nil {
			want = failed(abi.INVAL)
		}
		assert.Equal(t, want, k.Command(probeDriver, probeHook, 0, 2))
		k.Wait()
	}
	var seen [][]byte
	m.CPU.Programs[1] = lends
	m.CPU.Programs[2] = func(k *kerneltest.Task) {
		for {
			got := k.WaitFor(probeDriver, 0)
			at := loanOf(got[0])
			if got[1] != 0 {
				seen = append(seen, k.Load(at, 3))
			}
			k.WaitFor(probeDriver, 1)
			seen = append(seen, k.Load(at, 3))
		}
	}
	poke := func() { m.probe.grant.Slots().ScheduleUpcall(m.byName("borrower").ID(), 1, 0, 0, 0) }
	require.Equal(t, abi.OK, m.load(kerneltest.Object(t, "first", nil)))
	lender := m.loader.id
	require.Equal(t, abi.OK, m.load(kerneltest.Object(t, "borrower", nil)))
	assert.Empty(t, seen)
	m.do(func() { m.Kernel.Restart(lender, m.Capabilities.TaskManagement) }) // now that there is a borrower
	lender = m.byName("first").ID()
	free := m.Reuse.Free()
	m.unload(lender)
	given := m.Reuse.Free() - free
	m.do(poke)
	assert.Equal(t, [][]byte{{1, 2, 3}, {0, 0, 0}}, seen)

	for slot := 3; slot < kernel.MaxTasks; slot++ { // slots are used in turn
		require.Equal(t, abi.OK, m.load(kerneltest.Object(t, "passing", nil)))
		m.unload(m.loader.id)
	}
	assert.Equal(t, given, m.Reuse.Free()-free, "the record of the slot is still there for the borrower's sake")
	require.Equal(t, abi.OK, m.load(kerneltest.Object(t, "second", nil)))
	require.EqualValues(t, 1, m.loader.id.Slot())
	m.do(poke)
	assert.Equal(t, [][]byte{{1, 2, 3}, {0, 0, 0}, {1, 2, 3}, {1, 2, 3}}, seen)
	m.unload(m.loader.id)
	m.unload(m.byName("borrower").ID())
	m.unload(m.byName("keeper").ID())
	assert.Len(t, m.RAM.Low, 1<<20, "nothing is left of any")
}

// TestUnloadedInAnyState: a task is unloaded while it waits, has notified others, has upcalls queued, has ended, faulted, is stopped or gets memory;
// nothing of it is told to anyone any more, and its memory is there again.
func TestUnloadedInAnyState(t *testing.T) {
	for name, c := range map[string]struct {
		program kerneltest.Program
		before  func(m *loading, id kernel.TaskID)
	}{
		"it waits":              {program: waits},
		"it waits for one":      {program: func(k *kerneltest.Task) { k.WaitFor(probeDriver, 0) }},
		"it has ended":          {program: func(*kerneltest.Task) {}},
		"it has faulted":        {program: func(k *kerneltest.Task) { k.Load(0, 1) }},
		"it has notified":       {program: func(k *kerneltest.Task) { k.Command(probeDriver, probeHook, 0, 0); k.Wait() }},
		"it notified and ended": {program: func(k *kerneltest.Task) { k.Command(probeDriver, probeHook, 0, 0) }},
		"upcalls are queued": {program: func(k *kerneltest.Task) {
			k.Subscribe(probeDriver, 0, k.Function(func([3]uint32, uint64) {}), 0)
			k.WaitFor(otherDriver, 0)
		}, before: func(m *loading, id kernel.TaskID) {
			for range 12 {
				m.probe.grant.Slots().ScheduleUpcall(id, 0, 1, 2, 3)
			}
		}},
		"it is stopped": {program: waits, before: func(m *loading, id kernel.TaskID) {
			m.Kernel.Stop(id, m.Capabilities.TaskManagement)
		}},
		"it unloads itself": {program: func(k *kerneltest.Task) { k.Command(otherDriver, probeHook, 0, 0); panic("it went on") }},
	} {
		t.Run(name, func(t *testing.T) {
			m := newLoading(t, 1<<20)
			loanHook(m.machine)
			free := m.Reuse.Free()
			m.CPU.Programs[1] = c.program
			m.other.hook = func(id kernel.TaskID, _, _ uint32) kernel.Result {
				assert.Equal(t, abi.OK, m.other.grant.Enter(id, func(_ *counter, d *kernel.TaskData) {
					assert.Equal(t, abi.OK, m.loader.Unload(id))
					assert.Equal(t, abi.INVAL, d.ScheduleUpcall(0, 0, 0, 0), "the entry is over")
				}))
				return kernel.Done()
			}
			require.Equal(t, abi.OK, m.load(kerneltest.Object(t, "late", nil)))
			id := m.loader.id
			if name != "it unloads itself" {
				m.do(func() {
					if c.before != nil {
						c.before(m, id)
					}
					assert.Equal(t, abi.OK, m.loader.Unload(id))
				})
			}
			assert.Equal(t, 1, m.loader.unloaded)
			assert.Equal(t, free, m.Reuse.Free())
			assert.Equal(t, abi.INVAL, m.probe.grant.Slots().ScheduleUpcall(id, 0, 0, 0, 0))
			keeper := m.Kernel.Records()[0]
			assert.Zero(t, keeper.Statistics().Queued)
			assert.Equal(t, abi.INVAL, m.probe.grant.Slots().Notify(keeper.ID(), 1, 0, 0, m.Capabilities.MemorySharing), "no task is in the slot")
			require.Equal(t, abi.OK, m.load(kerneltest.Object(t, "next", nil)))
		})
	}
}

// TestUnloadWhileItGrows: memory that a task was to get is given back with the rest.
func TestUnloadWhileItGrows(t *testing.T) {
	m := newLoading(t, 2<<20)
	free := m.Reuse.Free()
	m.CPU.Programs[1] = func(k *kerneltest.Task) {
		m.CPU.OnPoll = func() {
			m.CPU.OnPoll = nil
			assert.Equal(t, abi.OK, m.loader.Unload(m.byName("late").ID()))
		}
		k.Memop(abi.MemopBrk, k.Start.RAMStart+900<<10)
		panic("it went on")
	}
	require.Equal(t, abi.OK, m.load(kerneltest.Object(t, "late", func(s *tbfbuild.Spec) { s.MinimumRAM = 1 << 20 })))
	assert.Equal(t, free, m.Reuse.Free())
}

// TestTwoLoaders: two objects come at the same time; of one application only the first becomes a task.
func TestTwoLoaders(t *testing.T) {
	m := newLoading(t, 1<<20)
	same := func(s *tbfbuild.Spec) { s.ShortID, s.SHA256 = 5, true }
	m.loader.object, m.second.object = kerneltest.Object(t, "one", same), kerneltest.Object(t, "two", same)
	m.do(func() {
		m.loader.SetUp(uint64(len(m.loader.object)))
		m.second.SetUp(uint64(len(m.second.object)))
	})
	assert.Equal(t, abi.OK, m.loader.last())
	assert.Equal(t, abi.FAIL, m.second.last())
	m.do(func() {
		m.loader.Unload(m.loader.id)
		assert.Equal(t, abi.OK, m.second.SetUp(uint64(len(m.second.object))), "at the same time")
	})
	assert.Equal(t, abi.OK, m.second.last())
}

// TestRecordsMayBeKeptNoLonger: what EachTask shows is a copy, and of no task behind that.
func TestRecordsMayBeKeptNoLonger(t *testing.T) {
	m := newLoading(t, 1<<20)
	require.Equal(t, abi.OK, m.load(kerneltest.Object(t, "late", nil)))
	var seen kernel.Task
	var names []string
	m.Kernel.EachTask(m.Capabilities.TaskManagement, &seen, func() {
		var name kerneltest.Log
		seen.PrintName(&name, 0)
		names = append(names, name.String())
		if name.String() == "keeper" {
			m.loader.Unload(m.loader.id) // the next one
		}
	})
	assert.Equal(t, []string{"keeper"}, names)
	assert.Equal(t, kernel.TaskID{}, seen.ID())
	assert.Equal(t, kernel.Unused, seen.State())
}

// TestTaskEndIsTold: whoever keeps something for a task is told when its run ends, however it does.
func TestTaskEndIsTold(t *testing.T) {
	m := newLoading(t, 1<<20)
	ended := &ends{}
	m.Kernel.OnTaskEnd(ended, m.Capabilities.TaskManagement)
	for slot, program := range []kerneltest.Program{1: func(*kerneltest.Task) {}, 2: func(k *kerneltest.Task) { k.Load(0, 1) }, 3: waits} {
		if program == nil {
			continue
		}
		m.CPU.Programs[slot] = program
		require.Equal(t, abi.OK, m.load(kerneltest.Object(t, "late", nil)))
		if slot == 3 {
			m.unload(m.loader.id)
		}
		assert.Equal(t, m.loader.id, ended.ids[len(ended.ids)-1], "slot %d", slot)
	}
	assert.Len(t, ended.ids, 3)
}

type ends struct{ ids []kernel.TaskID }

func (e *ends) TaskEnded(id kernel.TaskID) { e.ids = append(e.ids, id) }

// TestWriteableFlashRegionsOverlap: an object whose writeable regions of whole pages are together larger than itself is not loaded: mapping them
// would be long work in one piece, many times that of mapping the object.
func TestWriteableFlashRegionsOverlap(t *testing.T) {
	for copies, want := range map[int]abi.ErrorCode{2: abi.OK, 3: abi.FAIL, 8000: abi.FAIL} {
		m := newLoading(t, 1<<20)
		assert.Equal(t, want, m.load(kerneltest.Object(t, "late", func(s *tbfbuild.Spec) {
			s.BinaryOffset = 0x10000
			s.Binary = make([]byte, 0x20000)
			s.Writeable = slices.Repeat([]tbf.Region{{Offset: 0, Size: 0x18000}}, copies)
		})))
		assert.Equal(t, want != abi.OK, strings.Contains(m.Log.String(), "refused: its writeable flash regions overlap"), "%d: %s", copies, m.Log.String())
	}
}
