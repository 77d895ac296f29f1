package kernel_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/kernel"
	"kapsel/guest/kernel/kerneltest"
	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

func signed(s *tbfbuild.Spec) { s.SHA256 = true }

// wrongDigest is a SHA-256 credential of something else.
var wrongDigest = tbfbuild.Credential{Format: tbf.SHA256, Data: make([]byte, 32)}

// uncheckable are credentials that the kernel cannot check.
var uncheckable = []tbfbuild.Credential{
	{Format: tbf.RSA3072, Data: make([]byte, 768)},
	{Format: tbf.RSA4096, Data: make([]byte, 1024)},
	{Format: tbf.SHA384, Data: make([]byte, 48)},
	{Format: tbf.SHA512, Data: make([]byte, 64)},
	{Format: tbf.ECDSAP256, Data: make([]byte, 64)},
	{Format: 99, Data: []byte("what is that")},
}

const (
	changed  = "skipped: a credential does not fit its header and binary"
	missing  = "skipped: it has no credential that the kernel can check, and the board requires one"
	unsigned = "skipped: its ECDSA-P256 signature cannot be checked by this kernel; the board requires a SHA-256 digest (elf2tab --sha256)"
)

func TestCredentialsPolicies(t *testing.T) {
	none, checked, required := &kernel.NoCredentials{}, &kernel.SHA256Credentials{}, &kernel.SHA256Credentials{Require: true}
	for _, c := range []struct {
		name        string
		digest      bool
		credentials []tbfbuild.Credential
		// why the object is skipped, by policy
		none, checked, required string
	}{
		{"no credential", false, nil, "", "", missing},
		{"a right digest", true, nil, "", "", ""},
		{"a wrong digest", false, []tbfbuild.Credential{wrongDigest}, "", changed, changed},
		{"what cannot be checked", false, uncheckable[:4], "", "", missing},
		{"that, and a signature by ECDSA-P256", false, uncheckable, "", "", unsigned},
		{"such a signature alone", false, uncheckable[4:5], "", "", unsigned},
		{"and a right digest", true, uncheckable[4:5], "", "", ""},
		{"that behind a right digest", true, uncheckable, "", "", ""},
		{"that, then a wrong digest", false, append(uncheckable[:5:5], wrongDigest), "", changed, changed},
		{"a right digest, then a wrong one: the first decides", true, []tbfbuild.Credential{wrongDigest}, "", "", ""},
		{"two wrong digests", false, []tbfbuild.Credential{wrongDigest, wrongDigest}, "", changed, changed},
		{"padding in front", false, []tbfbuild.Credential{{Format: tbf.Reserved, Data: make([]byte, 40)}, wrongDigest}, "", changed, changed},
		{"padding alone", false, []tbfbuild.Credential{{Format: tbf.Reserved}}, "", "", missing},
	} {
		for policy, want := range map[kernel.CredentialsPolicy]string{none: c.none, checked: c.checked, required: c.required} {
			m := newMachine(t)
			m.Credentials = policy
			m.AddObject(kerneltest.Object(t, "object", func(s *tbfbuild.Spec) { s.SHA256, s.Credentials = c.digest, c.credentials }))
			m.AddTask("next", nothing, signed)
			if want == "" {
				require.Equal(t, 2, m.Load(), "%s, %T%+v: %s", c.name, policy, policy, m.Log.String())
				assert.NotContains(t, m.Log.String(), "skipped")
				continue
			}
			require.Equal(t, 1, m.Load(), "%s, %T%+v: the next object makes a task: %s", c.name, policy, policy, m.Log.String())
			assert.Contains(t, m.Log.String(), "task object at offset 0x0 "+want, "%s, %T%+v", c.name, policy, policy)
			assert.Contains(t, m.Log.String(), "task 1 next: flash 0x40000000..0x40001000, RAM 0x80000000..", "neither slot nor number is lost")
		}
	}
}

