package main

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/bits"
	"os"
	"slices"
	"strings"

	"kapsel/guest/functab"
	"kapsel/tools/pclntab"
)

// The linker's table of functions, section .gopclntab, is for Go's collector and its tracebacks
// first. What a program here reads of it is the package functab's table, a seventh as long, which
// takes its place. The linker's stays in NAME.elf, for tools, outside of what is loaded.

// symbolFunctions is the functab.Program of a program.
const symbolFunctions = "kapsel/guest/functab.program"

// functionTable makes the table of a linked program. Errors do not name the file.
func functionTable(f *elf.File) (*functab.Program, error) {
	code, linkers := f.Section(".text"), f.Section(".gopclntab")
	if code == nil || linkers == nil {
		return nil, errors.New("no sections .text and .gopclntab")
	}
	section, err := linkers.Data()
	if err != nil {
		return nil, err
	}
	functions, err := pclntab.Parse(section, code.Addr)
	if err != nil {
		return nil, err
	}
	return encodeFunctions(functions)
}

// encodeFunctions encodes functions that lie back to back.
func encodeFunctions(functions []*pclntab.Function) (*functab.Program, error) {
	var e functionEncoder
	e.countRests(functions)
	for _, f := range functions {
		if f.Addr < f.End {
			e.function(f)
		}
	}
	e.endGroup()
	if e.err != nil {
		return nil, e.err
	}
	return &functab.Program{
		Prefixes: string(e.prefixes.bytes), Names: string(e.names.bytes), Rests: string(e.rests.bytes),
		Functions: append(e.out.words, 0),
	}, nil
}

// A functionEncoder keeps what functions share, and what has no room in the table.
type functionEncoder struct {
	prefixes, names, rests pool
	out                    bitWriter
	group                  group
	owner, file            uint64 // of the group before
	err                    error
}

// A group is functions of one type that begin in one file.
type group struct {
	owner, file uint64
	size        uint64 // of their code; 0 if there are none yet
	rows        bitWriter
	last        position // of their last row
	other       position // the last one in the file before the last
}

// A position is a line of a file.
type position struct {
	file uint64
	line int
}

// A pool holds each text once.
type pool struct {
	bytes []byte
	index map[string]uint64
}

// add returns the index of a text.
func (e *functionEncoder) add(p *pool, text string) uint64 {
	i, known := p.index[text]
	if !known {
		if p.index == nil {
			p.index = map[string]uint64{}
		}
		i = uint64(len(p.index))
		p.index[text] = i
		p.bytes = append(append(p.bytes, byte(len(text))), text...)
		if len(text) > math.MaxUint8 {
			e.err = fmt.Errorf("the table of functions has no room for a name of %d bytes, want at most %d: %q", len(text), math.MaxUint8, text)
		}
	}
	return i
}

// name returns the index of a name in two parts.
func (e *functionEncoder) name(prefix, rest string) uint64 {
	i := e.add(&e.prefixes, prefix)
	if i > math.MaxUint8 {
		e.err = fmt.Errorf("the table of functions has no room for %d packages, want at most %d", i+1, math.MaxUint8+1)
	}
	return e.add(&e.names, string([]byte{byte(i)})+rest)
}

// fileOf returns the index of a file, whose name begins with its folder.
func (e *functionEncoder) fileOf(name string) uint64 {
	cut := max(strings.LastIndexByte(name, '/'), 0)
	return e.name(name[:cut], name[cut:])
}

// shortName is a function's name as Go's own tracebacks print it, without the types that it was made for.
func shortName(name string) string {
	if from, to := strings.IndexByte(name, '['), strings.LastIndexByte(name, ']'); from >= 0 && from < to {
		return name[:from] + "[...]" + name[to+1:]
	}
	return name
}

// cutName cuts a function's name into the path of its package, its type with the points around it, and the rest.
func cutName(name string) (prefix, owner, rest string) {
	path, _, _ := strings.Cut(name, "[") // what follows are types
	base := strings.LastIndexByte(path, '/') + 1
	point := strings.IndexByte(path[base:], '.')
	if point < 0 {
		return "", "", name
	}
	prefix, rest = name[:base+point], name[base+point:]
	end := 1
	if strings.HasPrefix(rest, ".(") {
		end += max(strings.Index(rest, ").")+1, 0)
	}
	return prefix, rest[:end], rest[end:]
}

// countRests gives the rests of names their indices: the ones that most names have come first.
func (e *functionEncoder) countRests(functions []*pclntab.Function) {
	count := map[string]int{}
	for _, f := range functions {
		_, _, rest := cutName(shortName(f.Name))
		count[rest]++
	}
	for _, rest := range slices.SortedFunc(maps.Keys(count), func(a, b string) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(a, b))
	}) {
		e.add(&e.rests, rest)
	}
}

// function encodes a function.
func (e *functionEncoder) function(f *pclntab.Function) {
	rows := e.rows(f)
	prefix, owner, rest := cutName(shortName(f.Name))
	name, file := e.name(prefix, owner), rows[0].file
	if rows[0].bounds != 0 {
		e.err = fmt.Errorf("the table of functions has no room for a bounds check before the first instruction of %s", f.Name)
		return
	}
	if g := &e.group; g.owner != name || g.file != file {
		e.endGroup()
		e.group = group{owner: name, file: file}
	}
	e.group.function(rows, e.add(&e.rests, rest))
	e.group.size += f.End - f.Addr
	e.noRoom(&e.group.rows, f.Name)
}

