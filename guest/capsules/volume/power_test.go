package volume_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/abi/storage"
	"kapsel/guest/capsules/blockcache"
	"kapsel/guest/capsules/kvstore"
	"kapsel/guest/capsules/nonvolatile"
	"kapsel/guest/capsules/volume"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/kernel/kerneltest"
	"kapsel/guest/kernel/tbf/tbfbuild"
	host "kapsel/vmm/volume"
)

// TestPowerFailsAtEachWrite: tasks of three owners write to nonvolatile storage, by both drivers, and to the key-value store, down to a
// block device that forgets what was not flushed. At each moment at which it is asked for a write or a flush, and at which it has done one,
// the power fails: any sectors are lost of what is not durable then. Each time the host finds nothing lost on the disk, and another
// machine has all that tasks were told was durable, or have read; a write that went on is old or new, in a region sector by sector. At
// some moments the machine does not go on, and tasks write on what was left; or it was only killed, and the device goes on.
func TestPowerFailsAtEachWrite(t *testing.T) {
	sum := &tally{path: filepath.Join(t.TempDir(), "disk")}
	seeds := uint64(2)
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		random := rand.New(rand.NewPCG(seed, 0))
		os.Remove(sum.path)
		_, err := host.Format(sum.path, host.Options{Size: 25 * storage.PageSize, RegionSize: regionSize, KeyValueSize: 4 * storage.PageSize})
		require.NoError(t, err)
		image, err := os.ReadFile(sum.path)
		require.NoError(t, err)
		found := contents{durable: image}
		var owners []*owner
		for id := range uint32(3) {
			owners = append(owners, newOwner(id+1))
		}
		for range 50 {
			found = sum.session(t, random, found, owners)
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
	}
	t.Logf("%d moments, %d writes were durable, %d had no room, of those that went on %d were done, %d not, %d in part; %d copies of buckets were not whole",
		sum.moments, sum.done, sum.full, sum.new, sum.old, sum.torn, sum.damaged)
	assert.Greater(t, sum.moments, 500)
	for what, n := range map[string]int{"done": sum.done, "full": sum.full, "new": sum.new, "old": sum.old, "torn": sum.torn, "damaged": sum.damaged} {
		assert.NotZero(t, n, what)
	}
}

// tally counts what the power failures came to.
type tally struct {
	path                                                 string
	moments, done, full, new, old, torn, damaged, looked int
}

// session has owners write until the machine does not go on, and returns what the disk then has.
func (s *tally) session(t *testing.T, random *rand.Rand, found contents, owners []*owner) contents {
	m := boot(t, random, found)
	defer m.end()
	left := random.IntN(40)
	m.disk.onMoment = func() {
		if t.Failed() || left == 0 {
			m.disk.off = true
			return
		}
		left--
		s.moment(t, random, m.disk.afterPowerFailure(), owners)
	}
	for _, o := range shuffled(random, owners) {
		m.add(o.id, func(k *kerneltest.Task) {
			o.look(t, k, random, s)
			for !t.Failed() {
				o.write(t, k, random, s)
			}
		})
	}
	require.True(t, m.Run(), "no task ends before the machine does")
	if random.IntN(2) == 0 {
		return m.disk.afterKill()
	}
	return contents{durable: m.disk.afterPowerFailure()}
}

// moment looks whether a disk that is found after a power failure has what it must have.
func (s *tally) moment(t *testing.T, random *rand.Rand, image []byte, owners []*owner) {
	s.moments++
	require.NoError(t, os.WriteFile(s.path, image, 0o600))
	v, err := host.Inspect(s.path)
	require.NoError(t, err)
	assert.False(t, v.Lost(), "%v", v.Damage)
	s.damaged += len(v.Damage)
	m := boot(t, random, contents{durable: image})
	defer m.end()
	s.looked = 0
	for _, o := range shuffled(random, owners) {
		c := o.clone()
		m.add(o.id, func(k *kerneltest.Task) { c.look(t, k, random, s) })
	}
	m.Run()
	assert.Equal(t, len(owners), s.looked, "all have looked at their storage")
}

