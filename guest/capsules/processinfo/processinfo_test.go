package processinfo

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

const driver = abi.DriverProcessInfo

var done = [4]uint64{uint64(abi.Success)}

func failed(e abi.ErrorCode) [4]uint64 { return [4]uint64{uint64(abi.Failure), uint64(e)} }
func value(v uint64) [4]uint64         { return [4]uint64{uint64(abi.SuccessU32), v} }

func newMachine(t *testing.T, everyone bool) *kerneltest.Machine {
	m := kerneltest.New(t, capability.Mint())
	d := &ProcessInfo{}
	d.Init(&m.Kernel, everyone, m.Capabilities)
	m.Drivers[driver] = d
	return m
}

func waits(k *kerneltest.Task) {
	for {
		k.Wait()
	}
}

// share shares n bytes of 0xff.
func share(k *kerneltest.Task, n int) uint64 {
	at := k.Start.RAMStart
	k.Store(at, bytes.Repeat([]byte{0xff}, 200)...)
	k.AllowRW(driver, info, at, uint64(n))
	return at
}

func words(b []byte) []uint32 {
	w := make([]uint32, len(b)/4)
	for i := range w {
		w[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return w
}

const none = 0xffff_ffff // what no word was written to

// TestCommandsAsInTock: what each command answers and writes, by Tock's capsules/extra/src/process_info_driver.rs, for a task of 64 bits and one
// of 32.
func TestCommandsAsInTock(t *testing.T) {
	for _, bits := range []int{64, 32} {
		t.Run(fmt.Sprint(bits), func(t *testing.T) { commandsAsInTock(t, bits) })
	}
}

func commandsAsInTock(t *testing.T, bits int) {
	m := newMachine(t, true)
	long := strings.Repeat("long name ", 15)
	m.AddTask("looker", func(k *kerneltest.Task) {
		k.Memop(abi.MemopBrk, k.Start.RAMStart+0x800)
		k.Spin(30_000) // until the others wait or have ended
		at := share(k, 0)
		assert.Equal(t, done, k.Command(driver, exists, 0, 0))
		assert.Equal(t, value(6), k.Command(driver, count, 0, 0))
		assert.Equal(t, value(6), k.Command(driver, ids, 0, 0), "without a buffer, too")
		share(k, 22)
		assert.Equal(t, value(6), k.Command(driver, ids, 0, 0))
		assert.Equal(t, []uint32{1, 2, 3, 4, 5, none}, words(k.Load(at, 24)), "as many whole words as there is room for")
		share(k, 100)
		assert.Equal(t, value(6), k.Command(driver, shortIDs, 0, 0))
		assert.Equal(t, []uint32{0, 0, 0xabcdef01, 0, 0, 0, none}, words(k.Load(at, 28)))

		share(k, 100)
		assert.Equal(t, value(6), k.Command(driver, name, 1, 0))
		assert.Equal(t, "looker\xff", string(k.Load(at, 7)))
		share(k, 4)
		assert.Equal(t, value(6), k.Command(driver, name, 1, 0), "the length of all of it")
		assert.Equal(t, "look\xff", string(k.Load(at, 5)))
		share(k, 190)
		assert.Equal(t, value(150), k.Command(driver, name, 4, 0))
		assert.Equal(t, long+"\xff", string(k.Load(at, 151)))
		share(k, 100)
		assert.Equal(t, value(150), k.Command(driver, name, 4, 0))
		assert.Equal(t, long[:100]+"\xff", string(k.Load(at, 101)))
		assert.Equal(t, failed(abi.INVAL), k.Command(driver, name, 99, 0), "no such process")

		for pid, state := range []uint32{1: 0, 2: 1, 3: 2, 4: 5, 5: 4, 6: 1} {
			if pid == 0 {
				continue
			}
			share(k, 100)
			assert.Equal(t, done, k.Command(driver, stats, uint64(pid), 0))
			w := words(k.Load(at, 20))
			assert.Equal(t, []uint32{state, none}, w[3:], "PID %d", pid)
			assert.NotZero(t, w[1], "system calls")
			assert.Zero(t, w[2], "restarts")
		}
		share(k, 8)
		k.Command(driver, stats, 1, 0)
		assert.Equal(t, []uint32{none, none}, words(k.Load(at+8, 8)))
		share(k, 100)
		assert.Equal(t, done, k.Command(driver, stats, 99, 0), "no such process: success all the same")
		assert.Equal(t, []uint32{none}, words(k.Load(at, 4)))

		stateOf := func(pid uint64) uint32 {
			share(k, 100)
			k.Command(driver, stats, pid, 0)
			return words(k.Load(at, 16))[3]
		}
		for _, c := range []struct {
			name       string
			pid, state uint64
			want       [4]uint64
			then       uint32
		}{
			{"no such process", 99, stop, failed(abi.INVAL), none},
			{"stop", 2, stop, done, 3},
			{"stop again", 2, stop, done, 3},
			{"start", 2, start, done, 1},
			{"start what is not stopped", 2, start, done, 1},
			{"no such state", 2, 0, done, 1},
			{"no such state", 2, 6, done, 1},
			{"boot what has not ended", 2, boot, done, 1},
			{"fault", 2, fault, done, 4},
			{"boot what has faulted", 2, boot, done, 4},
			{"terminate", 3, terminate, done, 5},
			{"terminate again", 3, terminate, done, 5},
		} {
			assert.Equal(t, c.want, k.Command(driver, control, c.pid, c.state), c.name)
			assert.Equal(t, c.then, stateOf(c.pid), c.name)
		}
		assert.Equal(t, done, k.Command(driver, control, 3, boot))
		assert.EqualValues(t, none, stateOf(3), "it has another PID now")
		assert.EqualValues(t, 0, stateOf(7))
		assert.Equal(t, failed(abi.NOSUPPORT), k.Command(driver, 7, 0, 0))
		assert.Equal(t, failed(abi.NOSUPPORT), k.Command(driver, 10, 0, 0), "an earlier number of command 6")
		k.Command(driver, control, 1, terminate)
		panic("it went on")
	}, func(s *tbfbuild.Spec) { s.ABI64 = bits == 64 })
	m.AddTask("waits", waits, nil)
	m.AddTask("waits for one", func(k *kerneltest.Task) { k.WaitFor(driver, 0) }, func(s *tbfbuild.Spec) { s.ShortID = 0xabcdef01 })
	m.AddTask(long, func(*kerneltest.Task) {}, nil)
	m.AddTask("faults", func(k *kerneltest.Task) { k.Command(0x99, 0, 0, 0); k.Load(0, 1) }, nil)
	m.AddTask("last", waits, nil)
	assert.True(t, m.Run())
}

// TestWhoMayLook: unless the board lets everyone, the driver is there for those alone whose objects list it.
func TestWhoMayLook(t *testing.T) {
	m := newMachine(t, false)
	m.AddTask("any", func(k *kerneltest.Task) {
		for command := range uint64(8) {
			assert.Equal(t, failed(abi.NODEVICE), k.Command(driver, command, 1, terminate))
		}
	}, nil)
	m.AddTask("listed", func(k *kerneltest.Task) {
		assert.Equal(t, value(2), k.Command(driver, count, 0, 0))
		assert.Equal(t, failed(abi.NODEVICE), k.Command(driver, control, 1, terminate), "this command is not listed")
	}, func(s *tbfbuild.Spec) { s.Permissions = []tbf.Permission{{Driver: driver, Mask: 1<<control - 1}} })
	assert.False(t, m.Run())
}

// TestNoRoom: what needs the grant says so.
func TestNoRoom(t *testing.T) {
	m := newMachine(t, true)
	m.AddTask("full", func(k *kerneltest.Task) {
		_, end := k.Memop(abi.MemopGrantStart, 0)
		k.Memop(abi.MemopBrk, end-1)
		assert.Equal(t, value(1), k.Command(driver, count, 0, 0))
		assert.Equal(t, value(0), k.Command(driver, ids, 0, 0), "as in Tock")
		assert.Equal(t, failed(abi.NOMEM), k.Command(driver, name, 1, 0))
		assert.Equal(t, failed(abi.NOMEM), k.Command(driver, stats, 1, 0))
	}, nil)
	assert.False(t, m.Run())
}
