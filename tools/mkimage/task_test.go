package main

import (
	"crypto/sha256"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

func TestManifest(t *testing.T) {
	const head = "package main\n\n"
	const entry = "runtime.entry"
	for _, tt := range []struct {
		name   string
		source string
		want   manifest
		err    string // behind the folder's name
	}{
		{"nothing said", "", manifest{16 << 10, 64 << 10, 0, entry, 0, 0, nil}, ""},
		{"all said", "//kapsel:stack 8192\n//kapsel:heap 0\n//kapsel:flash 4096\n", manifest{8192, 0, 4096, entry, 0, 0, nil}, ""},
		{"hexadecimal", "//kapsel:heap 0x1000\n", manifest{16 << 10, 4096, 0, entry, 0, 0, nil}, ""},
		{"rounded up to what the hardware needs", "//kapsel:stack 1\n//kapsel:flash 1\n", manifest{16, 64 << 10, 4096, entry, 0, 0, nil}, ""},
		{"spaces", "//kapsel:stack   32 \n", manifest{32, 64 << 10, 0, entry, 0, 0, nil}, ""},
		{"within a group of comments", "// Words.\n//\n//kapsel:stack 32\n", manifest{32, 64 << 10, 0, entry, 0, 0, nil}, ""},
		{"a comment that only looks like one", "// kapsel:stack 32\n", manifest{16 << 10, 64 << 10, 0, entry, 0, 0, nil}, ""},
		{"an entry", "//kapsel:entry first\n", manifest{16 << 10, 64 << 10, 0, "main.first", 0, 0, nil}, ""},
		{"an identity", "//kapsel:shortid 0xffffffff\n//kapsel:version 2\n", manifest{16 << 10, 64 << 10, 0, entry, 1<<32 - 1, 2, nil}, ""},
		{"permissions", "//kapsel:permit 1 0 1\n//kapsel:permit 0x10000 64\n//kapsel:permit 1 127 63\n", manifest{16 << 10, 64 << 10, 0, entry, 0, 0, []tbf.Permission{
			{Driver: 1, Mask: 1<<63 | 3}, {Driver: 0x10000, Offset: 1, Mask: 1}, {Driver: 1, Offset: 1, Mask: 1 << 63}}}, ""},
		{"the largest number", "//kapsel:heap 1073741823\n", manifest{16 << 10, 1<<30 - 1, 0, entry, 0, 0, nil}, ""},

		{"no number", "//kapsel:stack\n", manifest{}, "/main.go:3:1: //kapsel:stack: want //kapsel:stack, heap or flash and a number of bytes below 1 GiB, shortid or version and a number of 32 bits, permit and the numbers of a driver and its commands, or entry and a function"},
		{"a unit", "\n//kapsel:heap 64K\n", manifest{}, "/main.go:4:1: //kapsel:heap 64K: want "},
		{"a negative number", "//kapsel:heap -1\n", manifest{}, "/main.go:3:1: //kapsel:heap -1: want "},
		{"too large", "//kapsel:heap 1073741824\n", manifest{}, "/main.go:3:1: //kapsel:heap 1073741824: want "},
		{"an identity that is too large", "//kapsel:shortid 0x100000000\n", manifest{}, "/main.go:3:1: //kapsel:shortid 0x100000000: want "},
		{"a driver without commands", "//kapsel:permit 1\n", manifest{}, "/main.go:3:1: //kapsel:permit 1: want "},
		{"a command by name", "//kapsel:permit 1 write\n", manifest{}, "/main.go:3:1: //kapsel:permit 1 write: want "},
		{"a command that is too large", "//kapsel:permit 1 0x100000000\n", manifest{}, "/main.go:3:1: //kapsel:permit 1 0x100000000: want "},
		{"permissions that do not fit", "//kapsel:permit 1 0 64 128 192 256 320 384 448 512\n", manifest{}, ": the //kapsel:permit lines make 9 entries"},
		{"a version in words", "//kapsel:version 1.2\n", manifest{}, "/main.go:3:1: //kapsel:version 1.2: want "},
		{"an unknown word", "//kapsel:ram 4096\n", manifest{}, "/main.go:3:1: //kapsel:ram 4096: want "},
		{"two numbers", "//kapsel:stack 1 2\n", manifest{}, "/main.go:3:1: //kapsel:stack 1 2: want "},
		{"an entry elsewhere", "//kapsel:entry task.first\n", manifest{}, "/main.go:3:1: //kapsel:entry task.first: want "},
		{"not Go", "func {\n", manifest{}, "/main.go:3:6: expected"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, write(dir, "main.go", head+tt.source))
			got, err := readManifest(dir)
			if tt.err != "" {
				assert.ErrorContains(t, err, dir+tt.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestManifestOfSeveralFiles(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, write(dir, "a.go", "package main\n\n//kapsel:stack 64\n"))
	require.NoError(t, write(dir, "b.go", "package main\n\n//kapsel:heap 128\n"))
	got, err := readManifest(dir)
	require.NoError(t, err)
	assert.Equal(t, manifest{64, 128, 0, "runtime.entry", 0, 0, nil}, got)
}

// A startWords is the start table (see spec).
type startWords struct {
	DataFrom, DataTo, DataSize, StackLow, StackTop, FirstBreak uint64
}

// object reads a task object of the shared build.
func object(t *testing.T, name string) ([]byte, tbf.Object, startWords) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(build(t), name))
	require.NoError(t, err)
	o, wrong := tbf.Parse(b)
	require.NoError(t, tbfbuild.Words(wrong))
	var s startWords
	_, err = binary.Decode(b[256:], binary.LittleEndian, &s)
	require.NoError(t, err)
	return b, o, s
}

func TestTaskObject(t *testing.T) {
	for _, name := range []string{"hello", "settings"} {
		t.Run(name, func(t *testing.T) {
			b, o, start := object(t, name+".tbf")
			assert.EqualValues(t, len(b), o.Size(), "the file is the object")
			assert.Zero(t, len(b)%abi.PageSize)
			assert.Equal(t, name, string(o.Name()))
			assert.True(t, o.Is64Bit())
			assert.True(t, o.Enabled())
			wrong := o.Runnable()
			assert.True(t, wrong.OK())

			p, ok := o.Program()
			require.True(t, ok)
			assert.EqualValues(t, 256, p.ProtectedSize)
			fixed, ok := o.FixedAddresses()
			require.True(t, ok)
			assert.EqualValues(t, abi.FlashStart+256, fixed.Flash, "it appears at the usual place")
			assert.Zero(t, fixed.RAM%abi.PageSize)
			assert.GreaterOrEqual(t, uint64(fixed.RAM), abi.FlashStart+uint64(len(b)), "RAM lies behind the object")

			f := open(t, name+".elf")
			assert.Equal(t, f.Entry, abi.FlashStart+uint64(p.InitOffset), "init is the program's entry")
			text := f.Section(".text")
			assert.True(t, f.Entry >= text.Addr && f.Entry < text.Addr+text.Size, "init is in the code")
			code, err := text.Data()
			require.NoError(t, err)
			at := text.Addr - abi.FlashStart
			assert.Equal(t, code, b[at:at+text.Size], "the code lies where it was linked for")
			rodata := f.Section(".rodata")
			constants, err := rodata.Data()
			require.NoError(t, err)
			at = rodata.Addr - abi.FlashStart
			assert.Equal(t, constants, b[at:at+rodata.Size], "so do the constants")

			assert.EqualValues(t, abi.FlashStart+256+48, start.DataFrom, "the data follows the table")
			assert.EqualValues(t, fixed.RAM, start.DataTo)
			assert.Zero(t, start.DataSize%8)
			bss := f.Section(".noptrbss")
			assert.GreaterOrEqual(t, start.StackLow, bss.Addr+bss.Size, "the stack lies above the variables")
			assert.Zero(t, start.StackTop%16)
			assert.GreaterOrEqual(t, start.FirstBreak, start.StackTop)
			assert.Zero(t, start.FirstBreak%abi.PageSize)
			assert.LessOrEqual(t, start.FirstBreak, uint64(fixed.RAM)+uint64(p.MinimumRAM), "the first break fits the RAM")
		})
	}
}

func TestTaskDirectivesShapeTheObject(t *testing.T) {
	b, o, start := object(t, "settings.tbf")
	assert.EqualValues(t, 8208, start.StackTop-start.StackLow, "the stack, rounded up to 16")
	p, _ := o.Program()
	fixed, _ := o.FixedAddresses()
	assert.EqualValues(t, 0x8000, uint64(fixed.RAM)+uint64(p.MinimumRAM)-start.FirstBreak, "the heap")
	id, _ := o.ShortID()
	assert.EqualValues(t, 0x1234, id)
	assert.EqualValues(t, 7, o.Version())
	assert.True(t, o.AllowsCommand(0, 0) && o.AllowsCommand(0, 1))
	assert.False(t, o.AllowsCommand(0, 2) || o.AllowsCommand(1, 0))

	require.Equal(t, 1, o.WriteableRegions())
	region, _ := o.WriteableRegion(0)
	assert.EqualValues(t, 8192, region.Size, "5000 bytes in whole pages")
	assert.Zero(t, region.Offset%abi.PageSize, "the region has pages of its own")
	assert.GreaterOrEqual(t, uint64(region.Offset), start.DataFrom+start.DataSize-abi.FlashStart, "it lies behind the data")
	assert.Equal(t, make([]byte, region.Size), b[region.Offset:region.Offset+region.Size])
	text := open(t, "settings.elf").Section(".text")
	assert.EqualValues(t, region.Offset+region.Size, text.Addr-abi.FlashStart, "the code follows")

	symbols, err := symbolTable(open(t, "settings.elf"))
	require.NoError(t, err)
	at := symbols["main.initial"] - start.DataTo + start.DataFrom - abi.FlashStart
	assert.Equal(t, []byte{1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0}, b[at:at+24],
		"variables' initial values, at their places")
}

func TestTaskWithoutDirectivesIsPlain(t *testing.T) {
	_, o, _ := object(t, "hello.tbf")
	assert.Zero(t, o.WriteableRegions())
	_, identified := o.ShortID()
	assert.False(t, identified)
	assert.False(t, o.Restricted())
}

func TestReadObject(t *testing.T) {
	good, err := tbfbuild.Build(tbfbuild.Spec{Name: "good", Binary: make([]byte, 100), ABI64: true})
	require.NoError(t, err)
	unpadded := append([]byte(nil), good[:2048]...)
	binary.LittleEndian.PutUint32(unpadded[tbf.OffsetTotalSize:], 2048)
	tbfbuild.Seal(unpadded)
	o, wrong := tbf.Parse(good)
	require.NoError(t, tbfbuild.Words(wrong))
	end := len(o.Signed())
	binary.LittleEndian.PutUint16(unpadded[end+2:], uint16(2048-end-4)) // the padding
	broken := append([]byte(nil), good...)
	broken[tbf.OffsetChecksum]++
	for _, tt := range []struct {
		name    string
		content []byte
		want    string
	}{
		{"good", good, ""},
		{"empty", nil, ": "},
		{"text", []byte(strings.Repeat("text", 1024)), ": "},
		{"broken checksum", broken, ": "},
		{"cut off", good[:1000], ": "},
		{"not padded", unpadded, " is 2048 bytes long, want a multiple of 4096: pad it as elf2tab does for x86"},
		{"with something behind it", append(append([]byte(nil), good...), make([]byte, 4096)...), " is 8192 bytes long, but its object is 4096: want one object in a file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "task.tbf")
			require.NoError(t, os.WriteFile(path, tt.content, 0o644))
			got, err := taskObject(nil, path, "", true)
			if tt.want == "" {
				require.NoError(t, err)
				assert.Equal(t, tt.content, got)
				return
			}
			assert.ErrorContains(t, err, path+tt.want)
		})
	}
	_, err = readObject(filepath.Join(t.TempDir(), "absent.tbf"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestBuildTaskRefuses(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the go command")
	}
	tc, err := findToolchain()
	require.NoError(t, err)
	_, err = tc.buildTask("kapsel/guest/abi", t.TempDir(), false)
	assert.EqualError(t, err, "task kapsel/guest/abi is package abi, want a main package")
	_, err = tc.buildTask("./nowhere", t.TempDir(), false)
	assert.ErrorContains(t, err, "task ./nowhere: ")
}

// TestDigestOfATask: the built object has the credential, and is the same but for that.
func TestDigestOfATask(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the go command")
	}
	tc, err := findToolchain()
	require.NoError(t, err)
	const pkg = "kapsel/guest/tasks/hello"
	signed, err := taskObject(tc, pkg, t.TempDir(), true)
	require.NoError(t, err)
	plain, err := taskObject(tc, pkg, t.TempDir(), false)
	require.NoError(t, err)
	o, wrong := tbf.Parse(signed)
	require.NoError(t, tbfbuild.Words(wrong))
	assert.Equal(t, plain[tbf.BaseSize:len(o.Signed())], o.Signed()[tbf.BaseSize:])
	footers := o.Footers()
	footer, ok := footers.Next()
	require.True(t, ok)
	digest := sha256.Sum256(o.Signed())
	assert.Equal(t, tbf.Footer{Type: tbf.TypeCredential, Format: tbf.SHA256, Data: digest[:]}, footer)
}
