package main

import (
	"debug/elf"
	"debug/gosym"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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

// tableIn reads a table by the variable in which the program finds it. read reads the program's memory.
func tableIn(t *testing.T, variable []byte, read func(addr, size uint64) []byte) *functab.Program {
	t.Helper()
	type list struct{ Addr, Size uint64 }
	var v struct {
		Text, Functions, Count, Cap uint64
		Lists                       [3]list
	}
	_, err := binary.Decode(variable, binary.LittleEndian, &v)
	require.NoError(t, err)
	assert.Equal(t, v.Count, v.Cap)
	table := &functab.Program{Text: v.Text, Functions: make([]uint64, v.Count)}
	_, err = binary.Decode(read(v.Functions, 8*v.Count), binary.LittleEndian, table.Functions)
	require.NoError(t, err)
	for i, text := range []*string{&table.Prefixes, &table.Names, &table.Rests} {
		*text = string(read(v.Lists[i].Addr, v.Lists[i].Size))
	}
	return table
}

// kernelTable returns the kernel's table, from the image.
func kernelTable(t *testing.T) *functab.Program {
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
	table := tableIn(t, read(p[2], symbols[symbolFunctions], 80), func(at, size uint64) []byte { return read(p[1], at, size) })
	assert.Equal(t, p[0].Vaddr, table.Text)
	return table
}

// taskTable returns the table of hello, from its object.
func taskTable(t *testing.T) *functab.Program {
	t.Helper()
	object, err := os.ReadFile(filepath.Join(build(t), "hello.tbf"))
	require.NoError(t, err)
	f := open(t, "hello.elf")
	symbols, err := symbolTable(f)
	require.NoError(t, err)
	data := f.Section(".go.buildinfo").Addr // the first of the data
	variable := object[binaryOffset+startTableSize+symbols[symbolFunctions]-data:]
	return tableIn(t, variable, func(at, size uint64) []byte { return object[at-abi.FlashStart:][:size] })
}

// For each instruction the table says what the linker's does, as Go's own tools and this
// repository's read it.
func TestFunctionTableSaysWhatTheLinkersDoes(t *testing.T) {
	for _, tt := range []struct {
		file  string
		table func(*testing.T) *functab.Program
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
				for at := fn.Addr; at < fn.End; at++ {
					var p functab.Place
					require.True(t, table.Find(at-text.Addr, &p), "%s at %#x", fn.Name, at)
					pc := min(at, fn.CodeEnd()-1) // what is behind is as the last instruction
					file, line, named := symbols.PCToLine(pc)
					require.NotNil(t, named, "%#x", pc)
					if len(fn.Lines) == 0 { // of which Go's tools read something
						line = -1
					}
					bounds := max(fn.Bounds.At(pc), 0)
					require.Equal(t, []any{shortName(named.Name), file, line, fn.SP.At(pc) == 0, int(bounds)},
						[]any{joined(p.Function), joined(p.File), p.Line, p.NoFrame, p.Bounds}, "at %#x", pc)
					if fn.Bounds.At(pc) >= 0 {
						checks++
					}
				}
			}
			assert.Greater(t, checks, 10, "instructions of bounds checks")
			for _, offset := range []uint64{text.Size, text.Size + 1, 1 << 32, ^uint64(0)} {
				assert.False(t, table.Find(offset, new(functab.Place)), "%#x", offset)
			}
		})
	}
}

func joined(n functab.Name) string { return n.Prefix + n.Type + n.Rest }

// The table is in the memory of every machine.
func TestFunctionTableIsSmall(t *testing.T) {
	table := kernelTable(t)
	size := 8*len(table.Functions) + len(table.Prefixes+table.Names+table.Rests)
	assert.Less(t, 100*size, 20*len(content(t, open(t, "kernel.elf"), ".text")), "it is small beside the code")
	assert.Less(t, 7*size, len(content(t, open(t, "kernel.elf"), ".gopclntab")))
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
	table, err := encodeFunctions([]*pclntab.Function{
		{Name: "go:textstart", Addr: 0x1000, End: 0x1000},
		{Name: "a/b.(*T[c/d.E]).f", Addr: 0x1000, End: 0x1003, Lines: pclntab.Table{{End: 0x1002, Value: 7}},
			Bounds: pclntab.Table{{End: 0x1001, Value: -1}, {End: 0x2000, Value: 0}}},
		{Name: "gap", Addr: 0x1003, End: 0x1004},
	})
	require.NoError(t, err)
	f := functab.Place{Function: functab.Name{Prefix: "a/b", Type: ".(*T[...]).", Rest: "f"}, Line: 7}
	for offset, want := range []functab.Place{
		f, f, f,
		{Function: functab.Name{Rest: "gap"}, Line: -1},
	} {
		var p functab.Place
		assert.True(t, table.Find(uint64(offset), &p))
		assert.Equal(t, want, p, "at %d", offset)
	}
	assert.False(t, table.Find(4, new(functab.Place)))
}

