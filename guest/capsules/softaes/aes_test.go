package softaes

import (
	"bytes"
	stdlib "crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/kernel/kerneltest"
)

// client counts what comes back.
type client struct{ calls int }

func (c *client) AESDone(*hil.AESMessage, []byte, abi.ErrorCode) { c.calls++ }

func newEngine(t testing.TB) (*AES, *client) {
	m := kerneltest.New(t, capability.Mint())
	engine, c := new(AES), new(client)
	engine.Init(&m.Kernel)
	engine.SetAESClient(c)
	return engine, c
}

// message is one with a key and a vector.
func message(mode hil.AESMode, decrypt bool, key, vector []byte) *hil.AESMessage {
	m := &hil.AESMessage{Mode: mode, Decrypt: decrypt}
	copy(m.Key[:], key)
	copy(m.Chain[:], vector)
	return m
}

// crypt works on data in pieces of so many bytes.
func crypt(t *testing.T, engine *AES, m *hil.AESMessage, data []byte, size int) []byte {
	data = bytes.Clone(data)
	for at := 0; at < len(data); at += size {
		require.Equal(t, abi.OK, engine.CryptAES(m, data[at:min(at+size, len(data))]))
		engine.HandleDeferredCall()
	}
	return data
}

// TestVectors are those of SP 800-38A, F.1, F.2 and F.5, for AES-128.
func TestVectors(t *testing.T) {
	unhex := func(digits string) []byte {
		b, err := hex.DecodeString(digits)
		require.NoError(t, err)
		return b
	}
	key := unhex("2b7e151628aed2a6abf7158809cf4f3c")
	vector := unhex("000102030405060708090a0b0c0d0e0f")
	counter := unhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
	plain := unhex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710")
	for _, tt := range []struct {
		name   string
		mode   hil.AESMode
		vector []byte
		want   string
	}{
		{"ECB", hil.AESECB, nil,
			"3ad77bb40d7a3660a89ecaf32466ef97f5d3d58503b9699de785895a96fdbaaf43b1cd7f598ece23881b00e3ed0306887b0c785e27e8ad3f8223207104725dd4"},
		{"CBC", hil.AESCBC, vector,
			"7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b273bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7"},
		{"CTR", hil.AESCTR, counter,
			"874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff5ae4df3edbd5d35e5b4f09020db03eab1e031dda2fbe03d1792170a0f3009cee"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			engine, _ := newEngine(t)
			for _, size := range []int{16, 32, 48, 64} {
				encrypted := crypt(t, engine, message(tt.mode, false, key, tt.vector), plain, size)
				assert.Equal(t, tt.want, hex.EncodeToString(encrypted))
				assert.Equal(t, plain, crypt(t, engine, message(tt.mode, true, key, tt.vector), encrypted, size))
			}
		})
	}
}

// FuzzModes compares with the standard library.
func FuzzModes(f *testing.F) {
	f.Add([]byte("key"), []byte("vector"), []byte("data that is longer than a block"), uint8(1))
	f.Add([]byte{}, bytes.Repeat([]byte{0xff}, 16), make([]byte, 100), uint8(3))
	f.Fuzz(func(t *testing.T, k, v, data []byte, blocks uint8) {
		key, vector := make([]byte, 16), make([]byte, 16)
		copy(key, k)
		copy(vector, v)
		data = data[:min(len(data), 2048)]
		whole := data[:len(data)&^15]
		size := blockSize * (1 + int(blocks)%(MaxPiece/blockSize))
		block, err := stdlib.NewCipher(key)
		require.NoError(t, err)
		engine, _ := newEngine(t)

		want := make([]byte, len(data))
		cipher.NewCTR(block, vector).XORKeyStream(want, data)
		require.Equal(t, want, append([]byte{}, crypt(t, engine, message(hil.AESCTR, false, key, vector), data, size)...))

		want = make([]byte, len(whole))
		cipher.NewCBCEncrypter(block, vector).CryptBlocks(want, whole)
		require.True(t, bytes.Equal(want, crypt(t, engine, message(hil.AESCBC, false, key, vector), whole, size)))
		require.True(t, bytes.Equal(whole, crypt(t, engine, message(hil.AESCBC, true, key, vector), want, size)))
		mac := message(hil.AESMAC, false, key, vector)
		require.True(t, bytes.Equal(whole, crypt(t, engine, mac, whole, size)), "data stays as it is")
		if len(want) != 0 {
			require.Equal(t, want[len(want)-blockSize:], mac.Chain[:])
		}

		for at := 0; at < len(whole); at += blockSize {
			block.Encrypt(want[at:], whole[at:])
		}
		require.True(t, bytes.Equal(want, crypt(t, engine, message(hil.AESECB, false, key, nil), whole, size)))
		require.True(t, bytes.Equal(whole, crypt(t, engine, message(hil.AESECB, true, key, nil), want, size)))
	})
}

// TestOrder: one piece at a time, told once and never from within the call; what is wrong is refused. No key stays.
func TestOrder(t *testing.T) {
	engine, c := newEngine(t)
	engine.HandleDeferredCall()
	assert.Zero(t, c.calls)
	m := message(hil.AESECB, false, []byte("secret"), nil)
	data := make([]byte, 32)
	assert.Equal(t, abi.OK, engine.CryptAES(m, data))
	assert.Equal(t, abi.BUSY, engine.CryptAES(m, data))
	assert.Zero(t, c.calls)
	engine.HandleDeferredCall()
	engine.HandleDeferredCall()
	assert.Equal(t, 1, c.calls)
	assert.Zero(t, engine.cipher)
	assert.Zero(t, engine.work)
	for _, n := range []int{0, 15, 17, MaxPiece + blockSize} {
		assert.Equal(t, abi.SIZE, engine.CryptAES(m, make([]byte, n)), "%d bytes", n)
	}
	assert.Equal(t, abi.OK, engine.CryptAES(message(hil.AESCTR, false, nil, nil), make([]byte, 15)))
}

func BenchmarkModes(b *testing.B) {
	for mode, name := range []string{"ECB", "CBC", "CTR"} {
		b.Run(name, func(b *testing.B) {
			engine, _ := newEngine(b)
			m, data := message(hil.AESMode(mode), false, nil, nil), make([]byte, MaxPiece)
			b.SetBytes(MaxPiece)
			for b.Loop() {
				engine.CryptAES(m, data)
				engine.HandleDeferredCall()
			}
		})
	}
}
