// Package pclntab reads the table of functions and lines that Go's linker writes, section
// .gopclntab of the pinned Go version: pcHeader in GOROOT/src/runtime/symtab.go, _func in runtime2.go.
package pclntab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Function is one of the program's. What the tables do not tell of an instruction is -1.
type Function struct {
	Name      string
	Addr, End uint64
	Line      int      // where it begins in the source; 0 if it was made by the compiler
	SP        Table    // how far SP is below the return address, in bytes
	Lines     Table    // after inlining the innermost's
	Bounds    Table    // behind the call that tells of a failed bounds check, which check (internal/abi.BoundsDecode)
	File      Table    // index into FileNames
	Files     []string // all that its instructions come from
	FileNames map[int32]string
	Frame     int // deepest SP
}

// Assembly reports whether the function is not compiled Go.
func (f *Function) Assembly() bool {
	for _, name := range f.Files {
		if !strings.HasSuffix(name, ".s") {
			return false
		}
	}
	return len(f.Files) > 0
}

// At tells the file and line of an instruction, after inlining the innermost's.
func (f *Function) At(pc uint64) (string, int) {
	return f.FileNames[f.File.At(pc)], int(f.Lines.At(pc))
}

// CodeEnd returns where its last instruction ends. What is behind it, up to End, is no code.
func (f *Function) CodeEnd() uint64 {
	if n := len(f.Lines); n > 0 {
		return min(f.Lines[n-1].End, f.End)
	}
	return f.End
}

// Ends returns where what the tables tell may change: behind each such instruction, by address.
func (f *Function) Ends() []uint64 {
	ends := []uint64{f.End}
	for _, t := range []Table{f.SP, f.Lines, f.Bounds, f.File} {
		for _, r := range t {
			ends = append(ends, min(r.End, f.End))
		}
	}
	slices.Sort(ends)
	return slices.Compact(ends)
}

// A Table maps the instructions of a function to values.
type Table []Range

// A Range is the value from the end of the range before up to End.
type Range struct {
	End   uint64
	Value int32
}

// At returns the value at an address, or -1 behind the last range.
func (t Table) At(pc uint64) int32 {
	for _, r := range t {
		if pc < r.End {
			return r.Value
		}
	}
	return -1
}

// errTable is what is wrong with a table that ends too early.
var errTable = errors.New("the table of functions is damaged")

// parseTable decodes pairs of varints: zig-zag delta of the value, delta of the address.
// A zero delta of the value ends the table, unless it is the first.
func parseTable(b []byte, start uint64) (Table, error) {
	var t Table
	value, at := int32(-1), start
	for first := true; ; first = false {
		delta, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, errTable
		}
		if delta == 0 && !first {
			return t, nil
		}
		value += int32(uint32(delta)>>1) ^ -int32(delta&1)
		b = b[n:]
		step, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, errTable
		}
		b = b[n:]
		at += step
		t = append(t, Range{at, value})
	}
}

// A section is the linker's table, cut into its parts.
type section struct {
	text                               uint64
	names, units, files, pcs, funcInfo []byte
	count                              int
}

const (
	pcHeaderSize  = 72
	pclnTabMagic  = 0xfffffff1 // internal/abi.Go120PCLnTabMagic
	funcInfoSize  = 44
	functabEntry  = 8
	unitEntry     = 4
	noFileOfIndex = ^uint32(0)

	pcdataPanicBounds = 4 // internal/abi.PCDATA_PanicBounds
)

// Parse returns the functions that section .gopclntab describes, by address. Their code begins
// at text.
func Parse(b []byte, text uint64) ([]*Function, error) {
	s, err := cut(b, text)
	if err != nil {
		return nil, err
	}
	return s.functions()
}

// cut cuts the section of code that begins at text.
func cut(b []byte, text uint64) (*section, error) {
	if len(b) < pcHeaderSize || binary.LittleEndian.Uint32(b) != pclnTabMagic {
		return nil, errors.New("the table of functions is not of the Go version that is known here")
	}
	offset := func(field int) []byte {
		if o := binary.LittleEndian.Uint64(b[field:]); o <= uint64(len(b)) {
			return b[o:]
		}
		return nil
	}
	return &section{
		text: text, count: int(binary.LittleEndian.Uint32(b[8:])),
		names: offset(32), units: offset(40), files: offset(48), pcs: offset(56), funcInfo: offset(64),
	}, nil
}

// functions decodes all functions. Behind the last the table says where it ends.
func (t *section) functions() (list []*Function, err error) {
	defer func() {
		if recover() != nil { // an offset that leads out of the table
			list, err = nil, errTable
		}
	}()
	for i := range t.count {
		entry := t.funcInfo[i*functabEntry:]
		f, err := t.function(binary.LittleEndian.Uint32(entry[4:]))
		if err != nil {
			return nil, fmt.Errorf("function %d: %w", i, err)
		}
		if i > 0 {
			list[i-1].End = f.Addr
		}
		list = append(list, f)
	}
	if t.count > 0 {
		list[t.count-1].End = t.text + uint64(binary.LittleEndian.Uint32(t.funcInfo[t.count*functabEntry:]))
	}
	return list, nil
}

// function decodes the _func at an offset.
func (t *section) function(at uint32) (*Function, error) {
	b := t.funcInfo[at:][:funcInfoSize]
	word := func(n int) uint32 { return binary.LittleEndian.Uint32(b[4*n:]) }
	f := &Function{Addr: t.text + uint64(word(0)), Name: text(t.names[word(1):]), Line: int(int32(word(9)))}
	bounds := uint32(0)
	if word(7) > pcdataPanicBounds {
		bounds = binary.LittleEndian.Uint32(t.funcInfo[at+funcInfoSize+4*pcdataPanicBounds:])
	}
	for _, table := range []struct {
		to     *Table
		offset uint32
	}{{&f.SP, word(4)}, {&f.File, word(5)}, {&f.Lines, word(6)}, {&f.Bounds, bounds}} {
		if table.offset == 0 {
			continue
		}
		var err error
		if *table.to, err = parseTable(t.pcs[table.offset:], f.Addr); err != nil {
			return nil, err
		}
	}
	f.FileNames = map[int32]string{}
	for _, r := range f.File {
		if _, known := f.FileNames[r.Value]; known || r.Value < 0 {
			continue
		}
		offset := binary.LittleEndian.Uint32(t.units[unitEntry*(word(8)+uint32(r.Value)):])
		if offset == noFileOfIndex {
			continue
		}
		name := text(t.files[offset:])
		f.FileNames[r.Value] = name
		f.Files = append(f.Files, name)
	}
	for _, r := range f.SP {
		f.Frame = max(f.Frame, int(r.Value))
	}
	return f, nil
}

// text is the string at the start of b, which a zero byte ends.
func text(b []byte) string { return string(b[:bytes.IndexByte(b, 0)]) }
