package nonvolatile

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/kernel/kerneltest"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

const (
	shared   = abi.DriverNonvolatileStorage
	isolated = abi.DriverIsolatedNonvolatile

	regionSize = 3*4096 + 100
	stride     = 4 * 4096 // from one region to the next
)

// regions are a hil.Regions. To make one takes it 50 microseconds.
type regions struct {
	machine *kerneltest.Machine
	client  hil.RegionsClient
	owners  [][2]uint32
	asked   [2]uint32
	room    int // for so many
	size    uint64
	end     abi.ErrorCode // how making one ends
}

func (r *regions) SetRegionsClient(client hil.RegionsClient) { r.client = client }

func (r *regions) FindRegion(driver, owner uint32) (address, size uint64) {
	for i, o := range r.owners {
		if o == [2]uint32{driver, owner} {
			return uint64(i) * stride, r.size
		}
	}
	return 0, 0
}

func (r *regions) NewRegionSize() uint64 {
	if len(r.owners) == r.room {
		return 0
	}
	return r.size
}

func (r *regions) AllocateRegion(driver, owner uint32) abi.ErrorCode {
	if len(r.owners) == r.room {
		return abi.NOMEM
	}
	r.asked = [2]uint32{driver, owner}
	r.machine.Alarm.SetAlarm(r.machine.Alarm.Now() + 50)
	return abi.OK
}

func (r *regions) AlarmFired() {
	if r.end == abi.OK {
		r.owners = append(r.owners, r.asked)
	}
	r.client.RegionAllocated(r.end)
}

// machine is a kerneltest.Machine with both drivers.
type machine struct {
	*kerneltest.Machine
	disk    *kerneltest.Storage
	regions *regions
	server  Server
}

func newMachine(t *testing.T) *machine { return newMachineWithRoom(t, abi.PageSize) }

// newMachineWithRoom has room for pieces of so many bytes.
func newMachineWithRoom(t *testing.T, room int) *machine {
	m := &machine{Machine: kerneltest.New(t, capability.Mint())}
	m.disk = kerneltest.NewStorage(m.Machine, 9, make([]byte, 4*stride))
	m.regions = &regions{machine: m.Machine, room: 4, size: regionSize}
	m.Alarm.SetAlarmClient(m.regions)
	m.server.Init(&m.Kernel, m.disk, m.regions, make([]byte, room), m.Capabilities.MemoryAllocation)
	return m
}

// task adds a task with all permissions of an owner.
func (m *machine) task(owner uint32, p kerneltest.Program) {
	ids := []uint32{owner}
	m.AddTask("task", func(k *kerneltest.Task) {
		k.Memop(abi.MemopBrk, k.Start.RAMStart+6*abi.PageSize)
		p(k)
	}, func(s *tbfbuild.Spec) {
		s.MinimumRAM = 8 * abi.PageSize
		s.Storage = &tbfbuild.Storage{WriteID: owner, Read: ids, Modify: ids}
	})
}

func (m *machine) run(t *testing.T) {
	t.Helper()
	assert.False(t, m.Run(), "a task sleeps for ever")
	assert.NotContains(t, m.Log.String(), "fault")
}

// region is what is durable of an owner's region.
func (m *machine) region(driver uint64, owner uint32) []byte {
	at, size := m.regions.FindRegion(uint32(driver), owner)
	return m.disk.Durable[at : at+size]
}

var (
	done   = [4]uint64{uint64(abi.Success)}
	failed = func(e abi.ErrorCode) [4]uint64 { return [4]uint64{uint64(abi.Failure), uint64(e)} }
	told   = func(args ...uint64) (a [4]uint64) { copy(a[:], args); return a }
)

// pattern is n bytes that no other seed has.
func pattern(seed byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = seed + byte(i*7) + byte(i>>8)
	}
	return b
}

// assertSame compares bytes, of which a failure does not show all.
func assertSame(t *testing.T, want, got []byte) {
	t.Helper()
	assert.Len(t, got, len(want))
	for i := range min(len(want), len(got)) {
		if got[i] != want[i] {
			t.Errorf("byte %d is %#x, want %#x", i, got[i], want[i])
			return
		}
	}
}

