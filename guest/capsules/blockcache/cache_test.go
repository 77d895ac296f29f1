package blockcache

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
)

const page = abi.PageSize

// seeded is a source of chance that is the same each time.
func seeded(n uint64) *rand.Rand { return rand.New(rand.NewPCG(n, 11)) }

// random is a request of any kind, of a range that often begins or ends where a page does.
func (u *user) random(r *rand.Rand) abi.ErrorCode {
	size := int(u.Size())
	edge := func() int {
		n := r.IntN(size + 1)
		if r.IntN(2) == 0 {
			n -= n % page
		}
		return n
	}
	from, to := edge(), edge()
	if from > to {
		from, to = to, from
	}
	if r.IntN(3) == 0 {
		to = min(to, from+600)
	}
	buf, word := make([]byte, to-from), [8]byte{}
	switch n := r.IntN(8); {
	case n < 3:
		return u.ask(reading, buf, uint64(from))
	case n < 6:
		for i := 0; i < len(buf); i += 8 {
			binary.NativeEndian.PutUint64(word[:], r.Uint64())
			copy(buf[i:], word[:])
		}
		return u.ask(writing, buf, uint64(from))
	}
	return u.ask(flushing, nil, 0)
}

// step does something: a port is asked, or the disk ends something.
func (r *rig) step() {
	r.passes = r.rand.IntN(6)
	if r.passes != 0 {
		r.busy.Set()
	}
	u := r.users[r.rand.IntN(len(r.users))]
	switch {
	case r.rand.IntN(3) != 0 && u.doing == nothing:
		if e := u.random(r.rand); e != abi.OK && !(e == abi.FAIL && u.lost) {
			r.tb.Fatalf("a request is refused: %v", e)
		}
	case len(r.disk.asked) != 0:
		r.disk.end()
	}
}

// TestModel: random requests on several ports, against an array of bytes; after each step every page and every request is where it
// has to be, nothing stale was read, and what was flushed would survive the machine's end.
func TestModel(t *testing.T) {
	const steps = 20_000
	for _, tt := range []struct {
		name  string
		pages int
		ports []int
		setUp func(d *disk)
	}{
		{"fewer pages than the ports want", 4, []int{3, 1, 4}, func(*disk) {}},
		{"the disk calls back from within calls", 8, []int{5, 6, 2, 9}, func(d *disk) { d.reenter = true }},
		{"one request at a time", 8, []int{7, 7}, func(d *disk) { d.limit = 1 }},
		{"more at a time than there are pages", 5, []int{7, 7}, func(d *disk) { d.limit = 100 }},
		{"all has room", 32, []int{10, 10}, func(*disk) {}},
		{"no cache of its own", 8, []int{7, 7}, func(d *disk) { d.noCache = true }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, seeded(1), tt.pages, tt.ports...)
			tt.setUp(r.disk)
			r.random(steps)
			for _, u := range r.users {
				assert.Equal(t, abi.OK, u.e)
				assert.Greater(t, u.ends, steps/50)
			}
			n := r.cache.Counters()
			assert.NotZero(t, n.Hits*n.Misses*n.WrittenBack, "%+v", n)
			assert.Equal(t, tt.pages < 32, n.Evicted != 0, "%+v", n)
		})
	}
}

// random does random steps, with looks at what a crash would leave, and then has all end.
func (r *rig) random(steps int) {
	r.disk.onStore = func() {
		if r.rand.IntN(20) == 0 {
			r.checkCrash()
		}
	}
	r.run(func() bool {
		r.step()
		steps--
		return steps > 0
	})
	r.settle()
	r.checkCrash()
}

