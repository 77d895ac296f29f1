package aes

import (
	"bytes"
	stdlib "crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/kernel/kerneltest"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

const number = abi.DriverAES

// engine is a device that does what the standard library does: an answer takes it 100 microseconds.
type engine struct {
	machine *kerneltest.Machine
	client  hil.AESClient
	message *hil.AESMessage
	data    []byte
	refuse  abi.ErrorCode // what CryptAES returns
	end     abi.ErrorCode // how an answer ends
}

func (e *engine) SetAESClient(client hil.AESClient) { e.client = client }

func (e *engine) CryptAES(m *hil.AESMessage, data []byte) abi.ErrorCode {
	switch {
	case e.refuse != abi.OK:
		return e.refuse
	case len(data) == 0 || m.Mode != hil.AESCTR && len(data)%16 != 0:
		return abi.SIZE
	}
	e.message, e.data = m, data
	e.machine.Alarm.SetAlarm(e.machine.Alarm.Now() + 100)
	return abi.OK
}

func (e *engine) AlarmFired() {
	if e.end == abi.OK {
		work(e.message, e.data)
	}
	e.client.AESDone(e.message, e.data, e.end)
}

// work does what a hil.AES does.
func work(m *hil.AESMessage, data []byte) {
	block, err := stdlib.NewCipher(m.Key[:])
	if err != nil {
		panic(err)
	}
	last := func(b []byte) { copy(m.Chain[:], b[len(b)-16:]) }
	switch {
	case m.Mode == hil.AESCTR:
		cipher.NewCTR(block, m.Chain[:]).XORKeyStream(data, data)
		for range (len(data) + 15) / 16 {
			for i := 15; i >= 0; i-- {
				if m.Chain[i]++; m.Chain[i] != 0 {
					break
				}
			}
		}
	case m.Mode == hil.AESMAC:
		sum := make([]byte, len(data))
		cipher.NewCBCEncrypter(block, m.Chain[:]).CryptBlocks(sum, data)
		last(sum)
	case m.Mode == hil.AESCBC && m.Decrypt:
		d := cipher.NewCBCDecrypter(block, m.Chain[:])
		last(data)
		d.CryptBlocks(data, data)
	case m.Mode == hil.AESCBC:
		cipher.NewCBCEncrypter(block, m.Chain[:]).CryptBlocks(data, data)
		last(data)
	default:
		crypt := block.Encrypt
		if m.Decrypt {
			crypt = block.Decrypt
		}
		for at := 0; at < len(data); at += 16 {
			crypt(data[at:], data[at:])
		}
	}
}

func newMachine(t *testing.T) (*kerneltest.Machine, *engine, *AES) {
	m := kerneltest.New(t, capability.Mint())
	e := &engine{machine: m}
	m.Alarm.SetAlarmClient(e)
	a := new(AES)
	a.Init(&m.Kernel, e, m.Capabilities.MemoryAllocation)
	m.Drivers[number] = a
	return m, e, a
}

// Where a task has its buffers, from the start of its RAM.
const (
	keyAt         = 64
	vectorAt      = 96
	sourceAt      = 1024
	destinationAt = sourceAt + 2*abi.PageSize
)

var success = [4]uint64{128}

func failure(e abi.ErrorCode) [4]uint64 { return [4]uint64{0, uint64(e)} }

func told(n, right uint64) [4]uint64 { return [4]uint64{0, n, right} }

// place puts bytes into a task's memory and returns their address.
func place(k *kerneltest.Task, at uint64, data []byte) uint64 {
	k.Memop(abi.MemopBrk, k.Start.RAMStart+4*abi.PageSize)
	k.Store(k.Start.RAMStart+at, data...)
	return k.Start.RAMStart + at
}

func shareKey(k *kerneltest.Task, b, vector []byte) {
	k.AllowRO(number, key, place(k, keyAt, b), uint64(len(b)))
	k.AllowRO(number, iv, place(k, vectorAt, vector), uint64(len(vector)))
}

// shareData shares a source, and so much room.
func shareData(k *kerneltest.Task, data []byte, room int) {
	k.AllowRO(number, source, place(k, sourceAt, data), uint64(len(data)))
	k.AllowRW(number, destination, place(k, destinationAt, make([]byte, room+1)), uint64(room))
}

// run gives a command, and returns what the task is told and what is in the destination then, and in the byte behind it.
func run(t *testing.T, k *kerneltest.Task, command uint64, data []byte, room int) ([4]uint64, []byte) {
	shareData(k, data, room)
	require.Equal(t, success, k.Command(number, command, 0, 0))
	told := k.WaitFor(number, crypted)
	return told, k.Load(k.Start.RAMStart+destinationAt, uint64(room+1))
}

// pattern is n bytes.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + n)
	}
	return b
}