// A way is how a driver is called, and what it tells.
type way struct {
	driver            uint64
	readDone, written uint64
	// args are a command's arguments.
	args func(offset, length uint64) (a0, a1 uint64)
	// end is an upcall's arguments.
	end func(e abi.ErrorCode, n uint64) [4]uint64
}

// ways are both: an upcall of the first has no status.
var ways = map[string]way{
	"nonvolatile_storage_driver.rs": {shared, 0, 1,
		func(offset, length uint64) (uint64, uint64) { return offset, length },
		func(_ abi.ErrorCode, n uint64) [4]uint64 { return told(n) }},
	"isolated_nonvolatile_storage_driver.rs": {isolated, 1, 2,
		func(offset, _ uint64) (uint64, uint64) { return offset & 0xffff_ffff, offset >> 32 },
		func(e abi.ErrorCode, n uint64) [4]uint64 { return told(uint64(e), n) }},
}

func both(t *testing.T, test func(t *testing.T, w way)) {
	for name, w := range ways {
		t.Run(name, func(t *testing.T) { test(t, w) })
	}
}

// write writes bytes from a buffer, and returns the upcall's arguments, or what the command returned if it failed.
func (w way) write(k *kerneltest.Task, offset uint64, b []byte) [4]uint64 {
	at := k.Start.RAMStart + 64
	k.Store(at, b...)
	k.AllowRO(w.driver, buffer, at, uint64(len(b)))
	a0, a1 := w.args(offset, uint64(len(b)))
	if r := k.Command(w.driver, write, a0, a1); r != done {
		return r
	}
	return k.WaitFor(w.driver, w.written)
}

// read reads n bytes into a buffer, and returns the upcall's arguments and the bytes.
func (w way) read(k *kerneltest.Task, offset uint64, n int) ([4]uint64, []byte) {
	at := k.Start.RAMStart + 64
	k.Store(at, make([]byte, n)...)
	k.AllowRW(w.driver, buffer, at, uint64(n))
	a0, a1 := w.args(offset, uint64(n))
	if r := k.Command(w.driver, read, a0, a1); r != done {
		return r, nil
	}
	return k.WaitFor(w.driver, w.readDone), k.Load(at, uint64(n))
}

// A call is a command, and what comes of it.
type call struct {
	name    string
	room    uint64 // bytes of both buffers
	command uint64
	a0, a1  uint64
	want    [4]uint64
	sn      uint64     // of the upcall that then comes
	told    *[4]uint64 // its arguments; nil: none comes
}

// TestCommandsOfNonvolatileStorageDriver, those of capsules/extra/src/nonvolatile_storage_driver.rs.
func TestCommandsOfNonvolatileStorageDriver(t *testing.T) {
	testCalls(t, shared, []call{
		{"0: it exists", 0, 0, 0, 0, done, 0, nil},
		{"1: the size, before there is a region", 0, 1, 0, 0, told(uint64(abi.SuccessU32), regionSize), 0, nil},
		{"3: a write of all", 10, 3, 0, 10, done, 1, new(told(10))},
		{"1: the size", 0, 1, 0, 0, told(uint64(abi.SuccessU32), regionSize), 0, nil},
		{"2: a read of all", 10, 2, 0, 10, done, 0, new(told(10))},
		{"2: no more than the buffer has", 10, 2, 0, regionSize, done, 0, new(told(10))},
		{"3: no more than the buffer has", 10, 3, 0, regionSize, done, 1, new(told(10))},
		{"2: less than the buffer has", 10, 2, 5, 3, done, 0, new(told(3))},
		{"2: nothing", 10, 2, 0, 0, done, 0, new(told(0))},
		{"3: nothing", 10, 3, 0, 0, done, 1, new(told(0))},
		{"2: the last byte", 10, 2, regionSize - 1, 1, done, 0, new(told(1))},
		{"2: INVAL behind the last byte", 10, 2, regionSize, 0, failed(abi.INVAL), 0, nil},
		{"2: INVAL for more than there is", 10, 2, 1, regionSize, failed(abi.INVAL), 0, nil},
		{"3: INVAL for more than there is", 10, 3, 1, regionSize, failed(abi.INVAL), 0, nil},
		{"3: INVAL for all numbers", 10, 3, 1<<32 - 1, 1<<32 - 1, failed(abi.INVAL), 0, nil},
		{"2: INVAL comes before RESERVE", 0, 2, regionSize, 1, failed(abi.INVAL), 0, nil},
		{"2: RESERVE without a buffer", 0, 2, 0, 1, failed(abi.RESERVE), 0, nil},
		{"3: RESERVE without a buffer", 0, 3, 0, 1, failed(abi.RESERVE), 0, nil},
		{"4: NOSUPPORT", 10, 4, 0, 1, failed(abi.NOSUPPORT), 0, nil},
		{"NOSUPPORT for the last number", 10, 1<<32 - 1, 0, 1, failed(abi.NOSUPPORT), 0, nil},
	})
}

