package kernel_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
)

// frames tells where memory of the host lies.
type frames struct{}

func (frames) Frame(mem []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(mem)))) }

// pool is a RAM with what is given back, and a model of it: which pages are taken, by whom.
type pool struct {
	ram   kernel.RAM
	reuse kernel.Reuse
	low   []byte
	high  []byte
}

func newPool(low, high int) *pool {
	p := &pool{low: make([]byte, low*abi.PageSize), high: make([]byte, high*abi.PageSize)}
	p.ram.Low, p.ram.High = p.low, p.high
	p.reuse.Init(&p.ram, frames{})
	return p
}

func pages(n int) uint64 { return uint64(n) * abi.PageSize }

// TestReuse: what is given back is taken again, the lowest first, joined with what it touches, and at the end it is as if
// nothing had ever been taken.
func TestReuse(t *testing.T) {
	p := newPool(8, 2)
	a, b, c := p.ram.Take(pages(2)), p.ram.Take(pages(1)), p.ram.Take(pages(3))
	assert.Equal(t, pages(4), p.reuse.Free())
	p.ram.Give(a)
	assert.Equal(t, pages(6), p.reuse.Free())
	assert.Same(t, &p.low[pages(6)], &p.ram.Take(pages(1))[0], "RAM.Take takes what nobody ever had, if there is some")
	p.ram.Give(p.low[pages(6):pages(7):pages(7)])
	again := p.reuse.Take(pages(1))
	assert.Same(t, &a[0], &again[0], "Reuse.Take takes what was given back")
	assert.EqualValues(t, abi.PageSize, cap(again), "what is behind it is not reached through it")
	p.ram.Give(b)
	assert.Nil(t, p.reuse.Take(pages(5)))
	assert.Same(t, &a[pages(1)], &p.reuse.Take(pages(2))[0], "the end of a range and what was given back behind it are one")
	p.ram.Give(p.low[:pages(3):pages(3)])
	p.ram.Give(c)
	assert.Len(t, p.ram.Low, 8*abi.PageSize, "what touches what nobody ever had is a part of it")
	assert.Equal(t, pages(10), p.reuse.Free())
}

// TestReuseWhenNothingElseIsLeft: RAM.Take finds what was given back in either piece when all else is taken.
func TestReuseWhenNothingElseIsLeft(t *testing.T) {
	p := newPool(3, 2)
	a, _, c := p.ram.Take(pages(1)), p.ram.Take(pages(2)), p.ram.Take(pages(2))
	assert.Nil(t, p.ram.Take(pages(1)))
	p.ram.Give(a)
	p.ram.Give(c)
	assert.Same(t, &p.high[0], &p.ram.Take(pages(2))[0])
	assert.Same(t, &a[0], &p.ram.Take(pages(1))[0])
	assert.Nil(t, p.ram.Take(pages(1)))
	assert.Zero(t, p.reuse.Free())
}

// TestReuseRefuses: what nobody had taken cannot be given back, nor twice.
func TestReuseRefuses(t *testing.T) {
	for name, give := range map[string]func(p *pool){
		"what is not the RAM's":               func(p *pool) { p.ram.Give(make([]byte, abi.PageSize)) },
		"what nobody ever had":                func(p *pool) { p.ram.Give(p.low[pages(7):]) },
		"what reaches into what nobody had":   func(p *pool) { p.ram.Give(p.low[pages(5):pages(7)]) },
		"the start of what was given back":    func(p *pool) { p.ram.Give(p.low[pages(1):pages(2)]) },
		"the end of what was given back":      func(p *pool) { p.ram.Give(p.low[pages(2):pages(3)]) },
		"what reaches into what was, below":   func(p *pool) { p.ram.Give(p.low[:pages(2)]) },
		"what reaches into what was, above":   func(p *pool) { p.ram.Give(p.low[pages(2):pages(4)]) },
		"a second Reuse of the RAM":           func(p *pool) { new(kernel.Reuse).Init(&p.ram, frames{}) },
		"more than what was, on both of ends": func(p *pool) { p.ram.Give(p.low[:pages(5)]) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPool(8, 0)
			p.ram.Take(pages(6))
			p.ram.Give(p.low[pages(1):pages(3)])
			assert.Panics(t, func() { give(p) })
		})
	}
}

// TestReuseRandomly: whatever is taken and given back in whatever order, no byte is anybody else's, none gets lost, and a request fails only if
// no piece of memory is long enough.
func TestReuseRandomly(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { reuseRandomly(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func reuseRandomly(t *testing.T, r *rand.Rand) {
	p := newPool(40+r.IntN(40), r.IntN(40))
	total := uint64(len(p.low) + len(p.high))
	var taken [][]byte
	owner := map[*byte]int{} // of each page
	held := 0
	longest := func() (most int) {
		for _, all := range [][]byte{p.low, p.high} {
			run := 0
			for at := 0; at < len(all); at += abi.PageSize {
				run++
				if owner[&all[at]] != 0 {
					run = 0
				}
				most = max(most, run)
			}
		}
		return most
	}
	for step := 1; step < 600; step++ {
		if len(taken) != 0 && r.IntN(2) == 0 {
			i := r.IntN(len(taken))
			mem := taken[i]
			taken[i] = taken[len(taken)-1]
			taken = taken[:len(taken)-1]
			id := owner[&mem[0]]
			for at := 0; at < len(mem); at += abi.PageSize {
				require.Equal(t, bytes.Repeat([]byte{byte(id)}, abi.PageSize), mem[at:at+abi.PageSize], "step %d: somebody wrote what was not theirs", step)
				delete(owner, &mem[at])
			}
			held -= len(mem)
			p.ram.Give(mem)
		} else {
			n := 1 + r.IntN(6)
			take := p.ram.Take
			if r.IntN(2) == 0 {
				take = p.reuse.Take
			}
			mem := take(pages(n))
			if mem == nil {
				require.Less(t, longest(), n, "step %d: %d pages are free in one piece", step, n)
				continue
			}
			for at := 0; at < len(mem); at += abi.PageSize {
				require.Zero(t, owner[&mem[at]], "step %d: taken twice", step)
				owner[&mem[at]] = step
			}
			for i := range mem {
				mem[i] = byte(step)
			}
			held += len(mem)
			taken = append(taken, mem)
		}
		require.Equal(t, total-uint64(held), p.reuse.Free(), "step %d", step)
	}
	for _, mem := range taken {
		p.ram.Give(mem)
	}
	assert.Len(t, p.ram.Low, len(p.low))
	assert.Len(t, p.ram.High, len(p.high))
}