// TestModelWithFailures: the same with a disk that fails, now and then or for a while. What was flushed survives, and what was not
// is not told to be durable.
func TestModelWithFailures(t *testing.T) {
	const steps = 20_000
	for _, tt := range []struct {
		name    string
		fails   func(r *rand.Rand, kind operation) bool
		fatal   bool
		noCache bool
	}{
		{name: "reads", fails: func(r *rand.Rand, kind operation) bool { return kind == reading && r.IntN(20) == 0 }},
		{name: "writes", fails: func(r *rand.Rand, kind operation) bool { return kind == writing && r.IntN(20) == 0 }},
		{name: "most writes", fails: func(r *rand.Rand, kind operation) bool { return kind == writing && r.IntN(5) != 0 }},
		{name: "without a cache of its own", noCache: true,
			fails: func(r *rand.Rand, kind operation) bool { return r.IntN(20) == 0 }},
		{name: "a flush", fatal: true, fails: func(r *rand.Rand, kind operation) bool { return kind == flushing && r.IntN(20) == 0 }},
		{name: "anything", fatal: true, fails: func(r *rand.Rand, kind operation) bool { return r.IntN(50) == 0 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			failed := 0
			for seed := range uint64(100) {
				r := newRig(t, seeded(seed), 8, 5, 6, 2)
				r.disk.noCache = tt.noCache
				r.disk.fails = func(kind operation) bool {
					fails := tt.fails(r.rand, kind)
					if fails {
						failed++
					}
					return fails
				}
				r.random(steps / 100)
				r.disk.fails = func(operation) bool { return false }
				for _, u := range r.users {
					e := r.do(u, flushing, nil, 0)
					assert.Equal(t, u.lost, e == abi.FAIL)
					assert.True(t, tt.fatal || !u.lost)
					if u.lost {
						continue
					}
					assert.Equal(t, abi.OK, r.do(u, reading, make([]byte, u.Size()), 0))
					assert.Equal(t, u.content, r.disk.durable[u.from:u.to], "all is there in the end")
				}
			}
			assert.NotZero(t, failed)
		})
	}
}

// TestCrashAtEachStore: whenever the machine ends, what was flushed is there.
func TestCrashAtEachStore(t *testing.T) {
	r := newRig(t, seeded(3), 6, 4, 3, 2)
	stores := 0
	r.disk.onStore = func() {
		for range 4 {
			r.checkCrash()
		}
		stores++
	}
	steps := 0
	r.run(func() bool {
		r.step()
		steps++
		return steps < 3000
	})
	assert.Greater(t, stores, 300)
	r.settle()
}

func TestPortRanges(t *testing.T) {
	r := newRig(t, seeded(1), 4, 2, 2)
	r.disk.sectors = 10*sectorsPerPage + 3
	const top = 1<<64 - page
	for _, tt := range []struct {
		name     string
		from, to uint64
		want     abi.ErrorCode
	}{
		{"nothing", 5 * page, 5 * page, abi.INVAL},
		{"backwards", 6 * page, 5 * page, abi.INVAL},
		{"begins within a page", 5*page + 512, 6 * page, abi.INVAL},
		{"ends within a page", 5 * page, 6*page - 1, abi.INVAL},
		{"another's", 0, 2 * page, abi.INVAL},
		{"another's last page", 3 * page, 5 * page, abi.INVAL},
		{"around others", 0, 10 * page, abi.INVAL},
		{"behind the last sector", 10 * page, 11 * page, abi.INVAL},
		{"far behind", top - page, top, abi.INVAL},
		{"backwards from the top", top, 0, abi.INVAL},
		{"the last whole page", 9 * page, 10 * page, abi.OK},
		{"that again", 9 * page, 10 * page, abi.INVAL},
		{"up to another's", 4 * page, 9 * page, abi.OK},
	} {
		assert.Equal(t, tt.want, new(Port).Init(&r.cache, tt.from, tt.to), tt.name)
	}
}