// TestCommandsOfIsolatedNonvolatileStorageDriver, those of capsules/extra/src/isolated_nonvolatile_storage_driver.rs.
func TestCommandsOfIsolatedNonvolatileStorageDriver(t *testing.T) {
	testCalls(t, isolated, []call{
		{"0: it exists", 0, 0, 0, 0, done, 0, nil},
		{"1: the size, before there is a region", 0, 1, 0, 0, done, 0, new(told(0, regionSize))},
		{"3: a write of the buffer", 10, 3, 0, 0, done, 2, new(told(0, 10))},
		{"1: the size", 0, 1, 0, 0, done, 0, new(told(0, regionSize))},
		{"2: a read into the buffer", 10, 2, 0, 0, done, 1, new(told(0, 10))},
		{"2: up to the last byte", 10, 2, regionSize - 10, 0, done, 1, new(told(0, 10))},
		{"2: INVAL for a byte behind the last", 10, 2, regionSize - 9, 0, done, 1, new(told(uint64(abi.INVAL)))},
		{"3: INVAL for a byte behind the last", 10, 3, regionSize - 9, 0, done, 2, new(told(uint64(abi.INVAL)))},
		{"3: INVAL by the high word", 10, 3, 0, 1, done, 2, new(told(uint64(abi.INVAL)))},
		{"3: INVAL for all numbers", 10, 3, 1<<32 - 1, 1<<32 - 1, done, 2, new(told(uint64(abi.INVAL)))},
		{"2: RESERVE without a buffer", 0, 2, 0, 0, done, 1, new(told(uint64(abi.RESERVE)))},
		{"3: RESERVE without a buffer comes before INVAL", 0, 3, 0, 1, done, 2, new(told(uint64(abi.RESERVE)))},
		{"4: NOSUPPORT", 10, 4, 0, 0, failed(abi.NOSUPPORT), 0, nil},
		{"NOSUPPORT for the last number", 10, 1<<32 - 1, 0, 0, failed(abi.NOSUPPORT), 0, nil},
	})
}

// testCalls has a task make the calls one after the other.
func testCalls(t *testing.T, driver uint64, calls []call) {
	m := newMachine(t)
	m.task(5, func(k *kerneltest.Task) {
		for _, c := range calls {
			k.AllowRO(driver, buffer, k.Start.RAMStart, c.room)
			k.AllowRW(driver, buffer, k.Start.RAMStart, c.room)
			assert.Equal(t, c.want, k.Command(driver, c.command, c.a0, c.a1), c.name)
			if c.told != nil {
				assert.Equal(t, *c.told, k.WaitFor(driver, c.sn), c.name)
			}
			assert.Zero(t, m.server.busy, c.name)
		}
	})
	m.run(t)
}

// TestSizesOf4GiBAndMore: the first driver has no number above 32 bits, and reaches the first 4 GiB and what one write is about.
func TestSizesOf4GiBAndMore(t *testing.T) {
	m := newMachine(t)
	m.regions.size = 5 << 32
	m.task(5, func(k *kerneltest.Task) {
		assert.Equal(t, told(uint64(abi.SuccessU32), 1<<32-1), k.Command(shared, size, 0, 0))
		k.Command(isolated, size, 0, 0)
		assert.Equal(t, told(0, 0, 5), k.WaitFor(isolated, 0), "the high word is the third")
	})
	m.run(t)
}

