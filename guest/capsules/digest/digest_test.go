package digest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/kernel/kerneltest"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

// hashes are the standard library's, by algorithm.
var hashes = []func() hash.Hash{sha256.New, sha512.New384, sha512.New}

// engine is a device that keeps messages itself: what a hil.DigestMessage has is a message's number. An answer takes it 100 microseconds.
type engine struct {
	machine  *kerneltest.Machine
	client   hil.DigestClient
	messages []hash.Hash
	message  *hil.DigestMessage
	bytes    []byte
	finishes bool
	refuse   abi.ErrorCode // what AddToDigest and FinishDigest return
	end      abi.ErrorCode // how an answer ends
}

func (e *engine) SetDigestClient(client hil.DigestClient) { e.client = client }

func (e *engine) start(m *hil.DigestMessage, algorithm hil.DigestAlgorithm, h func() hash.Hash) abi.ErrorCode {
	*m = hil.DigestMessage{Algorithm: algorithm}
	m.Value[0] = uint64(len(e.messages))
	e.messages = append(e.messages, h())
	return abi.OK
}

func (e *engine) StartDigest(m *hil.DigestMessage, algorithm hil.DigestAlgorithm) abi.ErrorCode {
	if int(algorithm) >= len(hashes) {
		return abi.NOSUPPORT
	}
	return e.start(m, algorithm, hashes[algorithm])
}

func (e *engine) StartHMAC(m *hil.DigestMessage, algorithm hil.DigestAlgorithm, key []byte) abi.ErrorCode {
	if int(algorithm) >= len(hashes) {
		return abi.NOSUPPORT
	}
	return e.start(m, algorithm, func() hash.Hash { return hmac.New(hashes[algorithm], key) })
}

func (e *engine) AddToDigest(m *hil.DigestMessage, data []byte) abi.ErrorCode {
	return e.ask(m, data, false)
}

func (e *engine) FinishDigest(m *hil.DigestMessage, digest []byte) abi.ErrorCode {
	return e.ask(m, digest, true)
}

func (e *engine) ask(m *hil.DigestMessage, bytes []byte, finishes bool) abi.ErrorCode {
	if e.refuse != abi.OK {
		return e.refuse
	}
	e.message, e.bytes, e.finishes = m, bytes, finishes
	e.machine.Alarm.SetAlarm(e.machine.Alarm.Now() + 100)
	return abi.OK
}

func (e *engine) AlarmFired() {
	h := e.messages[e.message.Value[0]]
	if e.finishes {
		copy(e.bytes, h.Sum(nil))
	} else {
		h.Write(e.bytes)
	}
	e.client.DigestDone(e.message, e.bytes, e.end)
}

func newMachine(t *testing.T) (*kerneltest.Machine, *engine, *worker) {
	return newMachineFor(t, abi.DriverHMAC)
}

func newMachineFor(t *testing.T, number uint32) (*kerneltest.Machine, *engine, *worker) {
	m := kerneltest.New(t, capability.Mint())
	e := &engine{machine: m}
	m.Alarm.SetAlarmClient(e)
	if number == abi.DriverSHA {
		s := new(SHA)
		s.Init(&m.Kernel, e, m.Capabilities.MemoryAllocation)
		m.Drivers[number] = s
		return m, e, &s.worker
	}
	h := new(HMAC)
	h.Init(&m.Kernel, e, m.Capabilities.MemoryAllocation)
	m.Drivers[number] = h
	return m, e, &h.worker
}

// Where a task has its buffers, from the start of its RAM.
const (
	digestAt  = 64
	compareAt = 192
	keyAt     = 320
	dataAt    = 1024
)

func success() [4]uint64 { return [4]uint64{128} }

func failure(e abi.ErrorCode) [4]uint64 { return [4]uint64{0, uint64(e)} }

func told(e abi.ErrorCode) [4]uint64 { return [4]uint64{uint64(e.Status())} }

// place puts bytes into a task's memory and returns their address.
func place(k *kerneltest.Task, at uint64, data []byte) uint64 {
	k.Memop(abi.MemopBrk, k.Start.RAMStart+4*abi.PageSize)
	k.Store(k.Start.RAMStart+at, data...)
	return k.Start.RAMStart + at
}

// share shares what a task gives driver HMAC, and so much room for the digest.
func share(k *kerneltest.Task, key, data []byte, room uint64) {
	k.AllowRO(abi.DriverHMAC, hmacKey, place(k, keyAt, key), uint64(len(key)))
	k.AllowRO(abi.DriverHMAC, hmacData, place(k, dataAt, data), uint64(len(data)))
	k.AllowRW(abi.DriverHMAC, hmacDigest, place(k, digestAt, make([]byte, hil.MaxDigest)), room)
}