func TestRequestsOutsideOfThePort(t *testing.T) {
	r := newRig(t, seeded(1), 4, 2, 2)
	u := r.users[1]
	assert.EqualValues(t, 2*page, u.Size())
	for _, tt := range []struct {
		name    string
		n       int
		address uint64
		want    abi.ErrorCode
	}{
		{"all", 2 * page, 0, abi.OK},
		{"nothing at the end", 0, 2 * page, abi.OK},
		{"nothing behind the end", 0, 2*page + 1, abi.INVAL},
		{"over the end", 2, 2*page - 1, abi.INVAL},
		{"one too many", 2*page + 1, 0, abi.INVAL},
		{"wraps around", 2 * page, 1<<64 - page, abi.INVAL},
		{"wraps to another's", page, 1<<64 - 2*page, abi.INVAL},
		{"the last address", 1, 1<<64 - 1, abi.INVAL},
	} {
		for _, kind := range []operation{reading, writing} {
			assert.Equal(t, tt.want, r.do(u, kind, make([]byte, tt.n), tt.address), tt.name)
		}
	}
	assert.Equal(t, abi.OK, u.Flush())
	assert.Equal(t, abi.BUSY, u.Flush())
	assert.Equal(t, abi.BUSY, u.Read(nil, 0))
	assert.Equal(t, abi.BUSY, u.Write(nil, 0))
	r.settle()
}

// TestLeastRecentlyUsedGoesFirst: what a cache of four pages has after requests to pages of one port.
func TestLeastRecentlyUsedGoesFirst(t *testing.T) {
	type request struct {
		kind operation
		page uint64
	}
	read := func(pages ...uint64) (all []request) {
		for _, n := range pages {
			all = append(all, request{reading, n})
		}
		return all
	}
	write := func(n uint64) []request { return []request{{writing, n}} }
	for _, tt := range []struct {
		name     string
		requests []request
		want     []uint64 // the least recently used first
		device   []operation
	}{
		{"in order", read(0, 1, 2, 3), []uint64{0, 1, 2, 3}, []operation{reading, reading, reading, reading}},
		{"the oldest goes", read(0, 1, 2, 3, 4), []uint64{1, 2, 3, 4}, slices.Repeat([]operation{reading}, 5)},
		{"a hit makes it the newest", read(0, 1, 2, 3, 0, 4), []uint64{2, 3, 0, 4}, slices.Repeat([]operation{reading}, 5)},
		{"a hit on the newest", read(0, 1, 2, 3, 3), []uint64{0, 1, 2, 3}, slices.Repeat([]operation{reading}, 4)},
		{"a hit in the middle", read(0, 1, 2, 3, 1), []uint64{0, 2, 3, 1}, slices.Repeat([]operation{reading}, 4)},
		{"what went is read again", read(0, 1, 2, 3, 4, 0), []uint64{2, 3, 4, 0}, slices.Repeat([]operation{reading}, 6)},
		{"a whole page is not read before it is written", slices.Concat(read(0), write(1)), []uint64{0, 1}, []operation{reading}},
		{"a write is a use", slices.Concat(read(0, 1), write(0), read(2)), []uint64{1, 0, 2}, slices.Repeat([]operation{reading}, 3)},
		{"a second dirty page has the first written back", slices.Concat(write(0), write(1)), []uint64{0, 1}, []operation{writing}},
		{"the oldest is dirty: it is written, the next goes", slices.Concat(write(0), read(1, 2, 3, 4)), []uint64{0, 2, 3, 4},
			[]operation{reading, reading, reading, writing, reading}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, seeded(1), 4, 6)
			for _, q := range tt.requests {
				require.Equal(t, abi.OK, r.do(r.users[0], q.kind, make([]byte, page), q.page*page))
			}
			assert.Equal(t, tt.want, r.order())
			assert.Equal(t, tt.device, r.disk.kinds)
		})
	}
}

// order is what the cache has, the least recently used first.
func (r *rig) order() (numbers []uint64) {
	c := &r.cache
	for i, n := c.oldest, 0; n < len(c.pages); i, n = c.pages[i].newer, n+1 {
		if c.pages[i].port != nil {
			numbers = append(numbers, c.pages[i].number)
		}
	}
	return numbers
}

