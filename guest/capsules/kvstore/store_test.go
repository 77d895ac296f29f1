package kvstore

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/abi/storage"
	"kapsel/guest/kernel/hil"
)

// layout is a storage of so many buckets.
func layout(buckets uint64) *storage.Superblock {
	s := &storage.Superblock{Pages: 1 << 20, RegionPages: 1, BucketsPage: storage.FirstFreePage, Buckets: buckets}
	s.RegionsPage = s.BucketsPage + 2*buckets
	for i := range s.HashKey {
		s.HashKey[i] = byte(0x30 + i)
	}
	return s
}

// disk is a device with a volatile cache: what was written is read at once, and durable after a flush. When the power fails each
// sector that was written since has what it had at some time.
type disk struct {
	client  hil.NonvolatileStorageClient
	random  *rand.Rand
	durable []byte
	now     []byte
	unsure  []write       // not flushed
	goes    func()        // ends the request that goes on
	before  func()        // called before a write or a flush is done
	fails   func() bool   // whether a request fails
	refuses abi.ErrorCode // what requests return
	off     bool          // the machine is: nothing ends any more

	reads, writes, sectors, flushes int // requests; writes are those of pages
}

// write is what a sector got.
type write struct {
	at    uint64
	bytes []byte
}

func newDisk(random *rand.Rand, buckets uint64) *disk {
	n := 2 * buckets * storage.PageSize
	return &disk{random: random, durable: make([]byte, n), now: make([]byte, n)}
}

func (d *disk) SetNonvolatileStorageClient(c hil.NonvolatileStorageClient) { d.client = c }
func (d *disk) Size() uint64                                               { return uint64(len(d.now)) }

// begin begins a request that does something and may fail.
func (d *disk) begin(buf []byte, do func(failed bool)) abi.ErrorCode {
	if d.goes != nil {
		panic("two requests at once")
	}
	if d.refuses != abi.OK {
		return d.refuses
	}
	d.goes = func() {
		failed := d.fails != nil && d.fails()
		do(failed)
		if d.off {
			return
		}
		if failed {
			d.client.NonvolatileStorageDone(buf, abi.FAIL)
		} else {
			d.client.NonvolatileStorageDone(buf, abi.OK)
		}
	}
	return abi.OK
}

func (d *disk) Read(buf []byte, address uint64) abi.ErrorCode {
	return d.begin(buf, func(bool) {
		d.reads++
		copy(buf, d.now[address:])
	})
}

func (d *disk) Write(buf []byte, address uint64) abi.ErrorCode {
	return d.begin(buf, func(failed bool) {
		if len(buf) == storage.PageSize {
			d.writes++
		} else {
			d.sectors++
		}
		if d.before != nil {
			d.unsure = append(d.unsure, sectors(buf, address)...)
			d.before()
			d.unsure = d.unsure[:len(d.unsure)-len(sectors(buf, address))]
			if d.off {
				return
			}
		}
		for _, w := range sectors(buf, address) {
			if !failed || d.random.IntN(2) == 0 {
				copy(d.now[w.at:], w.bytes)
				d.unsure = append(d.unsure, w)
			}
		}
	})
}

func (d *disk) Flush() abi.ErrorCode {
	return d.begin(nil, func(failed bool) {
		d.flushes++
		if d.before != nil {
			d.before()
		}
		if !failed && !d.off {
			copy(d.durable, d.now)
			d.unsure = nil
		}
	})
}

// sectors is a write in its sectors.
func sectors(buf []byte, address uint64) (all []write) {
	for at := 0; at < len(buf); at += storage.SectorSize {
		all = append(all, write{address + uint64(at), bytes.Clone(buf[at : at+storage.SectorSize])})
	}
	return all
}

// run serves requests until none goes on.
func (d *disk) run() {
	for d.goes != nil {
		f := d.goes
		d.goes = nil
		f()
	}
}

// afterPowerFailure is a disk as it is found then.
func (d *disk) afterPowerFailure() *disk {
	found := &disk{random: d.random, durable: bytes.Clone(d.durable)}
	all := d.random.IntN(4) // 0: none was written, 1: all were
	for _, w := range d.unsure {
		if all == 1 || all > 1 && d.random.IntN(2) == 0 {
			copy(found.durable[w.at:], w.bytes)
		}
	}
	found.now = bytes.Clone(found.durable)
	return found
}

