package tbf_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

// FuzzParse gives the parser any bytes, once as they are and once with a checksum
// that fits, and walks everything it returns.
func FuzzParse(f *testing.F) {
	f.Add(handmade)
	f.Add(everything(f))
	for _, c := range malformed {
		f.Add(c.object)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		check(t, b)
		if size := headerSize(b); size >= tbf.BaseSize && size <= len(b) {
			sealed := append([]byte{}, b...)
			tbfbuild.Seal(sealed)
			check(t, sealed)
		}
	})
}

func headerSize(b []byte) int {
	if len(b) < tbf.BaseSize {
		return 0
	}
	return int(b[tbf.OffsetHeaderSize]) | int(b[tbf.OffsetHeaderSize+1])<<8
}

// check parses b and asserts what holds of every object.
func check(t *testing.T, b []byte) {
	size, ok := tbf.Length(b)
	if ok {
		require.GreaterOrEqual(t, size, tbf.BaseSize)
		require.LessOrEqual(t, size, len(b))
	}
	o, err := tbf.Parse(b)
	if !err.OK() {
		assert.NotEmpty(t, tbfbuild.Words(err).Error())
		require.Equal(t, tbf.Object{}, o)
		return
	}
	require.True(t, ok, "what parses has a length")
	require.EqualValues(t, size, o.Size())
	require.LessOrEqual(t, o.HeaderSize(), o.Size())
	program, hasProgram := o.Program()
	if hasProgram {
		require.LessOrEqual(t, o.HeaderSize(), program.ProtectedSize)
		require.LessOrEqual(t, program.ProtectedSize, program.InitOffset)
		require.Less(t, program.InitOffset, program.BinaryEnd)
		require.LessOrEqual(t, program.BinaryEnd, o.Size())
		require.Len(t, o.Signed(), int(program.BinaryEnd))
	}
	if runnable := o.Runnable(); runnable.OK() {
		require.True(t, hasProgram && o.Enabled())
	}
	walkLists(t, &o, program)
	walkFooters(t, &o)
}

func walkLists(t *testing.T, o *tbf.Object, program tbf.Program) {
	for i := range o.WriteableRegions() {
		r, ok := o.WriteableRegion(i)
		require.True(t, ok)
		require.GreaterOrEqual(t, r.Offset, program.ProtectedSize)
		require.LessOrEqual(t, uint64(r.Offset)+uint64(r.Size), uint64(program.BinaryEnd))
	}
	for i := range min(o.Permissions(), 8) { // thousands fit, each check walks them all
		p, ok := o.Permission(i)
		require.True(t, ok)
		require.True(t, p.Mask == 0 || o.AllowsDriver(p.Driver))
		for bit := range uint32(64) {
			if command := uint64(p.Offset)*64 + uint64(bit); p.Mask>>bit&1 != 0 && command <= 0xffffffff {
				require.True(t, o.AllowsCommand(p.Driver, uint32(command)))
			}
		}
	}
	if s, ok := o.Storage(); ok {
		for _, ids := range []tbf.IDs{s.Read, s.Modify} {
			require.LessOrEqual(t, ids.Len(), tbf.MaxStorageIDs)
			for i := range ids.Len() {
				require.True(t, ids.Contains(ids.At(i)))
			}
		}
	}
}

func walkFooters(t *testing.T, o *tbf.Object) {
	bytes := 0
	for footers := o.Footers(); ; {
		footer, ok := footers.Next()
		if !ok {
			return
		}
		bytes += 4 + len(footer.Data)
		require.LessOrEqual(t, bytes, int(o.Size()))
	}
}

// everything builds an object with every element there is.
func everything(t testing.TB) []byte {
	t.Helper()
	object, err := tbfbuild.Build(tbfbuild.Spec{
		Name: "everything", Sticky: true,
		Binary: make([]byte, 3*abi.PageSize), BinaryOffset: abi.PageSize,
		Init: 0x40, MinimumRAM: 16 << 10, Version: 9,
		Writeable:      []tbf.Region{{Offset: abi.PageSize, Size: abi.PageSize}, {Offset: 2 * abi.PageSize, Size: 8}},
		KernelVersion:  tbf.KernelVersion{Major: 2, Minor: 1},
		FixedAddresses: &tbf.FixedAddresses{RAM: 0x9000_0000, Flash: tbf.Unset},
		Permissions:    []tbf.Permission{{Driver: 1, Mask: 0b1011}, {Driver: 1, Offset: 2, Mask: 1 << 63}, {Driver: 0x40001, Mask: 1}},
		Storage:        &tbfbuild.Storage{WriteID: 3, Read: []uint32{3, 4}, Modify: []uint32{5}},
		ShortID:        0xbeef,
		ABI64:          true,
	})
	require.NoError(t, err)
	return object
}