func TestPartOfAPageIsReadBeforeItIsWritten(t *testing.T) {
	r := newRig(t, seeded(1), 16, 6)
	u := r.users[0]
	assert.Equal(t, abi.OK, r.do(u, writing, bytes.Repeat([]byte{7}, 2*page+100), page-50))
	assert.Equal(t, []operation{reading, reading}, r.disk.kinds)
	assert.Equal(t, []uint64{0, 3}, r.disk.numbers)
	assert.Equal(t, abi.OK, r.do(u, flushing, nil, 0))
	assert.Equal(t, u.content, r.disk.durable)
	assert.Equal(t, Counters{Misses: 4, WrittenBack: 4}, r.cache.Counters())
	assert.Equal(t, abi.OK, r.do(u, reading, make([]byte, 4*page), 0))
	assert.EqualValues(t, 4, r.cache.Counters().Hits)
}

// TestPagesOfARequestAreReadSideBySide: as many as the device takes, and none that was not asked for.
func TestPagesOfARequestAreReadSideBySide(t *testing.T) {
	r := newRig(t, seeded(1), 16, 20)
	u := r.users[0]
	require.Equal(t, abi.OK, u.ask(reading, make([]byte, 6*page), 3*page))
	most := 0
	r.run(func() bool {
		most = max(most, len(r.disk.asked))
		r.disk.endAt(0)
		return len(r.disk.asked) != 0
	})
	r.settle()
	assert.Equal(t, 4, most)
	assert.Equal(t, []uint64{3, 4, 5, 6, 7, 8}, r.disk.numbers)
}

// TestFlush: a port's own pages are written, no others, and then the device flushes.
func TestFlush(t *testing.T) {
	for _, noCache := range []bool{false, true} {
		r := newRig(t, seeded(1), 16, 4, 4)
		r.disk.noCache = noCache
		for _, u := range r.users {
			assert.Equal(t, abi.OK, r.do(u, writing, bytes.Repeat([]byte{9}, 2*page), page))
		}
		assert.Empty(t, r.disk.kinds, "it writes back later")
		assert.Equal(t, abi.OK, r.do(r.users[0], flushing, nil, 0))
		want := []operation{writing, writing, flushing}
		if noCache {
			want = want[:2]
		}
		assert.Equal(t, want, r.disk.kinds)
		assert.Equal(t, []uint64{1, 2}, r.disk.numbers[:2])
		assert.Equal(t, r.users[0].content, r.disk.durable[:4*page])
		assert.NotEqual(t, r.users[1].content, r.disk.durable[4*page:])
	}
}

// TestPageThatCannotBeWrittenIsGivenUp: that Flush fails, and the page is in nobody's way, whatever is written elsewhere.
func TestPageThatCannotBeWrittenIsGivenUp(t *testing.T) {
	r := newRig(t, seeded(1), 8, 6)
	u := r.users[0]
	r.disk.bad = []uint64{0, 1, 2}
	for range 3 {
		for number := range uint64(4) {
			assert.Equal(t, abi.OK, r.do(u, writing, bytes.Repeat([]byte("new"), 100), number*page+10))
			want := abi.FAIL
			if number == 3 {
				want = abi.OK
			}
			assert.Equal(t, want, r.do(u, flushing, nil, 0), "page %d", number)
		}
	}
	assert.Equal(t, abi.FAIL, r.do(u, writing, make([]byte, 4*page), 0), "there is no room for all to be dirty")
	assert.Equal(t, abi.OK, r.do(u, reading, make([]byte, 6*page), 0))
	r.disk.bad = nil
	assert.Equal(t, abi.OK, r.do(u, writing, bytes.Repeat([]byte{7}, 6*page), 0))
	assert.Equal(t, abi.OK, r.do(u, flushing, nil, 0))
	assert.Equal(t, u.content, r.disk.durable)
}