// with has a zero behind it, as what run returns.
func with(b []byte) []byte { return append(bytes.Clone(b), 0) }

// eachWidth runs a task of either width, alone.
func eachWidth(t *testing.T, program func(t *testing.T, k *kerneltest.Task)) {
	for _, width := range []int{32, 64} {
		t.Run(fmt.Sprintf("in a task of %d bits", width), func(t *testing.T) {
			m, _, a := newMachine(t)
			m.AddTask("task", func(k *kerneltest.Task) { program(t, k) },
				func(spec *tbfbuild.Spec) { spec.ABI64 = width == 64 })
			assert.False(t, m.Run())
			assert.NotContains(t, m.Log.String(), "fault")
			assert.False(t, a.busy)
			assert.Zero(t, a.message, "no key stays in the driver")
			assert.Zero(t, a.piece)
		})
	}
}

// TestCommands are those of Tock's capsules/extra/src/symmetric_encryption/aes.rs, with the answers that docs/abi.md, section 4, has.
func TestCommands(t *testing.T) {
	eachWidth(t, func(t *testing.T, k *kerneltest.Task) {
		assert.Equal(t, success, k.Command(number, exists, 0, 0), "0 exists")
		assert.Equal(t, failure(abi.NOSUPPORT), k.Command(number, 9, 0, 0), "9 is none")
		assert.Equal(t, failure(abi.NOSUPPORT), k.Command(number, setAlgorithm, 5, 1))
		assert.Equal(t, failure(abi.INVAL), k.Command(number, setup, 0, 0), "no algorithm was chosen")
		for _, command := range []uint64{crypt, finish} {
			assert.Equal(t, failure(abi.OFF), k.Command(number, command, 0, 0), "there is no message")
		}
		for command := uint64(setAuthOffset); command <= setConfidential; command++ {
			assert.Equal(t, success, k.Command(number, command, 0, 0))
		}
		assert.Equal(t, success, k.Command(number, setAlgorithm, uint64(gcm), 1))
		shareKey(k, pattern(16), pattern(16))
		shareData(k, pattern(16), 16)
		assert.Equal(t, failure(abi.NOSUPPORT), k.Command(number, setup, 0, 0), "there is no GCM")
		for _, algorithm := range []algorithm{ctr, cbc, ecb, ccm} {
			assert.Equal(t, success, k.Command(number, setAlgorithm, uint64(algorithm), 1))
			shareKey(k, pattern(15), pattern(16))
			assert.Equal(t, failure(abi.INVAL), k.Command(number, setup, 0, 0), "a short key")
			short := map[bool]int{true: 12, false: 15}[algorithm == ccm]
			shareKey(k, pattern(16), pattern(short))
			if algorithm != ecb {
				assert.Equal(t, failure(abi.INVAL), k.Command(number, setup, 0, 0), "a short vector")
			}
			assert.Equal(t, failure(abi.OFF), k.Command(number, crypt, 0, 0))
			shareKey(k, pattern(16), pattern(16))
			shareData(k, pattern(16), 16)
			require.Equal(t, success, k.Command(number, setup, 0, 0))
			assert.Equal(t, failure(abi.NOMEM), k.Command(number, setup, 0, 0), "one at a time")
			assert.Equal(t, failure(abi.NOMEM), k.Command(number, crypt, 0, 0))
			right := map[bool]uint64{true: 1}[algorithm == ccm]
			assert.Equal(t, told(16, right), k.WaitFor(number, crypted))
			assert.Equal(t, success, k.Command(number, finish, 0, 0))
			assert.Equal(t, failure(abi.OFF), k.Command(number, finish, 0, 0), "it is finished")
			require.Equal(t, success, k.Command(number, setup, 0, 0))
			assert.Equal(t, success, k.Command(number, finish, 0, 0), "while it goes on")
			require.Equal(t, success, k.Command(number, setup, 0, 0), "and another begins")
			assert.Equal(t, told(16, right), k.WaitFor(number, crypted))
			shareData(k, pattern(17), 32)
			if algorithm == cbc || algorithm == ecb {
				assert.Equal(t, failure(abi.INVAL), k.Command(number, crypt, 0, 0), "not whole blocks")
				assert.Equal(t, failure(abi.INVAL), k.Command(number, setup, 0, 0))
			}
		}
	})
}

