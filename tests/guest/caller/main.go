//go:build kapsel_task

// Command caller gives each command of the drivers of nonvolatile storage and of the key-value store as libtock-c does: subscribe, allow,
// command, and then Yield-Wait until the upcall ran, and once more with Yield-WaitFor. The region has 3 pages.
// tests/storage/testdata/storage32 is the same with 32 bits.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
)

//kapsel:storage write=1 read=1 modify=1

const (
	none   = 99 // no upcall
	region = 3 * 4096
	room   = 6000
)

// A row is a command with buffers of so many bytes, what it returns, and the upcall that then comes, if sn is not none.
type row struct {
	what            string
	command, a0, a1 uint32
	room            int
	variant         abi.Variant
	value           uint64
	sn, u0, u1      uint32
}

// nonvolatile are those of capsules/extra/src/nonvolatile_storage_driver.rs.
var nonvolatile = [...]row{
	{"0: exists", 0, 0, 0, 0, abi.Success, 0, none, 0, 0},
	{"1: size", 1, 0, 0, 0, abi.SuccessU32, region, none, 0, 0},
	{"3: write", 3, 100, room, room, abi.Success, 0, 1, room, 0},
	{"2: read", 2, 100, room, room, abi.Success, 0, 0, room, 0},
	{"2: no more than the buffer has", 2, 0, region, 10, abi.Success, 0, 0, 10, 0},
	{"3: nothing", 3, 0, 0, 10, abi.Success, 0, 1, 0, 0},
	{"2: behind the end", 2, region, 1, 10, abi.Failure, uint64(abi.INVAL), none, 0, 0},
	{"3: across the end", 3, 1, region, 10, abi.Failure, uint64(abi.INVAL), none, 0, 0},
	{"3: all numbers", 3, 1<<32 - 1, 1<<32 - 1, 10, abi.Failure, uint64(abi.INVAL), none, 0, 0},
	{"2: no buffer", 2, 0, 10, 0, abi.Failure, uint64(abi.RESERVE), none, 0, 0},
	{"3: no buffer", 3, 0, 10, 0, abi.Failure, uint64(abi.RESERVE), none, 0, 0},
	{"4: unknown", 4, 0, 0, 10, abi.Failure, uint64(abi.NOSUPPORT), none, 0, 0},
}

// isolated are those of capsules/extra/src/isolated_nonvolatile_storage_driver.rs.
var isolated = [...]row{
	{"0: exists", 0, 0, 0, 0, abi.Success, 0, none, 0, 0},
	{"1: size", 1, 0, 0, 0, abi.Success, 0, 0, 0, region},
	{"3: write", 3, 100, 0, room, abi.Success, 0, 2, 0, room},
	{"2: read", 2, 100, 0, room, abi.Success, 0, 1, 0, room},
	{"2: up to the end", 2, region - 10, 0, 10, abi.Success, 0, 1, 0, 10},
	{"2: across the end", 2, region - 9, 0, 10, abi.Success, 0, 1, uint32(abi.INVAL), 0},
	{"3: the high word", 3, 0, 1, 10, abi.Success, 0, 2, uint32(abi.INVAL), 0},
	{"3: all numbers", 3, 1<<32 - 1, 1<<32 - 1, 10, abi.Success, 0, 2, uint32(abi.INVAL), 0},
	{"2: no buffer", 2, 0, 0, 0, abi.Success, 0, 1, uint32(abi.RESERVE), 0},
	{"3: no buffer", 3, 0, 0, 0, abi.Success, 0, 2, uint32(abi.RESERVE), 0},
	{"4: unknown", 4, 0, 0, 10, abi.Failure, uint64(abi.NOSUPPORT), none, 0, 0},
}

var (
	in, out [room]byte
	fired   uint32
	told    [3]uint32
	upcall  = task.Upcall{F: func(a, b, c uint32) {
		fired++
		told = [3]uint32{a, b, c}
	}}
	failed bool
)

// fail says what is not as it should be.
func fail(driver uint32, what string) {
	task.Print("caller: " + task.Hex(uint64(driver)) + ", command " + what + ": FAILED\n")
	failed = true
}