// TestWriteAfterOneThatFailed: what is left of what was written before is durable first.
func TestWriteAfterOneThatFailed(t *testing.T) {
	r := newRig(t, seeded(1), 16, 6)
	u := r.users[0]
	r.disk.bad = []uint64{2}
	assert.Equal(t, abi.OK, r.do(u, writing, bytes.Repeat([]byte{1}, 3*page), 0))
	assert.Equal(t, abi.FAIL, r.do(u, flushing, nil, 0))
	asked := len(r.disk.kinds)
	assert.Equal(t, abi.OK, r.do(u, writing, make([]byte, page), 4*page))
	assert.Contains(t, r.disk.kinds[asked:], flushing)
	assert.Equal(t, u.content[:2*page], r.disk.durable[:2*page])
	asked = len(r.disk.kinds)
	assert.Equal(t, abi.OK, r.do(u, writing, make([]byte, page), 4*page))
	assert.Len(t, r.disk.kinds, asked, "it is settled")
}

// TestPageThatCannotBeWrittenIsKeptFromMakingRoom: another's request fails by nothing of that.
func TestPageThatCannotBeWrittenIsKeptFromMakingRoom(t *testing.T) {
	r := newRig(t, seeded(1), 8, 6, 10)
	u, other := r.users[0], r.users[1]
	r.disk.fails = func(kind operation) bool { return kind == writing }
	assert.Equal(t, abi.OK, r.do(u, writing, bytes.Repeat([]byte{1}, 2*page), 0), "a quarter of the pages")
	assert.Equal(t, abi.FAIL, r.do(u, writing, bytes.Repeat([]byte{1}, page), 3*page), "a third page")
	for range 3 {
		assert.Equal(t, abi.OK, r.do(other, reading, make([]byte, 10*page), 0))
	}
	assert.Equal(t, abi.OK, r.do(u, reading, make([]byte, 6*page), 0), "it is not stale")
	r.disk.fails = func(operation) bool { return false }
	assert.Equal(t, abi.OK, r.do(u, flushing, nil, 0))
	assert.Equal(t, u.content, r.disk.durable[:6*page])
}

// TestReadGoesOnWithoutTheRoomOfAPageThatCannotBeWritten: of the same port, whether the device says so at once or later.
func TestReadGoesOnWithoutTheRoomOfAPageThatCannotBeWritten(t *testing.T) {
	for name, fail := range map[string]func(d *disk){
		"later":   func(d *disk) { d.fails = func(kind operation) bool { return kind == writing } },
		"at once": func(d *disk) { d.sectors -= 2 * sectorsPerPage },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, seeded(1), 8, 20)
			u := r.users[0]
			assert.Equal(t, abi.OK, r.do(u, writing, bytes.Repeat([]byte{1}, 2*page), 18*page))
			fail(r.disk)
			assert.Equal(t, abi.OK, r.do(u, reading, make([]byte, 18*page), 0))
			assert.Equal(t, abi.OK, r.do(u, reading, make([]byte, 2*page), 18*page))
			assert.Equal(t, abi.FAIL, r.do(u, flushing, nil, 0))
		})
	}
}

// TestPageThatWasReadIsThereUntilItsTurn: however many others want room meanwhile.
func TestPageThatWasReadIsThereUntilItsTurn(t *testing.T) {
	r := newRig(t, seeded(1), 4, slices.Repeat([]int{1}, 12)...)
	for _, u := range r.users {
		require.Equal(t, abi.OK, u.ask(reading, make([]byte, page), 0))
	}
	r.settle()
	assert.Len(t, r.disk.kinds, 12)
}

