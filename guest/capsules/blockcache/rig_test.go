package blockcache

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
)

// rig is a cache, its disk, and users of its ports, in a machine of which nothing else is used.
type rig struct {
	tb      testing.TB
	rand    *rand.Rand
	machine *kerneltest.Machine
	disk    *disk
	cache   Cache
	users   []*user
	busy    kernel.DeferredCall // the disk ends requests between steps of the cache
	passes  int
}

// user uses a port, and knows what it reads.
type user struct {
	Port
	rig      *rig
	name     int
	content  []byte   // what is read
	versions [][]byte // what the device may have after a crash: the last that was flushed, and all that came later
	buf      []byte
	address  uint64
	asked    operation // what the last request was
	ends     int
	e        abi.ErrorCode // how the last request ended
	onEnd    func()
}

// ask makes a request.
func (u *user) ask(kind operation, buf []byte, address uint64) abi.ErrorCode {
	var e abi.ErrorCode
	ends := u.ends
	switch kind {
	case reading:
		e = u.Read(buf, address)
	case writing:
		e = u.Write(buf, address)
	default:
		e = u.Flush()
	}
	if u.ends != ends {
		u.rig.tb.Fatal("the client was called within the request")
	}
	if e == abi.OK {
		u.asked, u.buf, u.address = kind, buf, address
		if kind == writing {
			next := bytes.Clone(u.content)
			copy(next[address:], buf)
			u.versions = append(u.versions, next)
		}
	}
	return e
}

// NonvolatileStorageDone compares with what there should be.
func (u *user) NonvolatileStorageDone(buf []byte, e abi.ErrorCode) {
	u.ends++
	u.e = e
	switch {
	case len(buf) != len(u.buf) || len(buf) != 0 && &buf[0] != &u.buf[0]:
		u.rig.tb.Fatal("another buffer comes back")
	case u.asked == reading && e == abi.OK:
		u.compare(buf)
	case u.asked != reading && e != abi.OK:
		u.look()
	case u.asked == writing:
		if u.done != len(buf) {
			u.rig.tb.Fatalf("%d bytes of %d were written", u.done, len(buf))
		}
		copy(u.content[u.address:], buf)
	case u.asked == flushing:
		u.versions = [][]byte{bytes.Clone(u.content)}
	}
	if u.onEnd != nil {
		u.onEnd()
	}
}

// look finds out what is read after a request that failed: each sector as it was at the last flush or later.
func (u *user) look() {
	c := u.cache
	copy(u.content, u.rig.disk.seen[u.from:u.to])
	for i := range c.pages {
		if q := &c.pages[i]; q.port == &u.Port && q.valid {
			copy(u.content[q.number*abi.PageSize-u.from:], c.bytes(uint16(i)))
		}
	}
	u.among(u.content, 0, u.versions)
	u.versions = append(u.versions, bytes.Clone(u.content))
}

// compare fails if what was read is stale. What a flush that failed may have lost is read as old as it was at the last flush.
func (u *user) compare(got []byte) {
	if !u.lost && !bytes.Equal(got, u.content[u.address:][:len(got)]) {
		u.rig.tb.Fatalf("user %d read %d bytes at %d, which are not what was written last", u.name, len(got), u.address)
	}
	if u.lost {
		u.among(got, u.address, append(u.versions, u.content))
	}
}

// among fails if a sector is in none of those versions.
func (u *user) among(got []byte, from uint64, versions [][]byte) {
	for at := from; at < from+uint64(len(got)); {
		n := min(sectorSize-at%sectorSize, from+uint64(len(got))-at)
		known := false
		for i := len(versions) - 1; i >= 0 && !known; i-- {
			known = bytes.Equal(versions[i][at:][:n], got[at-from:][:n])
		}
		if !known {
			u.rig.tb.Fatalf("user %d: byte %d is older than the last flush, or none of the port's", u.name, at)
		}
		at += n
	}
}

// checkCrash fails if the machine's end just now lost what was flushed.
func (r *rig) checkCrash() {
	image := r.disk.crash()
	for _, u := range r.users {
		u.among(image[u.from:u.to], 0, u.versions)
	}
}

// newRig makes a rig with so many pages in the cache, and ports onto so many pages each, of a disk that has as many.
func newRig(tb testing.TB, random *rand.Rand, pages int, ports ...int) *rig {
	total := 0
	for _, n := range ports {
		total += n
	}
	r := &rig{tb: tb, rand: random, machine: kerneltest.New(tb, capability.Mint()), disk: newDisk(tb, random, total)}
	r.busy.Register(&r.machine.Kernel, r)
	r.cache.Init(&r.machine.Kernel, r.disk, make([]byte, pages*abi.PageSize), make([]Page, pages))
	at := uint64(0)
	for i, n := range ports {
		u := &user{rig: r, name: i}
		to := at + uint64(n)*abi.PageSize
		require.Equal(tb, abi.OK, u.Init(&r.cache, at, to))
		u.SetNonvolatileStorageClient(u)
		u.content = bytes.Clone(r.disk.seen[at:to])
		u.versions = [][]byte{bytes.Clone(u.content)}
		r.users = append(r.users, u)
		at = to
	}
	r.machine.AddTask("waits", func(k *kerneltest.Task) { k.Wait() }, nil)
	r.machine.Load()
	return r
}

// run does steps until one reports false. Between them all deferred calls are done.
func (r *rig) run(step func() bool) {
	r.machine.CPU.OnIdle = func() {
		r.check()
		if !step() {
			r.machine.CPU.OnIdle = nil
		}
	}
	require.True(r.tb, r.machine.Continue())
}

// settle has the disk do what it is asked for, until no port has a request.
func (r *rig) settle() {
	r.run(func() bool {
		if len(r.disk.asked) != 0 {
			r.disk.end()
		} else if r.cache.active != 0 {
			r.tb.Fatal("a port has a request, and nothing goes on")
		}
		return r.cache.active != 0
	})
	r.check()
}

// do makes a request of a user and waits for its end.
func (r *rig) do(u *user, kind operation, buf []byte, address uint64) abi.ErrorCode {
	if e := u.ask(kind, buf, address); e != abi.OK {
		return e
	}
	r.settle()
	return u.e
}

// check fails if a page or a request is not where it has to be.
func (r *rig) check() {
	if err := r.cache.check(r.disk); err != nil {
		r.tb.Fatal(err)
	}
}

// HandleDeferredCall has the disk end a request, perhaps, between two steps of the cache.
func (r *rig) HandleDeferredCall() {
	r.check()
	if len(r.disk.asked) != 0 && r.rand.IntN(3) == 0 {
		r.disk.end()
	}
	if r.passes--; r.passes > 0 {
		r.busy.Set()
	}
}