// TestLongerDigest: a digest that more bytes follow in its footer is judged by its own bytes.
func TestLongerDigest(t *testing.T) {
	for _, right := range []bool{true, false} {
		object := kerneltest.Object(t, "object", func(s *tbfbuild.Spec) {
			s.Credentials = []tbfbuild.Credential{{Format: tbf.SHA256, Data: bytes.Repeat([]byte("?"), 64)}}
		})
		o, err := tbf.Parse(object)
		require.NoError(t, tbfbuild.Words(err))
		if right {
			digest := sha256.Sum256(o.Signed())
			copy(object[len(o.Signed())+8:], digest[:])
		}
		m := newMachine(t)
		m.Credentials = &kernel.SHA256Credentials{Require: true}
		m.AddObject(object)
		if right {
			assert.Equal(t, 1, m.Load(), m.Log.String())
			continue
		}
		assert.Equal(t, 0, m.Load())
		assert.Contains(t, m.Log.String(), changed)
	}
}

// TestWrongDigestInFrontOfARightOne: order matters, since the first verdict is the last.
func TestWrongDigestInFrontOfARightOne(t *testing.T) {
	object := kerneltest.Object(t, "object", func(s *tbfbuild.Spec) {
		s.SHA256, s.Credentials = true, []tbfbuild.Credential{wrongDigest}
	})
	o, err := tbf.Parse(object)
	require.NoError(t, tbfbuild.Words(err))
	program, _ := o.Program()
	first, second := object[program.BinaryEnd:][:40], object[program.BinaryEnd+40:][:40]
	swapped := append(bytes.Clone(second), first...)
	copy(first, swapped)
	m := newMachine(t)
	m.AddObject(object)
	assert.Equal(t, 0, m.Load())
	assert.Contains(t, m.Log.String(), changed)
}

// TestEveryBitIsChecked flips every bit of the header, with a new checksum, and some bits
// of the binary: no such object runs where a digest is required.
func TestEveryBitIsChecked(t *testing.T) {
	object := kerneltest.Object(t, "object", signed)
	o, err := tbf.Parse(object)
	require.NoError(t, tbfbuild.Words(err))
	program, _ := o.Program()
	random := rand.New(rand.NewPCG(1, 2))
	m := newMachine(t)
	m.Credentials = &kernel.SHA256Credentials{Require: true}
	refused := 0
	for bit := 0; bit < 8*int(program.BinaryEnd); bit++ {
		at := bit / 8
		if at >= int(o.HeaderSize()) {
			bit += random.IntN(50) // of the binary, some
			at = min(bit/8, int(program.BinaryEnd)-1)
		}
		spoiled := bytes.Clone(object)
		spoiled[at] ^= 1 << (bit % 8)
		if at < int(o.HeaderSize()) && at != tbf.OffsetHeaderSize && at != tbf.OffsetHeaderSize+1 {
			if at < tbf.OffsetChecksum || at >= tbf.OffsetChecksum+4 {
				tbfbuild.Seal(spoiled)
			}
		}
		m.Log.Reset()
		m.AddObject(spoiled)
		require.Equal(t, 0, m.Load(), "bit %d of byte %#x: %s", bit%8, at, m.Log.String())
		if strings.Contains(m.Log.String(), changed) {
			refused++
		}
	}
	assert.Greater(t, refused, 1000, "objects that only the digest tells from sound ones")

	m.AddObject(object)
	assert.Equal(t, 1, m.Load(), "the object itself")
}

// TestMalformedFooters: what is no footer is not passed over.
func TestMalformedFooters(t *testing.T) {
	for _, c := range []struct {
		name   string
		at     int // in bytes from the binary's end
		value  byte
		reason string
	}{
		{"a digest longer than the object", 3, 0xff, "bad object: end of a footer is 0x"},
		{"a digest cut short", 2, 35, "bad object: length of a credential is 0x23, want at least 0x24"},
		{"a digest without a format", 2, 3, "bad object: length of a credential is 0x3, want at least 0x4"},
		{"padding longer than the object", 43, 0xff, "bad object: end of a footer is 0x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			object := kerneltest.Object(t, "object", signed)
			o, err := tbf.Parse(object)
			require.NoError(t, tbfbuild.Words(err))
			program, _ := o.Program()
			object[int(program.BinaryEnd)+c.at] = c.value
			m := newMachine(t)
			m.AddObject(object)
			m.AddTask("next", nothing, nil)
			assert.Equal(t, 1, m.Load())
			assert.Contains(t, m.Log.String(), "task object at offset 0x0 skipped: "+c.reason)
		})
	}
}