// TestFlushOfTheDeviceThatFails: nobody knows what is lost, so nothing is called durable any more of what a port had written since.
func TestFlushOfTheDeviceThatFails(t *testing.T) {
	r := newRig(t, seeded(1), 16, 2, 6, 2)
	one, wrote, read := r.users[0], r.users[1], r.users[2]
	assert.Equal(t, abi.OK, r.do(wrote, writing, bytes.Repeat([]byte{1}, 6*page), 0), "some of it goes to the device")
	assert.Equal(t, abi.OK, r.do(read, reading, make([]byte, 2*page), 0))
	assert.Equal(t, abi.OK, r.do(one, writing, []byte{1}, 0))
	r.disk.fails = func(kind operation) bool { return kind == flushing }
	assert.Equal(t, abi.FAIL, r.do(one, flushing, nil, 0))
	r.disk.fails = func(operation) bool { return false }
	for _, u := range []*user{one, wrote} {
		assert.Equal(t, abi.FAIL, r.do(u, flushing, nil, 0))
		assert.Equal(t, abi.FAIL, r.do(u, writing, []byte{1}, 0))
		assert.Equal(t, abi.OK, r.do(u, reading, make([]byte, u.Size()), 0))
	}
	assert.Equal(t, abi.OK, r.do(read, writing, []byte{5}, 0))
	assert.Equal(t, abi.OK, r.do(read, flushing, nil, 0))
	r.checkCrash()
}

// TestFlushOfTheDeviceThatFailsForAnother: a Flush that writes to the device just then has lost something, too, whatever its own flush
// says.
func TestFlushOfTheDeviceThatFailsForAnother(t *testing.T) {
	r := newRig(t, seeded(1), 8, 2, 2)
	one, other := r.users[0], r.users[1]
	require.Equal(t, abi.OK, r.do(one, writing, []byte{1}, 0))
	require.Equal(t, abi.OK, other.ask(flushing, nil, 0))
	r.run(func() bool {
		require.Equal(t, abi.OK, one.ask(flushing, nil, 0))
		return false
	})
	r.run(func() bool {
		require.Len(t, r.disk.asked, 2)
		r.disk.fails = func(kind operation) bool { return kind == flushing }
		r.disk.endAt(0)
		r.disk.fails = func(operation) bool { return false }
		return false
	})
	r.settle()
	assert.Equal(t, abi.FAIL, other.e)
	assert.Equal(t, abi.FAIL, one.e)
}

// TestReadThatFails: that request fails, the page is not kept, and the next request reads it anew.
func TestReadThatFails(t *testing.T) {
	r := newRig(t, seeded(1), 8, 6)
	u := r.users[0]
	r.disk.fails = func(kind operation) bool { return kind == reading }
	buf := make([]byte, 3*page)
	assert.Equal(t, abi.FAIL, r.do(u, reading, buf, 0))
	assert.Equal(t, abi.FAIL, r.do(u, writing, buf[:10], 0), "of a part of a page")
	assert.Empty(t, r.order())
	r.disk.fails = func(operation) bool { return false }
	assert.Equal(t, abi.OK, r.do(u, reading, buf, 0))

	// The others of the request stay, in their order, and the next page takes the place of the one that failed.
	r = newRig(t, seeded(1), 4, 6)
	u = r.users[0]
	assert.Equal(t, abi.OK, r.do(u, reading, make([]byte, page), 5*page))
	require.Equal(t, abi.OK, u.ask(reading, buf, 0))
	r.run(func() bool {
		r.disk.fails = func(operation) bool { return len(r.disk.asked) == 2 } // page 1, of three the first that ends
		r.disk.endAt((len(r.disk.asked) - 1) / 2)
		return len(r.disk.asked) != 0
	})
	r.settle()
	assert.Equal(t, abi.FAIL, u.e)
	assert.Equal(t, []uint64{5, 0, 2}, r.order())
	r.disk.fails = func(operation) bool { return false }
	assert.Equal(t, abi.OK, r.do(u, reading, buf[:page], 3*page))
	assert.Equal(t, []uint64{5, 0, 2, 3}, r.order())
}

