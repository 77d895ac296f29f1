package main

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"kapsel/guest/functab"
	"kapsel/tools/pclntab"
)

// The linker's table of functions, section .gopclntab, is for Go's collector and its tracebacks
// first. What a program here reads of it is the package functab's table, a third as long, which
// takes its place. The linker's stays in NAME.elf, for tools, outside of what is loaded.

// symbolFunctions is the functab.Program of a program.
const symbolFunctions = "kapsel/guest/functab.program"

// functionTable makes the table of a linked program. Errors do not name the file.
func functionTable(f *elf.File) (string, error) {
	code, linkers := f.Section(".text"), f.Section(".gopclntab")
	if code == nil || linkers == nil {
		return "", errors.New("no sections .text and .gopclntab")
	}
	section, err := linkers.Data()
	if err != nil {
		return "", err
	}
	functions, err := pclntab.Parse(section, code.Addr)
	if err != nil {
		return "", err
	}
	return encodeFunctions(functions), nil
}

// encodeFunctions encodes functions that lie back to back.
func encodeFunctions(functions []*pclntab.Function) string {
	var e functionEncoder
	var table []byte
	for _, f := range functions {
		table = binary.AppendUvarint(table, f.End-f.Addr)
		table = appendText(table, e.function(f))
	}
	return string(appendText(nil, e.prefixes.bytes)) + string(appendText(nil, e.files.bytes)) + string(table)
}

func appendText[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// A functionEncoder keeps what functions share.
type functionEncoder struct{ prefixes, files pool }

// A pool holds each item once.
type pool struct {
	bytes []byte
	index map[string]uint64
}

// add returns the index of an item.
func (p *pool) add(item []byte) uint64 {
	i, known := p.index[string(item)]
	if !known {
		if p.index == nil {
			p.index = map[string]uint64{}
		}
		i = uint64(len(p.index))
		p.index[string(item)] = i
		p.bytes = append(p.bytes, item...)
	}
	return i
}

// name encodes a name that is cut at an index.
func (e *functionEncoder) name(name string, cut int) []byte {
	prefix := e.prefixes.add(appendText(nil, name[:cut]))
	return appendText(binary.AppendUvarint(nil, prefix), name[cut:])
}

// file returns the index of a file, whose name begins with its folder.
func (e *functionEncoder) file(name string) uint64 {
	return e.files.add(e.name(name, max(strings.LastIndexByte(name, '/'), 0)))
}

// packageEnd is how long the path of the package is that a function's name begins with.
func packageEnd(name string) int {
	path, _, _ := strings.Cut(name, "[") // what follows are types
	base := strings.LastIndexByte(path, '/') + 1
	return base + max(strings.IndexByte(path[base:], '.'), 0)
}

// function encodes a function, but for its size.
func (e *functionEncoder) function(f *pclntab.Function) []byte {
	b := e.name(f.Name, packageEnd(f.Name))
	before := row{}
	at := f.Addr
	for _, end := range f.Ends() {
		next := e.row(f, at)
		if after := end; after < f.End && e.row(f, after) == next {
			continue
		}
		b = next.append(b, before, end-at)
		before, at = next, end
	}
	return b
}

// A row is what the table tells of an instruction, the function aside.
type row struct {
	line         int
	file, bounds uint64
	hasBounds    bool
	noFrame      bool
}

func (e *functionEncoder) row(f *pclntab.Function, at uint64) row {
	file, line := f.At(at)
	r := row{line: line, file: e.file(file), noFrame: f.SP.At(at) == 0}
	if bounds := f.Bounds.At(at); bounds >= 0 {
		r.bounds, r.hasBounds = uint64(bounds), true
	}
	return r
}

// append encodes a row of so many bytes of code.
func (r row) append(b []byte, before row, size uint64) []byte {
	head := size << functab.FlagBits
	if r.file != before.file {
		head |= functab.HasFile
	}
	if r.hasBounds {
		head |= functab.HasBounds
	}
	if r.noFrame {
		head |= functab.NoFrame
	}
	b = binary.AppendVarint(binary.AppendUvarint(b, head), int64(r.line-before.line))
	if r.file != before.file {
		b = binary.AppendUvarint(b, r.file)
	}
	if r.hasBounds {
		b = binary.AppendUvarint(b, r.bounds)
	}
	return b
}

// addFunctions puts the table among the constants: in front of them if so much room is free there,
// else behind them. It returns its address, too.
func addFunctions(constants segment, room uint64, table string) (segment, uint64) {
	size := uint64(len(table))
	at := constants.end()
	if size <= room {
		at = constants.addr - size
		constants.addr = at
		constants.data = append([]byte(table), constants.data...)
	} else {
		constants.data = append(constants.data, table...)
	}
	constants.size += size
	return constants, at
}

// unload changes the ELF file of a linked program in place, so that the linker's table of functions
// is no longer loaded with the constants, nor what lies behind it: lists of types and interface tables,
// which only reflection and conversions to interfaces search. Their addresses are free for data.
func unload(path string) error {
	file, f, err := readELF(path)
	if err != nil {
		return err
	}
	last := f.Section(".rodata")
	if last == nil {
		return fmt.Errorf("%q has no section .rodata", path)
	}
	var header elf.Header64
	if _, err := binary.Decode(file, binary.LittleEndian, &header); err != nil {
		return fmt.Errorf("%q: %w", path, err)
	}
	for i, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Vaddr <= last.Addr && last.Addr < p.Vaddr+p.Memsz {
			p.Memsz = last.Addr + last.Size - p.Vaddr
			at := header.Phoff + uint64(i)*uint64(header.Phentsize)
			binary.LittleEndian.PutUint64(file[at+32:], p.Memsz) // p_filesz
			binary.LittleEndian.PutUint64(file[at+40:], p.Memsz) // p_memsz
		}
	}
	for i, s := range f.Sections {
		if slices.Contains(unloaded, s.Name) {
			at := header.Shoff + uint64(i)*uint64(header.Shentsize)
			binary.LittleEndian.PutUint64(file[at+8:], 0)  // sh_flags
			binary.LittleEndian.PutUint64(file[at+16:], 0) // sh_addr
		}
	}
	return os.WriteFile(path, file, 0o755)
}

// unloaded are the sections behind .rodata.
var unloaded = []string{".gopclntab", ".typelink", ".itablink"}