// keyed is an HMAC.
func keyed(algorithm int, key, data []byte) []byte {
	h := hmac.New(hashes[algorithm], key)
	h.Write(data)
	return h.Sum(nil)
}

// got is the start of the digest's buffer.
func got(k *kerneltest.Task, n int) []byte { return k.Load(k.Start.RAMStart+digestAt, uint64(n)) }

// pattern is n bytes.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + n)
	}
	return b
}

// eachWidth runs a task of either width, alone.
func eachWidth(t *testing.T, number uint32, program func(t *testing.T, k *kerneltest.Task)) {
	for _, width := range []int{32, 64} {
		t.Run(fmt.Sprintf("in a task of %d bits", width), func(t *testing.T) {
			m, _, w := newMachineFor(t, number)
			m.AddTask("task", func(k *kerneltest.Task) { program(t, k) },
				func(spec *tbfbuild.Spec) { spec.ABI64 = width == 64 })
			assert.False(t, m.Run())
			assert.NotContains(t, m.Log.String(), "fault")
			assert.False(t, w.busy)
			assert.Zero(t, w.sum, "no digest stays in the driver")
			assert.Zero(t, w.message)
		})
	}
}

// TestSHACommands are those of Tock's capsules/extra/src/sha256_driver.rs, with its answers.
func TestSHACommands(t *testing.T) {
	const number = abi.DriverSHA
	eachWidth(t, number, func(t *testing.T, k *kerneltest.Task) {
		hash := func(data []byte, room int) [4]uint64 {
			k.AllowRO(number, shaData, place(k, dataAt, data), uint64(len(data)))
			k.AllowRW(number, shaDigest, place(k, digestAt, make([]byte, hil.MaxDigest)), uint64(room))
			require.Equal(t, success(), k.Command(number, shaHash, 0, 0))
			assert.Equal(t, failure(abi.NOMEM), k.Command(number, shaHash, 0, 0), "one at a time")
			return k.WaitFor(number, hashed)
		}
		assert.Equal(t, success(), k.Command(number, shaExists, 0, 0), "0 exists")
		for _, command := range []uint64{3, 4} {
			assert.Equal(t, failure(abi.NOSUPPORT), k.Command(number, command, 0, 0), "%d is none", command)
		}
		assert.Equal(t, failure(abi.NOSUPPORT), k.Command(number, shaSetAlgorithm, 3, 0), "an algorithm that is none")
		for _, n := range []int{0, 1, 511, 512, 513, 5000} { // SHA-256 if the task says nothing
			assert.Equal(t, told(abi.OK), hash(pattern(n), 32))
			want := sha256.Sum256(pattern(n))
			assert.Equal(t, want[:], got(k, 32), "%d bytes", n)
		}
		for algorithm, newHash := range hashes {
			assert.Equal(t, success(), k.Command(number, shaSetAlgorithm, uint64(algorithm), 0))
			want := newHash()
			want.Write(pattern(700))
			assert.Equal(t, told(abi.OK), hash(pattern(700), want.Size()))
			assert.Equal(t, want.Sum(nil), got(k, want.Size()))
			for _, room := range []int{0, want.Size() - 1, want.Size() + 1} {
				assert.Equal(t, told(abi.NOMEM), hash(pattern(700), room), "a buffer of another size")
				assert.Equal(t, make([]byte, 64), got(k, 64))
			}
		}
	})
}