// shuffled are owners in another order: the regions of which there are none yet are made in that order.
func shuffled(random *rand.Rand, owners []*owner) []*owner {
	owners = slices.Clone(owners)
	random.Shuffle(len(owners), func(i, j int) { owners[i], owners[j] = owners[j], owners[i] })
	return owners
}

const (
	regionSize = 2 * storage.PageSize
	keys       = 5 // of an owner
)

// An owner is the task of a write identifier, and what it knows to be durable.
type owner struct {
	id      uint32
	regions [2][]byte
	values  [keys][]byte // nil: none
	open    change
}

// A change is a write that goes on.
type change struct {
	kind   int // noChange, a region, or inValues
	offset int // in the region, or which key
	bytes  []byte
}

const (
	noChange = -1
	inValues = 2
)

// drivers are those of the regions.
var drivers = [2]uint64{abi.DriverNonvolatileStorage, abi.DriverIsolatedNonvolatile}

func newOwner(id uint32) *owner {
	o := &owner{id: id, open: change{kind: noChange}}
	for i := range o.regions {
		o.regions[i] = make([]byte, regionSize)
	}
	return o
}

func (o *owner) clone() *owner {
	c := *o
	for i := range c.regions {
		c.regions[i] = bytes.Clone(c.regions[i])
	}
	return &c
}

// Where a task has its buffers, from the start of its RAM.
const (
	keyAt  = 64
	bufAt  = abi.PageSize
	needed = bufAt + regionSize
)