// reference does a whole message at once.
func reference(mode hil.AESMode, decrypt bool, key, vector, data []byte) []byte {
	m := &hil.AESMessage{Mode: mode, Decrypt: decrypt}
	copy(m.Key[:], key)
	copy(m.Chain[:], vector)
	data = bytes.Clone(data)
	work(m, data)
	return data
}

// TestModes encrypts and decrypts messages in one part, in several, in place, and into buffers that are too short.
func TestModes(t *testing.T) {
	key, vector, data := pattern(16), pattern(32)[16:], pattern(2000)
	for mode, algorithm := range map[hil.AESMode]algorithm{hil.AESCTR: ctr, hil.AESCBC: cbc, hil.AESECB: ecb} {
		eachWidth(t, func(t *testing.T, k *kerneltest.Task) {
			shareKey(k, key, vector)
			for _, decrypt := range []bool{false, true} {
				k.Command(number, setAlgorithm, uint64(algorithm), map[bool]uint64{false: 1}[decrypt])
				want := reference(mode, decrypt, key, vector, data)
				got, out := run(t, k, setup, data, 2000)
				assert.Equal(t, told(2000, 0), got)
				assert.Equal(t, with(want), out)
				got, out = run(t, k, setup, data, 20)
				assert.Equal(t, told(2000, 0), got, "what has no room is lost, and the source's length is told")
				assert.Equal(t, with(want[:20]), out)
				got, _ = run(t, k, setup, nil, 20)
				assert.Equal(t, told(0, 0), got, "nothing")
				for at := 0; at < 2000; at += 400 {
					got, out = run(t, k, crypt, data[at:at+400], 400)
					assert.Equal(t, told(400, 0), got)
					assert.Equal(t, with(want[at:at+400]), out, "in parts, from %d", at)
				}
				k.AllowRW(number, destination, place(k, sourceAt, data), 2000)
				k.AllowRO(number, source, k.Start.RAMStart+sourceAt, 2000)
				require.Equal(t, success, k.Command(number, setup, 0, 0))
				k.WaitFor(number, crypted)
				assert.Equal(t, want, k.Load(k.Start.RAMStart+sourceAt, 2000), "in place")
			}
			if mode == hil.AESCTR {
				got, out := run(t, k, setup, data[:45], 45)
				assert.Equal(t, told(45, 0), got)
				assert.Equal(t, with(reference(mode, false, key, vector, data[:45])), out, "a part of a block")
				_, out = run(t, k, crypt, data[48:64], 16)
				assert.Equal(t, with(reference(mode, false, key, vector, data)[48:64]), out, "what follows begins with a block of its own")
			}
		})
	}
}

