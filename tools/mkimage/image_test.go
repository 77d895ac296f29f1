package main

import (
	"bytes"
	"debug/dwarf"
	"debug/elf"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/vmm/image"
)

// open opens an ELF file of the shared build.
func open(t *testing.T, name string) *elf.File {
	t.Helper()
	f, err := elf.Open(filepath.Join(build(t), name))
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// loads returns the loadable segments of a file.
func loads(f *elf.File) []*elf.Prog {
	var found []*elf.Prog
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD {
			found = append(found, p)
		}
	}
	return found
}

func TestImageHeader(t *testing.T) {
	f := open(t, "kapsel.elf")
	assert.Equal(t, elf.ELFCLASS64, f.Class)
	assert.Equal(t, elf.ELFDATA2LSB, f.Data)
	assert.Equal(t, elf.ET_EXEC, f.Type)
	assert.Equal(t, elf.EM_X86_64, f.Machine)
	symbols, err := symbolTable(open(t, "kernel.elf"))
	require.NoError(t, err)
	assert.Equal(t, symbols["kapsel/guest/arch/amd64.entry"], f.Entry)
	assert.GreaterOrEqual(t, f.Entry, uint64(abi.KernelBase))
}

func TestImageSegments(t *testing.T) {
	f := open(t, "kapsel.elf")
	segments := loads(f)
	require.Len(t, segments, 4)
	end := uint64(0)
	for i, want := range []elf.ProgFlag{elf.PF_R | elf.PF_X, elf.PF_R, elf.PF_R | elf.PF_W, elf.PF_R} {
		p := segments[i]
		assert.Equal(t, want, p.Flags, "segment %d", i)
		assert.Equal(t, p.Paddr+abi.KernelBase, p.Vaddr, "segment %d lies at its place in the kernel's window", i)
		if i != 1 { // what is left out of the constants ends within a page
			assert.Zero(t, p.Vaddr%abi.PageSize, "segment %d begins on a page", i)
		}
		assert.EqualValues(t, abi.PageSize, p.Align)
		assert.Equal(t, p.Vaddr%abi.PageSize, p.Off%abi.PageSize, "segment %d can be mapped from the file", i)
		assert.GreaterOrEqual(t, p.Paddr, end, "segment %d shares a page with the one before", i)
		assert.LessOrEqual(t, p.Filesz, p.Memsz)
		end = roundUp(p.Paddr+p.Memsz, abi.PageSize)
	}
	assert.GreaterOrEqual(t, segments[0].Paddr, uint64(2<<20), "what lies below 2 MiB is the monitor's")
	assert.True(t, f.Entry >= segments[0].Vaddr && f.Entry < segments[0].Vaddr+segments[0].Filesz, "the entry is in the code")
}

func TestImageTellsTheKernelItsLayout(t *testing.T) {
	f := open(t, "kapsel.elf")
	symbols, err := symbolTable(open(t, "kernel.elf"))
	require.NoError(t, err)
	p := loads(f)
	var got abi.ImageInfo
	data := make([]byte, p[2].Filesz)
	_, err = p[2].ReadAt(data, 0)
	require.NoError(t, err)
	_, err = binary.Decode(data[symbols["kapsel/guest/arch/amd64.image"]-p[2].Vaddr:], binary.LittleEndian, &got)
	require.NoError(t, err)
	end := func(i int) uint64 { return p[i].Vaddr + p[i].Memsz }
	assert.Equal(t, abi.ImageInfo{
		Text: p[0].Vaddr, TextEnd: end(0), Rodata: p[1].Vaddr &^ (abi.PageSize - 1), RodataEnd: end(1),
		Data: p[2].Vaddr, DataEnd: end(2), Tasks: p[3].Vaddr, TasksEnd: end(3),
	}, got)
}

func TestImageNotes(t *testing.T) {
	f := open(t, "kapsel.elf")
	var notes []byte
	for _, p := range f.Progs {
		if p.Type == elf.PT_NOTE {
			notes = make([]byte, p.Filesz)
			_, err := p.ReadAt(notes, 0)
			require.NoError(t, err)
		}
	}
	symbols, err := symbolTable(open(t, "kernel.elf"))
	require.NoError(t, err)
	le := binary.LittleEndian
	want := le.AppendUint32(nil, 4) // length of "Xen" with its end
	want = le.AppendUint32(want, 8)
	want = le.AppendUint32(want, 18)
	want = append(want, "Xen\x00"...)
	want = le.AppendUint64(want, symbols["kapsel/guest/arch/amd64.pvhEntry"]-abi.KernelBase)
	want = le.AppendUint32(want, 7)
	want = le.AppendUint32(want, 4)
	want = le.AppendUint32(want, 1)
	want = append(want, "Kapsel\x00\x00"...)
	want = le.AppendUint32(want, abi.BootVersion)
	want = le.AppendUint32(want, 7)
	want = le.AppendUint32(want, 8)
	want = le.AppendUint32(want, 2)
	want = append(want, "Kapsel\x00\x00"...)
	want = le.AppendUint64(want, symbols["kapsel/guest/arch/amd64.heartbeat"])
	want = le.AppendUint32(want, 7)
	want = le.AppendUint32(want, 8)
	want = le.AppendUint32(want, 3)
	want = append(want, "Kapsel\x00\x00"...)
	want = le.AppendUint64(want, symbols["kapsel/guest/kernel/generation.word"])
	assert.Equal(t, want, notes)
}

