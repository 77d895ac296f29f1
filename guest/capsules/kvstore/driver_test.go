package kvstore

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/abi/storage"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

const number = abi.DriverKeyValue

// newMachine makes a machine whose disk has four buckets.
func newMachine(t *testing.T, contents []byte) (*kerneltest.Machine, *kerneltest.Storage, *KVStore) {
	m := kerneltest.New(t, capability.Mint())
	l := layout(4)
	if contents == nil {
		contents = make([]byte, 2*l.Buckets*storage.PageSize)
	}
	s := kerneltest.NewStorage(m, 9, contents)
	d := new(KVStore)
	d.Init(&m.Kernel, s, l, make([]byte, MemorySize), m.Capabilities.MemoryAllocation)
	m.Drivers[number] = d
	return m, s, d
}

// may gives a task storage permissions. Identifier 0 is none.
func may(id uint32, read, modify []uint32) func(*tbfbuild.Spec) {
	return func(spec *tbfbuild.Spec) {
		spec.Storage = &tbfbuild.Storage{WriteID: id, Read: read, Modify: modify}
	}
}

// own gives a task the permissions for what is its own.
func own(id uint32) func(*tbfbuild.Spec) { return may(id, []uint32{id}, []uint32{id}) }

// run runs the tasks to their ends.
func run(t *testing.T, m *kerneltest.Machine) {
	assert.False(t, m.Run())
	assert.NotContains(t, m.Log.String(), "fault")
}

// Where a task has its buffers, from the start of its RAM.
const (
	keyAt   = 64
	valueAt = 256
	gotAt   = 4096
)

// share shares a task's buffers, as libtock-c does (libtock/storage/kv.c).
func share(k *kerneltest.Task, key, value string, room uint64) {
	ram := k.Start.RAMStart
	k.Memop(abi.MemopBrk, ram+2*abi.PageSize)
	k.Store(ram+keyAt, []byte(key)...)
	k.AllowRO(number, keyBuffer, ram+keyAt, uint64(len(key)))
	k.Store(ram+valueAt, []byte(value)...)
	k.AllowRO(number, input, ram+valueAt, uint64(len(value)))
	k.Store(ram+gotAt, make([]byte, room)...)
	k.AllowRW(number, output, ram+gotAt, room)
}

// call does a command to its end: what it is answered and told, and what is in the buffer then.
func call(k *kerneltest.Task, command uint64, key, value string, room uint64) (answer, told [4]uint64, got string) {
	share(k, key, value, room)
	if answer = k.Command(number, command, 0, 0); answer[0] != 128 {
		return answer, told, ""
	}
	told = k.WaitFor(number, done)
	return answer, told, string(bytes.TrimRight(k.Load(k.Start.RAMStart+gotAt, room), "\x00"))
}