// TestPermissions: a task without a write identifier has no region, and one that may not read or modify what is stored under
// its own may not give that command (check_userspace_perms of isolated_nonvolatile_storage_driver.rs).
func TestPermissions(t *testing.T) {
	no := failed(abi.NOSUPPORT)
	for _, tt := range []struct {
		name              string
		storage           *tbfbuild.Storage
		sized, reads, set bool
	}{
		{"none", nil, false, false, false},
		{"no write identifier", &tbfbuild.Storage{Read: []uint32{5}, Modify: []uint32{5}}, false, false, false},
		{"another's alone", &tbfbuild.Storage{WriteID: 5, Read: []uint32{6}, Modify: []uint32{6}}, true, false, false},
		{"to read", &tbfbuild.Storage{WriteID: 5, Read: []uint32{6, 5}}, true, true, false},
		{"to modify", &tbfbuild.Storage{WriteID: 5, Modify: []uint32{5}}, true, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			both(t, func(t *testing.T, w way) {
				m := newMachine(t)
				m.AddTask("task", func(k *kerneltest.Task) {
					assert.Equal(t, done, k.Command(w.driver, exists, 0, 0))
					assert.Equal(t, tt.sized, k.Command(w.driver, size, 0, 0) != no)
					args, _ := w.read(k, 0, 4)
					assert.Equal(t, tt.reads, args != no)
					assert.Equal(t, tt.set, w.write(k, 0, []byte("data")) != no)
				}, func(s *tbfbuild.Spec) { s.Storage = tt.storage })
				m.run(t)
				assert.Equal(t, tt.reads || tt.set, len(m.regions.owners) != 0)
			})
		})
	}
}

// TestWriteAndRead at all kinds of places: pieces are of one page each, and all is durable when the upcall comes.
func TestWriteAndRead(t *testing.T) {
	both(t, func(t *testing.T, w way) {
		m := newMachine(t)
		want := make([]byte, regionSize)
		m.task(5, func(k *kerneltest.Task) {
			for i, tt := range []struct{ offset, length int }{{0, 1}, {0, 4096}, {4095, 2}, {100, 8192}, {regionSize - 1, 1}, {0, regionSize}, {1, regionSize - 1}} {
				b := pattern(byte(i), tt.length)
				copy(want[tt.offset:], b)
				assert.Equal(t, w.end(abi.OK, uint64(tt.length)), w.write(k, uint64(tt.offset), b))
				assertSame(t, want, m.region(w.driver, 5))
				args, got := w.read(k, uint64(tt.offset), tt.length)
				assert.Equal(t, w.end(abi.OK, uint64(tt.length)), args)
				assertSame(t, b, got)
			}
		})
		m.run(t)
		assert.Equal(t, []string{"write 3996 at 100", "write 4096 at 4096", "write 100 at 8192", "flush 0 at 0",
			"read 3996 at 100", "read 4096 at 4096", "read 100 at 8192"}, m.disk.Requests[11:18])
	})
}

// TestPieces end at the end of a page, but the last: there are whole pages of room, and no more is used.
func TestPieces(t *testing.T) {
	both(t, func(t *testing.T, w way) {
		m := newMachineWithRoom(t, 2*abi.PageSize+100)
		m.task(5, func(k *kerneltest.Task) {
			b := pattern(3, 12000)
			assert.Equal(t, w.end(abi.OK, 12000), w.write(k, 100, b))
			args, got := w.read(k, 100, 12000)
			assert.Equal(t, w.end(abi.OK, 12000), args)
			assertSame(t, b, got)
		})
		m.run(t)
		assert.Equal(t, []string{"write 8092 at 100", "write 3908 at 8192", "flush 0 at 0", "read 8092 at 100", "read 3908 at 8192"}, m.disk.Requests)
	})
}

