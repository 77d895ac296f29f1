package main

import (
	"crypto/sha256"
	"encoding/binary"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tab/tabtest"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

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

// What a task asks for must end where other tasks' memory is lent to it.
func TestTaskRAMEndsBelowTheLoans(t *testing.T) {
	const data = abi.LoanStart - 10*abi.PageSize
	f := &taskFile{data: segment{addr: data, size: 100}}
	for _, tt := range []struct {
		name        string
		stack, heap uint64
		want        string
	}{
		{"fits", 2 * abi.PageSize, 6 * abi.PageSize, ""},
		{"a heap of a byte too much", 2 * abi.PageSize, 6*abi.PageSize + 1, "its RAM ends at 0x7f801000, want at most 0x7f800000, where other tasks' memory is lent to it: " +
			"from 0x7f7f6000 it has 100 bytes of variables, 8192 of stack and 24577 of heap, make them 4096 less"},
		{"a stack that is too large", 9 * abi.PageSize, 0, "its RAM ends at 0x7f801000, want at most 0x7f800000, where other tasks' memory is lent to it: " +
			"from 0x7f7f6000 it has 100 bytes of variables, 36864 of stack and 0 of heap, make them 4096 less"},
		{"both at their largest", gib - 16, gib - 1, "its RAM ends at 0xff7f8000, want at most 0x7f800000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := f.checkRAM(manifest{stack: tt.stack, heap: tt.heap})
			if tt.want == "" {
				assert.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, tt.want)
		})
	}
}

// objectOf makes a task's object as run does.
func objectOf(tc *toolchain, task, dir string, digest bool) ([]byte, error) {
	s, err := tc.findSource(task)
	if err != nil {
		return nil, err
	}
	return taskObject(tc, s, dir, digest)
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
		{"empty", nil, " is empty, want a TBF object"},
		{"shorter than a header", good[:tbf.BaseSize-1], ": number of bytes"},
		{"text", []byte(strings.Repeat("text", 1024)), ": "},
		{"broken checksum", broken, ": "},
		{"cut off", good[:1000], " is truncated: it is 1000 bytes long, its header says 4096; make or copy it again"},
		{"cut off in the header", good[:tbf.BaseSize], " is truncated: it is 16 bytes long, its header says 4096; make or copy it again"},
		{"not padded", unpadded, " is 2048 bytes long, want a multiple of 4096: pad it as elf2tab does for x86"},
		{"with something behind it", append(append([]byte(nil), good...), make([]byte, 4096)...), " is 8192 bytes long, but its object is 4096: want one object in a file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "task.tbf")
			require.NoError(t, os.WriteFile(path, tt.content, 0o644))
			got, err := objectOf(nil, path, "", true)
			if tt.want == "" {
				require.NoError(t, err)
				assert.Equal(t, tt.content, got)
				return
			}
			assert.ErrorContains(t, err, strconv.Quote(path)+tt.want)
		})
	}
	_, err = readObject(filepath.Join(t.TempDir(), "absent.tbf"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// TestReadTab: the object of an archive is as good as a file of its own.
func TestReadTab(t *testing.T) {
	object, err := tbfbuild.Build(tbfbuild.Spec{Name: "good", Binary: make([]byte, 100)})
	require.NoError(t, err)
	good := string(object)
	for _, tt := range []struct {
		name    string
		members []tabtest.Member
		want    string // the error behind the file's name
	}{
		{"good", []tabtest.Member{tabtest.Metadata, tabtest.File("rv32imc.tbf", "rv"), tabtest.File("x86.0x150080.0x210000.tbf", good)}, ""},
		{"without x86", []tabtest.Member{tabtest.Metadata, tabtest.File("cortex-m4.tbf", "arm")}, `: want an object for 32-bit x86 `},
		{"cut off", []tabtest.Member{tabtest.File("x86.tbf", good[:1000])}, `: "x86.tbf" is truncated: it is 1000 bytes long, its header says 4096; make or copy it again`},
		{"unsound", []tabtest.Member{tabtest.File("x86.tbf", strings.Repeat("text", 1024))}, `: "x86.tbf": format version`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "app.tab")
			require.NoError(t, os.WriteFile(path, tabtest.Archive(t, tt.members...), 0o644))
			got, err := objectOf(nil, path, "", true)
			if tt.want == "" {
				require.NoError(t, err)
				assert.Equal(t, good, string(got))
				return
			}
			assert.ErrorContains(t, err, strconv.Quote(path)+tt.want)
		})
	}
	_, err = readTab(filepath.Join(t.TempDir(), "absent.tab"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// TestEndlessTaskFiles: none is read for ever.
func TestEndlessTaskFiles(t *testing.T) {
	for name, read := range map[string]func(path string) ([]byte, error){
		".tbf": readObject, ".tab": readTab, ".bin": func(path string) ([]byte, error) { return flatTask(path, t.TempDir(), false) },
	} {
		_, err := read("/dev/zero")
		assert.ErrorContains(t, err, "\"/dev/zero\" is longer than 268435456 bytes, which is more than an image has", name)
	}
}

// TestUnwriteableFlashRegions: mkimage says which regions a task will only read.
func TestUnwriteableFlashRegions(t *testing.T) {
	for want, regions := range map[string][]tbf.Region{
		"": {{Offset: 0xf00, Size: 0x2000}},
		"the task can only read 1 of its 2 writeable flash regions: they are no whole pages of 4096 bytes": {{Offset: 0xf00, Size: 0x1000}, {Offset: 0xf40, Size: 64}},
	} {
		object, err := tbfbuild.Build(tbfbuild.Spec{Name: "a", Binary: make([]byte, 0x3000), BinaryOffset: 0x100, Writeable: regions})
		require.NoError(t, err)
		assert.Equal(t, want, unwriteable(object))
	}
}

// TestDigestOfATask: the built object has the credential, and is the same but for that.
func TestDigestOfATask(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the go command")
	}
	tc, err := findToolchain()
	require.NoError(t, err)
	const pkg = "kapsel/guest/tasks/hello"
	signed, err := objectOf(tc, pkg, t.TempDir(), true)
	require.NoError(t, err)
	plain, err := objectOf(tc, pkg, t.TempDir(), false)
	require.NoError(t, err)
	requireDigest(t, plain, signed)
}

// requireDigest checks that two objects differ in the credential that the second one has.
func requireDigest(t *testing.T, plain, signed []byte) {
	t.Helper()
	o, wrong := tbf.Parse(signed)
	require.NoError(t, tbfbuild.Words(wrong))
	assert.Equal(t, plain[tbf.BaseSize:len(o.Signed())], o.Signed()[tbf.BaseSize:])
	footers := o.Footers()
	footer, ok := footers.Next()
	require.True(t, ok)
	digest := sha256.Sum256(o.Signed())
	assert.Equal(t, tbf.Footer{Type: tbf.TypeCredential, Format: tbf.SHA256, Data: digest[:]}, footer)
}
