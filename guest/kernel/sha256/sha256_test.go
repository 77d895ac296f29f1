package sha256_test

import (
	"bytes"
	stdlib "crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/kernel/sha256"
)

// TestVectors are NIST's examples for FIPS 180, and the empty message.
func TestVectors(t *testing.T) {
	for _, c := range []struct{ name, message, want string }{
		{"empty", "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{"one block", "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
		{"two blocks", "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
			"248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
		{"a million letters", string(bytes.Repeat([]byte("a"), 1e6)),
			"cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			digest := sha256.Sum([]byte(c.message))
			assert.Equal(t, c.want, hex.EncodeToString(digest[:]))
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
		require.Equal(t, stdlib.Sum256(message[:n]), sha256.Sum(message[:n]), "%d bytes", n)
	}
}

func TestSumNeedsNoMemory(t *testing.T) {
	message := make([]byte, 1000)
	assert.Zero(t, testing.AllocsPerRun(10, func() { sha256.Sum(message) }))
}

func FuzzSum(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte("abc"))
	f.Add(make([]byte, 64))
	f.Fuzz(func(t *testing.T, message []byte) {
		before := bytes.Clone(message)
		require.Equal(t, stdlib.Sum256(message), sha256.Sum(message))
		require.True(t, bytes.Equal(before, message), "the message is only read")
	})
}

func BenchmarkSum(b *testing.B) {
	message := make([]byte, 64<<10)
	b.SetBytes(int64(len(message)))
	for b.Loop() {
		sha256.Sum(message)
	}
}