// step makes the call of a row.
func step(driver uint32, r *row, waitsFor bool) {
	task.AllowReadOnly(driver, 0, out[:r.room])
	task.Allow(driver, 0, in[:r.room])
	ask(driver, r, waitsFor)
}

// ask gives a row's command, and waits for the upcall that is to come.
func ask(driver uint32, r *row, waitsFor bool) {
	fired = 0
	if r.sn != none && waitsFor {
		task.Subscribe(driver, r.sn, nil)
	} else if r.sn != none {
		task.Subscribe(driver, r.sn, &upcall)
	}
	got := task.Command(driver, r.command, r.a0, r.a1)
	switch {
	case got != task.Result{Variant: r.variant, Words: [3]uint64{r.value}}:
		fail(driver, r.what)
		return
	case r.sn == none:
		return
	case waitsFor:
		told[0], told[1], told[2] = task.WaitFor(driver, r.sn)
	default:
		for fired == 0 {
			task.Yield()
		}
	}
	if fired > 1 || told != [3]uint32{r.u0, r.u1} {
		fail(driver, r.what+", upcall")
	}
}

// keeps looks that what was written is what is read.
func keeps(driver uint32, write, read *row, seed byte) {
	for i := range out {
		out[i], in[i] = byte(i*7)+seed, 0
	}
	step(driver, write, true)
	step(driver, read, true)
	if in != out {
		fail(driver, "3 and 2: what is read is not what was written")
	}
}

const (
	longestKey = 64
	longest    = 2048
	longKey    = "a key of 65 bytes, which is longer than one may be by one, the 1."
)

// A kv is a command of the key-value store about a key and the first bytes of out, of which so many are then in the result's room. The
// status and the length are the upcall's.
type kv struct {
	what           string
	command        uint32
	key            string
	size, room     int
	variant        abi.Variant
	value          uint64
	sn             uint32
	status, length uint32
	got            int
}

// keyValue are those of capsules/extra/src/kv_driver.rs, with the statuses of capsules/extra/src/kv_store_permissions.rs and of
// doc/syscalls/50003_key_value.md.
var keyValue = [...]kv{
	{"0: exists", 0, "k", 0, 0, abi.Success, 0, none, 0, 0, 0},
	{"1: get, there is none", 1, "k", 0, 99, abi.Success, 0, 0, uint32(abi.NOSUPPORT), 0, 0},
	{"2: set", 2, "k", 5, 99, abi.Success, 0, 0, 0, 0, 0},
	{"1: get", 1, "k", 0, 99, abi.Success, 0, 0, 0, 5, 5},
	{"1: get, just room", 1, "k", 0, 5, abi.Success, 0, 0, 0, 5, 5},
	{"1: get, what fits", 1, "k", 0, 3, abi.Success, 0, 0, uint32(abi.SIZE), 5, 3},
	{"1: get, no buffer", 1, "k", 0, 0, abi.Success, 0, 0, uint32(abi.SIZE), 5, 0},
	{"2: set, there is one", 2, "k", 700, 0, abi.Success, 0, 0, 0, 0, 0},
	{"1: get the new value", 1, "k", 0, 700, abi.Success, 0, 0, 0, 700, 700},
	{"4: add, there is one", 4, "k", 9, 0, abi.Success, 0, 0, uint32(abi.NOSUPPORT), 0, 0},
	{"4: add", 4, "a", 9, 0, abi.Success, 0, 0, 0, 0, 0},
	{"1: get what was added", 1, "a", 0, 99, abi.Success, 0, 0, 0, 9, 9},
	{"5: update, there is none", 5, "none", 9, 0, abi.Success, 0, 0, uint32(abi.NOSUPPORT), 0, 0},
	{"5: update", 5, "a", 19, 0, abi.Success, 0, 0, 0, 0, 0},
	{"1: get what was updated", 1, "a", 0, 99, abi.Success, 0, 0, 0, 19, 19},
	{"3: delete, there is none", 3, "none", 0, 0, abi.Success, 0, 0, uint32(abi.NOSUPPORT), 0, 0},
	{"3: delete", 3, "a", 0, 0, abi.Success, 0, 0, 0, 0, 0},
	{"1: get what was deleted", 1, "a", 0, 99, abi.Success, 0, 0, uint32(abi.NOSUPPORT), 0, 0},
	{"2: set nothing, of no name", 2, "", 0, 0, abi.Success, 0, 0, 0, 0, 0},
	{"1: get nothing", 1, "", 0, 0, abi.Success, 0, 0, 0, 0, 0},
	{"3: delete what has no name", 3, "", 0, 0, abi.Success, 0, 0, 0, 0, 0},
	{"2: set the longest", 2, longKey[:longestKey], longest, 0, abi.Success, 0, 0, 0, 0, 0},
	{"1: get the longest", 1, longKey[:longestKey], 0, longest, abi.Success, 0, 0, 0, longest, longest},
	{"3: delete the longest", 3, longKey[:longestKey], 0, 0, abi.Success, 0, 0, 0, 0, 0},
	{"1: get, a longer key", 1, longKey, 0, 9, abi.Failure, uint64(abi.SIZE), none, 0, 0, 0},
	{"2: set, a longer key", 2, longKey, 9, 0, abi.Failure, uint64(abi.SIZE), none, 0, 0, 0},
	{"2: set, a longer value", 2, "k", longest + 1, 0, abi.Failure, uint64(abi.SIZE), none, 0, 0, 0},
	{"6: garbage collect", 6, "", 0, 0, abi.Success, 0, 0, 0, 0, 0},
	{"7: unknown", 7, "k", 0, 0, abi.Failure, uint64(abi.NOSUPPORT), none, 0, 0, 0},
	{"3: delete the rest", 3, "k", 0, 0, abi.Success, 0, 0, 0, 0, 0},
}

