package softdigest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"hash"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/kernel/kerneltest"
)

// client counts what comes back.
type client struct {
	calls int
	bytes []byte
}

func (c *client) DigestDone(_ *hil.DigestMessage, bytes []byte, _ abi.ErrorCode) {
	c.calls++
	c.bytes = bytes
}

func newEngine(t testing.TB) (*Digest, *client) {
	m := kerneltest.New(t, capability.Mint())
	engine, c := new(Digest), new(client)
	engine.Init(&m.Kernel)
	engine.SetDigestClient(c)
	return engine, c
}

// digest adds a message in pieces of so many bytes, and returns its digest.
func digest(t *testing.T, engine *Digest, m *hil.DigestMessage, message []byte, size int) []byte {
	for len(message) != 0 {
		n := min(size, len(message))
		require.Equal(t, abi.OK, engine.AddToDigest(m, message[:n]))
		engine.HandleDeferredCall()
		message = message[n:]
	}
	sum := make([]byte, hil.MaxDigest)
	require.Equal(t, abi.OK, engine.FinishDigest(m, sum))
	engine.HandleDeferredCall()
	return sum[:m.Algorithm.Size()]
}

// TestHMACVectors are those of RFC 4231, 4.2 to 4.8, but the one whose digest is cut off.
func TestHMACVectors(t *testing.T) {
	repeat := func(digits string, n int) string { return strings.Repeat(digits, n) }
	for _, tt := range []struct{ name, key, data, want256, want384, want512 string }{
		{"1", repeat("0b", 20), "4869205468657265",
			"b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
			"afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
			"87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854"},
		{"2", "4a656665", "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
			"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
			"af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
			"164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"},
		{"3", repeat("aa", 20), repeat("dd", 50),
			"773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
			"88062608d3e6ad8a0aa2ace014c8a86f0aa635d947ac9febe83ef4e55966144b2a5ab39dc13814b94e3ab6e101a34f27",
			"fa73b0089d56a284efb0f0756c890be9b1b5dbdd8ee81a3655f83e33b2279d39bf3e848279a722c806b485a47e67c807b946a337bee8942674278859e13292fb"},
		{"6", repeat("aa", 131), hex.EncodeToString([]byte("Test Using Larger Than Block-Size Key - Hash Key First")),
			"60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
			"4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f3cd11f05033ac4c60c2ef6ab4030fe8296248df163f44952",
			"80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f3526b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			key, err := hex.DecodeString(tt.key)
			require.NoError(t, err)
			data, err := hex.DecodeString(tt.data)
			require.NoError(t, err)
			for algorithm, want := range []string{tt.want256, tt.want384, tt.want512} {
				engine, _ := newEngine(t)
				var m hil.DigestMessage
				require.Equal(t, abi.OK, engine.StartHMAC(&m, hil.DigestAlgorithm(algorithm), key))
				assert.Equal(t, want, hex.EncodeToString(digest(t, engine, &m, data, 7)))
			}
		})
	}
}

// hashes are the standard library's, by algorithm.
var hashes = []func() hash.Hash{sha256.New, sha512.New384, sha512.New}

// FuzzDigest compares digests and HMACs with the standard library's, of messages in pieces of any size.
func FuzzDigest(f *testing.F) {
	f.Add([]byte("key"), []byte("message"), uint8(3))
	f.Add(make([]byte, 200), make([]byte, 256), uint8(64))
	f.Fuzz(func(t *testing.T, key, message []byte, size uint8) {
		key, message = key[:min(len(key), MaxPiece)], message[:min(len(message), 4096)]
		engine, _ := newEngine(t)
		for i, newHash := range hashes {
			algorithm, pieces := hil.DigestAlgorithm(i), int(size)+1
			var m hil.DigestMessage
			require.Equal(t, abi.OK, engine.StartDigest(&m, algorithm))
			want := newHash()
			want.Write(message)
			require.Equal(t, want.Sum(nil), digest(t, engine, &m, message, pieces))
			require.Equal(t, abi.OK, engine.StartHMAC(&m, algorithm, key))
			want = hmac.New(newHash, key)
			want.Write(message)
			require.Equal(t, want.Sum(nil), digest(t, engine, &m, message, pieces))
		}
	})
}

// TestOrder: one piece at a time, told once and never from within the call; what is wrong is refused.
func TestOrder(t *testing.T) {
	engine, c := newEngine(t)
	engine.HandleDeferredCall()
	assert.Zero(t, c.calls)
	var m hil.DigestMessage
	require.Equal(t, abi.OK, engine.StartDigest(&m, hil.SHA256))
	data := []byte("data")
	assert.Equal(t, abi.OK, engine.AddToDigest(&m, data))
	assert.Equal(t, abi.BUSY, engine.AddToDigest(&m, data))
	assert.Equal(t, abi.BUSY, engine.FinishDigest(&m, make([]byte, hil.MaxDigest)))
	assert.Zero(t, c.calls)
	engine.HandleDeferredCall()
	engine.HandleDeferredCall()
	assert.Equal(t, 1, c.calls)
	assert.True(t, bytes.Equal(data, c.bytes))
	assert.Equal(t, abi.SIZE, engine.AddToDigest(&m, make([]byte, MaxPiece+1)))
	assert.Equal(t, abi.SIZE, engine.FinishDigest(&m, make([]byte, hil.MaxDigest-1)))
	assert.Equal(t, abi.SIZE, engine.StartHMAC(&m, hil.SHA256, make([]byte, MaxPiece+1)))
	assert.Equal(t, abi.NOSUPPORT, engine.StartDigest(&m, 3))
	assert.Equal(t, abi.NOSUPPORT, engine.StartHMAC(&m, 3, nil))
	assert.Equal(t, abi.NOSUPPORT, engine.AddToDigest(nil, nil))
	assert.Equal(t, abi.NOSUPPORT, engine.AddToDigest(&hil.DigestMessage{Algorithm: 9}, nil))
}
