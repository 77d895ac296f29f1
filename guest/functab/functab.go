// Package functab is the table that panics tell functions, files and lines by. Go's linker makes
// a larger one (pclntab), of which mkimage keeps this much (docs/decisions/0018).
//
// Names are lists of texts, each with its length in a byte in front of it. One in Names begins with a byte that
// is an index into Prefixes: what lies in a package begins with its path.
//
// Functions is a row of bits, the highest of each word first, and at its end a word of zeros:
//
//	functions = group...          by address, without a gap
//	group     = Group, row...     functions of one type (or of a package, without one) that begin in one file
//	row       = kind, Row         those of Row's numbers that its kind says
//
// Each number is in Exp-Golomb code of an order: a number n of order k is n+1<<k in binary, behind as many zeros as that has
// bits above the lowest k+1. A signed number n is coded as 2n-1 if it is above 0, else as -2n.
package functab

import "math/bits"

// Orders of numbers that come one after another. A byte has the order, which number it is of those that a reader keeps, and Signed if that
// is its difference to the one before.
const (
	Order  = 0x0f
	Signed = 0x80

	// Group is what is told of a group of functions: their size, which is not 0; the length of their rows in bits; the
	// differences of their type, an index into Names, and of their file, another one, to those of the group before.
	Group = "\x08\x58\xe2\xf1"

	// Row is what is told of the next bytes of a group's code: their number, less 1; the difference of their line to the last
	// one in the same file, if it is small, and if it is large; their file; an index into Rests for the rest of a function's
	// name; which bounds check was made.
	Row = "\x03\x91\x96\x26\x37\x4c"

	// Kind is the order of a row's kind.
	Kind = 0
)

// The numbers that a reader keeps.
const (
	sizeOf = iota
	lineOf
	fileOf
	restOf
	boundsOf
	lengthOf
	ownerOf // the group's type
	groupFileOf
)

// Bits of what Kinds has. What a row's kind does not say is as in the row before. The line before a group's first row is 0.
const (
	HasSize   = 1 << iota // else it is of one byte
	HasLine               // another line
	HasFar                // one that is far
	HasFile               // a file that comes in the place of the one before the last
	HasRest               // a function begins: its file and the one before are the group's, and there is no bounds check
	HasBounds             // another bounds check
	OtherFile             // the file is the one before the last, as is the line
	NoFrame               // the return address is on top of the stack
)

// Kinds are what rows can be, those that are many first.
const Kinds = "" +
	"\x03\x43\x80\x4d\x83\x94\x23\x95" +
	"\x63\xc3\xcd\x6d\x15\xa3\xe3\xed"

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
	for {
		r.read(Group, ^uint64(0))
		size := r.numbers[sizeOf]
		if size == none {
			return false
		}
		if offset < size {
			break
		}
		offset -= size
		r.at += r.numbers[lengthOf]
	}
	p.NoFrame = r.rows(offset)&NoFrame != 0
	p.Line, p.Bounds = int(r.numbers[lineOf]), int(r.numbers[boundsOf])
	p.Function.Prefix, p.Function.Type = t.name(r.numbers[ownerOf])
	p.Function.Rest = text(t.Rests, r.numbers[restOf])
	p.File.Prefix, p.File.Rest = t.name(r.numbers[fileOf])
	return true
}

// rows reads a group's rows up to the one that tells of an offset in its code, and returns the kind of that.
func (r *reader) rows(offset uint64) (kind uint64) {
	otherFile, otherLine := uint64(0), uint64(0)
	for {
		kind = uint64(Kinds[r.number(Kind)&15])
		if kind&HasRest != 0 {
			otherFile = r.numbers[groupFileOf]
			r.numbers[fileOf] = otherFile
			r.numbers[boundsOf] = 0
		}
		if kind&OtherFile != 0 {
			r.numbers[fileOf], otherFile = otherFile, r.numbers[fileOf]
			r.numbers[lineOf], otherLine = otherLine, r.numbers[lineOf]
		}
		r.numbers[sizeOf] = 0
		r.read(Row, kind)
		if offset <= r.numbers[sizeOf] {
			return kind
		}
		offset -= r.numbers[sizeOf] + 1
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

// A reader reads numbers, and keeps the last of each.
type reader struct {
	words   []uint64
	at      uint64 // in bits
	numbers [8]uint64
}

// none is each number behind the last, and each that is longer than a word, so that no search goes on there.
const none = ^uint64(0)

// read reads numbers of those orders whose bits are set in present.
//
//go:noinline
func (r *reader) read(orders string, present uint64) {
	for _, order := range []byte(orders) {
		if present&1 != 0 {
			n := r.number(order)
			number := &r.numbers[order>>4&7]
			if order&Signed != 0 {
				n = (n>>1 ^ (n&1 - 1)) + 1 + *number
			}
			*number = n
		}
		present >>= 1
	}
}

//go:noinline
func (r *reader) number(order byte) uint64 {
	w := uint64(0)
	if i, shift := r.at>>6, r.at&63; i+1 < uint64(len(r.words)) {
		w = r.words[i]<<shift | r.words[i+1]>>1>>(63-shift)
	}
	size := 2*bits.LeadingZeros64(w) + int(order&Order) + 1
	if size > 64 { // as behind the end, where all bits are zeros
		return none
	}
	r.at += uint64(size)
	return w>>(-size&63) - 1<<(order&Order)
}
