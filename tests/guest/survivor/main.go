//go:build kapsel_task

// Command survivor says what it finds in its storage, and then writes to it without end: to both of its regions of nonvolatile storage
// and to the key-value store. Before each write it says what it will write, and behind it that this is durable, so that who reads its
// console knows what has to be there if the machine is killed at any moment. Its flash region begins with a letter that no other one has,
// which its lines and keys begin with, a space, the number of its next write, and a space.
//
//	A r2 is 17      slot 2 of the region of driver 0x50001 has what write 17 wrote; "17 18" is parts of both, 0 is nothing
//	A i0 is 0       of driver 0x50004
//	A k5 is broken  key 5 of the key-value store has what no write wrote
//	A writes        all was said
//	A k5 gets 19    write 19 begins
//	A done          it is durable; "A full" if there is no room for it
package main

//kapsel:storage write=1 read=1 modify=1
//kapsel:flash 4096
//kapsel:heap 327680

import (
	"unsafe"

	"kapsel/guest/abi"
	"kapsel/guest/task"
)

// The number of a write and of nothing that was written.
const (
	broken  = 1<<32 - 1
	nothing = 0
)

// slots are parts of a region of 5 pages: a sector, one up to a page's border but for some bytes, one across it, a page, and one in three pages.
var slots = [...]struct{ offset, size uint64 }{{0, 512}, {1000, 3000}, {4000, 200}, {8192, 4096}, {12300, 6000}}

// keys are without the letter in front.
var keys = [...]string{" key 0", " key 1", " key 2", " key 3", " key 4", " key 5"}

const (
	sector   = 512
	maxBytes = 6000
)

var (
	letter byte
	line   []byte
	buf    [maxBytes]byte
)

// say prints a line that begins with the letter.
func say(words ...string) {
	line = append(line[:0], letter)
	for _, w := range words {
		line = append(line, ' ')
		line = append(line, w...)
	}
	line = append(line, '\n')
	task.Write(line)
}

// word is the word of four bytes at an offset of what a write to a place wrote. All bytes of places and writes differ.
func word(place byte, write, at uint32) uint32 {
	stamp := uint32(letter)<<24 ^ uint32(place)<<20 ^ write
	return stamp ^ at*0x9e37_79b1
}

// writeOf is the write whose word stands somewhere.
func writeOf(place byte, found, at uint32) uint32 { return found ^ word(place, 0, at) }

// fill makes the beginning of buf what a write to a place writes.
func fill(place byte, write uint32, size int) {
	for at := 0; at < size; at += 4 {
		w := word(place, write, uint32(at))
		buf[at], buf[at+1], buf[at+2], buf[at+3] = byte(w), byte(w>>8), byte(w>>16), byte(w>>24)
	}
}

// wroteIt is the write that wrote the bytes of buf from an offset to another one, or broken.
func wroteIt(place byte, from, to int) uint32 {
	zeroes, write := true, uint32(0)
	for at := from; at < to; at += 4 {
		found := uint32(buf[at]) | uint32(buf[at+1])<<8 | uint32(buf[at+2])<<16 | uint32(buf[at+3])<<24
		zeroes = zeroes && found == 0
		w := writeOf(place, found, uint32(at))
		if at > from && w != write && !zeroes {
			return broken
		}
		write = w
	}
	switch {
	case zeroes:
		return nothing
	case write >= 1<<20:
		return broken
	}
	return write
}

// A store is where there are places.
type store struct {
	name   string
	place  byte // number of the first place
	region task.Storage
}

var regions = [...]store{{"r", 0, task.Nonvolatile}, {"i", 5, task.Isolated}}

const firstKey = 10 // number of a place

func digit(i int) string { return "0123456789"[i : i+1] }

func number(write uint32) string {
	if write == broken {
		return "broken"
	}
	return task.Decimal(uint64(write))
}

// tellSlot says what a slot has, sector by sector, but not twice in a row the same.
func tellSlot(s *store, i int) {
	slot := slots[i]
	if _, err := s.region.ReadAt(buf[:slot.size], slot.offset); err != nil {
		fail("read", err)
	}
	words := [3 + maxBytes/sector + 1]string{s.name + digit(i), "is"}
	n, last := 2, uint32(broken)
	for from := uint64(0); from < slot.size; {
		to := min((slot.offset+from)/sector*sector+sector-slot.offset, slot.size)
		write := wroteIt(s.place+byte(i), int(from), int(to))
		if n == 2 || write != last {
			words[n] = number(write)
			n++
		}
		last, from = write, to
	}
	say(words[:n]...)
}

// valueSize is the size of the value of a write: up to 2048 bytes.
func valueSize(write uint32) int { return int(4 + write*2654435761>>21&^3) }

// tellKey says what a key has.
func tellKey(i int) {
	write := uint32(nothing)
	n, err := task.GetValue(key(i), buf[:])
	switch {
	case err == nil && n >= 4:
		write = wroteIt(firstKey+byte(i), 0, n)
		if write == nothing || write != broken && n != valueSize(write) {
			write = broken
		}
	case err == nil:
		write = broken
	case err != abi.NOSUPPORT:
		fail("get", err)
	}
	say("k"+digit(i), "is", number(write))
}

func key(i int) string { return string([]byte{letter}) + keys[i] }

func fail(what string, err error) {
	say(what, "failed:", err.Error())
	task.Exit(1)
}

// change does a write, somewhere.
func change(write uint32) {
	r := random(write)
	switch kind := r >> 8 % 8; {
	case kind < 4:
		s, i := &regions[kind%2], int(r%uint32(len(slots)))
		slot := slots[i]
		fill(s.place+byte(i), write, int(slot.size))
		say(s.name+digit(i), "gets", number(write))
		_, err := s.region.WriteAt(buf[:slot.size], slot.offset)
		end(err)
	case kind == 4:
		i := int(r % uint32(len(keys)))
		say("k"+digit(i), "gets", number(nothing))
		err := task.DeleteValue(key(i))
		if err == abi.NOSUPPORT {
			err = nil
		}
		end(err)
	default:
		i := int(r % uint32(len(keys)))
		n := valueSize(write)
		fill(firstKey+byte(i), write, n)
		say("k"+digit(i), "gets", number(write))
		end(task.SetValue(key(i), buf[:n]))
	}
}

// end says how a write ended.
func end(err error) {
	switch err {
	case nil:
		say("done")
	case abi.NOMEM:
		say("full")
	default:
		fail("write", err)
	}
}

// random is the same for one write, and another letter's is another (Marsaglia's xorshift).
func random(write uint32) uint32 {
	x := write*0x9e37_79b9 ^ uint32(letter)<<16 | 1
	for range 4 {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
	}
	return x
}

// order is what stands in the flash region.
func order() (first uint32) {
	start, err := task.Memop(abi.MemopRegionStart, 0)
	if err != nil {
		fail("order", err)
	}
	b := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(nil), uintptr(start))), 16)
	letter = b[0]
	for i := 2; b[i] != ' '; i++ {
		first = 10*first + uint32(b[i]-'0')
	}
	return first
}

func main() {
	write := order()
	for i := range regions {
		for j := range slots {
			tellSlot(&regions[i], j)
		}
	}
	for i := range keys {
		tellKey(i)
	}
	say("writes")
	for ; ; write++ {
		change(write)
	}
}