// TestOwners: tasks of one write identifier share a region, others never see each other's data, nor is one driver's the other's.
func TestOwners(t *testing.T) {
	m := newMachine(t)
	one, two := ways["nonvolatile_storage_driver.rs"], ways["isolated_nonvolatile_storage_driver.rs"]
	for _, owner := range []uint32{5, 6} {
		m.task(owner, func(k *kerneltest.Task) {
			assert.Equal(t, told(100), one.write(k, 0, pattern(byte(owner), 100)))
			assert.Equal(t, told(0, 100), two.write(k, 0, pattern(byte(owner)+10, 100)))
			k.Spin(10_000)
			_, b := one.read(k, 0, 100)
			assert.Equal(t, pattern(byte(owner), 100), b)
			_, b = two.read(k, 0, 100)
			assert.Equal(t, pattern(byte(owner)+10, 100), b)
		})
	}
	m.task(5, func(k *kerneltest.Task) {
		k.Spin(5_000)
		_, b := one.read(k, 0, 100)
		assert.Equal(t, pattern(5, 100), b)
	})
	m.run(t)
	assert.Len(t, m.regions.owners, 4)
}

// TestOneRequestOfATask goes on: a second is refused, as by Tock with NOMEM and with BUSY.
func TestOneRequestOfATask(t *testing.T) {
	m := newMachine(t)
	m.task(5, func(k *kerneltest.Task) {
		at := k.Start.RAMStart
		for driver, e := range map[uint64]abi.ErrorCode{shared: abi.NOMEM, isolated: abi.BUSY} {
			k.AllowRO(driver, buffer, at, 100)
			k.AllowRW(driver, buffer, at, 100)
			assert.Equal(t, done, k.Command(driver, write, 0, 0))
			k.WaitFor(driver, map[uint64]uint64{shared: 1, isolated: 2}[driver])
			assert.Equal(t, done, k.Command(driver, read, 0, map[uint64]uint64{shared: 100}[driver]))
			assert.Equal(t, failed(e), k.Command(driver, read, 0, 0))
			assert.Equal(t, failed(e), k.Command(driver, write, 0, 0))
			k.WaitFor(driver, map[uint64]uint64{shared: 0, isolated: 1}[driver])
		}
		k.Command(shared, read, 0, 100)
		assert.Equal(t, done, k.Command(isolated, read, 0, 0), "by the other driver one goes on, too")
		assert.Equal(t, told(100), k.WaitFor(shared, 0))
		assert.Equal(t, told(0, 100), k.WaitFor(isolated, 1))
	})
	m.run(t)
}

// TestTasksTakeTurns, by both drivers: a request of one page is done while a long one goes on.
func TestTasksTakeTurns(t *testing.T) {
	m := newMachine(t)
	var order []string
	begun := 0
	add := func(w way, owner uint32, name string, n int) {
		m.task(owner, func(k *kerneltest.Task) {
			w.read(k, 0, 1) // makes the region
			for begun++; begun < 4; {
				k.Spin(1)
			}
			w.read(k, 0, n)
			order = append(order, name)
		})
	}
	for _, w := range ways {
		add(w, 5, "long", regionSize)
		add(w, 6, "short", 4096)
	}
	m.run(t)
	assert.Equal(t, []string{"short", "short", "long", "long"}, order)
}

// TestNoRoom for another region.
func TestNoRoom(t *testing.T) {
	m := newMachine(t)
	m.regions.room = 0
	m.task(5, func(k *kerneltest.Task) {
		k.AllowRO(shared, buffer, k.Start.RAMStart, 4)
		k.AllowRO(isolated, buffer, k.Start.RAMStart, 4)
		assert.Equal(t, failed(abi.NOMEM), k.Command(shared, size, 0, 0))
		assert.Equal(t, failed(abi.NOMEM), k.Command(shared, write, 0, 4))
		k.Command(isolated, size, 0, 0)
		assert.Equal(t, told(uint64(abi.NOMEM)), k.WaitFor(isolated, 0))
		k.Command(isolated, write, 0, 0)
		assert.Equal(t, told(uint64(abi.NOMEM)), k.WaitFor(isolated, 2))
	})
	m.run(t)
}

// TestLastRegion: of two tasks that ask for it at once one gets it.
func TestLastRegion(t *testing.T) {
	m := newMachine(t)
	m.regions.room = 1
	var got [][4]uint64
	for owner := range uint32(2) {
		m.task(owner+1, func(k *kerneltest.Task) {
			k.Spin(100)
			got = append(got, ways["isolated_nonvolatile_storage_driver.rs"].write(k, 0, []byte("data")))
		})
	}
	m.run(t)
	assert.ElementsMatch(t, [][4]uint64{told(0, 4), told(uint64(abi.NOMEM))}, got)
}