// TestHMACCommands are those of Tock's capsules/extra/src/hmac.rs.
func TestHMACCommands(t *testing.T) {
	const number = abi.DriverHMAC
	key, data := pattern(20), pattern(1300)
	end := func(k *kerneltest.Task, told uint64, command uint64) [4]uint64 {
		if r := k.Command(number, command, 0, 0); r != success() {
			return [4]uint64{1 << 32, r[1]}
		}
		return k.WaitFor(number, told)
	}
	eachWidth(t, number, func(t *testing.T, k *kerneltest.Task) {
		assert.Equal(t, failure(abi.INVAL), k.Command(number, hmacRun, 0, 0), "no algorithm was chosen")
		assert.Equal(t, failure(abi.NOSUPPORT), k.Command(number, hmacSetAlgorithm, 6, 0))
		assert.Equal(t, failure(abi.NOSUPPORT), k.Command(number, 6, 0, 0), "6 is none")
		for algorithm := uint64(3); algorithm < 6; algorithm++ {
			assert.Equal(t, success(), k.Command(number, hmacSetAlgorithm, algorithm, 0))
			assert.Equal(t, failure(abi.NOSUPPORT), k.Command(number, hmacRun, 0, 0), "SHA-224, SHA-1, MD5")
		}
		for algorithm, newHash := range hashes {
			assert.Equal(t, success(), k.Command(number, hmacSetAlgorithm, uint64(algorithm), 0))
			size := newHash().Size()
			want := keyed(algorithm, key, data)
			share(k, key, data, 64)
			assert.Equal(t, told(abi.OK), end(k, hashed, hmacRun), "1 run")
			assert.Equal(t, append(want, make([]byte, 64-size)...), got(k, 64))
			share(k, key, data, 5)
			assert.Equal(t, told(abi.OK), end(k, hashed, hmacRun), "a short buffer gets what fits")
			assert.Equal(t, append(bytes.Clone(want[:5]), 0, 0), got(k, 7))
			share(k, nil, nil, 64)
			assert.Equal(t, told(abi.OK), end(k, hashed, hmacRun), "no key, no data")
			assert.Equal(t, keyed(algorithm, nil, nil), got(k, size))
			share(k, pattern(maxKey), data, 64)
			assert.Equal(t, told(abi.OK), end(k, hashed, hmacRun), "the longest key")
			assert.Equal(t, keyed(algorithm, pattern(maxKey), data), got(k, size))
			share(k, pattern(maxKey+1), data, 64)
			assert.Equal(t, failure(abi.SIZE), k.Command(number, hmacRun, 0, 0), "a longer key")
			share(k, key, data, 64)
			assert.Equal(t, success(), k.Command(number, hmacRun, 0, 0))
			for command := uint64(hmacRun); command <= hmacVerifyFinish; command++ {
				assert.Equal(t, failure(abi.NOMEM), k.Command(number, command, 0, 0), "one at a time")
			}
			k.WaitFor(number, hashed)
		}
	})
}

// TestHMACInParts: update, finish, verify and their ends (hmac.rs, commands 2 to 5).
func TestHMACInParts(t *testing.T) {
	const number = abi.DriverHMAC
	key, data := pattern(20), pattern(1300)
	eachWidth(t, number, func(t *testing.T, k *kerneltest.Task) {
		ask := func(command, upcall uint64) [4]uint64 {
			require.Equal(t, success(), k.Command(number, command, 0, 0))
			return k.WaitFor(number, upcall)
		}
		compare := func(b []byte) {
			k.AllowRO(number, hmacCompare, place(k, compareAt, b), uint64(len(b)))
		}
		k.Command(number, hmacSetAlgorithm, 0, 0)
		for _, command := range []uint64{hmacFinish, hmacVerifyFinish} {
			assert.Equal(t, failure(abi.OFF), k.Command(number, command, 0, 0), "nothing was added")
		}
		want := keyed(0, key, append(bytes.Clone(data), data[:100]...))
		update := func() {
			share(k, key, data, 64)
			assert.Equal(t, told(abi.OK), ask(hmacUpdate, hashed))
			share(k, []byte("another key, which does not count"), data[:100], 64)
			assert.Equal(t, told(abi.OK), ask(hmacUpdate, hashed))
			assert.Equal(t, make([]byte, 32), got(k, 32), "there is no digest yet")
		}
		update()
		assert.Equal(t, told(abi.OK), ask(hmacFinish, hashed))
		assert.Equal(t, want, got(k, 32))
		assert.Equal(t, failure(abi.OFF), k.Command(number, hmacFinish, 0, 0), "it was finished")
		for _, tt := range []struct {
			name string
			with []byte
			want uint64
		}{
			{"right", want, 1},
			{"right, and more behind it", append(bytes.Clone(want), 1, 2, 3), 1},
			{"one bit is wrong", append(bytes.Clone(want[:31]), want[31]^1), 0},
			{"too short", want[:31], 0},
			{"nothing", nil, 0},
		} {
			compare(tt.with)
			update()
			assert.Equal(t, [4]uint64{0, tt.want}, ask(hmacVerifyFinish, verified), "verify finish: %s", tt.name)
		}
		share(k, key, data, 64)
		compare(keyed(0, key, data))
		assert.Equal(t, [4]uint64{0, 1}, ask(hmacVerify, verified), "verify: right")
		assert.Equal(t, make([]byte, 32), got(k, 32), "the digest is not given")
		compare(want)
		assert.Equal(t, [4]uint64{0, 0}, ask(hmacVerify, verified), "verify: wrong")
		update()
		share(k, key, data, 64)
		assert.Equal(t, told(abi.OK), ask(hmacRun, hashed), "run begins another message")
		assert.Equal(t, keyed(0, key, data), got(k, 32))
		assert.Equal(t, failure(abi.OFF), k.Command(number, hmacFinish, 0, 0))
	})
}

