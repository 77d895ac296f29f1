// Package functab is the table that panics tell functions, files and lines by. Go's linker makes
// a larger one (pclntab), of which mkimage keeps this much (docs/decisions/0018).
//
// Names are lists of texts, each with its length in a byte in front of it. One in Names begins with a byte that
// is an index into Prefixes: what lies in a package begins with its path.
//
// Functions is a row of bits, the highest of each word first, and at its end a word of zeros:
//
//	functions = function...       by address, without a gap
//	function  = Function, row...
//	row       = kind, Row         those of Row's numbers that its kind says
//
// Each number is in Exp-Golomb code of an order: a number n of order k is n+1<<k in binary, behind as many zeros as that has
// bits above the lowest k+1. A signed number n is coded as 2n-1 if it is above 0, else as -2n.
package functab

import "math/bits"

// Orders of numbers that come one after another, a byte each.
const (
	Signed = 0x80 // beside the order

	// Function is what is told of a function: its size, which is not 0; the length of its rows in bits; the differences of
	// its type, an index into Names, and of its first file, another one, to those of the function before; the rest of its
	// name, an index into Rests; a line, more by 1.
	Function = "\x07\x07\x80\x80\x07\x07"

	// Row is what is told of the next bytes of a function's code: their number, less 1; the difference of their line to that of
	// the row before; their file; which bounds check is made there.
	Row = "\x03\x82\x06\x0c"

	// Kind is the order of a row's kind.
	Kind = 0
)

// Bits of what Kinds has. A row's file is that of the row before, unless its kind says something else.
const (
	HasSize   = 1 << iota // else it is of one byte
	HasLine               // else its line is that of the row before
	HasFile               // a file that comes in the place of the one before the last
	HasBounds             // a bounds check is made
	OtherFile             // its file is the one before the last
	NoFrame               // the return address is on top of the stack
)

// Kinds are what rows can be, those that are many first.
const Kinds = "" +
	"\x03\x20\x23\x13\x17\x0b\x33\x37" +
	"\x1b\x1f\x2b\x3b\x3f\x03\x03\x03"

// A Place is where an instruction comes from.
type Place struct {
	Function Name // of functions inlined at the instruction the outermost
	File     Name // of them the innermost's, as the line
	Line     int
	NoFrame  bool // the return address is on top of the stack
	Bounds   int  // at a call that tells of a failed bounds check: which (internal/abi.BoundsDecode); else 0
}

// A Name is in parts, as it takes memory to put them together: the path of a package; of a function its type, with a point on
// either side, or a point alone; the rest.
type Name struct{ Prefix, Type, Rest string }

// A Program is a program and its table.
type Program struct {
	Text                   uint64 // address of its code
	Functions              []uint64
	Prefixes, Names, Rests string
}

// program is the one that this package is linked into. mkimage fills it in. It is not zero here,
// so that it lies in initialised data.
var program = Program{Text: 1}

// Here sets p to where an instruction of the running program comes from, or reports false.
func Here(pc uint64, p *Place) bool { return program.Find(pc-program.Text, p) }

// Find sets p to where the instruction at an offset from the start of the code comes from, or
// reports false. Whatever the table holds, it ends, and reads nothing else.
func (t *Program) Find(offset uint64, p *Place) bool {
	r := reader{words: t.Functions}
	owner, file := uint64(0), uint64(0)
	for {
		r.read(Function, ^uint64(0))
		size, length, rest := r.numbers[0], r.numbers[1], r.numbers[4]
		owner += r.numbers[2]
		file += r.numbers[3]
		if offset < size {
			file = r.rows(file, offset, p)
			p.File.Prefix, p.File.Rest = t.name(file)
			p.Function.Prefix, p.Function.Type = t.name(owner)
			p.Function.Rest = text(t.Rests, rest)
			return true
		}
		if size == 0 {
			return false
		}
		offset -= size
		r.at += length
	}
}

// rows reads a function up to the row that tells of an offset in its code, and returns the row's file.
func (r *reader) rows(file, offset uint64, p *Place) uint64 {
	other, line := file, r.numbers[5]-1
	for {
		kind := uint64(Kinds[r.number(Kind)&15])
		r.read(Row, kind)
		line += r.numbers[1]
		if kind&HasFile != 0 {
			other = r.numbers[2]
		}
		if kind&OtherFile != 0 {
			file, other = other, file
		}
		if offset <= r.numbers[0] || r.ended {
			p.Line, p.NoFrame, p.Bounds = int(line), kind&NoFrame != 0, int(r.numbers[3])
			return file
		}
		offset -= r.numbers[0] + 1
	}
}

// name is the name with an index.
func (t *Program) name(index uint64) (prefix, rest string) {
	if rest = text(t.Names, index); rest == "" {
		return "", ""
	}
	return text(t.Prefixes, uint64(rest[0])), rest[1:]
}

// text is the text with an index in a list.
//
//go:noinline
func text(list string, index uint64) string {
	for at := 0; at < len(list); index-- {
		next := at + 1 + int(list[at])
		if index == 0 {
			return list[at+1 : min(next, len(list))]
		}
		at = next
	}
	return ""
}

// A reader reads numbers.
type reader struct {
	words   []uint64
	at      uint64 // in bits
	ended   bool   // there are no more: each is 0
	numbers [8]uint64
}

// read reads numbers of those orders whose bits are set in present. The others are 0.
//
//go:noinline
func (r *reader) read(orders string, present uint64) {
	for i, order := range []byte(orders) {
		n := uint64(0)
		if present&1 != 0 {
			n = r.number(order)
		}
		r.numbers[i&7] = n
		present >>= 1
	}
}

//go:noinline
func (r *reader) number(order byte) uint64 {
	w := uint64(0)
	if i, shift := r.at>>6, r.at&63; i+1 < uint64(len(r.words)) {
		w = r.words[i]<<shift | r.words[i+1]>>1>>(63-shift)
	}
	if w == 0 {
		r.ended = true
		return 0
	}
	size := 2*bits.LeadingZeros64(w) + int(order&63) + 1
	r.at += uint64(size)
	n := w>>(-size&63) - 1<<(order&63)
	if order&Signed != 0 {
		n = (n>>1 ^ (n&1 - 1)) + 1
	}
	return n
}