// Each kind of row that there can be is there, with each other one before it. A function's first has no bounds check.
func TestEncodeKindsOfRows(t *testing.T) {
	const size, line, frame, file, bounds, kinds = 1, 2, 4, 8, 16, 32 // two bytes, another line, and so on
	var functions []*pclntab.Function
	var want []functab.Place
	for both := range kinds * kinds {
		f := &pclntab.Function{Name: "a.f", Addr: uint64(len(want)), End: uint64(len(want)), FileNames: map[int32]string{0: "p/0", 1: "p/1", 2: "p/2"}}
		for i, kind := range []int{both % kinds, both / kinds, both % kinds} {
			p := functab.Place{Function: functab.Name{Prefix: "a", Type: ".", Rest: "f"}, Line: 10, File: functab.Name{Prefix: "p", Rest: "/0"}}
			var values struct{ file, sp, bounds int32 }
			values.bounds = -1
			if kind&line != 0 {
				p.Line += i
			}
			if kind&file != 0 {
				values.file, p.File.Rest = int32(i), fmt.Sprintf("/%d", i)
			}
			if kind&bounds != 0 && i > 0 {
				values.bounds, p.Bounds = int32(100+i), 100+i
			}
			if kind&frame != 0 {
				values.sp = 8
			}
			p.NoFrame = kind&frame == 0
			for range 1 + kind&size {
				want = append(want, p)
			}
			f.End = uint64(len(want))
			f.Lines = append(f.Lines, pclntab.Range{End: f.End, Value: int32(p.Line)})
			f.File = append(f.File, pclntab.Range{End: f.End, Value: values.file})
			f.SP = append(f.SP, pclntab.Range{End: f.End, Value: values.sp})
			f.Bounds = append(f.Bounds, pclntab.Range{End: f.End, Value: values.bounds})
		}
		functions = append(functions, f)
	}
	table, err := encodeFunctions(functions)
	require.NoError(t, err)
	for offset, want := range want {
		var p functab.Place
		require.True(t, table.Find(uint64(offset), &p))
		require.Equal(t, want, p, "at %d", offset)
	}
}

func TestFunctionsThatHaveNoRoom(t *testing.T) {
	f := func(name string, line int32) *pclntab.Function {
		return &pclntab.Function{Name: name, Addr: 0x1000, End: 0x1001, Lines: pclntab.Table{{End: 0x1001, Value: line}}}
	}
	_, err := encodeFunctions([]*pclntab.Function{f("a."+strings.Repeat("f", 256), 1)})
	assert.ErrorContains(t, err, "no room for a name of 256 bytes")
	_, err = encodeFunctions([]*pclntab.Function{{Name: "a.f", Addr: 0, End: 1 << 40}})
	assert.ErrorContains(t, err, "no room for a number of a.f")
	_, err = encodeFunctions([]*pclntab.Function{{Name: "a.f", Addr: 0, End: 1, Bounds: pclntab.Table{{End: 1, Value: 7}}}})
	assert.ErrorContains(t, err, "no room for a bounds check before the first instruction of a.f")
	var many []*pclntab.Function
	for i := range 257 {
		many = append(many, f(fmt.Sprintf("p%d.f", i), 1))
	}
	_, err = encodeFunctions(many)
	assert.ErrorContains(t, err, "packages, want at most 256")
}

func TestShortName(t *testing.T) {
	for name, want := range map[string]string{
		"p.f": "p.f", "p.F[go.shape.int]": "p.F[...]", "p.(*G[go.shape.struct { a []b }]).m.func1": "p.(*G[...]).m.func1", "p.]f[": "p.]f[",
	} {
		assert.Equal(t, want, shortName(name))
	}
}

func TestAddFunctions(t *testing.T) {
	constants := segment{addr: 0x1010, data: []byte("const"), size: 5}
	s, at := addFunctions(constants, 0x10, []byte("table"))
	assert.EqualValues(t, 0x100b, at, "in front, where there is room")
	assert.Equal(t, segment{addr: 0x100b, data: []byte("tableconst"), size: 10}, s)
	s, at = addFunctions(constants, 4, []byte("table"))
	assert.EqualValues(t, 0x1015, at, "else behind")
	assert.Equal(t, segment{addr: 0x1010, data: []byte("consttable"), size: 10}, s)
}
