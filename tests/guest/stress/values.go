//go:build kapsel_task

package main

import "kapsel/guest/abi"

// random is the state of the generator, Marsaglia's xorshift64. It is not 0.
var random uint64

func next() uint64 {
	random ^= random << 13
	random ^= random >> 7
	random ^= random << 17
	return random
}

// Words of 32 bits.
var (
	drivers    = [...]uint32{0, 1, 0, 1, 0, 1, 8, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff}
	numbers    = [...]uint32{0, 1, 0, 1, 2, 3, 0x7fff_ffff, 0xffff_ffff}
	commands   = [...]uint32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 99, 0x8000_0000, 0xffff_ffff}
	operations = [...]uint32{0, 0, 0, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xffff_ffff}
)

// word is one of the words, with something above it that the kernel must ignore.
func word(of []uint32) uint64 {
	w := uint64(of[next()%uint64(len(of))])
	if next()%2 == 0 {
		w |= next() << 32
	}
	return w
}

// absolute are addresses and numbers that are edges of something for every task.
var absolute = [...]uint64{
	0, 1, abi.PageSize, abi.UserMin, 1 << 31, 1<<32 - 1, 1 << 32, abi.UserMax - 1, abi.UserMax,
	abi.DirectMap, abi.DirectMap + abi.LAPICBase, abi.KernelBase, abi.KernelBase + 0x200000,
	abi.LAPICBase, 1<<63 - 1, 1 << 63, ^uint64(0) - abi.PageSize, ^uint64(0),
}

// address is an address worth trying, as a rule near the edge of a region of the task.
func address() uint64 {
	var a uint64
	switch n := next() % 16; {
	case n < 2:
		return next() >> (next() % 64)
	case n < 5:
		a = absolute[next()%uint64(len(absolute))]
	case n < 8:
		a = scratchStart() + next()%scratchSize
	default:
		edges := [...]uint64{
			ramStart, floor, brk, pageUp(brk), grants, ramEnd, flashStart, flashStart + done.protected,
			flashEnd, scratchStart(), scratchStart() + scratchSize, upcallAddress(),
		}
		a = edges[next()%uint64(len(edges))]
	}
	return a + next()%19 - 9
}

// length is a length worth trying for a buffer at a.
func length(a uint64) uint64 {
	switch next() % 8 {
	case 0:
		return 0
	case 1:
		return brk - a + next()%3 - 1
	case 2:
		return flashEnd - a + next()%3 - 1
	case 3:
		return -a + next()%3 - 1 // to the end of all addresses
	case 4:
		return absolute[next()%uint64(len(absolute))]
	case 5:
		return next() >> (next() % 64)
	}
	return next() % 128
}

func pageUp(a uint64) uint64 { return (a + abi.PageSize - 1) &^ (abi.PageSize - 1) }
