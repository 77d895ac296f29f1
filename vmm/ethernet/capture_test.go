package ethernet

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A record is a frame of a capture.
type record struct {
	when  time.Time
	frame []byte
}

// readCapture reads a pcap file by the format's description alone (draft-ietf-opsawg-pcap).
func readCapture(t *testing.T, path string) []record {
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(file), 24)
	order := binary.LittleEndian
	assert.EqualValues(t, 0xa1b23c4d, order.Uint32(file))
	assert.EqualValues(t, 2, order.Uint16(file[4:]))
	assert.EqualValues(t, 4, order.Uint16(file[6:]))
	assert.Zero(t, order.Uint64(file[8:]))
	assert.EqualValues(t, 1514, order.Uint32(file[16:]))
	assert.EqualValues(t, 1, order.Uint32(file[20:]))
	var records []record
	for rest := file[24:]; len(rest) > 0; {
		require.GreaterOrEqual(t, len(rest), 16)
		n := order.Uint32(rest[8:])
		assert.Equal(t, n, order.Uint32(rest[12:]))
		require.GreaterOrEqual(t, len(rest), 16+int(n))
		records = append(records, record{time.Unix(int64(order.Uint32(rest)), int64(order.Uint32(rest[4:]))), rest[16 : 16+n]})
		rest = rest[16+n:]
	}
	return records
}

func TestCaptureHasWhatPassed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "net.pcap")
	require.NoError(t, os.WriteFile(path, make([]byte, 1<<20), 0o600)) // of another run
	c, err := CreateCapture(path)
	require.NoError(t, err)
	one, other := Pair()
	a := NewPort(macs[0], one, c, t.Logf)
	ready := make(chan struct{}, 10)
	a.Start(func() { ready <- struct{}{} })
	b := newDevice(t, other, nil)

	before := time.Now()
	require.NoError(t, a.Send(frameOf(MaxFrame, 1)))
	b.next(t)
	require.NoError(t, b.Send(frameOf(HeaderSize, 2)))
	<-ready
	assert.Error(t, a.Send(make([]byte, 3)), "which does not pass")
	require.NoError(t, a.Close())

	records := readCapture(t, path)
	require.Len(t, records, 2)
	assert.Equal(t, frameOf(MaxFrame, 1), records[0].frame)
	assert.Equal(t, frameOf(HeaderSize, 2), records[1].frame)
	for _, r := range records {
		assert.False(t, r.when.Before(before.Truncate(0)), "%s is before %s", r.when, before)
		assert.False(t, r.when.After(time.Now()))
	}
}

func TestCaptureNanoseconds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "net.pcap")
	c, err := CreateCapture(path)
	require.NoError(t, err)
	when := time.Unix(1_800_000_000, 123_456_789)
	c.now = func() time.Time { return when }
	c.Frame(frameOf(60, 1))
	require.NoError(t, c.Close())
	assert.Equal(t, when, readCapture(t, path)[0].when)
}

func TestCaptureWantsARegularFile(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	_, err := CreateCapture(fifo)
	assert.Error(t, err, "a FIFO that nobody reads")
	_, err = CreateCapture("/dev/null")
	assert.ErrorContains(t, err, "want a regular file")
	_, err = CreateCapture(filepath.Join(t.TempDir(), "no", "folder"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// full is a file on a full disk.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, syscall.ENOSPC }
func (full) Close() error              { return nil }

var _ io.WriteCloser = full{}

func TestCaptureTellsOfAFullDiskAndLetsTheMachineBe(t *testing.T) {
	one, other := Pair()
	a, b := NewPort(macs[0], one, NewCapture(full{}), t.Logf), newDevice(t, other, nil)
	a.Start(func() {})
	for i := range 100 {
		require.NoError(t, a.Send(frameOf(MaxFrame, i)))
		b.next(t)
	}
	err := a.Close()
	assert.ErrorContains(t, err, "the capture is not complete")
	assert.True(t, errors.Is(err, syscall.ENOSPC))
}
