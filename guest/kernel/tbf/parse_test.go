package tbf_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

// handmade is an object written by hand from the format's description, so that the
// parser is not only tested against our own builder. It is what Tock's tools make
// of a small task: Main and Program, a name, the kernel's version, one footer.
var handmade = []byte{
	// base header
	0x02, 0x00, 0x48, 0x00, // version 2, header size 72
	0x80, 0x00, 0x00, 0x00, // total size 128
	0x01, 0x00, 0x00, 0x00, // enabled
	0x9e, 0x77, 0x39, 0x00, // checksum: the XOR of the header's other words
	// Main
	0x01, 0x00, 0x0c, 0x00,
	0x99, 0x00, 0x00, 0x00, // init offset: not this one
	0x00, 0x00, 0x00, 0x00,
	0x99, 0x00, 0x00, 0x00,
	// Program
	0x09, 0x00, 0x14, 0x00,
	0x09, 0x00, 0x00, 0x00, // init function at 72 + 9
	0x08, 0x00, 0x00, 0x00, // protected trailer of 8 bytes
	0x00, 0x18, 0x00, 0x00, // 6 KiB of RAM
	0x60, 0x00, 0x00, 0x00, // the binary ends at 96
	0x07, 0x00, 0x00, 0x00, // version 7
	// package name
	0x03, 0x00, 0x03, 0x00, 'z', 'o', 'o', 0x00,
	// kernel version 2.1
	0x08, 0x00, 0x04, 0x00, 0x02, 0x00, 0x01, 0x00,
	// protected trailer, binary
	0, 0, 0, 0, 0, 0, 0, 0,
	1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
	// footers: an unknown format of 4 bytes, then padding of 12
	0x80, 0x00, 0x08, 0x00, 0x63, 0x00, 0x00, 0x00, 0xaa, 0xbb, 0xcc, 0xdd,
	0x80, 0x00, 0x10, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
}

func TestParseHandmade(t *testing.T) {
	o, err := tbf.Parse(handmade)
	require.NoError(t, tbfbuild.Words(err))
	require.NoError(t, tbfbuild.Words(o.Runnable()))

	program, ok := o.Program()
	require.True(t, ok)
	assert.Equal(t, tbf.Program{InitOffset: 81, ProtectedSize: 80, MinimumRAM: 6144, BinaryEnd: 96, Version: 7}, program)
	assert.Equal(t, "zoo", string(o.Name()))
	version, _ := o.KernelVersion()
	assert.Equal(t, tbf.KernelVersion{Major: 2, Minor: 1}, version)
	assert.EqualValues(t, 128, o.Size())
	assert.EqualValues(t, 72, o.HeaderSize())
	assert.True(t, o.Enabled())
	assert.False(t, o.Sticky())
	assert.False(t, o.Padding())
	assert.False(t, o.Is64Bit(), "an object without Kapsel's element is a 32-bit task")
	assert.Equal(t, handmade[:96], o.Signed())

	footers := o.Footers()
	first, ok := footers.Next()
	require.True(t, ok)
	assert.Equal(t, tbf.Footer{Type: tbf.TypeCredential, Format: 0x63, Data: []byte{0xaa, 0xbb, 0xcc, 0xdd}}, first)
	second, ok := footers.Next()
	require.True(t, ok)
	assert.Equal(t, tbf.Reserved, second.Format)
	assert.Len(t, second.Data, 12)
	_, ok = footers.Next()
	assert.False(t, ok)
}

func TestElementsThatAreAbsent(t *testing.T) {
	o, err := tbf.Parse(handmade)
	require.NoError(t, tbfbuild.Words(err))

	addresses, ok := o.FixedAddresses()
	assert.False(t, ok)
	assert.Equal(t, tbf.FixedAddresses{RAM: tbf.Unset, Flash: tbf.Unset}, addresses)
	_, ok = o.Storage()
	assert.False(t, ok)
	_, ok = o.ShortID()
	assert.False(t, ok)
	_, ok = o.WriteableRegion(0)
	assert.False(t, ok)
	_, ok = o.Permission(0)
	assert.False(t, ok)
	assert.False(t, o.Restricted())
	assert.True(t, o.AllowsDriver(1))
	assert.True(t, o.AllowsCommand(1, 99))
}

func TestPadding(t *testing.T) {
	object := header(16, 64)
	o, err := tbf.Parse(seal(object))
	require.NoError(t, tbfbuild.Words(err))
	assert.True(t, o.Padding())
	assert.Equal(t, tbf.FieldTask, o.Runnable().Field)
	assert.Empty(t, o.Name())
	assert.Nil(t, o.Signed())
	footers := o.Footers()
	_, ok := footers.Next()
	assert.False(t, ok)
}

// TestFirstOfEachCounts gives every element twice.
func TestFirstOfEachCounts(t *testing.T) {
	object := assemble(
		main12(1, 0, 100), main12(2, 0, 200),
		element(tbf.TypeName, "first"), element(tbf.TypeName, "second"),
		element(tbf.TypeShortID, "\x05\x00\x00\x00"), element(tbf.TypeShortID, "\x06\x00\x00\x00"),
	)
	o, err := tbf.Parse(object)
	require.NoError(t, tbfbuild.Words(err))
	program, _ := o.Program()
	assert.EqualValues(t, 100, program.MinimumRAM)
	assert.Equal(t, "first", string(o.Name()))
	id, _ := o.ShortID()
	assert.EqualValues(t, 5, id)
}

func TestUnknownElementIsSkipped(t *testing.T) {
	o, err := tbf.Parse(assemble(element(0x7777, "odd"), main12(0, 0, 1), element(tbf.TypeName, "n")))
	require.NoError(t, tbfbuild.Words(err))
	assert.Equal(t, "n", string(o.Name()))
}

func TestLength(t *testing.T) {
	for _, c := range []struct {
		name string
		b    []byte
		size int
		ok   bool
	}{
		{"sound", handmade, 128, true},
		{"more behind it", append(append([]byte{}, handmade...), 1, 2, 3), 128, true},
		{"bad checksum is stepped over", mutate(handmade, 12, 0xff), 128, true},
		{"bad header size is stepped over", mutate(handmade, 2, 3), 128, true},
		{"nothing", nil, 0, false},
		{"shorter than a base header", handmade[:15], 0, false},
		{"version 3 ends the list", mutate(handmade, 0, 3), 0, false},
		{"erased flash", []byte(strings.Repeat("\xff", 64)), 0, false},
		{"cut short", handmade[:127], 0, false},
		{"total size 0", mutate(handmade, 4, 0), 0, false},
		{"total size below a base header", mutate(handmade, 4, 15), 0, false},
		{"total size 4 GiB - 1", header(16, 0xffffffff), 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			size, ok := tbf.Length(c.b)
			assert.Equal(t, c.ok, ok)
			assert.Equal(t, c.size, size)
		})
	}
}
