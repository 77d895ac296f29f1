package vmm

import (
	"encoding/binary"
	"io"
	"os"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"kapsel/guest/abi"
	"kapsel/vmm/snapshot"
)

const pages = abi.PageSize

// small returns RAM of so many pages below the hole and at 4 GiB, as only a large machine has it.
func small(t *testing.T, low, high int) *memory {
	m, err := newMemory(uint64(low+high)*pages, true)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.close()) })
	m.low, m.high = m.low[:low*pages:low*pages], m.low[low*pages:(low+high)*pages]
	return m
}

func TestWhatDevicesWriteIsNoticed(t *testing.T) {
	m := small(t, 64, 10)
	m.Wrote(0, pages) // nobody asks
	m.wrote = make([]atomic.Uint64, m.words())
	for _, tt := range []struct {
		name       string
		address, n uint64
		want       [2]uint64
	}{
		{"nothing", 0, 0, [2]uint64{}},
		{"a byte", 3*pages + 7, 1, [2]uint64{1 << 3}},
		{"to a page's end", 3 * pages, pages, [2]uint64{1 << 3}},
		{"over a page's end", 4*pages - 1, 2, [2]uint64{3 << 3}},
		{"the last page below the hole", 63 * pages, pages, [2]uint64{1 << 63}},
		{"at 4 GiB", abi.MMIOHoleEnd, 2*pages + 1, [2]uint64{0, 7}},
		{"the last byte", abi.MMIOHoleEnd + 10*pages - 1, 1, [2]uint64{0, 1 << 9}},
	} {
		m.Wrote(tt.address, tt.n)
		assert.Equal(t, tt.want, [2]uint64{m.wrote[0].Swap(0), m.wrote[1].Swap(0)}, tt.name)
	}
}

func TestForkSharesWhatItDoesNotWrite(t *testing.T) {
	const size = 1024 // pages
	s, err := snapshot.NewMemory(size*pages, func(w io.WriterAt) error {
		for _, at := range []int64{0, 2 * pages, 1000 * pages} {
			if _, err := w.WriteAt([]byte{1}, at); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(t, err)
	defer s.Release()
	m, err := forkMemory(s)
	require.NoError(t, err)
	defer m.close()
	own := func() uint64 {
		n, err := m.resident()
		require.NoError(t, err)
		return n
	}
	zeros := hasPageOfZeros(t)
	sum := 0
	for page := range uint64(size) {
		if zeros || s.Page(page) != nil { // else the host has a page of its own for each that is read, even of zeros
			sum += int(m.page(page)[0])
		}
	}
	assert.Equal(t, 3, sum, "what the snapshot has")
	assert.Zero(t, own(), "reading copies nothing")
	m.page(0)[0], m.page(500)[0] = 7, 8
	assert.EqualValues(t, 2, own())
	assert.EqualValues(t, 1, s.Page(0)[0])
	assert.Equal(t, 1, m.revertPage(s, 0))
	assert.Equal(t, 0, m.revertPage(s, 0), "again")
	assert.Equal(t, 1, m.revertPage(s, 500))
	assert.EqualValues(t, 1, m.page(0)[0])
	assert.Zero(t, m.page(500)[0])
}

// hasPageOfZeros reports whether the host's kernel maps one page wherever memory is read that nobody wrote, as Linux does. One was seen that does not.
func hasPageOfZeros(t *testing.T) bool {
	ram, err := unix.Mmap(-1, 0, pages, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	require.NoError(t, err)
	defer unix.Munmap(ram)
	require.Zero(t, ram[0])
	file, err := os.Open("/proc/self/pagemap")
	require.NoError(t, err)
	defer file.Close()
	var entry [8]byte
	_, err = file.ReadAt(entry[:], int64(uintptr(unsafe.Pointer(&ram[0]))/pages*8))
	require.NoError(t, err)
	has := binary.LittleEndian.Uint64(entry[:])&pageAlone == 0
	if !has {
		t.Log("this host's kernel has no page of zeros for memory that was read and not written: holes are not read")
	}
	return has
}

func TestNearRunsAreJoined(t *testing.T) {
	run := func(offset, length uint64) snapshot.Run { return snapshot.Run{Offset: offset, Length: length} }
	assert.Empty(t, joined(nil, 10))
	assert.Equal(t, []snapshot.Run{run(0, 25), run(40, 5)}, joined([]snapshot.Run{run(0, 5), run(10, 5), run(24, 1), run(40, 5)}, 10))
}

func TestTimeOfASnapshot(t *testing.T) {
	s := &snapshot.State{Guest: snapshot.Guest{TSCKHz: 1_000_000}, Taken: time.Now().Add(-time.Hour)}
	s.Processor.TSC = 5
	assert.EqualValues(t, 5, tscAt(s, StandStill))
	hour := uint64(time.Hour / time.Nanosecond)
	assert.GreaterOrEqual(t, tscAt(s, GoOn), 5+hour)
	s.Taken = time.Now().Add(time.Hour)
	assert.EqualValues(t, 5, tscAt(s, GoOn), "time does not go back")
}
