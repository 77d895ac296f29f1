package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// A function is one of the image, as the linker's table of functions has it
// (pcHeader in GOROOT/src/runtime/symtab.go, _func in runtime2.go).
type function struct {
	name      string
	addr, end uint64
	line      int     // where it begins in the source; 0 if it was made by the compiler
	sp        pcTable // how far SP is below the return address
	file      pcTable // index into files
	lines     pcTable
	files     []string // all that its instructions come from
	fileOf    map[int32]string

	frame int // deepest SP, below the return address
}

// assembly reports whether the function is not compiled Go.
func (f *function) assembly() bool {
	for _, name := range f.files {
		if !strings.HasSuffix(name, ".s") {
			return false
		}
	}
	return len(f.files) > 0
}

// at tells the file and line of an instruction, after inlining the innermost's.
func (f *function) at(pc uint64) (string, int) {
	return f.fileOf[f.file.value(pc)], int(f.lines.value(pc))
}

// A pcTable maps the instructions of a function to values.
type pcTable []pcRange

// A pcRange is the value from the end of the range before up to end.
type pcRange struct {
	end   uint64
	value int32
}

func (t pcTable) value(pc uint64) int32 {
	for _, r := range t {
		if pc < r.end {
			return r.value
		}
	}
	return -1
}

// errTable is what is wrong with a table that ends too early.
var errTable = errors.New("the table of functions is damaged")

// parsePCTable decodes pairs of varints: zig-zag delta of the value, delta of the address.
// A zero delta of the value ends the table, unless it is the first.
func parsePCTable(b []byte, start uint64) (pcTable, error) {
	var t pcTable
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
		t = append(t, pcRange{at, value})
	}
}

// A pclntab is the linker's table of functions, cut into its parts.
type pclntab struct {
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
)

// parsePCLNTab cuts the section .gopclntab of code that begins at text.
func parsePCLNTab(b []byte, text uint64) (*pclntab, error) {
	if len(b) < pcHeaderSize || binary.LittleEndian.Uint32(b) != pclnTabMagic {
		return nil, errors.New("the table of functions is not of the Go version that is known here")
	}
	offset := func(field int) []byte {
		if o := binary.LittleEndian.Uint64(b[field:]); o <= uint64(len(b)) {
			return b[o:]
		}
		return nil
	}
	return &pclntab{
		text: text, count: int(binary.LittleEndian.Uint32(b[8:])),
		names: offset(32), units: offset(40), files: offset(48), pcs: offset(56), funcInfo: offset(64),
	}, nil
}

// functions decodes all functions. The last ends at end.
func (t *pclntab) functions(end uint64) (list []*function, err error) {
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
			list[i-1].end = f.addr
		}
		f.end = end
		list = append(list, f)
	}
	return list, nil
}

// function decodes the _func at an offset.
func (t *pclntab) function(at uint32) (*function, error) {
	b := t.funcInfo[at:][:funcInfoSize]
	word := func(n int) uint32 { return binary.LittleEndian.Uint32(b[4*n:]) }
	f := &function{addr: t.text + uint64(word(0)), name: text(t.names[word(1):]), line: int(int32(word(9)))}
	for _, table := range []struct {
		to     *pcTable
		offset uint32
	}{{&f.sp, word(4)}, {&f.file, word(5)}, {&f.lines, word(6)}} {
		if table.offset == 0 {
			continue
		}
		var err error
		if *table.to, err = parsePCTable(t.pcs[table.offset:], f.addr); err != nil {
			return nil, err
		}
	}
	f.fileOf = map[int32]string{}
	for _, r := range f.file {
		if _, known := f.fileOf[r.value]; known || r.value < 0 {
			continue
		}
		offset := binary.LittleEndian.Uint32(t.units[unitEntry*(word(8)+uint32(r.value)):])
		if offset == noFileOfIndex {
			continue
		}
		name := text(t.files[offset:])
		f.fileOf[r.value] = name
		f.files = append(f.files, name)
	}
	for _, r := range f.sp {
		f.frame = max(f.frame, int(r.value))
	}
	return f, nil
}

// text is the string at the start of b, which a zero byte ends.
func text(b []byte) string { return string(b[:bytes.IndexByte(b, 0)]) }
