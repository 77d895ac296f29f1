package storage

import (
	"path/filepath"
	"testing"

	"kapsel/tests/storage/survivors"
	"kapsel/vmm"
)

// TestKilledAtRandomPoints: a machine whose tasks write without end to their nonvolatile storage, of both drivers, and to the key-value
// store is killed at random points of what they print, 100 times, on one disk. After each kill nothing is lost on the disk, and the
// tasks find all that they were told was durable; a write that went on is old or new, in a region sector by sector.
func TestKilledAtRandomPoints(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	disk, s := vmm.Disk{Path: path}, survivors.New(t, path)
	for n := range survivors.Kills() {
		s.Boot(t, disk)
		s.Inspect(t, path)
		if t.Failed() {
			t.Fatalf("at kill %d", n)
		}
	}
	s.Look(t, disk)
}