// afterKill is a disk as it is found when the machine was killed: what the device has not made durable may still get lost.
func (d *disk) afterKill() *disk {
	found := &disk{random: d.random, durable: bytes.Clone(d.durable), now: bytes.Clone(d.now), unsure: slices.Clone(d.unsure)}
	for i, w := range found.unsure {
		if bytes.Equal(found.now[w.at:w.at+storage.SectorSize], w.bytes) || d.random.IntN(2) == 0 {
			copy(found.now[w.at:], w.bytes)
		} else {
			found.unsure[i].bytes = bytes.Clone(found.now[w.at : w.at+storage.SectorSize])
		}
	}
	return found
}

// rights are a task's.
type rights struct {
	id           uint32
	read, modify []uint32
}

func (r *rights) WriteID() (uint32, bool)  { return r.id, r.id != 0 }
func (r *rights) MayRead(id uint32) bool   { return slices.Contains(r.read, id) }
func (r *rights) MayModify(id uint32) bool { return slices.Contains(r.modify, id) }

// owners are tasks of which some may do more than others.
var owners = []*rights{
	{1, []uint32{1, 2, 3, 4}, []uint32{1, 2, 3, 4}},
	{2, []uint32{2}, []uint32{2}},
	{3, []uint32{1, 3}, []uint32{3}},
	{4, nil, nil},
}

// everything may read and remove all.
var everything = &rights{1, []uint32{1, 2, 3, 4, 5}, []uint32{1, 2, 3, 4, 5}}

// client is a store's.
type client struct {
	ended bool
	value []byte
	e     abi.ErrorCode
}

func (c *client) storeDone(value []byte, e abi.ErrorCode) {
	if c.ended {
		panic("an operation ended twice")
	}
	c.ended, c.value, c.e = true, bytes.Clone(value), e
}

// mounted is a store on a disk, of which a machine knows nothing yet.
type mounted struct {
	store
	client client
	disk   *disk
}

func mount(d *disk) *mounted {
	m := &mounted{disk: d}
	m.init(d, layout(uint64(len(d.now))/(2*storage.PageSize)), make([]byte, storePages*storage.PageSize), &m.client)
	return m
}

// operate does an operation to its end, or reports false if the machine ended before.
func (m *mounted) operate(operation uint32, key, value string, r permissions) (got string, e abi.ErrorCode, ended bool) {
	m.client = client{}
	reads, writes, sectors, flushes := m.disk.reads, m.disk.writes, m.disk.sectors, m.disk.flushes
	if e := m.begin(operation, []byte(key), []byte(value), r); e != abi.OK {
		return "", e, true
	}
	m.disk.run()
	if m.disk.reads > reads+4 || m.disk.writes > writes+2 || m.disk.sectors > sectors+2 || m.disk.flushes > flushes+5 {
		panic("more requests than an operation may have")
	}
	return string(m.client.value), m.client.e, m.client.ended
}

// entry is a model's.
type entry struct {
	owner uint32
	value string
}

// model is what is in a store.
type model map[string]entry

// expect is what an operation is answered, if there is room, and what the key has then.
func (m model) expect(operation uint32, key, value string, r *rights) (got string, e abi.ErrorCode, then entry, there bool) {
	was, there := m[key]
	refused := false
	switch operation {
	case get:
		refused = !there || !r.MayRead(was.owner)
	case set:
		refused = there && !r.MayModify(was.owner)
	case add:
		refused = there
	case remove, update:
		refused = !there || !r.MayModify(was.owner)
	}
	switch {
	case refused:
		return "", abi.NOSUPPORT, was, there
	case operation == get:
		return was.value, abi.OK, was, there
	case operation == remove:
		return "", abi.OK, entry{}, false
	}
	return "", abi.OK, entry{r.id, value}, true
}

// put is what an operation left of a key.
func (m model) put(key string, e entry, there bool) {
	delete(m, key)
	if there {
		m[key] = e
	}
}

// peek is what a store has of a key.
func peek(t testing.TB, m *mounted, key string) (e entry, there bool) {
	value, code, ended := m.operate(get, key, "", everything)
	require.True(t, ended)
	if code == abi.NOSUPPORT {
		return entry{}, false
	}
	require.Equal(t, abi.OK, code, "get %q", key)
	newest := &m.places[0]
	if other := &m.places[1]; other.found && (!newest.found || other.record.Sequence > newest.record.Sequence) {
		newest = other
	}
	return entry{newest.record.Owner, value}, true
}