// look compares what is stored with what has to be, and learns how a write ended that went on.
func (o *owner) look(t *testing.T, k *kerneltest.Task, random *rand.Rand, s *tally) {
	k.Memop(abi.MemopBrk, k.Start.RAMStart+needed)
	for _, i := range random.Perm(len(o.regions)) {
		o.lookAtRegion(t, k, s, i)
	}
	for i := range o.values {
		found := o.get(t, k, o.id, i)
		open := o.open.kind == inValues && o.open.offset == i
		switch {
		case same(found, o.values[i]):
			s.old += count(open)
		case open && same(found, o.open.bytes):
			s.new++
		default:
			t.Errorf("owner %d, key %d: it has %.20x of %d bytes, want %.20x of %d", o.id, i, found, len(found), o.values[i], len(o.values[i]))
		}
		o.values[i] = found
	}
	if o.get(t, k, o.id%3+1, 0) != nil {
		t.Errorf("owner %d reads what is another's", o.id)
	}
	o.open.kind = noChange
	s.looked++
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// same compares values, of which nil is none.
func same(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }

func (o *owner) lookAtRegion(t *testing.T, k *kerneltest.Task, s *tally, i int) {
	found := o.read(t, k, i)
	if len(found) != regionSize {
		return
	}
	next, open := o.regions[i], o.open.kind == i
	if open {
		next = bytes.Clone(next)
		copy(next[o.open.offset:], o.open.bytes)
	}
	old, fresh := 0, 0
	for at := 0; at < regionSize; at += storage.SectorSize {
		sector := func(b []byte) []byte { return b[at : at+storage.SectorSize] }
		isOld, isNew := bytes.Equal(sector(found), sector(o.regions[i])), bytes.Equal(sector(found), sector(next))
		switch {
		case isOld && !isNew:
			old++
		case isNew && !isOld:
			fresh++
		case !isOld:
			t.Errorf("owner %d, region %d, sector at %d is neither old nor new", o.id, i, at)
		}
	}
	switch {
	case old != 0 && fresh != 0:
		s.torn++
	case fresh != 0:
		s.new++
	default:
		s.old += count(open)
	}
	o.regions[i] = found
}

// write does a write, whichever.
func (o *owner) write(t *testing.T, k *kerneltest.Task, random *rand.Rand, s *tally) {
	kind := random.IntN(4)
	if kind < inValues {
		offset := random.IntN(regionSize)
		sizes := []int{1, 100, storage.SectorSize, storage.PageSize, regionSize}
		o.open = change{kind, offset, noise(random, min(sizes[random.IntN(len(sizes))], regionSize-offset))}
		o.writeRegion(t, k)
	} else {
		sizes := []int{0, 30, 300, 1000, storage.MaxValue}
		o.open = change{inValues, random.IntN(keys), noise(random, sizes[random.IntN(len(sizes))])}
		if random.IntN(4) == 0 {
			o.open.bytes = nil
		}
		if !o.set(t, k) {
			s.full++
			o.open.kind = noChange
			return
		}
	}
	s.done++
	if kind < inValues {
		copy(o.regions[kind][o.open.offset:], o.open.bytes)
	} else {
		o.values[o.open.offset] = o.open.bytes
	}
	o.open.kind = noChange
}

// noise is n bytes that are not nil.
func noise(random *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}

// ask gives a command, and returns its upcall's arguments.
func ask(t *testing.T, k *kerneltest.Task, driver, command, a0, a1, upcall uint64) [4]uint64 {
	if r := k.Command(driver, command, a0, a1); r[0] != uint64(abi.Success) {
		t.Errorf("command %d of driver %#x returned %v", command, driver, r)
		return [4]uint64{uint64(abi.FAIL)}
	}
	return k.WaitFor(driver, upcall)
}

// Numbers of the drivers of nonvolatile storage.
const (
	reads  = 2 // commands
	writes = 3
)

// transfer has a region's driver read or write n bytes.
func (o *owner) transfer(t *testing.T, k *kerneltest.Task, region int, command uint64, offset, n int) {
	told, want := [4]uint64{}, [4]uint64{uint64(n)}
	if drivers[region] == abi.DriverIsolatedNonvolatile {
		told = ask(t, k, drivers[region], command, uint64(offset), 0, command-1)
		want = [4]uint64{0, uint64(n)}
	} else {
		told = ask(t, k, drivers[region], command, uint64(offset), uint64(n), command-2)
	}
	assert.Equal(t, want, told, "owner %d, region %d, command %d", o.id, region, command)
}

func (o *owner) read(t *testing.T, k *kerneltest.Task, region int) []byte {
	at := k.Start.RAMStart + bufAt
	k.AllowRW(drivers[region], 0, at, regionSize)
	o.transfer(t, k, region, reads, 0, regionSize)
	return k.Load(at, regionSize)
}

func (o *owner) writeRegion(t *testing.T, k *kerneltest.Task) {
	at := k.Start.RAMStart + bufAt
	k.Store(at, o.open.bytes...)
	k.AllowRO(drivers[o.open.kind], 0, at, uint64(len(o.open.bytes)))
	o.transfer(t, k, o.open.kind, writes, o.open.offset, len(o.open.bytes))
}

// Numbers of the key-value store.
const (
	gets    = 1 // commands
	sets    = 2
	deletes = 3
)

// shareKey shares the name of an owner's key.
func shareKey(k *kerneltest.Task, id uint32, key int) {
	k.Store(k.Start.RAMStart+keyAt, byte(id), byte(key))
	k.AllowRO(abi.DriverKeyValue, 0, k.Start.RAMStart+keyAt, 2)
}

// get returns a key's value, nil if there is none.
func (o *owner) get(t *testing.T, k *kerneltest.Task, id uint32, key int) []byte {
	at := k.Start.RAMStart + bufAt
	shareKey(k, id, key)
	k.AllowRW(abi.DriverKeyValue, 0, at, storage.MaxValue)
	told := ask(t, k, abi.DriverKeyValue, gets, 0, 0, 0)
	switch told[0] {
	case 0:
		return k.Load(at, told[1])
	case uint64(abi.NOSUPPORT):
	default:
		t.Errorf("owner %d, key %d: get: %v", id, key, told)
	}
	return nil
}

// set sets or deletes a key, or reports false if there is no room.
func (o *owner) set(t *testing.T, k *kerneltest.Task) bool {
	at := k.Start.RAMStart + bufAt
	shareKey(k, o.id, o.open.offset)
	command, want := uint64(sets), []uint64{0, uint64(abi.NOMEM)}
	if o.open.bytes == nil {
		command, want = deletes, []uint64{0, uint64(abi.NOSUPPORT)}
	}
	k.Store(at, o.open.bytes...)
	k.AllowRO(abi.DriverKeyValue, 1, at, uint64(len(o.open.bytes)))
	status := ask(t, k, abi.DriverKeyValue, command, 0, 0, 0)[0]
	assert.Contains(t, want, status, "owner %d, key %d, command %d", o.id, o.open.offset, command)
	if status == uint64(abi.NOSUPPORT) {
		assert.Nil(t, o.values[o.open.offset])
	}
	return status != uint64(abi.NOMEM)
}

// machine has the drivers of storage, wired as the board wires them (guest/board/kvm/storage.go).
type machine struct {
	*kerneltest.Machine
	scope       *scope
	disk        *disk
	cache       blockcache.Cache
	metadata    blockcache.Port
	regions     blockcache.Port
	buckets     blockcache.Port
	volume      volume.Volume
	nonvolatile nonvolatile.Server
	keyValue    kvstore.KVStore
}

// scope is a testing.TB of which a part ends before the test does.
type scope struct {
	testing.TB
	ends []func()
}

func (s *scope) Cleanup(f func()) { s.ends = append(s.ends, f) }

// end ends the machine.
func (m *machine) end() {
	for _, f := range m.scope.ends {
		f()
	}
}

// boot makes a machine with a disk, and has it find out what is on it.
func boot(t *testing.T, random *rand.Rand, found contents) *machine {
	m := &machine{scope: &scope{TB: t}}
	m.Machine = kerneltest.NewWithRAM(m.scope, capability.Mint(), 1<<18)
	m.disk = newDisk(m.Machine, random, found)
	size, can := uint64(len(found.durable)), m.Capabilities
	pages := 4 + random.IntN(12)
	m.cache.Init(&m.Kernel, m.disk, make([]byte, pages*abi.PageSize), make([]blockcache.Page, pages))
	require.Equal(t, abi.OK, m.metadata.Init(&m.cache, 0, volume.MetadataSize))
	m.volume.Init(&m.metadata, size/abi.PageSize, &m.Log)
	m.Kernel.ServeUntil(m.volume.Settled, can.MainLoop)
	require.True(t, m.volume.Usable(), m.Log.String())
	super := m.volume.Superblock()
	from, to := super.BucketsPage*abi.PageSize, super.RegionsPage*abi.PageSize
	require.Equal(t, abi.OK, m.buckets.Init(&m.cache, from, to))
	m.keyValue.Init(&m.Kernel, &m.buckets, super, make([]byte, kvstore.MemorySize), can.MemoryAllocation)
	m.Kernel.AddDriver(abi.DriverKeyValue, &m.keyValue)
	require.Equal(t, abi.OK, m.regions.Init(&m.cache, to, size))
	m.nonvolatile.Init(&m.Kernel, &m.regions, &m.volume, make([]byte, (1+random.IntN(2))*abi.PageSize), can.MemoryAllocation)
	return m
}

// add adds the task of an owner.
func (m *machine) add(id uint32, p kerneltest.Program) {
	m.AddTask("task", p, func(s *tbfbuild.Spec) {
		s.MinimumRAM = needed + 2*abi.PageSize
		s.Storage = &tbfbuild.Storage{WriteID: id, Read: []uint32{id}, Modify: []uint32{id}}
	})
}

// disk is a hil.BlockDevice in memory, whose requests end by an interrupt, in any order. What was written is durable once a flush behind it
// is done; of the rest a power failure leaves any sectors.
type disk struct {
	contents
	machine  *kerneltest.Machine
	random   *rand.Rand
	client   hil.BlockClient
	seen     []byte
	asked    []*request
	off      bool   // the machine is: nothing is done any more
	onMoment func() // if not nil, is called when a write or a flush was asked for, or was done and not told of
}

// contents are what a device has.
type contents struct {
	durable []byte
	unsure  []sector // written, and not durable
}

// sector is what was written to one.
type sector struct {
	at    uint64 // in bytes
	bytes []byte
}

type request struct {
	tag   uint32
	buf   []byte
	write []sector
	flush int // how much of unsure it makes durable
	do    func(r *request)
}

const (
	line = 9 // of the disk's interrupt
	most = 4 // requests at once
)

func newDisk(m *kerneltest.Machine, random *rand.Rand, found contents) *disk {
	d := &disk{contents: contents{bytes.Clone(found.durable), slices.Clone(found.unsure)}, machine: m, random: random}
	d.seen = bytes.Clone(found.durable)
	for _, w := range found.unsure {
		copy(d.seen[w.at:], w.bytes)
	}
	m.Lines[line] = d.serve
	return d
}

func (d *disk) SetBlockClient(client hil.BlockClient) { d.client = client }
func (d *disk) Sectors() uint64                       { return uint64(len(d.seen)) / storage.SectorSize }
func (d *disk) MaxBytes() int                         { return 1 << 20 }

func (d *disk) Read(tag uint32, buf []byte, at uint64) abi.ErrorCode {
	return d.ask(&request{tag: tag, buf: buf, do: func(*request) { copy(buf, d.seen[at*storage.SectorSize:]) }})
}

func (d *disk) Write(tag uint32, buf []byte, at uint64) abi.ErrorCode {
	if len(buf) == 0 {
		return abi.SIZE
	}
	r := &request{tag: tag, buf: buf, do: func(r *request) {
		for _, s := range r.write {
			copy(d.seen[s.at:], s.bytes)
		}
		d.unsure = append(d.unsure, r.write...)
	}}
	for n := 0; n < len(buf); n += storage.SectorSize {
		r.write = append(r.write, sector{at*storage.SectorSize + uint64(n), bytes.Clone(buf[n : n+storage.SectorSize])})
	}
	return d.ask(r)
}

func (d *disk) Flush(tag uint32) abi.ErrorCode {
	return d.ask(&request{tag: tag, flush: len(d.unsure), do: d.flush})
}

// flush makes durable what was done when it was asked for.
func (d *disk) flush(r *request) {
	for _, s := range d.unsure[:r.flush] {
		copy(d.durable[s.at:], s.bytes)
	}
	d.unsure = d.unsure[r.flush:]
	for _, other := range d.asked {
		other.flush -= min(r.flush, other.flush)
	}
}

func (d *disk) Discard(uint32, uint64, uint64) abi.ErrorCode     { return abi.NOSUPPORT }
func (d *disk) WriteZeroes(uint32, uint64, uint64) abi.ErrorCode { return abi.NOSUPPORT }
func (d *disk) Identify(uint32, []byte) abi.ErrorCode            { return abi.NOSUPPORT }

// ask takes a request.
func (d *disk) ask(r *request) abi.ErrorCode {
	if len(d.asked) == most {
		return abi.BUSY
	}
	d.asked = append(d.asked, r)
	d.moment(r)
	d.machine.CPU.Raise(line)
	return abi.OK
}

// moment is one at which the power may fail.
func (d *disk) moment(r *request) {
	if isRead := r.write == nil && len(r.buf) != 0; !isRead && d.onMoment != nil && !d.off {
		d.onMoment()
	}
}

// serve ends a request, whichever.
func (d *disk) serve() {
	if d.off || len(d.asked) == 0 {
		return
	}
	i := d.random.IntN(len(d.asked))
	r := d.asked[i]
	d.asked = slices.Delete(d.asked, i, i+1)
	r.do(r)
	if len(d.asked) != 0 {
		d.machine.CPU.Raise(line)
	}
	d.moment(r)
	if !d.off {
		d.client.BlockDone(r.tag, r.buf, abi.OK)
	}
}

// afterPowerFailure is what the disk has if the power fails now.
func (d *disk) afterPowerFailure() []byte {
	image := bytes.Clone(d.durable)
	for _, w := range d.some(append(slices.Clone(d.unsure), d.underWay()...)) {
		copy(image[w.at:], w.bytes)
	}
	return image
}

// afterKill is what the disk has if the machine is killed now, and the power does not fail.
func (d *disk) afterKill() contents {
	return contents{d.durable, append(slices.Clone(d.unsure), d.some(d.underWay())...)}
}

// underWay is what the disk is asked to write, and has not.
func (d *disk) underWay() (sectors []sector) {
	for _, r := range d.asked {
		sectors = append(sectors, r.write...)
	}
	return sectors
}

// some are any of the sectors: none, all or some.
func (d *disk) some(sectors []sector) (some []sector) {
	which := d.random.IntN(4)
	for _, w := range sectors {
		if which == 1 || which > 1 && d.random.IntN(2) == 0 {
			some = append(some, w)
		}
	}
	return some
}
