package vmm_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"kapsel/guest/abi/virtio"
	"kapsel/tests/storage/survivors"
	"kapsel/vmm"
)

// TestPowerFailsAtRandomPoints is TestKilledAtRandomPoints of tests/storage with a disk that loses, at each kill, any sectors of what was
// written and not flushed.
func TestPowerFailsAtRandomPoints(t *testing.T) {
	if err := vmm.Probe(t.Context()); err != nil {
		t.Skip(err)
	}
	t.Setenv("KAPSEL_ACCEL", "kvm")
	if os.Getenv("KAPSEL_BUILD") == "" {
		t.Setenv("KAPSEL_BUILD", filepath.Join("..", "build"))
	}
	path := filepath.Join(t.TempDir(), "disk")
	s := survivors.New(t, path)
	image, err := os.ReadFile(path)
	require.NoError(t, err)
	lost := 0
	least := survivors.Kills()
	for n := 0; n < least || lost == 0 && n < 10*least; n++ { // until it has lost something
		m := newMedium(image)
		s.Boot(t, vmm.BlockDevice{Storage: m})
		lost += len(m.unsure)
		image = m.afterPowerFailure(s.Random)
		require.NoError(t, os.WriteFile(path, image, 0o600))
		s.Inspect(t, path)
		if t.Failed() {
			t.Fatalf("at power failure %d", n)
		}
	}
	s.Look(t, vmm.Disk{Path: path})
	t.Logf("%d writes of sectors were not flushed when the power failed", lost)
	require.NotZero(t, lost)
}

// medium is what a block device keeps in memory, and loses if it was not flushed.
type medium struct {
	durable, seen []byte
	unsure        []write // not flushed
}

// write is what a sector got.
type write struct {
	at    int
	bytes []byte
}

func newMedium(image []byte) *medium {
	return &medium{durable: bytes.Clone(image), seen: bytes.Clone(image)}
}

func (m *medium) Size() uint64      { return uint64(len(m.seen)) }
func (m *medium) BlockSize() uint64 { return virtio.SectorSize }
func (m *medium) ReadOnly() bool    { return false }
func (m *medium) CanDiscard() bool  { return false }
func (m *medium) Close() error      { return nil }

func (m *medium) Read(pieces [][]byte, at uint64) error {
	for _, p := range pieces {
		at += uint64(copy(p, m.seen[at:]))
	}
	return nil
}

func (m *medium) Write(pieces [][]byte, at uint64) error {
	for sector := range slices.Chunk(slices.Concat(pieces...), virtio.SectorSize) {
		m.unsure = append(m.unsure, write{int(at), sector})
		at += uint64(copy(m.seen[at:], sector))
	}
	return nil
}

func (m *medium) Flush() error {
	copy(m.durable, m.seen)
	m.unsure = nil
	return nil
}

func (m *medium) Discard(uint64, uint64) error { panic("it cannot discard") }
func (m *medium) Zero(uint64, uint64) error    { panic("it cannot discard") }

// afterPowerFailure is what there is if the power fails now.
func (m *medium) afterPowerFailure(random *rand.Rand) []byte {
	image := bytes.Clone(m.durable)
	for _, w := range m.unsure {
		if random.IntN(2) == 0 {
			copy(image[w.at:], w.bytes)
		}
	}
	return image
}