// requireSame wants the store to have what the model has. A key that an operation was about when the machine ended has what it had
// before, or what it would have had: the model learns which.
func requireSame(t testing.TB, m *mounted, want model, keys []string, open string, then entry, thereThen bool) {
	for _, key := range keys {
		got, there := peek(t, m, key)
		if key == open && there == thereThen && got == then {
			want.put(key, then, thereThen)
			continue
		}
		was, wasThere := want[key]
		require.Equal(t, wasThere, there, "key %q", key)
		require.Equal(t, was, got, "key %q", key)
	}
}

// requireFull wants a record to have room in neither bucket.
func requireFull(t testing.TB, m *mounted, key, value string) {
	for i := range m.places {
		require.Less(t, m.places[i].room(), storage.RecordBytes(len(key), len(value)), "NOMEM")
	}
}

func keysOf(n int) (keys []string) {
	for i := range n {
		keys = append(keys, fmt.Sprintf("key %d", i))
	}
	return append(keys, "", string(bytes.Repeat([]byte{'k'}, storage.MaxKey)))
}

// randomOperation chooses one.
func randomOperation(r *rand.Rand, keys []string) (operation uint32, key, value string, who *rights) {
	operation = []uint32{get, set, set, set, remove, add, update, update}[r.IntN(8)]
	sizes := []int{0, 1, 100, 500, 1000, 1500, storage.MaxValue, storage.MaxValue}
	value = string(bytes.Repeat([]byte{byte(r.IntN(256))}, sizes[r.IntN(len(sizes))]))
	return operation, keys[r.IntN(len(keys))], value, owners[r.IntN(len(owners))]
}

// TestStoreAgainstModel: random operations of several owners, each answer and all that is stored compared with a map.
func TestStoreAgainstModel(t *testing.T) {
	full := 0
	for seed := range uint64(8) {
		random := rand.New(rand.NewPCG(seed, 1))
		m, want, keys := mount(newDisk(random, 2+seed%4)), model{}, keysOf(12)
		for step := range 400 {
			operation, key, value, who := randomOperation(random, keys)
			got, e, _ := m.operate(operation, key, value, who)
			wantGot, wantE, then, there := want.expect(operation, key, value, who)
			if wantE == abi.OK && e == abi.NOMEM {
				full++
				requireFull(t, m, key, value)
				continue
			}
			require.Equal(t, wantE, e, "seed %d step %d: operation %d", seed, step, operation)
			require.Equal(t, wantGot, got)
			want.put(key, then, there)
			if step%10 == 0 {
				requireSame(t, m, want, keys, "", entry{}, false)
				requireSame(t, mount(m.disk.afterPowerFailure()), want, keys, "", entry{}, false)
			}
		}
		assert.Zero(t, m.disk.sectors, "no copy is emptied without a write that did not end")
	}
	assert.Greater(t, full, 10)
}

// TestStoreAfterEveryCrash: the power fails before each write and each flush of long runs, and in each sector of the writes. All
// that was acknowledged is there, and the operation that went on was done as a whole or not at all.
func TestStoreAfterEveryCrash(t *testing.T) {
	crashes, halfway := 0, 0
	for seed := range uint64(6) {
		random := rand.New(rand.NewPCG(seed, 2))
		d := newDisk(random, 2+seed%2)
		m, want, keys := mount(d), model{}, keysOf(6)
		var open string
		var then entry
		var there bool
		d.before = func() {
			crashes++
			for range 3 {
				after, learned := mount(d.afterPowerFailure()), clone(want)
				requireSame(t, after, learned, keys, open, then, there)
				if after.places[0].found && after.places[1].found {
					halfway++
				}
				// What was found stays, also when the power fails in the middle of whatever comes next.
				crashAgain(t, after.disk, learned, keys)
			}
		}
		for range 150 {
			operation, key, value, who := randomOperation(random, keys)
			var wantE abi.ErrorCode
			_, wantE, then, there = want.expect(operation, key, value, who)
			open = key
			_, e, _ := m.operate(operation, key, value, who)
			if e == abi.NOMEM {
				then, there = want[key], there && wantE != abi.OK
				continue
			}
			require.Equal(t, wantE, e)
			want.put(key, then, there)
		}
	}
	t.Logf("%d crashes", crashes)
	assert.Greater(t, crashes, 300)
	assert.NotZero(t, halfway, "moves of which the first half was done")
}