// unhex reads hexadecimal digits.
func unhex(t *testing.T, digits string) []byte {
	b, err := hex.DecodeString(digits)
	require.NoError(t, err)
	return b
}

// ccmReference is CCM by SP 800-38C, with the standard library's CBC and CTR: encrypted data, or the data as it is, and its tag.
func ccmReference(key, nonce, auth, data []byte, size int, plain bool) []byte {
	block, _ := stdlib.NewCipher(key)
	pad := func(b []byte) []byte { return append(b, make([]byte, -len(b)&15)...) }
	flags := byte(1)
	if size != 0 {
		flags |= byte((size-2)/2) << 3
	}
	if len(auth) != 0 {
		flags |= 0x40
	}
	blocks := append(append([]byte{flags}, nonce[:13]...), byte(len(data)>>8), byte(len(data)))
	if len(auth) != 0 {
		blocks = pad(append(append(blocks, byte(len(auth)>>8), byte(len(auth))), auth...))
	}
	blocks = pad(append(blocks, data...))
	cipher.NewCBCEncrypter(block, make([]byte, 16)).CryptBlocks(blocks, blocks)
	counter := append(append([]byte{1}, nonce[:13]...), 0, 0)
	stream := cipher.NewCTR(block, counter)
	tag := bytes.Clone(blocks[len(blocks)-16:])
	stream.XORKeyStream(tag, tag)
	out := bytes.Clone(data)
	if !plain {
		stream.XORKeyStream(out, out)
	}
	return append(out, tag[:size]...)
}

// TestCCMVectors: the first packet of RFC 3610, section 8, and what libtock-c's examples/tests/aes expects.
func TestCCMVectors(t *testing.T) {
	text := make([]byte, 96)
	copy(text, "A language empowering everyone to build reliable and efficient software.")
	for _, tt := range []struct {
		name                   string
		key, nonce             string
		source                 []byte
		authOffset, offset     uint64
		size                   uint64
		room                   int
		want                   string
		returned, right, again uint64
	}{
		{"RFC 3610, packet 1", "c0c1c2c3c4c5c6c7c8c9cacbcccdcecf", "00000003020100a0a1a2a3a4a5",
			unhex(t, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e"), 0, 8, 8, 39,
			"0000000000000000588c979a61c663d2f066d0c2c0f989806d5f6b61dac38417e8d12cfdf926e0", 31, 1, 39},
		{"libtock-c", "2b7e151628aed2a6abf7158809cf4f3c", "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff", text, 0, 0, 8, 96,
			"4a593d262ae0ebbba453885a0adc62d337ae96faa7f45d46b99e65c95abae6d381c1b97b011ec6b4f63b8a4c0b0beca6" +
				"27a39c0cebb4fa0abd2a9c705e88aad87ba7160d9b3c68bddea8f0d0652529f888074275ee72a386c82d3792a752f246", 96, 0, 96},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachWidth(t, func(t *testing.T, k *kerneltest.Task) {
				shareKey(k, unhex(t, tt.key), unhex(t, tt.nonce))
				k.Command(number, setAuthOffset, tt.authOffset, 0)
				k.Command(number, setOffset, tt.offset, 0)
				k.Command(number, setTagSize, tt.size, 0)
				k.Command(number, setAlgorithm, uint64(ccm), 1)
				got, out := run(t, k, setup, tt.source, tt.room)
				assert.Equal(t, told(tt.returned, 1), got)
				assert.Equal(t, tt.want+"00", hex.EncodeToString(out))
				assert.Equal(t, failure(abi.NOSUPPORT), k.Command(number, crypt, 0, 0), "a message is one buffer")
				k.Command(number, setAlgorithm, uint64(ccm), 0)
				encrypted := append(bytes.Clone(tt.source[:tt.offset]), out[tt.offset:tt.room]...)
				got, out = run(t, k, setup, encrypted, tt.room)
				assert.Equal(t, told(tt.again, tt.right), got)
				n := tt.room - int(tt.size)
				assert.Equal(t, tt.source[tt.offset:n], out[tt.offset:n])
			})
		})
	}
}

