package linux

import (
	"encoding/hex"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

// twoDevices are the devices of testdata/dsdt.dsl.
var twoDevices = []Device{{0xd000_0000, 0x1000, 5}, {0xd000_1000, 0x200, 23}}

// TestTablesGolden compares all bytes of the tables, in their places, with those that were looked at by iasl
// and by Linux.
func TestTablesGolden(t *testing.T) {
	const golden = "testdata/tables.golden"
	memory := make([]byte, acpiEnd-acpiAddress)
	placeACPI(memory, twoDevices)
	got := hex.Dump(memory[:0x300])
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.Equal(t, string(want), got)
	assert.Equal(t, make([]byte, len(memory)-0x300), memory[0x300:])
}

// TestTablesAreFound follows the pointers from the RSDP on, as a kernel does, and adds up every table.
func TestTablesAreFound(t *testing.T) {
	for _, n := range []int{0, 1, 2, MaxDevices} {
		memory := make([]byte, acpiEnd-acpiAddress)
		written := placeACPI(memory, make([]Device, n))
		tables := find(t, memory)
		assert.Contains(t, tables, "FACP")
		assert.Contains(t, tables, "APIC")
		total := rsdpSize
		for _, table := range tables {
			total += len(table)
		}
		assert.Equal(t, written, total)
	}
}

// find returns the tables by their signatures.
func find(t *testing.T, memory []byte) map[string][]byte {
	tables := map[string][]byte{}
	read := func(address uint64) []byte {
		b := memory[address-acpiAddress:]
		b = b[:little.Uint32(b[offLength:])]
		require.Zero(t, sum(b), "checksum of %s", b[:4])
		tables[string(b[:4])] = b
		return b
	}
	root := memory[:rsdpSize]
	require.Equal(t, "RSD PTR ", string(root[:8]))
	require.Zero(t, sum(root))
	require.Zero(t, sum(root[:rsdpOldSize]))
	list := read(little.Uint64(root[24:]))
	for b := list[headerSize:]; len(b) > 0; b = b[8:] {
		read(little.Uint64(b))
	}
	read(little.Uint64(tables["FACP"][offXDSDT:]))
	return tables
}

func sum(b []byte) (s byte) {
	for _, v := range b {
		s += v
	}
	return s
}

// iasl is ACPI's own compiler; Debian's package acpica-tools has it.
func iasl(t *testing.T, arguments ...string) {
	t.Helper()
	if _, err := exec.LookPath("iasl"); err != nil {
		t.Skipf("%v: the package acpica-tools has it", err)
	}
	out, err := exec.CommandContext(t.Context(), "iasl", arguments...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NotRegexp(t, `[1-9]\d* (Errors|Warnings)`, string(out))
}

// TestDSDTIsWhatIaslCompiles compares our DSDT with iasl's of the same devices in ACPI's source language: all
// but whose compiler it was, and so the checksum.
func TestDSDTIsWhatIaslCompiles(t *testing.T) {
	out := filepath.Join(t.TempDir(), "dsdt")
	iasl(t, "-p", out, "testdata/dsdt.dsl")
	want, err := os.ReadFile(out + ".aml")
	require.NoError(t, err)
	got := dsdt(twoDevices)
	assert.Equal(t, want[:offChecksum], got[:offChecksum])
	assert.Equal(t, want[offChecksum+1:28], got[offChecksum+1:28])
	assert.Equal(t, hex.Dump(want[headerSize:]), hex.Dump(got[headerSize:]))
}

// TestTablesDisassemble has iasl read every table, and compile what it read.
func TestTablesDisassemble(t *testing.T) {
	memory := make([]byte, acpiEnd-acpiAddress)
	placeACPI(memory, twoDevices)
	for signature, table := range find(t, memory) {
		path := filepath.Join(t.TempDir(), signature)
		require.NoError(t, os.WriteFile(path+".dat", table, 0o644))
		iasl(t, "-p", path, "-d", path+".dat")
		iasl(t, "-p", path+"-again", path+".dsl")
	}
}

func TestSized(t *testing.T) {
	for _, tt := range []struct {
		name    string
		content int
		want    []byte // opcode and length
	}{
		{"one byte", 0, []byte{0x10, 0x01}},
		{"the most of one byte", 62, []byte{0x10, 0x3f}},
		{"two bytes", 63, []byte{0x10, 0x41, 0x04}},
		{"the most of two bytes", 0xfff - 2, []byte{0x10, 0x4f, 0xff}},
		{"three bytes", 0xfff - 1, []byte{0x10, 0x81, 0x00, 0x01}},
	} {
		got := sized([]byte{0x10}, nil, make([]byte, tt.content))
		assert.Equal(t, tt.want, got[:len(tt.want)], tt.name)
		assert.Len(t, got, len(tt.want)+tt.content, tt.name)
	}
}

func TestInteger(t *testing.T) {
	assert.Equal(t, []byte{0}, integer(0))
	assert.Equal(t, []byte{1}, integer(1))
	assert.Equal(t, []byte{0x0a, 2}, integer(2))
	assert.Equal(t, []byte{0x0b, 0, 1}, integer(0x100))
	assert.Equal(t, []byte{0x0c, 0, 0, 1, 0}, integer(0x1_0000))
	assert.Equal(t, []byte{0x0e, 0, 0, 0, 0, 1, 0, 0, 0}, integer(1<<32))
}