// TestCommands are those of Tock's capsules/extra/src/kv_driver.rs, with the answers and status codes of it, of
// capsules/extra/src/kv_store_permissions.rs and of doc/syscalls/50003_key_value.md, called as libtock-c's
// libtock/storage/syscalls/kv_syscalls.c does, by tasks of both widths.
func TestCommands(t *testing.T) {
	success := [4]uint64{128}
	failure := func(e abi.ErrorCode) [4]uint64 { return [4]uint64{0, uint64(e)} }
	status := func(e abi.ErrorCode, n uint64) [4]uint64 { return [4]uint64{uint64(e.Status()), n} }
	ok := status(abi.OK, 0)
	long := func(n int) string { return string(bytes.Repeat([]byte{'v'}, n)) }
	nobody := func(*tbfbuild.Spec) {}
	type step struct {
		name         string
		who          func(*tbfbuild.Spec)
		command      uint64
		key, value   string
		room         uint64
		answer, told [4]uint64
		got          string
	}
	steps := []step{
		{"0 exists", nobody, exists, "", "", 0, success, [4]uint64{}, ""},
		{"7 is none", own(1), 7, "k", "", 9, failure(abi.NOSUPPORT), [4]uint64{}, ""},
		{"1 get, no such key", own(1), get, "k", "", 9, success, status(abi.NOSUPPORT, 0), ""},
		{"2 set, a new key", own(1), set, "k", "value", 9, success, ok, ""},
		{"1 get", own(1), get, "k", "", 9, success, status(abi.OK, 5), "value"},
		{"1 get, room for all of it", own(1), get, "k", "", 5, success, status(abi.OK, 5), "value"},
		{"1 get, less room: SIZE, the whole length and what fits", own(1), get, "k", "", 3, success, status(abi.SIZE, 5), "val"},
		{"1 get, no buffer", own(1), get, "k", "", 0, success, status(abi.SIZE, 5), ""},
		{"1 get, without the right to read: as if there were none", own(2), get, "k", "", 9, success, status(abi.NOSUPPORT, 0), ""},
		{"1 get, with the right to read another's", may(0, []uint32{1}, nil), get, "k", "", 9, success, status(abi.OK, 5), "value"},
		{"1 get, without permissions", nobody, get, "k", "", 9, failure(abi.INVAL), [4]uint64{}, ""},
		{"2 set, another's", own(2), set, "k", "theirs", 9, success, status(abi.NOSUPPORT, 0), ""},
		{"2 set, without an identifier", may(0, []uint32{1}, []uint32{1}), set, "k", "x", 9, failure(abi.INVAL), [4]uint64{}, ""},
		{"2 set, its own without the right to change it", may(1, []uint32{1}, nil), set, "k", "x", 9, success, status(abi.NOSUPPORT, 0), ""},
		{"1 get, still the same", own(1), get, "k", "", 9, success, status(abi.OK, 5), "value"},
		{"2 set, an old key", own(1), set, "k", "new", 9, success, ok, ""},
		{"1 get, the new value", own(1), get, "k", "", 9, success, status(abi.OK, 3), "new"},
		{"2 set, with the right to change another's, whose it is no more", may(2, nil, []uint32{1}), set, "k", "theirs", 9, success, ok, ""},
		{"1 get, it is another's now", own(1), get, "k", "", 9, success, status(abi.NOSUPPORT, 0), ""},
		{"1 get, and it reads it", own(2), get, "k", "", 9, success, status(abi.OK, 6), "theirs"},
		{"4 add, a key that is there", own(2), add, "k", "x", 9, success, status(abi.NOSUPPORT, 0), ""},
		{"4 add, another's", own(1), add, "k", "x", 9, success, status(abi.NOSUPPORT, 0), ""},
		{"4 add, a new key", own(1), add, "a", "added", 9, success, ok, ""},
		{"1 get, what was added", own(1), get, "a", "", 9, success, status(abi.OK, 5), "added"},
		{"4 add, without an identifier", may(0, nil, nil), add, "b", "x", 9, failure(abi.INVAL), [4]uint64{}, ""},
		{"5 update, no such key", own(1), update, "none", "x", 9, success, status(abi.NOSUPPORT, 0), ""},
		{"5 update, another's", own(1), update, "k", "x", 9, success, status(abi.NOSUPPORT, 0), ""},
		{"5 update", own(1), update, "a", "updated", 9, success, ok, ""},
		{"1 get, what was updated", own(1), get, "a", "", 9, success, status(abi.OK, 7), "updated"},
		{"3 delete, no such key", own(1), remove, "none", "", 9, success, status(abi.NOSUPPORT, 0), ""},
		{"3 delete, another's", own(1), remove, "k", "", 9, success, status(abi.NOSUPPORT, 0), ""},
		{"3 delete, without permissions", nobody, remove, "k", "", 9, failure(abi.INVAL), [4]uint64{}, ""},
		{"3 delete", own(1), remove, "a", "", 9, success, ok, ""},
		{"1 get, what was deleted", own(1), get, "a", "", 9, success, status(abi.NOSUPPORT, 0), ""},
		{"3 delete, by the right to change alone", may(0, nil, []uint32{2}), remove, "k", "", 9, success, ok, ""},
		{"2 set, an empty value", own(1), set, "e", "", 9, success, ok, ""},
		{"1 get, an empty value", own(1), get, "e", "", 9, success, ok, ""},
		{"2 set, an empty key", own(1), set, "", "nameless", 9, success, ok, ""},
		{"1 get, an empty key", own(1), get, "", "", 9, success, status(abi.OK, 8), "nameless"},
		{"2 set, the longest", own(1), set, long(64), long(2048), 9, success, ok, ""},
		{"1 get, the longest", own(1), get, long(64), "", 2048, success, status(abi.OK, 2048), long(2048)},
		{"1 get, a longer key", own(1), get, long(65), "", 9, failure(abi.SIZE), [4]uint64{}, ""},
		{"2 set, a longer key", own(1), set, long(65), "", 9, failure(abi.SIZE), [4]uint64{}, ""},
		{"2 set, a longer value", own(1), set, "k", long(2049), 9, failure(abi.SIZE), [4]uint64{}, ""},
		{"3 delete, whatever the value's buffer has", own(1), remove, long(64), long(2049), 9, success, ok, ""},
		{"6 garbage collect", nobody, garbageCollect, "", "", 0, success, ok, ""},
	}
	for _, width := range []int{32, 64} {
		contents := make([]byte, 8*storage.PageSize)
		for _, s := range steps {
			t.Run(fmt.Sprintf("%s in a task of %d bits", s.name, width), func(t *testing.T) {
				m, disk, _ := newMachine(t, contents)
				m.AddTask("task", func(k *kerneltest.Task) {
					if s.command == exists {
						assert.Equal(t, s.answer, k.Command(number, exists, 0, 0))
						return
					}
					answer, told, got := call(k, s.command, s.key, s.value, s.room)
					assert.Equal(t, s.answer, answer)
					assert.Equal(t, s.told, told)
					assert.Equal(t, s.got, got)
				}, func(spec *tbfbuild.Spec) {
					spec.ABI64 = width == 64
					s.who(spec)
				})
				run(t, m)
				contents = disk.Durable
			})
		}
	}
}