// TestCCM compares messages of all kinds of lengths with a reference, and finds each changed bit of auth, data and tag.
func TestCCM(t *testing.T) {
	eachWidth(t, func(t *testing.T, k *kerneltest.Task) {
		r := rand.New(rand.NewPCG(1, 2))
		key, nonce := pattern(16), pattern(13)
		shareKey(k, key, nonce)
		lengths := []int{0, 1, 15, 16, 17, 509, 510, 511, 512, 513, 1200}
		for range 150 {
			before, auth := r.IntN(20), pattern(lengths[r.IntN(len(lengths))])
			data, size, plain := pattern(lengths[r.IntN(len(lengths))]), []int{0, 4, 8, 16}[r.IntN(4)], r.IntN(2) == 0
			at := before + len(auth)
			k.Command(number, setAuthOffset, uint64(before), 0)
			k.Command(number, setOffset, uint64(at), 0)
			k.Command(number, setTagSize, uint64(size), 0)
			k.Command(number, setConfidential, map[bool]uint64{false: 1}[plain], 0)
			k.Command(number, setAlgorithm, uint64(ccm), 1)
			whole := append(append(make([]byte, before), auth...), data...)
			want := ccmReference(key, nonce, auth, data, size, plain)
			got, out := run(t, k, setup, whole, at+len(want))
			require.Equal(t, told(uint64(len(whole)), 1), got)
			require.Equal(t, append(make([]byte, at), with(want)...), out, "%d, %d and %d bytes", before, len(auth), len(data))

			k.Command(number, setAlgorithm, uint64(ccm), 0)
			source := append(bytes.Clone(whole[:at]), want...)
			got, out = run(t, k, setup, source, len(whole))
			require.Equal(t, told(uint64(len(source)), 1), got)
			require.True(t, bytes.Equal(data, out[at:len(whole)]))
			if n := len(source) - before; n != 0 && size != 0 {
				source[before+r.IntN(n)] ^= 1 << r.IntN(8)
				got, _ = run(t, k, setup, source, len(whole))
				require.Equal(t, told(uint64(len(source)), 0), got, "a bit was changed")
			}
		}
	})
}

// TestCCMLimits: parameters that do not fit are refused, and those of a message that goes on stay what they were.
func TestCCMLimits(t *testing.T) {
	m, _, _ := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		shareKey(k, pattern(16), pattern(13))
		k.Command(number, setAlgorithm, uint64(ccm), 0)
		for _, tt := range []struct {
			name                     string
			authOffset, offset, size uint64
			n                        uint64
			want                     abi.ErrorCode
		}{
			{"auth behind the message", 9, 8, 4, 100, abi.INVAL},
			{"offset behind the source", 0, 101, 0, 100, abi.INVAL},
			{"no room for the tag", 0, 97, 4, 100, abi.INVAL},
			{"offsets that overflow", 0, 1<<32 - 1, 16, 100, abi.INVAL},
			{"a tag of 2 bytes", 0, 0, 2, 100, abi.INVAL},
			{"a tag of 5", 0, 0, 5, 100, abi.INVAL},
			{"a tag of 18", 0, 0, 18, 100, abi.INVAL},
			{"a tag of 2^32 - 2", 0, 0, 1<<32 - 2, 100, abi.INVAL},
		} {
			k.Command(number, setAuthOffset, tt.authOffset, 0)
			k.Command(number, setOffset, tt.offset, 0)
			k.Command(number, setTagSize, tt.size, 0)
			shareData(k, pattern(int(tt.n)), 100)
			assert.Equal(t, failure(tt.want), k.Command(number, setup, 0, 0), tt.name)
		}
		k.Command(number, setAuthOffset, 0, 0)
		k.Command(number, setOffset, 0, 0)
		k.Command(number, setTagSize, 8, 0)
		k.Command(number, setAlgorithm, uint64(ccm), 1)
		shareData(k, pattern(100), 108)
		require.Equal(t, success, k.Command(number, setup, 0, 0))
		for command := uint64(setAuthOffset); command <= setConfidential; command++ {
			k.Command(number, command, 0xffff_fff0, 0)
		}
		k.Command(number, setAlgorithm, uint64(ecb), 0)
		k.AllowRO(number, key, 0, 0)
		k.AllowRO(number, iv, 0, 0)
		assert.Equal(t, told(100, 1), k.WaitFor(number, crypted))
		assert.Equal(t, ccmReference(pattern(16), pattern(13), nil, pattern(100), 8, false),
			k.Load(k.Start.RAMStart+destinationAt, 108))
	}, nil)
	assert.False(t, m.Run())
}

