package main

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/vmm/disk"
	"kapsel/vmm/volume/volumetest"
)

// diskSays runs "kapsel disk" and returns what it says on both ways.
func diskSays(t *testing.T, status int, args ...string) (out, said string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	got := command(append([]string{"disk"}, args...), stdio{out: &stdout, err: &stderr})
	assert.Equal(t, status, got, stderr.String())
	return stdout.String(), stderr.String()
}

// exampleDisk is a storage with two regions and records of three owners, one of whose keys was changed.
func exampleDisk(t *testing.T) (path string, s *volumetest.Storage, changed uint32) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "disk.img")
	out, said := diskSays(t, 0, "format", path, "--size", "4M", "--region-size", "256K", "--kv-size=64K")
	assert.Empty(t, said)
	assert.Equal(t, `"`+path+`": a storage of 4M: 64K for keys and values, and room for 15 regions of 256K`+"\n", out)
	s = volumetest.Open(t, path)
	// The key of the hash decides which key is in which bucket, and the golden file says how many there are.
	s.HashKey = [16]byte{}
	sector := make([]byte, 512)
	s.Encode(sector)
	s.Write(0, sector)
	s.Allocate(0x50001, 7)
	s.Allocate(0x50004, 0x1234)
	s.Set(1, 7, "name", "kapsel")
	s.Set(1, 8, "greeting", "hello")
	s.Set(1, 0x1234, "empty", "")
	s.Set(1, 7, "boots", "41")
	return path, s, s.Set(2, 7, "boots", "42")
}

// shown is what "disk show" says, with a fixed identity.
func shown(t *testing.T, status int, path string, s *volumetest.Storage) string {
	t.Helper()
	out, said := diskSays(t, status, "show", path)
	assert.Empty(t, said)
	identity := hex.EncodeToString(s.Identity[:])
	assert.Equal(t, 1, strings.Count(out, identity))
	return strings.Replace(out, identity, "00112233445566778899aabbccddeeff", 1)
}

func TestDiskShow(t *testing.T) {
	path, s, _ := exampleDisk(t)
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	golden(t, "testdata/disk-show.golden", shown(t, 0, path, s))
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(before, after), "it only reads")
}

func TestDiskShowOfAnEmptyStorage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.img")
	diskSays(t, 0, "format", path)
	golden(t, "testdata/disk-show-empty.golden", shown(t, 0, path, volumetest.Open(t, path)))
}

// Each damage has a line. What is only older does not count as lost.
func TestDiskShowOfDamage(t *testing.T) {
	path, s, changed := exampleDisk(t)
	s.Flip(s.Copy(changed, 1) + 4000)
	golden(t, "testdata/disk-show-older.golden", shown(t, 0, path, s))
	s.Flip(s.Copy(changed, 0) + 4000)
	s.Flip(s.Entry(0) + 20)
	golden(t, "testdata/disk-show-damage.golden", shown(t, statusLost, path, s))
}

// TestDiskRefuses: one line with the file's name in quotes, what it is and what to do, and the file stays.
func TestDiskRefuses(t *testing.T) {
	storage, _, _ := exampleDisk(t)
	cut, _, _ := exampleDisk(t)
	require.NoError(t, os.Truncate(cut, 1<<20))
	other, s, _ := exampleDisk(t)
	s.Write(8, []byte{9})
	damaged, s, _ := exampleDisk(t)
	s.Flip(100)
	boot := file(t, "boot.img", append(make([]byte, 510), 0x55, 0xaa))
	locked := file(t, "locked.img", make([]byte, 4<<20))
	machine, err := disk.Open(locked, false)
	require.NoError(t, err)
	defer machine.Close()
	for _, test := range []struct {
		name, path string
		args       []string
		want       string
	}{
		{"format of a storage", storage, []string{"format"}, "it holds a Kapsel storage of 4M: nothing was written: --force overwrites all of it"},
		{"format of another version", other, []string{"format"}, "it holds a Kapsel storage of version 9: nothing was written: --force"},
		{"format of what is cut short", cut, []string{"format"}, "it holds a Kapsel storage of 4M, of which 1M are there: nothing was written: --force"},
		{"format of what is damaged", damaged, []string{"format"}, "it holds a Kapsel storage with a superblock that is damaged: the checksum is another: nothing was written: --force"},
		{"format of something foreign", boot, []string{"format"}, "it holds a partition table or a boot sector: nothing was written: --force"},
		{"format of what is in use", locked, []string{"format", "--force"}, "it is in use by another program, as a machine that runs"},
		{"format of too little", locked + "x", []string{"format", "--size", "1M"}, "a storage of 1M has no room for a key-value store of 1M and a region of 1M: these take 2084K"},
		{"show of nothing", file(t, "zeroes.img", make([]byte, 4096)), []string{"show"}, "it is new, without anything but zeroes: kapsel disk format FILE makes a storage of it"},
		{"show of another version", other, []string{"show"}, "it holds a Kapsel storage of version 9, and this kapsel has version 1: use the release that made it"},
		{"show of what is cut short", cut, []string{"show"}, "it holds a Kapsel storage of 4M, of which 1M are there: copy it again, whole"},
		{"show of what is damaged", damaged, []string{"show"}, "it holds a Kapsel storage with a superblock that is damaged: the checksum is another: take a copy"},
		{"show of something foreign", boot, []string{"show"}, "it holds a partition table or a boot sector: want a file that kapsel disk format made"},
		{"show of what is in use", locked, []string{"show"}, "it is in use by another program, as a machine that runs"},
		{"show of no file", locked + "x", []string{"show"}, "no such file or directory"},
		{"show of a folder", t.TempDir(), []string{"show"}, "want a raw image or a block device, found a directory"},
		{"show of a name with an end of line", "a\nb", []string{"show"}, "no such file or directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			before, _ := os.ReadFile(test.path)
			out, said := diskSays(t, statusUsage, append(test.args, test.path)...)
			assert.Empty(t, out)
			assertOneLine(t, said, `: `+test.want)
			assert.Regexp(t, `^kapsel: disk "[^\n]+": `, said)
			after, _ := os.ReadFile(test.path)
			assert.True(t, bytes.Equal(before, after), "nothing is lost")
		})
	}
}

func TestDiskFormatForce(t *testing.T) {
	path, s, _ := exampleDisk(t)
	out, said := diskSays(t, 0, "format", "--force", path)
	assert.Empty(t, said)
	assert.Equal(t, `"`+path+`": a storage of 4M: 1M for keys and values, and room for 2 regions of 1M`+"\n", out)
	again := volumetest.Open(t, path)
	assert.NotEqual(t, s.Identity, again.Identity)
	out, _ = diskSays(t, 0, "show", path)
	assert.NotContains(t, out, "owner")
}