// TestTasksTakeTurns: each gets its own digest, also where the parts of its message come between those of others', and who asks for much does
// not hold the others up.
func TestTasksTakeTurns(t *testing.T) {
	const number = abi.DriverHMAC
	m, _, w := newMachine(t)
	var order []string
	for i, size := range []int{6000, 600, 2000} {
		m.AddTask("task", func(k *kerneltest.Task) {
			key, data := pattern(i+1), pattern(size)
			k.Command(number, hmacSetAlgorithm, uint64(i), 0)
			for range 2 {
				share(k, key, data, 64)
				require.Equal(t, success(), k.Command(number, hmacUpdate, 0, 0))
				assert.Equal(t, told(abi.OK), k.WaitFor(number, hashed))
				order = append(order, fmt.Sprint(size))
			}
			require.Equal(t, success(), k.Command(number, hmacFinish, 0, 0))
			assert.Equal(t, told(abi.OK), k.WaitFor(number, hashed))
			want := keyed(i, key, append(data, data...))
			assert.Equal(t, want, got(k, len(want)))
		}, nil)
	}
	assert.False(t, m.Run())
	assert.Equal(t, []string{"6000", "6000"}, order[4:])
	assert.False(t, w.busy)
}

// TestTaskThatEnds, or restarts, with a request or between the parts of a message: nobody is told, and others are served.
func TestTaskThatEnds(t *testing.T) {
	const number = abi.DriverHMAC
	m, _, w := newMachine(t)
	lives := 0
	key, data := pattern(10), pattern(3000)
	m.AddTask("restarts", func(k *kerneltest.Task) {
		lives++
		share(k, key, data, 64)
		k.Command(number, hmacSetAlgorithm, 0, 0)
		assert.Equal(t, failure(abi.OFF), k.Command(number, hmacFinish, 0, 0), "of an earlier life nothing is left")
		require.Equal(t, success(), k.Command(number, hmacUpdate, 0, 0))
		k.Spin(uint64(lives) * 90)
		if lives < 8 {
			k.Restart(0)
		}
		assert.Equal(t, told(abi.OK), k.WaitFor(number, hashed))
	}, nil)
	m.AddTask("goes on", func(k *kerneltest.Task) {
		k.Command(number, hmacSetAlgorithm, 0, 0)
		for n := range 20 {
			share(k, key, data[:n], 64)
			require.Equal(t, success(), k.Command(number, hmacRun, 0, 0))
			assert.Equal(t, told(abi.OK), k.WaitFor(number, hashed))
			assert.Equal(t, keyed(0, key, data[:n]), got(k, 32))
		}
	}, nil)
	assert.False(t, m.Run())
	assert.Equal(t, 8, lives)
	assert.False(t, w.busy)
}

// TestEngineThatFails: who asks is told, and a message is gone then; a call that nobody asked for changes nothing.
func TestEngineThatFails(t *testing.T) {
	const number = abi.DriverHMAC
	m, e, w := newMachine(t)
	w.DigestDone(nil, nil, abi.OK)
	m.AddTask("task", func(k *kerneltest.Task) {
		share(k, pattern(3), pattern(5), 64)
		k.Command(number, hmacSetAlgorithm, 0, 0)
		e.refuse = abi.FAIL
		assert.Equal(t, success(), k.Command(number, hmacUpdate, 0, 0))
		assert.Equal(t, told(abi.FAIL), k.WaitFor(number, hashed))
		assert.Equal(t, failure(abi.OFF), k.Command(number, hmacFinish, 0, 0))
		e.refuse, e.end = abi.OK, abi.FAIL
		assert.Equal(t, success(), k.Command(number, hmacVerify, 0, 0))
		assert.Equal(t, told(abi.FAIL), k.WaitFor(number, verified))
		assert.Equal(t, success(), k.Command(number, hmacRun, 0, 0))
		assert.Equal(t, told(abi.FAIL), k.WaitFor(number, hashed))
		assert.Equal(t, make([]byte, 32), got(k, 32))
		e.end = abi.OK
		assert.Equal(t, success(), k.Command(number, hmacRun, 0, 0))
		assert.Equal(t, told(abi.OK), k.WaitFor(number, hashed))
		assert.Equal(t, keyed(0, pattern(3), pattern(5)), got(k, 32))
		w.DigestDone(nil, nil, abi.OK)
	}, nil)
	assert.False(t, m.Run())
}

func TestNoRoom(t *testing.T) {
	m, _, _ := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		_, end := k.Memop(abi.MemopRAMEnd, 0)
		k.Memop(abi.MemopBrk, end-1)
		for command := range uint64(6) {
			assert.Equal(t, failure(abi.NOMEM), k.Command(abi.DriverHMAC, command, 0, 0))
		}
	}, nil)
	assert.False(t, m.Run())
}
