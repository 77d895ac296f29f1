package tbf_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

func TestRoundTrip(t *testing.T) {
	object := everything(t)
	o, err := tbf.Parse(object)
	require.NoError(t, tbfbuild.Words(err))
	require.NoError(t, tbfbuild.Words(o.Runnable()))

	program, _ := o.Program()
	assert.Equal(t, tbf.Program{InitOffset: 0x1040, ProtectedSize: 0x1000, MinimumRAM: 16 << 10, BinaryEnd: 0x4000, Version: 9}, program)
	assert.Equal(t, "everything", string(o.Name()))
	assert.True(t, o.Sticky())
	assert.True(t, o.Is64Bit())
	assert.EqualValues(t, tbf.ABI64, o.ABIFlags())

	require.Equal(t, 2, o.WriteableRegions())
	r, _ := o.WriteableRegion(1)
	assert.Equal(t, tbf.Region{Offset: 3 * abi.PageSize, Size: 8}, r)
	_, ok := o.WriteableRegion(2)
	assert.False(t, ok)
	_, ok = o.WriteableRegion(-1)
	assert.False(t, ok)

	addresses, ok := o.FixedAddresses()
	assert.True(t, ok)
	assert.Equal(t, tbf.FixedAddresses{RAM: 0x9000_0000, Flash: tbf.Unset}, addresses)
	version, ok := o.KernelVersion()
	assert.True(t, ok)
	assert.Equal(t, tbf.KernelVersion{Major: 2, Minor: 1}, version)
	id, ok := o.ShortID()
	assert.True(t, ok)
	assert.EqualValues(t, 0xbeef, id)

	s, ok := o.Storage()
	require.True(t, ok)
	assert.EqualValues(t, 3, s.WriteID)
	assert.True(t, s.Read.Contains(3) && s.Read.Contains(4))
	assert.False(t, s.Read.Contains(5))
	assert.Equal(t, 1, s.Modify.Len())
	assert.True(t, s.Modify.Contains(5))
}

func TestPermissions(t *testing.T) {
	o, err := tbf.Parse(everything(t))
	require.NoError(t, tbfbuild.Words(err))
	require.True(t, o.Restricted())
	for _, c := range []struct {
		driver, command uint32
		allowed         bool
	}{
		{1, 0, true}, {1, 1, true}, {1, 2, false}, {1, 3, true}, {1, 63, false}, {1, 64, false},
		{1, 128, false}, {1, 190, false}, {1, 191, true}, {1, 192, false}, {1, 0xffffffff, false},
		{0x40001, 0, true}, {0x40001, 1, false}, {2, 0, false},
	} {
		assert.Equal(t, c.allowed, o.AllowsCommand(c.driver, c.command), "driver %#x command %d", c.driver, c.command)
	}
	assert.True(t, o.AllowsDriver(1))
	assert.True(t, o.AllowsDriver(0x40001))
	assert.False(t, o.AllowsDriver(2))
}

// TestParseNeedsNoMemory covers Parse, every list and the description of an error.
func TestParseNeedsNoMemory(t *testing.T) {
	object := everything(t)
	bad := mutate(object, tbf.OffsetFlags, 0)
	w := &discard{}
	assert.Zero(t, testing.AllocsPerRun(10, func() {
		o, _ := tbf.Parse(object)
		o.AllowsCommand(1, 3)
		o.WriteableRegion(0)
		o.Storage()
		footers := o.Footers()
		footers.Next()
		_, err := tbf.Parse(bad)
		err.Describe(w)
	}))
	assert.NotZero(t, w.bytes)
}

type discard struct{ bytes int }

func (d *discard) WriteString(s string)       { d.bytes += len(s) }
func (d *discard) WriteChars(_ uint64, n int) { d.bytes += n }