// kvStep makes the call of a row of the key-value store.
func kvStep(r *kv, waitsFor bool) {
	task.AllowReadOnly(abi.DriverKeyValue, 0, []byte(r.key))
	task.AllowReadOnly(abi.DriverKeyValue, 1, out[:r.size])
	task.Allow(abi.DriverKeyValue, 0, in[:r.room])
	clear(in[:])
	ask(abi.DriverKeyValue, &row{what: r.what, command: r.command, variant: r.variant, value: r.value, sn: r.sn, u0: r.status, u1: r.length}, waitsFor)
	for i := range in {
		if i < r.got && in[i] != out[i] || i >= r.got && in[i] != 0 {
			fail(abi.DriverKeyValue, r.what+": what is got is not what was set")
			return
		}
	}
}

// oneAtATime looks that another request of the task is refused, and the first goes on, unless it has ended by then.
func oneAtATime() {
	task.AllowReadOnly(abi.DriverKeyValue, 0, []byte("k"))
	if task.Command(abi.DriverKeyValue, 2, 0, 0).Err() != nil {
		fail(abi.DriverKeyValue, "2: before another")
	}
	switch task.Command(abi.DriverKeyValue, 1, 0, 0).Err() {
	case nil:
		return
	case abi.NOMEM:
	default:
		fail(abi.DriverKeyValue, "1: while another goes on")
	}
	if status, _, _ := task.WaitFor(abi.DriverKeyValue, 0); status != 0 {
		fail(abi.DriverKeyValue, "2: which another was in the way of")
	}
}

func main() {
	for _, waitsFor := range [...]bool{false, true} {
		for i := range nonvolatile {
			step(abi.DriverNonvolatileStorage, &nonvolatile[i], waitsFor)
		}
		for i := range isolated {
			step(abi.DriverIsolatedNonvolatile, &isolated[i], waitsFor)
		}
	}
	keeps(abi.DriverNonvolatileStorage, &nonvolatile[2], &nonvolatile[3], 1)
	keeps(abi.DriverIsolatedNonvolatile, &isolated[2], &isolated[3], 2)
	for _, waitsFor := range [...]bool{false, true} {
		for i := range keyValue {
			kvStep(&keyValue[i], waitsFor)
		}
	}
	oneAtATime()
	if failed {
		task.Exit(1)
	}
	task.Print("caller: all is as it should be\n")
	task.Exit(0)
}
