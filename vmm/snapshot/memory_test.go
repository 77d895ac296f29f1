package snapshot

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"kapsel/guest/abi"
)

const page = abi.PageSize

func newMemory(t *testing.T, size uint64, at ...int64) *Memory {
	t.Helper()
	m, err := NewMemory(size, func(w io.WriterAt) error {
		for _, offset := range at {
			if _, err := w.WriteAt([]byte("here"), offset); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(t, err)
	return m
}

func TestMemoryLeavesZerosOut(t *testing.T) {
	m := newMemory(t, 100*page, 3*page+5, 4*page, 99*page)
	defer m.Release()
	assert.EqualValues(t, 100*page, m.Len())
	assert.Equal(t, []Run{{3 * page, 2 * page}, {99 * page, page}}, m.Runs())
	assert.Nil(t, m.Page(0))
	assert.Equal(t, "here", string(m.Page(3)[5:9]))

	all := make([]byte, 100*page)
	n, err := m.ReadAt(all, 0)
	require.NoError(t, err)
	require.Equal(t, len(all), n)
	want := make([]byte, 100*page)
	for _, at := range []int{3*page + 5, 4 * page, 99 * page} {
		copy(want[at:], "here")
	}
	assert.True(t, bytes.Equal(want, all))
	n, err = m.ReadAt(all[:10], 100*page-4)
	assert.Equal(t, 4, n)
	assert.ErrorIs(t, err, io.EOF)
	_, err = m.ReadAt(all, -1)
	assert.Error(t, err)

	var s unix.Stat_t
	require.NoError(t, unix.Fstat(m.FD(), &s))
	assert.LessOrEqual(t, s.Blocks*512, int64(3*page), "the host's memory")
}

func TestMemoryIsSealed(t *testing.T) {
	m := newMemory(t, page, 0)
	defer m.Release()
	_, err := unix.Pwrite(m.FD(), []byte("x"), 0)
	assert.ErrorIs(t, err, unix.EPERM)
	assert.ErrorIs(t, unix.Ftruncate(m.FD(), 0), unix.EPERM)
	assert.ErrorIs(t, unix.Ftruncate(m.FD(), 2*page), unix.EPERM)
	_, err = unix.FcntlInt(uintptr(m.FD()), unix.F_ADD_SEALS, 0)
	assert.ErrorIs(t, err, unix.EPERM)
}

func TestMemoryRefuses(t *testing.T) {
	for _, size := range []uint64{0, 1, page + 1} {
		_, err := NewMemory(size, func(io.WriterAt) error { return nil })
		assert.ErrorContains(t, err, "want a multiple of 4096")
	}
	for _, at := range []int64{-1, page - 3, page, page + 1, 1 << 62} {
		_, err := NewMemory(page, func(w io.WriterAt) error { _, err := w.WriteAt([]byte("here"), at); return err })
		assert.ErrorContains(t, err, "outside of a memory of 4096 bytes")
	}
	failure := errors.New("as it likes")
	_, err := NewMemory(page, func(io.WriterAt) error { return failure })
	assert.Equal(t, failure, err)
}

func TestMemoryGoesWithItsLastUser(t *testing.T) {
	m := newMemory(t, page, 0)
	s := &Snapshot{Memory: m}
	require.NoError(t, m.Use())
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "again")
	assert.Equal(t, "here", string(m.Page(0)[:4]), "there is a user")
	require.NoError(t, m.Release())
	assert.Equal(t, -1, m.FD())
	assert.ErrorContains(t, m.Use(), "the snapshot is closed")
	assert.ErrorContains(t, m.Release(), "the snapshot is closed")
}