// TestBuffersThatShrink: a message ends where its source does, and CCM takes zeros for what is gone.
func TestBuffersThatShrink(t *testing.T) {
	m, _, _ := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		shareKey(k, pattern(16), pattern(16))
		for left, want := range map[uint64][4]uint64{0: told(512, 0), 600: {uint64(abi.SIZE.Status())}, 1024: told(1024, 0)} {
			k.Command(number, setAlgorithm, uint64(cbc), 1)
			shareData(k, pattern(1600), 1600)
			require.Equal(t, success, k.Command(number, setup, 0, 0))
			k.AllowRO(number, source, k.Start.RAMStart+sourceAt, left)
			assert.Equal(t, want, k.WaitFor(number, crypted), "%d bytes are left", left)
		}
		k.Command(number, setAlgorithm, uint64(ccm), 1)
		shareData(k, pattern(1600), 1600)
		require.Equal(t, success, k.Command(number, setup, 0, 0))
		k.AllowRO(number, source, 0, 0)
		assert.Equal(t, told(1600, 1), k.WaitFor(number, crypted))
		assert.Equal(t, ccmReference(pattern(16), pattern(16), nil, make([]byte, 1600), 0, false),
			k.Load(k.Start.RAMStart+destinationAt, 1600))
	}, nil)
	assert.False(t, m.Run())
}

// TestTasksTakeTurns: each gets what its own key makes, also where the parts of its message come between those of others', and who asks for
// much does not hold the others up.
func TestTasksTakeTurns(t *testing.T) {
	m, _, a := newMachine(t)
	var order []string
	for i, size := range []int{5984, 512, 1008} {
		m.AddTask("task", func(k *kerneltest.Task) {
			data := pattern(2 * size)
			want := reference(hil.AESCTR, false, pattern(16 + i)[:16], pattern(16), data)
			shareKey(k, pattern(16+i), pattern(16))
			k.Command(number, setAlgorithm, uint64(ctr), 1)
			for part, command := range []uint64{setup, crypt} {
				got, out := run(t, k, command, data[part*size:][:size], size)
				assert.Equal(t, told(uint64(size), 0), got)
				assert.True(t, bytes.Equal(with(want[part*size:][:size]), out))
				order = append(order, fmt.Sprint(size))
			}
		}, nil)
	}
	assert.False(t, m.Run())
	assert.Equal(t, []string{"5984", "5984"}, order[4:])
	assert.False(t, a.busy)
}