// TestDeviceThatRefuses: a broken device, one that has shrunk, one that says without end that it has too much to do, and one that
// is only read.
func TestDeviceThatRefuses(t *testing.T) {
	for name, refuse := range map[string]func(d *disk){
		"broken":                         func(d *disk) { d.refuses = abi.FAIL },
		"shrunk":                         func(d *disk) { d.sectors = 0 },
		"busy, although nothing goes on": func(d *disk) { d.refuses = abi.BUSY },
		"not able":                       func(d *disk) { d.refuses = abi.NOSUPPORT },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, seeded(1), 8, 6, 6)
			u, other := r.users[0], r.users[1]
			assert.Equal(t, abi.OK, r.do(u, writing, bytes.Repeat([]byte{3}, page), 0))
			assert.Equal(t, abi.OK, r.do(u, reading, make([]byte, page), 5*page))
			sectors := r.disk.sectors
			refuse(r.disk)
			assert.Equal(t, abi.OK, other.ask(reading, make([]byte, 6*page), 0))
			assert.Equal(t, abi.FAIL, r.do(u, flushing, nil, 0))
			assert.Equal(t, abi.FAIL, other.e)
			assert.Equal(t, abi.FAIL, r.do(u, reading, make([]byte, page), page))
			assert.Equal(t, abi.OK, r.do(u, reading, make([]byte, page), 5*page), "what is there is there")
			r.disk.refuses, r.disk.sectors = abi.OK, sectors
			assert.Equal(t, abi.OK, r.do(u, flushing, nil, 0))
			assert.Equal(t, u.content, r.disk.durable[:6*page])
			assert.Equal(t, abi.OK, r.do(other, reading, make([]byte, 6*page), 0))
		})
	}
	r := newRig(t, seeded(1), 8, 6)
	r.disk.readOnly = true
	assert.Equal(t, abi.NOSUPPORT, r.do(r.users[0], writing, []byte{1}, 0))
	assert.Equal(t, abi.OK, r.do(r.users[0], reading, make([]byte, page), 0))
	assert.Equal(t, abi.OK, r.do(r.users[0], flushing, nil, 0))
}

// TestDeviceThatNeverCouldFlush: what it says of a flush that it took is no success.
func TestDeviceThatNeverCouldFlush(t *testing.T) {
	r := newRig(t, seeded(1), 8, 6)
	u := r.users[0]
	require.Equal(t, abi.OK, u.ask(flushing, nil, 0))
	r.run(func() bool {
		a := r.disk.asked[0]
		r.disk.asked = nil
		r.cache.BlockDone(a.tag, nil, abi.NOSUPPORT)
		return false
	})
	r.settle()
	assert.Equal(t, abi.FAIL, u.e)
}

// TestPortsTakeTurns: a small request among long ones ends after a few pages of each, however long they are.
func TestPortsTakeTurns(t *testing.T) {
	for _, kind := range []operation{reading, writing} {
		r := newRig(t, seeded(1), 64, 600, 600, 600, 4)
		long, small := r.users[:3], r.users[3]
		for _, u := range long {
			require.Equal(t, abi.OK, u.ask(kind, make([]byte, u.Size()), 0))
		}
		ended, began, worst := 0, 0, 0
		small.onEnd = func() { worst = max(worst, ended-began) }
		r.run(func() bool {
			if small.doing == nothing {
				began = ended
				kind := []operation{reading, writing, flushing}[small.ends%3]
				require.Equal(t, abi.OK, small.ask(kind, make([]byte, page)[:page*(1-min(small.ends%3/2, 1))], uint64(small.ends%4*page)))
				return true
			}
			if len(r.disk.asked) != 0 {
				r.disk.end()
				ended++
			}
			return long[0].doing != nothing && long[1].doing != nothing && long[2].doing != nothing
		})
		for _, u := range long {
			assert.True(t, u.doing == nothing || u.done > 500*page, "they go on side by side: %d of %d", u.done, len(u.buf))
		}
		assert.Greater(t, small.ends, 50)
		assert.Less(t, worst, 40, "requests to the disk while the small one went on")
		r.settle()
	}
}