// TestFailures of the disk: the task is told, and the next request goes on.
func TestFailures(t *testing.T) {
	both(t, func(t *testing.T, w way) {
		for name, fail := range map[string]func(m *machine, e abi.ErrorCode){
			"making the region":          func(m *machine, e abi.ErrorCode) { m.regions.end = e },
			"what can only be read":      func(m *machine, e abi.ErrorCode) { m.disk.Refuse = e },
			"the first page":             func(m *machine, e abi.ErrorCode) { m.disk.Fail = e },
			"the second page or a flush": func(m *machine, e abi.ErrorCode) { m.disk.OnDone = func(int) { m.disk.Refuse = e } },
		} {
			t.Run(name, func(t *testing.T) {
				m := newMachine(t)
				m.task(5, func(k *kerneltest.Task) {
					fail(m, abi.FAIL)
					assert.Equal(t, w.end(abi.FAIL, 0), w.write(k, 0, pattern(1, 5000)), "nothing is known to be durable")
					fail(m, abi.OK)
					m.disk.OnDone, m.disk.Refuse = nil, abi.OK
					assert.Equal(t, w.end(abi.OK, 5000), w.write(k, 0, pattern(2, 5000)))
					m.disk.OnDone = func(int) { m.disk.Refuse = abi.FAIL }
					args, b := w.read(k, 0, 5000)
					assert.Equal(t, w.end(abi.FAIL, 4096), args)
					assertSame(t, append(pattern(2, 5000)[:4096], make([]byte, 904)...), b)
				})
				m.run(t)
			})
		}
	})
}

// TestWriteThatFailsBesideOthers: what was written and not flushed may be lost by it, so that those writes fail, too, and reads go on.
func TestWriteThatFailsBesideOthers(t *testing.T) {
	m := newMachine(t)
	one, two := ways["nonvolatile_storage_driver.rs"], ways["isolated_nonvolatile_storage_driver.rs"]
	const length = 3 * 4096
	fails, ready := true, 0
	m.disk.OnDone = func(int) {
		m.disk.Fail = abi.OK
		if fails && strings.HasPrefix(m.disk.Requests[len(m.disk.Requests)-1], "write 100 at") {
			fails, m.disk.Fail = false, abi.FAIL
		}
	}
	add := func(owner uint32, w way, use func(k *kerneltest.Task)) {
		m.task(owner, func(k *kerneltest.Task) {
			w.write(k, 0, pattern(byte(owner), length))
			for ready++; ready < 4; {
				k.Spin(1)
			}
			use(k)
		})
	}
	add(5, one, func(k *kerneltest.Task) { assert.Equal(t, told(0), one.write(k, 0, pattern(1, length))) })
	add(6, two, func(k *kerneltest.Task) { assert.Equal(t, two.end(abi.FAIL, 0), two.write(k, 0, pattern(1, length))) })
	add(7, one, func(k *kerneltest.Task) {
		args, _ := one.read(k, 0, length)
		assert.Equal(t, told(length), args)
	})
	add(8, two, func(k *kerneltest.Task) {
		for n := len(m.disk.Requests); len(m.disk.Requests) < n+4; { // the others have begun
			k.Spin(1)
		}
		assert.Equal(t, two.end(abi.FAIL, 0), two.write(k, 0, pattern(1, 100)))
		assert.Equal(t, two.end(abi.OK, 100), two.write(k, 0, pattern(1, 100)))
	})
	m.run(t)
	assert.False(t, fails)
}

