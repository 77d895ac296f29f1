package kvstore

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/abi/storage"
)

// script is what an attacker does: bytes that run out at some time.
type script []byte

// next is the next byte, below n.
func (s *script) next(n int) int {
	if len(*s) == 0 {
		return 0
	}
	b := int((*s)[0])
	*s = (*s)[1:]
	return b % n
}

// take is the next bytes, at most n.
func (s *script) take(n int) []byte {
	n = min(n, len(*s))
	b := (*s)[:n]
	*s = (*s)[n:]
	return b
}

// sequences are those of an attacker's records, and generations of buckets.
var sequences = []uint64{1, 2, 3, 4, 1 << 63, ^uint64(0) - 1, ^uint64(0)}

// forge puts copies of buckets on the disk that are right, with whatever records, and then bytes anywhere.
func (s *script) forge(d *disk, keys []string) {
	for range s.next(8) {
		var records []storage.Record
		index, copy, generation := uint32(s.next(2)), s.next(2), sequences[s.next(len(sequences))]
		for range s.next(5) {
			records = append(records, storage.Record{Sequence: sequences[s.next(len(sequences))], Owner: uint32(1 + s.next(5)),
				Key: []byte(keys[s.next(len(keys))]), Value: slices.Repeat(s.take(1), 8*s.next(256))})
		}
		d.forge(index, copy, generation, records...)
	}
	for range s.next(8) {
		at := (s.next(4)*storage.PageSize + s.next(8)*storage.SectorSize + 2*s.next(256)) % len(d.now)
		copy(d.now[at:], s.take(s.next(64)))
	}
	copy(d.durable, d.now)
}

// FuzzStore does operations on a disk with anything on it. Each ends, within as many requests as it may have; what was set is got,
// what was deleted is there no more, and what failed left the key as it was.
func FuzzStore(f *testing.F) {
	f.Add([]byte(nil), []byte{1, 0, 9, 2, 0, 0, 0, 0})
	f.Add([]byte{2, 0, 0, 0, 1, 0, 0, 0, 'v', 1, 1, 0, 0, 1, 1, 0, 0, 'w', 1}, []byte{1, 0, 200, 2, 0, 0, 3, 0, 9})
	f.Add([]byte{1, 0, 0, 1, 2, 0, 0, 0, 'v', 9, 1, 1, 1, 'w', 9, 1, 0, 1, 4, 9, 0xff, 0xff}, []byte{1, 0, 200, 1, 1, 255, 2, 0, 0})
	keys := []string{"a", "b", "c", ""}
	f.Fuzz(func(t *testing.T, content, operations []byte) {
		d := newDisk(rand.New(rand.NewPCG(1, 10)), 2)
		s, todo := script(content), script(operations)
		s.forge(d, keys)
		m := mount(d)
		for range 20 {
			if len(todo) == 0 {
				return
			}
			operation := []uint32{get, set, remove, add, update}[todo.next(5)]
			key, value := keys[todo.next(len(keys))], string(make([]byte, 8*todo.next(256)))
			before, beforeE, _ := m.operate(get, key, "", everything)
			got, e, ended := m.operate(operation, key, value, everything)
			require.True(t, ended)
			after, afterE, _ := mount(d.afterPowerFailure()).operate(get, key, "", everything)
			switch {
			case e != abi.OK || operation == get:
				require.Equal(t, beforeE, afterE)
				require.True(t, before == after)
				if operation == get {
					require.True(t, before == got)
				}
			case operation == remove:
				require.Equal(t, abi.NOSUPPORT, afterE)
			default:
				require.Equal(t, abi.OK, afterE)
				require.True(t, value == after)
			}
		}
	})
}
