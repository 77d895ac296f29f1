package main

import (
	"debug/elf"
	"debug/gosym"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/functab"
	"kapsel/tools/pclntab"
)

// content returns what a section of a file of the shared build holds.
func content(t *testing.T, f *elf.File, section string) []byte {
	t.Helper()
	b, err := f.Section(section).Data()
	require.NoError(t, err)
	return b
}

// kernelTable returns the kernel's table, from the image, by the variable in which the kernel finds it.
func kernelTable(t *testing.T) string {
	t.Helper()
	symbols, err := symbolTable(open(t, "kernel.elf"))
	require.NoError(t, err)
	p := loads(open(t, "kapsel.elf"))
	read := func(p *elf.Prog, at, size uint64) []byte {
		b := make([]byte, size)
		_, err := p.ReadAt(b, int64(at-p.Vaddr))
		require.NoError(t, err)
		return b
	}
	var program struct{ Text, Table, Size uint64 }
	_, err = binary.Decode(read(p[2], symbols[symbolFunctions], 24), binary.LittleEndian, &program)
	require.NoError(t, err)
	assert.Equal(t, p[0].Vaddr, program.Text)
	return string(read(p[1], program.Table, program.Size))
}

// taskTable returns the table of hello, from its object.
func taskTable(t *testing.T) string {
	t.Helper()
	object, err := os.ReadFile(filepath.Join(build(t), "hello.tbf"))
	require.NoError(t, err)
	f := open(t, "hello.elf")
	symbols, err := symbolTable(f)
	require.NoError(t, err)
	data := f.Section(".go.buildinfo").Addr // the first of the data
	variable := object[binaryOffset+startTableSize+symbols[symbolFunctions]-data:]
	at, size := binary.LittleEndian.Uint64(variable[8:]), binary.LittleEndian.Uint64(variable[16:])
	return string(object[at-abi.FlashStart:][:size])
}

// For each instruction the table says what the linker's does, as Go's own tools and this
// repository's read it.
func TestFunctionTableSaysWhatTheLinkersDoes(t *testing.T) {
	for _, tt := range []struct {
		file  string
		table func(*testing.T) string
	}{{"kernel.elf", kernelTable}, {"hello.elf", taskTable}} {
		t.Run(tt.file, func(t *testing.T) {
			table, f := tt.table(t), open(t, tt.file)
			text := f.Section(".text")
			linkers := content(t, f, ".gopclntab")
			symbols, err := gosym.NewTable(nil, gosym.NewLineTable(linkers, text.Addr))
			require.NoError(t, err)
			functions, err := pclntab.Parse(linkers, text.Addr)
			require.NoError(t, err)
			checks := 0
			for _, fn := range functions {
				for pc := fn.Addr; pc < fn.End; pc++ {
					var p functab.Place
					require.True(t, functab.Find(table, pc-text.Addr, &p), "%s at %#x", fn.Name, pc)
					file, line, named := symbols.PCToLine(pc)
					require.NotNil(t, named, "%#x", pc)
					if len(fn.Lines) == 0 { // of which Go's tools read something
						line = -1
					}
					bounds := max(fn.Bounds.At(pc), 0)
					require.Equal(t, []any{named.Name, file, line, fn.SP.At(pc) == 0, int(bounds)},
						[]any{p.Function.Prefix + p.Function.Rest, p.File.Prefix + p.File.Rest, p.Line, p.NoFrame, p.Bounds}, "at %#x", pc)
					if fn.Bounds.At(pc) >= 0 {
						checks++
					}
				}
			}
			assert.Greater(t, checks, 10, "instructions of bounds checks")
			for _, offset := range []uint64{text.Size, text.Size + 1, 1 << 32, ^uint64(0)} {
				assert.False(t, functab.Find(table, offset, new(functab.Place)), "%#x", offset)
			}
		})
	}
}

// The table is in the memory of every machine.
func TestFunctionTableIsSmall(t *testing.T) {
	size := len(kernelTable(t))
	assert.Less(t, 10*size, 4*len(content(t, open(t, "kernel.elf"), ".text")), "it is small beside the code")
	assert.Less(t, 3*size, len(content(t, open(t, "kernel.elf"), ".gopclntab")))
}

// What is not in memory leaves no gap: the data lies on the page behind the constants.
func TestDataIsBehindTheConstants(t *testing.T) {
	p := loads(open(t, "kapsel.elf"))
	assert.Equal(t, roundUp(p[1].Vaddr+p[1].Memsz, abi.PageSize), p[2].Vaddr)
	for _, name := range []string{"kernel.elf", "hello.elf", "settings.elf"} {
		f := open(t, name)
		for _, section := range unloaded {
			s := f.Section(section)
			assert.Zero(t, s.Addr|uint64(s.Flags), "%s of %s is not loaded", section, name)
			assert.NotZero(t, s.Size, "but there for tools")
		}
		p := loads(f)
		assert.Equal(t, f.Section(".rodata").Addr+f.Section(".rodata").Size, p[1].Vaddr+p[1].Memsz, name)
		assert.LessOrEqual(t, p[1].Vaddr+p[1].Memsz, p[2].Vaddr, "%s: data is no constant", name)
	}
}

// A function without any row of its own has one, and one without size none that is found.
func TestEncodeOddFunctions(t *testing.T) {
	table := encodeFunctions([]*pclntab.Function{
		{Name: "go:textstart", Addr: 0x1000, End: 0x1000},
		{Name: "a/b.(*T[c/d.E]).f", Addr: 0x1000, End: 0x1003, Lines: pclntab.Table{{End: 0x1002, Value: 7}},
			Bounds: pclntab.Table{{End: 0x1001, Value: -1}, {End: 0x2000, Value: 0}}},
		{Name: "gap", Addr: 0x1003, End: 0x1004},
	})
	for offset, want := range []functab.Place{
		{Function: functab.Name{Prefix: "a/b", Rest: ".(*T[c/d.E]).f"}, Line: 7},
		{Function: functab.Name{Prefix: "a/b", Rest: ".(*T[c/d.E]).f"}, Line: 7},
		{Function: functab.Name{Prefix: "a/b", Rest: ".(*T[c/d.E]).f"}, Line: -1},
		{Function: functab.Name{Rest: "gap"}, Line: -1},
	} {
		var p functab.Place
		assert.True(t, functab.Find(table, uint64(offset), &p))
		assert.Equal(t, want, p, "at %d", offset)
	}
}

func TestAddFunctions(t *testing.T) {
	constants := segment{addr: 0x1010, data: []byte("const"), size: 5}
	s, at := addFunctions(constants, 0x10, "table")
	assert.EqualValues(t, 0x100b, at, "in front, where there is room")
	assert.Equal(t, segment{addr: 0x100b, data: []byte("tableconst"), size: 10}, s)
	s, at = addFunctions(constants, 4, "table")
	assert.EqualValues(t, 0x1015, at, "else behind")
	assert.Equal(t, segment{addr: 0x1010, data: []byte("consttable"), size: 10}, s)
}