// TestOneTurnIsOnePage: a deferred call copies a page at most, and asks the device for one.
func TestOneTurnIsOnePage(t *testing.T) {
	r := newRig(t, seeded(1), 64, 32)
	u := r.users[0]
	require.Equal(t, abi.OK, r.do(u, reading, make([]byte, 32*page), 0))
	require.Equal(t, abi.OK, u.ask(reading, make([]byte, 32*page), 0))
	for n := 1; n < 32; n++ {
		r.cache.HandleDeferredCall()
		assert.Equal(t, n*page, u.done)
	}
	r.settle()
}

// TestRequestsFromTheClient: a client asks again when it is called.
func TestRequestsFromTheClient(t *testing.T) {
	r := newRig(t, seeded(1), 8, 6, 6)
	u := r.users[0]
	u.onEnd = func() {
		if u.ends < 10 {
			assert.Equal(t, abi.OK, u.ask([]operation{reading, writing, flushing}[u.ends%3], nil, 0))
		}
		if u.ends == 5 {
			assert.Equal(t, abi.OK, r.users[1].ask(writing, make([]byte, 3*page), 5))
		}
	}
	assert.Equal(t, abi.OK, r.do(u, reading, make([]byte, 3*page), 0))
	assert.Equal(t, 10, u.ends)
	assert.Equal(t, 1, r.users[1].ends)
}

func TestManyPorts(t *testing.T) {
	r := newRig(t, seeded(7), 16, slices.Repeat([]int{2}, 70)...)
	r.random(20_000)
	for _, u := range r.users {
		assert.Equal(t, abi.OK, u.e)
	}
}

func TestWiringErrors(t *testing.T) {
	for name, init := range map[string]func(c *Cache, r *rig){
		"too few pages":     func(c *Cache, r *rig) { c.Init(&r.machine.Kernel, r.disk, make([]byte, 3*page), make([]Page, 3)) },
		"too many pages":    func(c *Cache, r *rig) { c.Init(&r.machine.Kernel, r.disk, nil, make([]Page, none)) },
		"too little memory": func(c *Cache, r *rig) { c.Init(&r.machine.Kernel, r.disk, make([]byte, 4*page-1), make([]Page, 4)) },
	} {
		assert.Panics(t, func() { init(new(Cache), newRig(t, seeded(1), 4, 4)) }, name)
	}
}

// FuzzCache has bytes decide what ports are asked for, what the disk ends and how. What TestModel checks is checked.
func FuzzCache(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Add(bytes.Repeat([]byte{1, 255, 40, 3}, 40))
	f.Fuzz(follow)
}

// follow does what a script of bytes says.
func follow(t *testing.T, script []byte) {
	r := newRig(t, seeded(1), 4, 3, 4)
	r.disk.fails = func(operation) bool { return false }
	next := func() (b byte) {
		if len(script) != 0 {
			b, script = script[0], script[1:]
		}
		return b
	}
	r.disk.onStore = r.checkCrash
	r.run(func() bool {
		b := next()
		u := r.users[b&1]
		switch kind := operation(b >> 1 & 3); {
		case kind != nothing && u.doing == nothing:
			from, n := uint64(next())*64%u.Size(), uint64(next())*64
			buf := bytes.Repeat([]byte{b}, int(min(n, u.Size()-from)))
			if kind == flushing {
				from, buf = 0, nil
			}
			if e := u.ask(kind, buf, from); e != abi.OK && !(e == abi.FAIL && u.lost) {
				t.Fatalf("a request is refused: %v", e)
			}
		case len(r.disk.asked) != 0:
			fails := b&0xf8 == 0xf8
			r.disk.fails = func(operation) bool { return fails }
			r.disk.endAt(int(b>>3) % len(r.disk.asked))
		}
		return len(script) != 0
	})
	r.disk.fails = func(operation) bool { return false }
	r.settle()
	r.checkCrash()
}
