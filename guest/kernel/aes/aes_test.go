package aes_test

import (
	"bytes"
	stdlib "crypto/aes"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/kernel/aes"
)

// unhex reads hexadecimal digits.
func unhex(t testing.TB, digits string) []byte {
	b, err := hex.DecodeString(digits)
	require.NoError(t, err)
	return b
}

// TestVectors are the examples of FIPS 197, B and C.1, and of SP 800-38A, F.1.1.
func TestVectors(t *testing.T) {
	for _, tt := range []struct{ name, key, plain, cipher string }{
		{"FIPS 197, B", "2b7e151628aed2a6abf7158809cf4f3c", "3243f6a8885a308d313198a2e0370734", "3925841d02dc09fbdc118597196a0b32"},
		{"FIPS 197, C.1", "000102030405060708090a0b0c0d0e0f", "00112233445566778899aabbccddeeff", "69c4e0d86a7b0430d8cdb78070b4c55a"},
		{"SP 800-38A, F.1.1, four blocks", "2b7e151628aed2a6abf7158809cf4f3c",
			"6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710",
			"3ad77bb40d7a3660a89ecaf32466ef97f5d3d58503b9699de785895a96fdbaaf43b1cd7f598ece23881b00e3ed0306887b0c785e27e8ad3f8223207104725dd4"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var c aes.Cipher
			c.SetKey(unhex(t, tt.key))
			blocks := make([]byte, aes.Parallel*aes.BlockSize)
			n := copy(blocks, unhex(t, tt.plain))
			c.Encrypt(blocks)
			assert.Equal(t, tt.cipher, hex.EncodeToString(blocks[:n]))
			c.Decrypt(blocks)
			assert.Equal(t, tt.plain, hex.EncodeToString(blocks[:n]))
		})
	}
}

func TestNeedsNoMemory(t *testing.T) {
	blocks := make([]byte, aes.Parallel*aes.BlockSize)
	assert.Zero(t, testing.AllocsPerRun(10, func() {
		var c aes.Cipher
		c.SetKey(blocks[:aes.KeySize])
		c.Encrypt(blocks)
		c.Decrypt(blocks)
	}))
}

// FuzzCipher compares with the standard library.
func FuzzCipher(f *testing.F) {
	f.Add(make([]byte, aes.KeySize), make([]byte, aes.BlockSize))
	f.Add([]byte("sixteen byte key"), []byte("what is encrypted by it is a few bytes more than that"))
	f.Fuzz(func(t *testing.T, key, data []byte) {
		k := make([]byte, aes.KeySize)
		copy(k, key)
		plain := make([]byte, aes.Parallel*aes.BlockSize)
		copy(plain, data)
		block, err := stdlib.NewCipher(k)
		require.NoError(t, err)
		want := make([]byte, len(plain))
		for i := 0; i < len(want); i += aes.BlockSize {
			block.Encrypt(want[i:], plain[i:])
		}
		var c aes.Cipher
		c.SetKey(k)
		got := bytes.Clone(plain)
		c.Encrypt(got)
		require.Equal(t, want, got)
		c.Decrypt(got)
		require.Equal(t, plain, got)
	})
}

func BenchmarkEncrypt(b *testing.B) {
	var c aes.Cipher
	c.SetKey(make([]byte, aes.KeySize))
	blocks := make([]byte, aes.Parallel*aes.BlockSize)
	b.SetBytes(int64(len(blocks)))
	for b.Loop() {
		c.Encrypt(blocks)
	}
}

func BenchmarkSetKey(b *testing.B) {
	var c aes.Cipher
	key := make([]byte, aes.KeySize)
	for b.Loop() {
		c.SetKey(key)
	}
}