func clone(m model) model {
	c := model{}
	for k, v := range m {
		c[k] = v
	}
	return c
}

// crashAgain mounts a disk, and has the power fail in one of the next operations.
func crashAgain(t testing.TB, d *disk, want model, keys []string) {
	random := d.random
	m, left := mount(d), random.IntN(8)
	d.before = func() {
		d.off = left == 0
		left--
	}
	for range 6 {
		operation, key, value, who := randomOperation(random, keys)
		_, wantE, then, there := want.expect(operation, key, value, who)
		_, e, ended := m.operate(operation, key, value, who)
		if !ended {
			d.before = nil
			requireSame(t, mount(d.afterPowerFailure()), want, keys, key, then, there)
			return
		}
		if e != abi.NOMEM {
			require.Equal(t, wantE, e)
			want.put(key, then, there)
		}
	}
}

// TestStoreIsKilledAgainAndAgain: a machine that ends at random moments, with the power or without it. What was read once, or
// acknowledged, stays.
func TestStoreIsKilledAgainAndAgain(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 3))
	d, want, keys := newDisk(random, 2), model{}, keysOf(6)
	emptied := 0
	for range 1000 {
		left := random.IntN(12)
		d.before = func() {
			d.off = d.off || left == 0
			left--
		}
		m := mount(d)
		var key string
		var then entry
		var there bool
		for !d.off {
			operation, k, value, who := randomOperation(random, keys)
			key = k
			var wantE abi.ErrorCode
			_, wantE, then, there = want.expect(operation, key, value, who)
			_, e, ended := m.operate(operation, key, value, who)
			if ended && e != abi.NOMEM {
				require.Equal(t, wantE, e)
				want.put(key, then, there)
			}
		}
		emptied += d.sectors
		if d.before = nil; random.IntN(2) == 0 {
			d = d.afterPowerFailure()
		} else {
			d = d.afterKill()
		}
		requireSame(t, mount(d), want, keys, key, then, there)
	}
	assert.NotZero(t, emptied, "writes over writes that did not end")
}

// TestStoreOnADiskThatFails: an operation whose request fails says so, and did all or nothing.
func TestStoreOnADiskThatFails(t *testing.T) {
	for seed := range uint64(10) {
		random := rand.New(rand.NewPCG(seed, 4))
		d := newDisk(random, 2)
		m, want, keys := mount(d), model{}, keysOf(6)
		failed := 0
		for range 300 {
			operation, key, value, who := randomOperation(random, keys)
			_, wantE, then, there := want.expect(operation, key, value, who)
			d.fails = func() bool { return random.IntN(12) == 0 }
			_, e, _ := m.operate(operation, key, value, who)
			d.fails = nil
			switch e {
			case abi.FAIL:
				failed++
				if random.IntN(2) == 0 { // the power fails, too
					d = d.afterPowerFailure()
					m = mount(d)
				}
				requireSame(t, m, want, keys, key, then, there)
			case abi.NOMEM:
			default:
				require.Equal(t, wantE, e)
				want.put(key, then, there)
			}
		}
		assert.Greater(t, failed, 30)
		d.refuses = abi.BUSY
		_, e, _ := m.operate(get, "key 1", "", everything)
		assert.Equal(t, abi.FAIL, e)
		d.refuses = abi.OK
		requireSame(t, m, want, keys, "", entry{}, false)
	}
}

// TestStoreOnADamagedDisk: whatever byte is another, a key has its value, or the operation fails; in other buckets all goes on.
func TestStoreOnADamagedDisk(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 5))
	m, want := mount(newDisk(random, 3)), model{}
	keys := []string{"a", "b", "c", "d"}
	for range 12 {
		for _, key := range keys {
			e := entry{2, string(bytes.Repeat([]byte{byte(random.IntN(256))}, 300+random.IntN(200)))}
			_, code, _ := m.operate(set, key, e.value, owners[1])
			require.Equal(t, abi.OK, code)
			want[key] = e
		}
	}
	right, lost, asked := 0, 0, append(keys, "none")
	for at := range m.disk.now {
		d := m.disk.afterPowerFailure()
		d.now[at] ^= byte(1 + random.IntN(255))
		damaged := uint32(at / storage.PageSize / 2)
		n := mount(d)
		key := asked[at%len(asked)]
		value, e, _ := n.operate(get, key, "", owners[1])
		first, second := n.layout.Candidates([]byte(key))
		was, there := want[key]
		switch {
		case e == abi.FAIL && (first == damaged || second == damaged):
			lost++
		case there:
			right++
			require.Equal(t, abi.OK, e, "byte %d key %s", at, key)
			require.Equal(t, was.value, value)
		default:
			require.Equal(t, abi.NOSUPPORT, e)
		}
		if at%37 != 0 {
			continue
		}
		for _, key := range keys {
			_, e, _ := n.operate(set, key, "new", owners[1])
			value, again, _ := n.operate(get, key, "", owners[1])
			require.Equal(t, e, again)
			if e == abi.OK {
				require.Equal(t, "new", value)
			} else {
				require.Equal(t, abi.FAIL, e)
			}
		}
	}
	t.Logf("%d right, %d fail", right, lost)
	assert.Greater(t, right, lost)
}