// TestFull: who finds no room is told so, and nothing is lost.
func TestFull(t *testing.T) {
	m, _, _ := newMachine(t, nil)
	m.AddTask("task", func(k *kerneltest.Task) {
		n := 0
		value := string(bytes.Repeat([]byte{'v'}, 1500))
		for ; ; n++ {
			_, told, _ := call(k, set, fmt.Sprint(n), value, 0)
			if told[0] != 0 {
				assert.Equal(t, uint64(abi.NOMEM), told[0])
				break
			}
		}
		assert.Greater(t, n, 3)
		for i := range n {
			_, told, got := call(k, get, fmt.Sprint(i), "", 1500)
			assert.Equal(t, [4]uint64{0, 1500}, told)
			assert.Equal(t, value, got)
		}
	}, own(1))
	run(t, m)
}

// TestOneRequestOfATask at a time, as on Tock: another one is NOMEM, and the first goes on.
func TestOneRequestOfATask(t *testing.T) {
	m, _, _ := newMachine(t, nil)
	m.AddTask("task", func(k *kerneltest.Task) {
		share(k, "k", "value", 9)
		require.Equal(t, [4]uint64{128}, k.Command(number, set, 0, 0))
		for command := uint64(get); command <= garbageCollect; command++ {
			assert.Equal(t, [4]uint64{0, uint64(abi.NOMEM)}, k.Command(number, command, 0, 0))
		}
		assert.Equal(t, [4]uint64{0, 0}, k.WaitFor(number, done))
		_, told, got := call(k, get, "k", "", 9)
		assert.Equal(t, [4]uint64{0, 5}, told)
		assert.Equal(t, "value", got)
	}, own(1))
	run(t, m)
}

// TestTasksTakeTurns: each task that asks is served once before any is served twice.
func TestTasksTakeTurns(t *testing.T) {
	m, _, _ := newMachine(t, nil)
	var order []string
	for i, name := range []string{"a", "b", "c"} {
		m.AddTask(name, func(k *kerneltest.Task) {
			for n := range 10 {
				_, told, _ := call(k, set, name, fmt.Sprint(n), 9)
				assert.Equal(t, [4]uint64{0, 0}, told)
				order = append(order, name)
			}
		}, own(uint32(i+1)))
	}
	run(t, m)
	assert.Len(t, order, 30)
	for i := 3; i < 27; i++ {
		assert.NotContains(t, order[i-2:i], order[i], "%d of %v", i, order)
	}
}

// TestBuffersAtATurn: what a task's buffers have when its turn comes counts; what is wrong with them by then its upcall tells.
func TestBuffersAtATurn(t *testing.T) {
	m, _, _ := newMachine(t, nil)
	m.AddTask("first", func(k *kerneltest.Task) {
		for range 8 {
			call(k, set, "busy", "v", 9)
		}
	}, own(1))
	m.AddTask("task", func(k *kerneltest.Task) {
		for _, tt := range []struct {
			name                string
			keyBytes, valueSize uint64
			want                abi.ErrorCode
		}{
			{"as they were", 1, 5, abi.OK},
			{"a longer key", 65, 5, abi.SIZE},
			{"a longer value", 1, 2049, abi.SIZE},
			{"taken back", 0, 0, abi.OK}, // an empty value of an empty key
		} {
			share(k, "k", "value", 9)
			require.Equal(t, [4]uint64{128}, k.Command(number, set, 0, 0))
			k.AllowRO(number, keyBuffer, k.Start.RAMStart+keyAt, tt.keyBytes)
			k.AllowRO(number, input, k.Start.RAMStart+valueAt, tt.valueSize)
			assert.Equal(t, uint64(tt.want.Status()), k.WaitFor(number, done)[0], tt.name)
		}
	}, own(2))
	run(t, m)
}