// pieces are the pieces of a region.
func pieces(r *kernel.Region) (all [][]byte) {
	for piece := r.Next(); len(piece) != 0; piece = r.Next() {
		all = append(all, piece)
	}
	return all
}

// TestDigestInPieces: the digest of a long object is that of all its bytes, and between the
// pieces of the work the watchdog sees that the kernel goes on.
func TestDigestInPieces(t *testing.T) {
	const piece = 64 << 10
	for _, size := range []int{piece - 1, piece, piece + 1, 2*piece + 100, 5 * piece} {
		for _, spoiled := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d bytes, spoiled %v", size, spoiled), func(t *testing.T) {
				object := kerneltest.Object(t, "long", func(s *tbfbuild.Spec) {
					s.Binary, s.SHA256 = make([]byte, size), true
				})
				o, _ := tbf.Parse(object)
				signed := len(o.Signed())
				if spoiled {
					object[signed-1]++
				}
				m := newMachine(t)
				polls := 0
				m.CPU.OnPoll = func() { polls++ }
				m.AddObject(object)
				if spoiled {
					assert.Equal(t, 0, m.Load())
				} else {
					assert.Equal(t, 1, m.Load(), m.Log.String())
				}
				assert.GreaterOrEqual(t, polls, (signed-1)/piece)
			})
		}
	}
}

// TestLongPaddingIsReadInPieces: what lies behind the objects is looked at in pieces too.
func TestLongPaddingIsReadInPieces(t *testing.T) {
	m := newMachine(t)
	polls := 0
	m.CPU.OnPoll = func() { polls++ }
	m.AddObject(bytes.Repeat([]byte{0xff}, 10*64<<10))
	assert.Zero(t, m.Load())
	assert.Empty(t, m.Log.String())
	assert.GreaterOrEqual(t, polls, 9)
}

// askedPolicy counts what it is asked.
type askedPolicy struct {
	checks, required int
	regions          [][]byte
	verdict          kernel.Verdict
}

func (p *askedPolicy) Check(_ tbf.Footer, region *kernel.Region) kernel.Verdict {
	p.checks++
	p.regions = append(p.regions, pieces(region)[0])
	return p.verdict
}

func (p *askedPolicy) Refusal(bool) string { p.required++; return "" }

// TestPolicyIsAskedNoMoreThanItMust: only about credentials, only of objects that could run
// otherwise, and not after it decided.
func TestPolicyIsAskedNoMoreThanItMust(t *testing.T) {
	for _, c := range []struct {
		name             string
		verdict          kernel.Verdict
		change           func(*tbfbuild.Spec)
		checks, required int
	}{
		{"padding", kernel.VerdictPass, nil, 0, 1},
		{"three that pass", kernel.VerdictPass, func(s *tbfbuild.Spec) { s.Credentials = uncheckable[2:5] }, 3, 1},
		{"the first accepted", kernel.VerdictAccept, func(s *tbfbuild.Spec) { s.Credentials = uncheckable }, 1, 0},
		{"the first rejected", kernel.VerdictReject, func(s *tbfbuild.Spec) { s.Credentials = uncheckable }, 1, 0},
		{"disabled", kernel.VerdictAccept, func(s *tbfbuild.Spec) { s.SHA256, s.Disabled = true, true }, 0, 0},
		{"too large", kernel.VerdictAccept, func(s *tbfbuild.Spec) { s.SHA256, s.MinimumRAM = true, 1<<20 }, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &askedPolicy{verdict: c.verdict}
			m := newMachine(t)
			m.Credentials = p
			object := kerneltest.Object(t, "object", c.change)
			m.AddObject(object)
			m.Load()
			assert.Equal(t, c.checks, p.checks)
			assert.Equal(t, c.required, p.required)
			for _, region := range p.regions {
				o, _ := tbf.Parse(object)
				assert.Equal(t, o.Signed(), region)
			}
		})
	}
}