func TestImageHoldsTheTasks(t *testing.T) {
	p := loads(open(t, "kapsel.elf"))[3]
	got := make([]byte, p.Filesz)
	_, err := p.ReadAt(got, 0)
	require.NoError(t, err)
	var want []byte
	for _, name := range []string{"hello.tbf", "settings.tbf"} {
		object, err := os.ReadFile(filepath.Join(build(t), name))
		require.NoError(t, err)
		assert.Zero(t, len(object)%abi.PageSize, name)
		want = append(want, object...)
	}
	assert.True(t, bytes.Equal(want, got), "back to back, in the order of the command line")
}

func TestImageWithoutTasks(t *testing.T) {
	packed, sizes, err := packImage(filepath.Join(build(t), "kernel.elf"), nil)
	require.NoError(t, err)
	assert.Zero(t, sizes.tasks)
	f, err := elf.NewFile(bytes.NewReader(packed))
	require.NoError(t, err)
	assert.Len(t, loads(f), 3)
}

// What the monitor does not open is not written.
func TestImageSize(t *testing.T) {
	assert.Equal(t, image.MaxFileSize, maxImage)
	assert.NoError(t, checkSize("kapsel.elf", maxImage, 1<<20))
	assert.EqualError(t, checkSize("kapsel.elf", maxImage+4096, 255<<20), "\"kapsel.elf\" would be 268439552 bytes long, want at most 268435456: "+
		"its tasks take 267386880, put fewer or smaller ones in, or less //kapsel:flash")
}

func TestPackImageRefuses(t *testing.T) {
	notELF := filepath.Join(t.TempDir(), "text")
	require.NoError(t, os.WriteFile(notELF, []byte("This is no ELF file."), 0o644))
	_, _, err := packImage(notELF, nil)
	assert.ErrorContains(t, err, "bad magic number")
	_, _, err = packImage(filepath.Join(build(t), "hello.elf"), nil)
	assert.ErrorContains(t, err, "hello.elf\" has no symbol kapsel/guest/arch/amd64.pvhEntry: is its main package a board that imports kapsel/guest/arch/amd64?")
}

func TestPatchStaysInTheData(t *testing.T) {
	info := abi.ImageInfo{Text: 1, TasksEnd: 8}
	s := segment{addr: 0x1000, data: make([]byte, 80), size: 200}
	for _, addr := range []uint64{0, 0xfff, 0x1011, 0x1050, 0x10c8, ^uint64(0)} {
		assert.ErrorContains(t, patch(s, "x", map[string]uint64{"x": addr}, info), "is not in the initialised data", "at %#x", addr)
	}
	require.NoError(t, patch(s, "x", map[string]uint64{"x": 0x1010}, info))
	assert.EqualValues(t, 1, binary.LittleEndian.Uint64(s.data[16:]))
	assert.EqualValues(t, 8, binary.LittleEndian.Uint64(s.data[72:]))
}

// The kernel has no allocator and nothing else of Go's runtime.
func TestKernelHasNoGoRuntime(t *testing.T) {
	symbols, err := symbolTable(open(t, "kernel.elf"))
	require.NoError(t, err)
	for _, name := range []string{
		"runtime.mallocgc", "runtime.newobject", "runtime.makeslice", "runtime.growslice", "runtime.gcStart", "runtime.schedule",
		"runtime.newproc", "runtime.rt0_go", "runtime.mstart", "runtime.sbrk", "runtime.heapNext",
	} {
		assert.NotContains(t, symbols, name)
	}
	for name := range symbols {
		for _, pkg := range []string{"os.", "fmt.", "sync.", "syscall.", "reflect.", "time.", "strings.", "internal/runtime/maps."} {
			assert.False(t, strings.HasPrefix(name, pkg), "the kernel contains %s", name)
		}
	}
	assert.Contains(t, symbols, "runtime.panicBounds", "the symbols are there at all")
}

// The assembly relies on these alignments.
func TestKernelAlignment(t *testing.T) {
	symbols, err := symbolTable(open(t, "kernel.elf"))
	require.NoError(t, err)
	for name, alignment := range map[string]uint64{"istStacks": 16, "gdt": 8, "idt": 8} {
		addr, found := symbols["kapsel/guest/arch/amd64."+name]
		require.True(t, found, name)
		assert.Zero(t, addr%alignment, "%s at %#x, want a multiple of %d", name, addr, alignment)
	}
}

func TestKernelHasDWARF(t *testing.T) {
	d, err := open(t, "kernel.elf").DWARF()
	require.NoError(t, err)
	r := d.Reader()
	found := false
	for {
		e, err := r.Next()
		require.NoError(t, err)
		if e == nil {
			break
		}
		if e.Tag == dwarf.TagSubprogram && e.Val(dwarf.AttrName) == "kapsel/guest/kernel.(*Kernel).RunTelling" {
			found = true
		}
		if e.Tag == dwarf.TagSubprogram {
			r.SkipChildren()
		}
	}
	assert.True(t, found, "kernel.(*Kernel).RunTelling")
}

func TestDebuggerFindsLines(t *testing.T) {
	gdb, err := exec.LookPath("gdb")
	if err != nil {
		t.Skip("gdb is not installed")
	}
	out, err := exec.Command(gdb, "-nx", "-batch", "-ex", "info line 'kapsel/guest/kernel.(*Kernel).RunTelling'",
		filepath.Join(build(t), "kernel.elf")).CombinedOutput()
	require.NoError(t, err, string(out))
	assert.Regexp(t, `Line \d+ of "\S*guest/kernel/\w+\.go" starts at address 0xffffffff80`, string(out))
}

// Behind the kernel's end are the APICs' registers.
func TestKernelThatIsTooLarge(t *testing.T) {
	assert.NoError(t, checkEnd(0xffff_ffff_803f_e000))
	assert.EqualError(t, checkEnd(0xffff_ffff_803f_e001),
		"the kernel's variables end at 0xffffffff803fe001, want at most 0xffffffff803fe000: make its code, constants or variables smaller")
}