// forge writes a copy of a bucket as an attacker does who has the disk.
func (d *disk) forge(index uint32, copy int, generation uint64, records ...storage.Record) {
	at := address(index, copy)
	b := storage.NewBucket(d.now[at:at+storage.PageSize], index)
	for i := range records {
		b.Append(&records[i])
	}
	b.Seal(generation, new(storage.Sums))
}

// TestStoreOnAHostileDisk: what no store writes, but with right checksums.
func TestStoreOnAHostileDisk(t *testing.T) {
	const last = ^uint64(0)
	first, second := layout(4).Candidates([]byte("key"))
	record := func(sequence uint64, value string) storage.Record {
		return storage.Record{Sequence: sequence, Owner: 1, Key: []byte("key"), Value: []byte(value)}
	}
	for _, tt := range []struct {
		name   string
		forge  func(d *disk)
		get    abi.ErrorCode
		value  string
		change abi.ErrorCode // of a set and of a delete
	}{
		{"nothing forged", func(d *disk) {}, abi.NOSUPPORT, "", abi.OK},
		{"in both, the higher sequence", func(d *disk) {
			d.forge(first, 0, 1, record(4, "old"))
			d.forge(second, 0, 1, record(5, "new"))
		}, abi.OK, "new", abi.OK},
		{"in both, the same sequence", func(d *disk) {
			d.forge(first, 0, 1, record(4, "one"))
			d.forge(second, 0, 1, record(4, "other"))
		}, abi.FAIL, "", abi.FAIL},
		{"twice in one", func(d *disk) { d.forge(first, 0, 1, record(4, "one"), record(5, "other")) }, abi.FAIL, "", abi.FAIL},
		{"the last sequence", func(d *disk) { d.forge(first, 0, 1, record(last, "v")) }, abi.OK, "v", abi.FAIL},
		{"the last generation", func(d *disk) { d.forge(first, 0, last, record(1, "v")) }, abi.OK, "v", abi.FAIL},
		{"one generation twice", func(d *disk) {
			d.forge(first, 0, 7, record(1, "v"))
			d.forge(first, 1, 7, record(1, "v"))
		}, abi.FAIL, "", abi.FAIL},
		{"generations far apart", func(d *disk) {
			d.forge(first, 0, 7, record(1, "old"))
			d.forge(first, 1, 1<<40, record(2, "new"))
		}, abi.OK, "new", abi.OK},
		{"another bucket's page", func(d *disk) {
			d.forge(first, 0, 1, record(1, "v"))
			copy(d.now[address(second, 0):][:storage.PageSize], d.now[address(first, 0):])
		}, abi.FAIL, "", abi.FAIL},
		{"a bucket that the key cannot be in", func(d *disk) {
			for i := range uint32(4) {
				if i != first && i != second {
					d.forge(i, 0, 1, record(1, "v"))
				}
			}
		}, abi.NOSUPPORT, "", abi.OK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			forged := newDisk(rand.New(rand.NewPCG(1, 6)), 4)
			tt.forge(forged)
			copy(forged.durable, forged.now)
			value, e, _ := mount(forged.afterPowerFailure()).operate(get, "key", "", everything)
			assert.Equal(t, tt.get, e)
			assert.Equal(t, tt.value, value)

			m := mount(forged.afterPowerFailure())
			_, e, _ = m.operate(set, "key", "mine", everything)
			assert.Equal(t, tt.change, e)
			value, e, _ = m.operate(get, "key", "", everything)
			if tt.change == abi.OK {
				assert.Equal(t, "mine", value)
			} else {
				assert.Equal(t, tt.get, e)
				assert.Equal(t, tt.value, value)
			}

			m = mount(forged.afterPowerFailure())
			_, e, _ = m.operate(remove, "key", "", everything)
			if tt.get == abi.NOSUPPORT {
				assert.Equal(t, abi.NOSUPPORT, e)
				return
			}
			if tt.name != "the last sequence" { // which a removal does not need to raise
				assert.Equal(t, tt.change, e)
			}
			if e == abi.OK {
				_, e, _ = m.operate(get, "key", "", everything)
				assert.Equal(t, abi.NOSUPPORT, e)
			}
		})
	}
}