// TestFinishMeanwhile: a task that begins and finishes again and again, at all moments, gets nothing of a message that it finished, and
// disturbs nobody.
func TestFinishMeanwhile(t *testing.T) {
	m, _, a := newMachine(t)
	m.AddTask("undecided", func(k *kerneltest.Task) {
		shareKey(k, pattern(16), pattern(16))
		for n := range uint64(30) {
			k.Command(number, setAlgorithm, n%4, 1)
			shareData(k, pattern(512), 512)
			assert.Equal(t, success, k.Command(number, setup, 0, 0))
			k.Spin(n * 20)
			assert.Equal(t, success, k.Command(number, finish, 0, 0))
			k.Command(number, setAlgorithm, uint64(ecb), 1)
			got, _ := run(t, k, setup, pattern(16), 16)
			if got[1] == 512 { // the first message was done before it was finished
				got = k.WaitFor(number, crypted)
			}
			assert.Equal(t, told(16, 0), got)
			assert.Equal(t, with(reference(hil.AESECB, false, pattern(16), nil, pattern(16))), k.Load(k.Start.RAMStart+destinationAt, 17))
		}
	}, nil)
	m.AddTask("goes on", func(k *kerneltest.Task) {
		shareKey(k, pattern(16), pattern(16))
		k.Command(number, setAlgorithm, uint64(ctr), 1)
		for range 30 {
			_, out := run(t, k, setup, pattern(700), 700)
			assert.True(t, bytes.Equal(with(reference(hil.AESCTR, false, pattern(16), pattern(16), pattern(700))), out))
		}
	}, nil)
	assert.False(t, m.Run())
	assert.False(t, a.busy)
}

// TestTaskThatEnds, or restarts, with a request: nobody is told, and others are served.
func TestTaskThatEnds(t *testing.T) {
	m, _, a := newMachine(t)
	lives := 0
	m.AddTask("restarts", func(k *kerneltest.Task) {
		lives++
		assert.Equal(t, failure(abi.OFF), k.Command(number, crypt, 0, 0), "of an earlier life nothing is left")
		shareKey(k, pattern(16), pattern(16))
		shareData(k, pattern(3000), 3000)
		k.Command(number, setAlgorithm, uint64(lives)%2*uint64(ccm), 1)
		require.Equal(t, success, k.Command(number, setup, 0, 0))
		k.Spin(uint64(lives) * 90)
		if lives < 8 {
			k.Restart(0)
		}
	}, nil)
	m.AddTask("goes on", func(k *kerneltest.Task) {
		shareKey(k, pattern(16), pattern(16))
		k.Command(number, setAlgorithm, uint64(ecb), 1)
		for range 20 {
			_, out := run(t, k, setup, pattern(64), 64)
			assert.Equal(t, with(reference(hil.AESECB, false, pattern(16), nil, pattern(64))), out)
		}
	}, nil)
	assert.False(t, m.Run())
	assert.Equal(t, 8, lives)
	assert.False(t, a.busy)
}

// TestEngineThatFails: who asks is told; a call that nobody asked for changes nothing.
func TestEngineThatFails(t *testing.T) {
	m, e, a := newMachine(t)
	a.AESDone(nil, nil, abi.OK)
	m.AddTask("task", func(k *kerneltest.Task) {
		shareKey(k, pattern(16), pattern(16))
		for _, algorithm := range []algorithm{cbc, ccm} {
			k.Command(number, setAlgorithm, uint64(algorithm), 1)
			e.refuse = abi.FAIL
			got, out := run(t, k, setup, pattern(32), 32)
			assert.Equal(t, [4]uint64{uint64(abi.FAIL.Status())}, got)
			assert.Equal(t, make([]byte, 33), out)
			e.refuse, e.end = abi.OK, abi.FAIL
			got, out = run(t, k, setup, pattern(32), 32)
			assert.Equal(t, [4]uint64{uint64(abi.FAIL.Status())}, got)
			assert.Equal(t, make([]byte, 33), out)
			e.end = abi.OK
			got, _ = run(t, k, setup, pattern(32), 32)
			assert.Equal(t, uint64(0), got[0])
			a.AESDone(nil, nil, abi.OK)
		}
	}, nil)
	assert.False(t, m.Run())
}

func TestNoRoom(t *testing.T) {
	m, _, _ := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		_, end := k.Memop(abi.MemopRAMEnd, 0)
		k.Memop(abi.MemopBrk, end-1)
		for command := uint64(setAlgorithm); command <= setConfidential; command++ {
			assert.Equal(t, failure(abi.NOMEM), k.Command(number, command, 0, 0))
		}
	}, nil)
	assert.False(t, m.Run())
}
