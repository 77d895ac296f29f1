package tbfbuild_test

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

var update = flag.Bool("update", false, "write the golden file anew")

// TestGolden pins the bytes: other people's tools read them.
func TestGolden(t *testing.T) {
	object, err := tbfbuild.Build(tbfbuild.Spec{
		Name: "blink", Binary: []byte("code of blink"), Init: 4, MinimumRAM: 8192, Version: 3,
		Permissions: []tbf.Permission{{Driver: 2, Mask: 0xf}},
		ABI64:       true,
	})
	require.NoError(t, err)
	golden := filepath.Join("testdata", "blink.tbf")
	if *update {
		require.NoError(t, os.WriteFile(golden, object, 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(want, object), "the object differs from %s; after a change on purpose run go test -update", golden)
}

func TestBuildPlacesTheBinary(t *testing.T) {
	for _, c := range []struct {
		name        string
		size        int
		offset      uint32
		binary, end uint32
		total       uint32
		footers     int
	}{
		{"behind the header", 100, 0, 48, 148, 4096, 1},
		{"at an offset", 100, 256, 256, 356, 4096, 1},
		{"odd size", 101, 256, 256, 360, 4096, 1},
		{"fills the page", 4096 - 256, 256, 256, 4096, 4096, 0},
		{"leaves 8 bytes", 4096 - 256 - 8, 256, 256, 4088, 4096, 1},
		{"leaves 4 bytes", 4096 - 256 - 4, 256, 256, 4096, 4096, 0},
		{"begins a page", 1, abi.PageSize, 4096, 4100, 8192, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			binary := bytes.Repeat([]byte{0xcc}, c.size)
			object, err := tbfbuild.Build(tbfbuild.Spec{Binary: binary, BinaryOffset: c.offset})
			require.NoError(t, err)
			o, parseErr := tbf.Parse(object)
			require.NoError(t, tbfbuild.Words(parseErr))
			require.NoError(t, tbfbuild.Words(o.Runnable()))
			program, _ := o.Program()
			assert.Equal(t, c.binary, program.ProtectedSize)
			assert.Equal(t, c.binary, program.InitOffset)
			assert.Equal(t, c.end, program.BinaryEnd)
			assert.Equal(t, c.total, o.Size())
			assert.Equal(t, binary, object[c.binary:int(c.binary)+c.size])
			footers := o.Footers()
			n := 0
			for _, ok := footers.Next(); ok; _, ok = footers.Next() {
				n++
			}
			assert.Equal(t, c.footers, n)
		})
	}
}

// TestCredentials: they lie between the binary and the padding, in order, and the digest is
// that of all in front of them.
func TestCredentials(t *testing.T) {
	signature := tbfbuild.Credential{Format: tbf.ECDSAP256, Data: bytes.Repeat([]byte{7}, 64)}
	unknown := tbfbuild.Credential{Format: 99, Data: []byte("odd")}
	for _, c := range []struct {
		name    string
		size    int // of the binary, which begins at 256
		digest  bool
		others  []tbfbuild.Credential
		formats []tbf.Format
		end     uint32 // of the binary
		total   uint32
	}{
		{"a digest", 100, true, nil, []tbf.Format{tbf.SHA256, tbf.Reserved}, 356, 4096},
		{"a digest and others", 100, true, []tbfbuild.Credential{signature, unknown},
			[]tbf.Format{tbf.SHA256, tbf.ECDSAP256, 99, tbf.Reserved}, 356, 4096},
		{"others alone", 100, false, []tbfbuild.Credential{unknown, signature}, []tbf.Format{99, tbf.ECDSAP256, tbf.Reserved}, 356, 4096},
		{"it fills the page", 4096 - 256 - 40, true, nil, []tbf.Format{tbf.SHA256}, 4096 - 40, 4096},
		{"4 bytes are left", 4096 - 256 - 44, true, nil, []tbf.Format{tbf.SHA256}, 4096 - 40, 4096},
		{"8 bytes are left", 4096 - 256 - 48, true, nil, []tbf.Format{tbf.SHA256, tbf.Reserved}, 4096 - 48, 4096},
		{"it needs another page", 4096 - 256, true, nil, []tbf.Format{tbf.SHA256, tbf.Reserved}, 4096, 8192},
	} {
		t.Run(c.name, func(t *testing.T) {
			object, err := tbfbuild.Build(tbfbuild.Spec{
				Binary: bytes.Repeat([]byte{0xcc}, c.size), BinaryOffset: 256, SHA256: c.digest, Credentials: c.others,
			})
			require.NoError(t, err)
			o, parseErr := tbf.Parse(object)
			require.NoError(t, tbfbuild.Words(parseErr))
			program, _ := o.Program()
			assert.Equal(t, c.end, program.BinaryEnd)
			assert.Equal(t, c.total, o.Size())
			var formats []tbf.Format
			footers := o.Footers()
			for f, ok := footers.Next(); ok; f, ok = footers.Next() {
				formats = append(formats, f.Format)
				if f.Format == tbf.SHA256 {
					want := sha256.Sum256(object[:c.end])
					assert.Equal(t, want[:], f.Data)
				}
			}
			assert.Equal(t, c.formats, formats)
		})
	}
}

func TestBuildDisabled(t *testing.T) {
	object, err := tbfbuild.Build(tbfbuild.Spec{Binary: []byte{1}, Disabled: true})
	require.NoError(t, err)
	o, parseErr := tbf.Parse(object)
	require.NoError(t, tbfbuild.Words(parseErr))
	assert.False(t, o.Enabled())
	assert.Equal(t, tbf.FieldEnabled, o.Runnable().Field)
}

func TestBuildRefuses(t *testing.T) {
	page := make([]byte, abi.PageSize)
	for _, c := range []struct {
		name string
		spec tbfbuild.Spec
		want string
	}{
		{"an empty binary", tbfbuild.Spec{Name: "a"},
			`task "a": init function is at 0x0 of the binary, want it below the binary's size, 0x0`},
		{"an init function outside", tbfbuild.Spec{Name: "a", Binary: page, Init: 0xffffffff},
			`task "a": init function is at 0xffffffff of the binary, want it below the binary's size, 0x1000`},
		{"a region outside", tbfbuild.Spec{Name: "a", Binary: page, Writeable: []tbf.Region{{Offset: 0xfffff000, Size: 0x1001}}},
			`task "a": writeable region at 0xfffff000 of the binary ends at 0x100000001, want it inside the binary's 0x1000 bytes`},
		{"a binary over the header", tbfbuild.Spec{Name: "a", Binary: page, BinaryOffset: 16},
			`task "a": binary offset is 0x10, want at least 0x38, the size of the header`},
		{"a binary that is not aligned", tbfbuild.Spec{Name: "a", Binary: page, BinaryOffset: 0x101},
			`task "a": binary offset is 0x101, want a multiple of 4`},
		{"an unprintable name", tbfbuild.Spec{Name: "a\n", Binary: page},
			`task "a\n": byte of the package name is 0xa, want printable UTF-8 (at byte 0x2d)`},
		{"nine storage identifiers", tbfbuild.Spec{Name: "a", Binary: page, Storage: &tbfbuild.Storage{Read: make([]uint32, 9)}},
			`task "a": number of storage identifiers is 0x9, want at most 0x8 (at byte 0x38)`},
		{"a digest of 31 bytes", tbfbuild.Spec{Name: "a", Binary: page, Credentials: []tbfbuild.Credential{{Format: tbf.SHA256, Data: make([]byte, 31)}}},
			`task "a": length of a credential is 0x23, want at least 0x24 (at byte 0x103a)`},
		{"lists that exceed the header", tbfbuild.Spec{Name: "a", Binary: page, Permissions: make([]tbf.Permission, 5000)},
			`task "a": header takes 80064 bytes, want at most 65535: shorten the lists`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := tbfbuild.Build(c.spec)
			assert.EqualError(t, err, c.want)
		})
	}
}

func TestCheck(t *testing.T) {
	assert.EqualError(t, tbfbuild.Check([]byte("#!/bin/sh\n")), "number of bytes is 0xa, want at least 0x10 (at byte 0x0)")
}