// TestBufferTakenBack, or replaced by a shorter one, in the middle of a request: it ends with what fitted.
func TestBufferTakenBack(t *testing.T) {
	both(t, func(t *testing.T, w way) {
		for _, left := range []uint64{0, 1, 4096, 5000} {
			t.Run(fmt.Sprint(left), func(t *testing.T) {
				m := newMachine(t)
				driver := w.driver
				m.task(5, func(k *kerneltest.Task) {
					at := k.Start.RAMStart + 64
					k.Store(at, pattern(1, 8192)...)
					a0, a1 := w.args(0, 8192)
					k.AllowRO(driver, buffer, at, 8192)
					k.Command(driver, write, a0, a1)
					k.AllowRO(driver, buffer, at, left)
					assert.Equal(t, w.end(abi.OK, left), k.WaitFor(driver, w.written))
					assertSame(t, append(pattern(1, 8192)[:left], make([]byte, 8192-left)...), m.region(driver, 5)[:8192])

					assert.Equal(t, w.end(abi.OK, 8192), w.write(k, 0, pattern(2, 8192)))
					k.AllowRW(driver, buffer, at, 8192)
					k.Store(at, make([]byte, 8192)...)
					k.Command(driver, read, a0, a1)
					k.AllowRW(driver, buffer, at, left)
					assert.Equal(t, w.end(abi.OK, left), k.WaitFor(driver, w.readDone))
					assertSame(t, append(pattern(2, 8192)[:left], make([]byte, 8192-left)...), k.Load(at, 8192))
				})
				m.run(t)
			})
		}
	})
}

// TestTaskThatEnds, or starts anew, at any moment of a request: nobody gets what was its own, and others are served.
func TestTaskThatEnds(t *testing.T) {
	both(t, func(t *testing.T, w way) {
		driver := w.driver
		for _, restarts := range []bool{false, true} {
			for _, command := range []uint64{read, write} {
				for spin := range uint64(20) {
					m := newMachine(t)
					runs := 0
					m.task(5, func(k *kerneltest.Task) {
						runs++
						at := k.Start.RAMStart + 64
						if runs == 2 {
							args, b := w.read(k, 0, 8)
							assert.Equal(t, w.end(abi.OK, 8), args)
							assert.NotContains(t, string(b), "old", "what was not written in its time")
							return
						}
						k.Store(at, bytes.Repeat([]byte{7}, 8192)...)
						k.AllowRO(driver, buffer, at, 8192)
						k.AllowRW(driver, buffer, at, 8192)
						a0, a1 := w.args(0, 8192)
						assert.Equal(t, done, k.Command(driver, command, a0, a1))
						k.Spin(spin * 20)
						if restarts {
							k.Syscall(abi.Exit, abi.ExitRestart, 0)
						}
					})
					m.task(6, func(k *kerneltest.Task) {
						for i := range byte(4) {
							assert.Equal(t, w.end(abi.OK, 5000), w.write(k, 0, pattern(i, 5000)))
							_, b := w.read(k, 0, 5000)
							assertSame(t, pattern(i, 5000), b)
						}
					})
					m.run(t)
					assert.False(t, m.server.busy)
					assert.Equal(t, restarts, runs == 2)
				}
			}
		}
	})
}

// TestKilledAtEachRequest: what an upcall told is there after a boot, at whatever instant the machine ends.
func TestKilledAtEachRequest(t *testing.T) {
	both(t, func(t *testing.T, w way) {
		m := newMachine(t)
		promised := 0 // bytes of the pattern
		m.task(5, func(k *kerneltest.Task) {
			for n := 1000; n <= regionSize; n += 1000 {
				assert.Equal(t, w.end(abi.OK, uint64(n)), w.write(k, 0, pattern(9, n)))
				promised = n
			}
		})
		m.disk.OnDone = func(int) {
			if at, size := m.regions.FindRegion(uint32(w.driver), 5); size != 0 {
				assertSame(t, pattern(9, promised), m.disk.Durable[at:at+uint64(promised)])
			}
		}
		m.run(t)
		assert.Equal(t, 12000, promised)
	})
}

// TestGrantWithoutRoom: there is no room in the task's memory.
func TestGrantWithoutRoom(t *testing.T) {
	m := newMachine(t)
	m.task(5, func(k *kerneltest.Task) {
		_, end := k.Memop(abi.MemopRAMEnd, 0)
		k.Memop(abi.MemopBrk, end-1)
		assert.Equal(t, failed(abi.NOMEM), k.Command(shared, read, 0, 1))
		assert.Equal(t, failed(abi.NOMEM), k.Command(isolated, read, 0, 1))
	})
	m.run(t)
}

var _ kernel.Driver = (*Shared)(nil)
