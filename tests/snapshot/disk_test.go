package snapshot

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/vmm"
	"kapsel/vmm/disk"
	"kapsel/vmm/image"
	"kapsel/vmm/snapshot"
	"kapsel/vmm/volume"
)

// A machine that is at work on its private disk goes on from there, again and again, in step and not: it finds what it had written before the snapshot, and
// nothing of what it, or another, has written since. The file stays as it was.
func TestDiskGoesOn(t *testing.T) {
	needKVM(t)
	path := filepath.Join(t.TempDir(), "disk")
	_, err := volume.Format(path, volume.Options{Size: 1 << 20, RegionSize: 64 << 10, KeyValueSize: 32 << 10})
	require.NoError(t, err)
	was, err := os.ReadFile(path)
	require.NoError(t, err)
	private := vmm.Disk{Path: path, Private: 256 << 10}
	for _, inStep := range []bool{true, false} {
		g := new(guest)
		c := g.config(t, kernel(t, "test/keeper.tbf", private))
		c.Modules, c.InStep = c.Modules[1:], inStep // without hello
		m, err := vmm.New(t.Context(), c)
		require.NoError(t, err)
		g.Machine = m
		g.close(t)
		g.runUntil(t, "keeper: nonvolatile: 65536 bytes, found 0") // and writes next
		s := g.snapshot(t)
		rest := untimed(g.toEnd(t))
		require.Contains(t, rest, "keeper: isolated: 65536 bytes, found 0\n") // and has written 1
		if inStep {                                                           // else its console has ended with it
			g.reset(t, s)
			assert.Equal(t, rest, untimed(g.toEnd(t)), "once more")
		}
		for range 2 {
			f := fork(t, s, vmm.StandStill, private)
			assert.Equal(t, rest, untimed(f.toEnd(t)), "a fork")
			f.reset(t, s)
			assert.Equal(t, rest, untimed(f.toEnd(t)), "a fork that was reset")
		}
		dir := filepath.Join(t.TempDir(), "s")
		require.NoError(t, s.Save(dir))
		loaded, err := snapshot.Load(dir)
		require.NoError(t, err)
		defer loaded.Close()
		require.NotZero(t, loaded.Disks[0].Len(), "the region's entry in the table was written before")
		assert.Equal(t, rest, untimed(fork(t, loaded, vmm.GoOn, private).toEnd(t)), "a fork of one that was saved")
	}
	now, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(was, now), "the file is never written")
}

// A disk is to be as the snapshot's, and one whose file is written is in none.
func TestDisksOfSnapshots(t *testing.T) {
	needKVM(t)
	img, err := image.Parse(image.Flat(counts, 20*abi.PageSize))
	require.NoError(t, err)
	file := func(size int64) string {
		path := filepath.Join(t.TempDir(), "disk")
		require.NoError(t, os.WriteFile(path, nil, 0o600))
		require.NoError(t, os.Truncate(path, size))
		return path
	}
	path, larger := file(1<<20), file(2<<20)
	ro, private := vmm.Disk{Path: path, ReadOnly: true}, vmm.Disk{Path: path, Private: 64 << 10}
	g := start(t, vmm.Config{Image: img, Memory: 4 << 20, Devices: []vmm.Device{ro, private}})
	s := g.snapshot(t)
	fork(t, s, vmm.StandStill, ro, private)
	layer := func(pages ...uint64) *disk.Layer {
		all := map[uint64]*disk.Page{}
		for _, page := range pages {
			all[page] = &disk.Page{}
		}
		return disk.NewLayer(all)
	}
	written := vmm.Disk{Path: path + "2"}
	require.NoError(t, os.WriteFile(written.Path, make([]byte, 1<<20), 0o600))
	for _, tt := range []struct {
		name  string
		disks []vmm.Device
		harm  func(*snapshot.Snapshot)
		want  string
	}{
		{"a larger one", []vmm.Device{vmm.Disk{Path: larger, ReadOnly: true}, private}, nil, `is not disk "` + larger + `": it has 2048 sectors, this one 4096`},
		{"not read-only", []vmm.Device{private, private}, nil, `the snapshot's device 0, disk "` + path + `", is not disk "` + path + `": it is read-only, this one is not`},
		{"not private", []vmm.Device{ro, ro}, nil, `the snapshot's device 1, disk "` + path + `", is not disk "` + path + `": it can be written, this one cannot`},
		{"written", []vmm.Device{ro, written}, nil, `no snapshots: what the guest writes to disk "` + written.Path + `" stays in its file, whatever becomes of the machine: make it read-only, or private`},
		{"a disk fewer", []vmm.Device{ro}, nil, "of a machine with 2 devices, this one has 1"},
		{"too little room", []vmm.Device{ro, vmm.Disk{Path: path, Private: 4096}}, func(s *snapshot.Snapshot) { s.Disks = []*disk.Layer{layer(1, 2)} },
			"private disk 0: the private disk is full: 8192 bytes were written to it, and it keeps at most 4096: give it more"},
		{"a page behind the end", nil, func(s *snapshot.Snapshot) { s.Disks = []*disk.Layer{layer(256)} }, "page 256 was written, and the disk has 1048576 bytes"},
		{"nothing of the disk", nil, func(s *snapshot.Snapshot) { s.Disks = nil }, "what was written to 0 private disks, this machine has 1 of them"},
		{"two of one disk", nil, func(s *snapshot.Snapshot) { s.Disks = append(s.Disks, layer()) }, "what was written to 2 private disks, this machine has 1 of them"},
	} {
		harmed := &snapshot.Snapshot{State: s.State, Memory: s.Memory, Disks: s.Disks}
		if tt.harm != nil {
			tt.harm(harmed)
		}
		if tt.disks == nil {
			tt.disks = []vmm.Device{ro, private}
			_, err := g.Reset(harmed, vmm.StandStill)
			assert.ErrorContains(t, err, tt.want, tt.name)
		}
		_, err := vmm.Fork(t.Context(), harmed, vmm.Config{InStep: true, Devices: tt.disks}, vmm.StandStill)
		assert.ErrorContains(t, err, tt.want, tt.name)
	}
	require.Equal(t, "\x01", g.runUntil(t, "\x01"), "after refusals it goes on")

	w := start(t, vmm.Config{Image: img, Memory: 4 << 20, Devices: []vmm.Device{written}})
	_, err = w.Snapshot()
	assert.ErrorContains(t, err, "no snapshots: what the guest writes to")
	_, err = vmm.New(t.Context(), vmm.Config{Image: img, Devices: []vmm.Device{vmm.Disk{Path: path, ReadOnly: true, Private: 1 << 20}}})
	assert.ErrorContains(t, err, "is read-only and private: want one of them")
	_, err = vmm.New(t.Context(), vmm.Config{Image: img, Devices: []vmm.Device{vmm.Disk{Path: path, Private: 100}}})
	assert.ErrorContains(t, err, "is private, of 100 bytes: want at least 4096")
}
