package sha512_test

import (
	"bytes"
	stdlib "crypto/sha512"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/kernel/sha512"
)

// sum is the digest of a message by SHA-512.
func sum(message []byte) [sha512.Size]byte {
	h := sha512.New()
	return h.Sum(h.Add(message))
}

// sum384 is its digest by SHA-384.
func sum384(message []byte) [sha512.Size384]byte {
	h := sha512.New384()
	digest := h.Sum(h.Add(message))
	return [sha512.Size384]byte(digest[:])
}

// TestVectors are NIST's examples for FIPS 180, and the empty message.
func TestVectors(t *testing.T) {
	two := "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu"
	for _, c := range []struct{ name, message, want, want384 string }{
		{"empty", "",
			"cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
			"38b060a751ac96384cd9327eb1b1e36a21fdb71114be07434c0cc7bf63f6e1da274edebfe76f65fbd51ad2f14898b95b"},
		{"one block", "abc",
			"ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
			"cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7"},
		{"two blocks", two,
			"8e959b75dae313da8cf4f72814fc143f8f7779c6eb9f7fa17299aeadb6889018501d289e4900f7e4331b99dec4b5433ac7d329eeb6dd26545e96e55b874be909",
			"09330c33f71147e83d192fc782cd1b4753111b173b3b05d22fa08086e3b0f712fcc7c71a557e2db966c3e9fa91746039"},
	} {
		t.Run(c.name, func(t *testing.T) {
			digest, digest384 := sum([]byte(c.message)), sum384([]byte(c.message))
			assert.Equal(t, c.want, hex.EncodeToString(digest[:]))
			assert.Equal(t, c.want384, hex.EncodeToString(digest384[:]))
		})
	}
}

// TestEveryLength: the padding takes another form at the end of a block.
func TestEveryLength(t *testing.T) {
	message := make([]byte, 300)
	for i := range message {
		message[i] = byte(7 * i)
	}
	for n := range message {
		require.Equal(t, stdlib.Sum512(message[:n]), sum(message[:n]), "%d bytes", n)
		require.Equal(t, stdlib.Sum384(message[:n]), sum384(message[:n]), "%d bytes", n)
	}
}

func TestSumNeedsNoMemory(t *testing.T) {
	message := make([]byte, 1000)
	assert.Zero(t, testing.AllocsPerRun(10, func() { sum(message) }))
}

func FuzzSum(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte("abc"))
	f.Add(make([]byte, 128))
	f.Fuzz(func(t *testing.T, message []byte) {
		before := bytes.Clone(message)
		require.Equal(t, stdlib.Sum512(message), sum(message))
		require.Equal(t, stdlib.Sum384(message), sum384(message))
		require.True(t, bytes.Equal(before, message), "the message is only read")
	})
}

func BenchmarkSum(b *testing.B) {
	message := make([]byte, 64<<10)
	b.SetBytes(int64(len(message)))
	for b.Loop() {
		sum(message)
	}
}
