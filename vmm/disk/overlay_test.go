package disk

import (
	"bytes"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// overlay makes a private disk of a file of random bytes, and returns what stands in it.
func overlay(t testing.TB, size int, limit uint64) (*Overlay, string, []byte) {
	t.Helper()
	path := t.TempDir() + "/base"
	content := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(content)
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return over(t, path, limit), path, content
}

// over makes a private disk of a file.
func over(t testing.TB, path string, limit uint64) *Overlay {
	t.Helper()
	base, err := Open(path, true)
	require.NoError(t, err)
	o := NewOverlay(base, limit)
	t.Cleanup(func() { o.Close() })
	return o
}

// content reads all of an overlay, in pieces.
func content(t testing.TB, o *Overlay) []byte {
	t.Helper()
	all := make([]byte, o.Size())
	require.NoError(t, o.Read([][]byte{all[:100], nil, all[100:5000], all[5000:]}, 0))
	return all
}

// cut cuts bytes into pieces at random.
func cut(r *rand.Rand, data []byte) (pieces [][]byte) {
	for len(data) > 0 {
		n := 1 + r.IntN(min(len(data), 6000))
		pieces, data = append(pieces, data[:n]), data[n:]
	}
	return pieces
}

// TestOverlayAgainstModel: random writes, reads, snapshots and ways back, against arrays. The base stays as it was.
func TestOverlayAgainstModel(t *testing.T) {
	const size = 20*PageSize + 3*SectorSize // the last page is a part of one
	o, path, base := overlay(t, size, 1<<30)
	model := slices.Clone(base)
	type instant struct {
		layer *Layer
		model []byte
	}
	instants := []instant{{o.Freeze(), base}}
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		switch op := r.IntN(20); {
		case op == 0:
			instants = append(instants, instant{o.Freeze(), slices.Clone(model)})
		case op == 1:
			i := instants[r.IntN(len(instants))]
			require.NoError(t, o.Check(i.layer))
			o.Revert(i.layer)
			model = slices.Clone(i.model)
		case op < 10:
			at := r.IntN(size)
			data := make([]byte, 1+r.IntN(min(size-at, 3*PageSize)))
			for i := range data {
				data[i] = byte(r.Uint32())
			}
			copy(model[at:], data)
			require.NoError(t, o.Write(cut(r, data), uint64(at)))
		default:
			at := r.IntN(size)
			data := make([]byte, 1+r.IntN(size-at))
			require.NoError(t, o.Read(cut(r, data), uint64(at)))
			require.True(t, bytes.Equal(model[at:at+len(data)], data))
		}
	}
	for _, i := range instants { // no layer changed
		other := over(t, path, 1<<30)
		other.Revert(i.layer)
		require.True(t, bytes.Equal(i.model, content(t, other)))
	}
	now, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(base, now), "the base is never written")
}

// TestOverlayIsBounded: a page beyond the limit is refused, those that there are can be written still, and going back makes room.
func TestOverlayIsBounded(t *testing.T) {
	o, path, _ := overlay(t, 8*PageSize, 3*PageSize)
	empty := o.Freeze()
	write := func(page uint64) error { return o.Write([][]byte{{1, 2, 3}}, page*PageSize+5) }
	for page := range uint64(3) {
		require.NoError(t, write(page))
	}
	was := content(t, o)
	err := write(3)
	require.ErrorIs(t, err, ErrFull)
	assert.EqualError(t, err, "the private disk is full: it keeps at most 12288 bytes: give it more")
	assert.Equal(t, was, content(t, o))
	require.NoError(t, write(2))

	full := o.Freeze()
	assert.Equal(t, 3, full.Len())
	assert.ErrorIs(t, write(2), ErrFull, "the page of the layer is kept beside the new one")
	o.Revert(empty)
	require.NoError(t, write(7))
	assert.Equal(t, 1, o.Freeze().Len())
	assert.EqualError(t, over(t, path, 2*PageSize).Check(full), "the private disk is full: 12288 bytes were written to it, and it keeps at most 8192: give it more")
}

// TestOverlayRefusesLayers: a layer of a larger disk is none of this one.
func TestOverlayRefusesLayers(t *testing.T) {
	o, _, _ := overlay(t, 2*PageSize+SectorSize, 1<<20)
	assert.NoError(t, o.Check(NewLayer(map[uint64]*Page{2: {}})), "a page that the disk's end cuts off")
	assert.ErrorContains(t, o.Check(NewLayer(map[uint64]*Page{3: {}})), "page 3 was written, and the disk has 8704 bytes")
	assert.ErrorContains(t, o.Check(NewLayer(map[uint64]*Page{1<<64 - 1: {}})), "page 18446744073709551615 was written")
}

// TestOverlaysOfOneFile: several share a base, and nobody writes it meanwhile.
func TestOverlaysOfOneFile(t *testing.T) {
	a, path, base := overlay(t, 2*PageSize, 1<<20)
	b := over(t, path, 1<<20)
	require.NoError(t, a.Write([][]byte{{^base[0]}}, 0))
	assert.Equal(t, base, content(t, b))
	_, err := Open(path, false)
	assert.ErrorIs(t, err, ErrInUse)
}

// TestOverlayThatFails: a base that has become shorter is an error, and the page that could not be filled is not kept.
func TestOverlayThatFails(t *testing.T) {
	o, path, _ := overlay(t, 4*PageSize, 1<<20)
	require.NoError(t, os.Truncate(path, PageSize))
	assert.Error(t, o.Write([][]byte{{1}}, 2*PageSize))
	assert.Zero(t, o.Freeze().Len())
	assert.NoError(t, o.Write([][]byte{make([]byte, PageSize)}, 2*PageSize), "a whole page needs nothing of the base")
	assert.Equal(t, 1, o.Freeze().Len())
}