// TestBufferTakenBack while a value is on its way to it: it goes nowhere, and the length is told.
func TestBufferTakenBack(t *testing.T) {
	m, _, _ := newMachine(t, nil)
	m.AddTask("task", func(k *kerneltest.Task) {
		call(k, set, "k", "value", 9)
		share(k, "k", "", 9)
		require.Equal(t, [4]uint64{128}, k.Command(number, get, 0, 0))
		k.AllowRW(number, output, 0, 0)
		assert.Equal(t, [4]uint64{uint64(abi.SIZE), 5}, k.WaitFor(number, done))
		assert.Equal(t, make([]byte, 9), k.Load(k.Start.RAMStart+gotAt, 9))
	}, own(1))
	run(t, m)
}

// TestTaskThatEnds, or restarts, while its request goes on or waits: nobody is told, others are served, and what it set is there as a
// whole or not at all. The new life asks anew at once.
func TestTaskThatEnds(t *testing.T) {
	m, _, d := newMachine(t, nil)
	lives, told := 0, 0
	m.AddTask("restarts", func(k *kerneltest.Task) {
		lives++
		k.Subscribe(number, done, k.Function(func([3]uint32, uint64) { told++ }), 0)
		k.NoWait()
		share(k, "k", fmt.Sprint("life ", lives), 9)
		require.Equal(t, [4]uint64{128}, k.Command(number, set, 0, 0), "life %d", lives)
		k.Spin(uint64(lives) * 150)
		if lives < 8 {
			k.Restart(0)
		}
		for told == 0 {
			k.Wait()
		}
	}, own(1))
	m.AddTask("ends", func(k *kerneltest.Task) {
		share(k, "of one that ends", "value", 9)
		k.Command(number, set, 0, 0)
	}, own(2))
	m.AddTask("goes on", func(k *kerneltest.Task) {
		for n := range 20 {
			_, told, _ := call(k, set, "mine", fmt.Sprint(n), 9)
			assert.Equal(t, [4]uint64{0, 0}, told)
			_, told, got := call(k, get, "k", "", 9)
			assert.Contains(t, []uint64{0, uint64(abi.NOSUPPORT)}, told[0])
			if told[0] == 0 {
				assert.Regexp(t, "^life [1-8]$", got)
			}
		}
		_, _, got := call(k, get, "k", "", 9)
		assert.Equal(t, "life 8", got)
	}, may(3, []uint32{1, 3}, []uint32{3}))
	run(t, m)
	assert.Equal(t, 8, lives)
	assert.Equal(t, 1, told)
	assert.False(t, d.busy)
}

// TestDiskThatFails: every task that asks is told, also where the disk refuses at once.
func TestDiskThatFails(t *testing.T) {
	m, disk, _ := newMachine(t, nil)
	fail := [4]uint64{uint64(abi.FAIL), 0}
	for id := range uint32(2) {
		m.AddTask("task", func(k *kerneltest.Task) {
			disk.Fail = abi.FAIL
			for _, command := range []uint64{get, set, remove, add, update} {
				_, told, _ := call(k, command, "k", "v", 9)
				assert.Equal(t, fail, told)
			}
		}, own(id+1))
	}
	m.AddTask("last", func(k *kerneltest.Task) {
		k.Spin(100_000)
		disk.Refuse = abi.FAIL
		_, told, _ := call(k, set, "k", "v", 9)
		assert.Equal(t, fail, told)
		disk.Refuse, disk.Fail = abi.OK, abi.OK
		_, told, _ = call(k, set, "k", "v", 9)
		assert.Equal(t, [4]uint64{0, 0}, told, "all is well again")
	}, own(3))
	run(t, m)
}

func TestNoRoom(t *testing.T) {
	m, disk, _ := newMachine(t, nil)
	m.AddTask("task", func(k *kerneltest.Task) {
		_, end := k.Memop(abi.MemopRAMEnd, 0)
		k.Memop(abi.MemopBrk, end-1)
		assert.Equal(t, [4]uint64{0, uint64(abi.NOMEM)}, k.Command(number, get, 0, 0))
	}, own(1))
	run(t, m)
	assert.Empty(t, disk.Requests)
}