// endGroup writes the group, if there is one.
func (e *functionEncoder) endGroup() {
	g := &e.group
	if g.size == 0 {
		return
	}
	e.out.numbers(functab.Group, g.size, g.rows.count, signed(int(g.owner)-int(e.owner)), signed(int(g.file)-int(e.file)))
	e.out.append(&g.rows)
	e.owner, e.file = g.owner, g.file
	e.noRoom(&e.out, "a group of functions")
}

// noRoom makes an error of a number that was too large.
func (e *functionEncoder) noRoom(w *bitWriter, of string) {
	if w.overflow && e.err == nil {
		e.err = fmt.Errorf("the table of functions has no room for a number of %s", of)
	}
}

// A row is what the table tells of some bytes of code, the function aside.
type row struct {
	size uint64
	position
	bounds  uint64
	noFrame bool
}

// rows returns the rows of a function, at least one. What lies between its last instruction and the next function is as the last
// instruction.
func (e *functionEncoder) rows(f *pclntab.Function) []row {
	var rows []row
	at := f.Addr
	for _, end := range f.Ends() {
		r := e.row(f, at)
		if last := len(rows) - 1; last >= 0 && (rows[last].follows(r) || at >= f.CodeEnd()) {
			rows[last].size += end - at
		} else {
			r.size = end - at
			rows = append(rows, r)
		}
		at = end
	}
	return rows
}

// follows reports whether both rows tell the same.
func (r row) follows(other row) bool {
	other.size = r.size
	return r == other
}

func (e *functionEncoder) row(f *pclntab.Function, at uint64) row {
	file, line := f.At(at)
	return row{
		position: position{e.fileOf(file), line},
		bounds:   uint64(max(f.Bounds.At(at), 0)),
		noFrame:  f.SP.At(at) == 0,
	}
}

// function encodes the rows of a function.
func (g *group) function(rows []row, rest uint64) {
	g.last.file, g.other.file = g.file, g.file
	bounds := uint64(0)
	for i, r := range rows {
		kind := g.kind(r, i == 0, bounds)
		if kind&functab.OtherFile != 0 {
			g.last, g.other = g.other, g.last
		}
		line := signed(r.line - g.last.line)
		g.rows.number(functab.Kind, uint64(strings.IndexByte(functab.Kinds, kind)))
		for i, n := range []uint64{r.size - 1, line, line, r.file, rest, r.bounds} {
			if kind>>i&1 != 0 {
				g.rows.number(functab.Row[i], n)
			}
		}
		g.last, bounds = r.position, r.bounds
	}
}

// kind is what functab.Kinds has for a row. bounds is the bounds check of the row before.
func (g *group) kind(r row, first bool, bounds uint64) (kind byte) {
	if r.noFrame {
		kind |= functab.NoFrame
	}
	if r.bounds != bounds {
		kind |= functab.HasBounds
	}
	switch {
	case first:
		kind |= functab.HasRest | functab.HasFar
	case r.file == g.last.file && r.line == g.last.line && r.size == 1 && kind == functab.NoFrame:
		return kind // a RET
	case r.file == g.last.file:
		kind |= functab.HasLine
	case r.file == g.other.file:
		kind |= functab.OtherFile | functab.HasLine
	default:
		kind |= functab.OtherFile | functab.HasFile | functab.HasFar
	}
	if r.size == 1 && kind == functab.NoFrame|functab.HasRest|functab.HasFar {
		return kind // the PUSH that a function begins with
	}
	return kind | functab.HasSize
}

// A bitWriter writes what a functab.Program reads.
type bitWriter struct {
	words    []uint64
	count    uint64 // of bits
	overflow bool   // a number was too large
}

func (w *bitWriter) bit(b uint64) {
	if w.count%64 == 0 {
		w.words = append(w.words, 0)
	}
	w.words[w.count/64] |= b & 1 << (63 - w.count%64)
	w.count++
}

func (w *bitWriter) number(order byte, n uint64) {
	order &= functab.Order
	n += 1 << order
	size := 2*bits.Len64(n) - int(order) - 1
	if size > 64 {
		w.overflow = true
		return
	}
	for i := range size {
		w.bit(n >> (size - 1 - i))
	}
}

func (w *bitWriter) numbers(orders string, numbers ...uint64) {
	for i, n := range numbers {
		w.number(orders[i], n)
	}
}

// signed is what a signed number is coded as.
func signed(n int) uint64 {
	if n > 0 {
		return uint64(2*n - 1)
	}
	return uint64(-2 * n)
}

func (w *bitWriter) append(other *bitWriter) {
	for i := range other.count {
		w.bit(other.words[i/64] >> (63 - i%64))
	}
}

// addFunctions puts the table among the constants: in front of them if so much room is free there,
// else behind them. It returns its address, too.
func addFunctions(constants segment, room uint64, table []byte) (segment, uint64) {
	size := uint64(len(table))
	at := constants.end()
	if size <= room {
		at = constants.addr - size
		constants.addr = at
		constants.data = append(table, constants.data...)
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