// TestStoreMovesAValue that grows out of its bucket; where there is no room nothing is written.
func TestStoreMovesAValue(t *testing.T) {
	m, want := mount(newDisk(rand.New(rand.NewPCG(1, 7)), 2)), model{}
	put := func(key string, n int) abi.ErrorCode {
		value := string(bytes.Repeat([]byte{key[0]}, n))
		_, e, _ := m.operate(set, key, value, owners[0])
		if e == abi.OK {
			want[key] = entry{1, value}
		}
		requireSame(t, m, want, []string{"a", "b", "c", "d"}, "", entry{}, false)
		return e
	}
	require.Equal(t, abi.OK, put("a", 1000))
	require.Equal(t, abi.OK, put("b", 1000), "in the other bucket, where there is more room")
	require.Equal(t, abi.OK, put("c", 2048), "beside one of them")
	require.Equal(t, abi.OK, put("d", 2048), "beside the other")
	writes := m.disk.writes
	assert.Equal(t, 4, writes)
	require.Equal(t, abi.NOMEM, put("a", 2048))
	require.Equal(t, abi.NOMEM, put("b", 2048))
	assert.Equal(t, writes, m.disk.writes)
	_, e, _ := m.operate(remove, "c", "", owners[0])
	require.Equal(t, abi.OK, e)
	delete(want, "c")
	written := 0
	for _, key := range []string{"a", "b"} {
		n := mount(m.disk.afterPowerFailure())
		_, e, _ := n.operate(set, key, string(make([]byte, 2048)), owners[0])
		require.Equal(t, abi.OK, e)
		written += n.disk.writes
	}
	assert.Equal(t, 3, written, "one grows in its place, the other one moves")
}

// TestStoreFill: how full a store gets before the first value has no room, of the room that its buckets have, as a mean of storages.
// A bucket has room for two values of up to 1926 bytes, and for one that is longer.
func TestStoreFill(t *testing.T) {
	for _, tt := range []struct {
		value, buckets, storages int
		floor                    float64
	}{{32, 32, 2, 0.90}, {200, 64, 2, 0.80}, {1926, 256, 5, 0.30}, {2048, 256, 10, 0.08}} {
		total := 0
		for i := range tt.storages {
			m := mount(newDisk(rand.New(rand.NewPCG(1, 8)), uint64(tt.buckets)))
			m.layout.HashKey[0] = byte(i)
			for n := 0; ; n++ {
				_, e, _ := m.operate(set, fmt.Sprintf("key %8d", n), string(make([]byte, tt.value)), owners[0])
				if e != abi.OK {
					require.Equal(t, abi.NOMEM, e)
					break
				}
				total++
			}
		}
		n := float64(total) / float64(tt.storages)
		share := n * float64(storage.RecordBytes(12, tt.value)) / float64(tt.buckets*storage.BucketRoom)
		t.Logf("values of %4d bytes: %6.1f in %d buckets, %.0f %% of their room", tt.value, n, tt.buckets, 100*share)
		assert.Greater(t, share, tt.floor)
	}
}

func TestStoreRequests(t *testing.T) {
	d := newDisk(rand.New(rand.NewPCG(1, 9)), 4)
	m := mount(d)
	m.operate(set, "key", "value", everything)
	assert.Equal(t, [...]int{4, 1, 2}, [...]int{d.reads, d.writes, d.flushes}, "requests of the first operation")
	m.operate(set, "key", "other", everything)
	assert.Equal(t, [...]int{8, 2, 3}, [...]int{d.reads, d.writes, d.flushes}, "of the next")
	m.operate(get, "key", "", everything)
	assert.Equal(t, [...]int{12, 2, 3}, [...]int{d.reads, d.writes, d.flushes}, "of a get")
}
