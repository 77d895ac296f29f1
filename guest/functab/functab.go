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

// Orders of numbers that come one after another, a byte each.
const (
	Signed = 0x80 // beside the order

	// Group is what is told of a group of functions: their size, which is not 0; the length of their rows in bits; the
	// differences of their type, an index into Names, and of their file, another one, to those of the group before.
	Group = "\x08\x08\x82\x81"

	// Row is what is told of the next bytes of a group's code: their number, less 1; the difference of their line to the last
	// one in the same file, if it is small, and if it is large; a file; a function, the rest of whose name has this index into
	// Rests; which bounds check was made.
	Row = "\x03\x81\x86\x06\x07\x0c"

	// Kind is the order of a row's kind.
	Kind = 0
)

// Bits of what Kinds has. What a row's kind does not say is as in the row before. A group's first row begins a function, and the line
// before it is 0.
const (
	HasSize   = 1 << iota // else it is of one byte
	HasLine               // another line
	HasFar                // one that is far
	HasFile               // a file that comes in the place of the one before the last
	HasRest               // a function begins: its file and the one before are the group's, and there is no bounds check
	HasBounds             // another bounds check
	OtherFile             // its file is the one before the last
	NoFrame               // the return address is on top of the stack
)

// Kinds are what rows can be, those that are many first.
const Kinds = "" +
	"\x03\x43\x80\x4d\x83\x94\x23\x95" +
	"\x63\xc3\xcd\x6d\x15\xa3\xe3\xed" +
	"\x35\xb5\x03\x03\x03\x03\x03\x03" +
	"\x03\x03\x03\x03\x03\x03\x03\x03"

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
		r.read(Group, ^uint64(0))
		size, length := r.numbers[0], r.numbers[1]
		owner += r.numbers[2]
		file += r.numbers[3]
		if offset < size {
			rest, file := r.rows(file, offset, p)
			p.Function.Prefix, p.Function.Type = t.name(owner)
			p.Function.Rest = text(t.Rests, rest)
			p.File.Prefix, p.File.Rest = t.name(file)
			return true
		}
		if size == 0 {
			return false
		}
		offset -= size
		r.at += length
	}
}

// rows reads a group up to the row that tells of an offset in its code, and returns the rest of the function's name, and the row's file.
func (r *reader) rows(own, offset uint64, p *Place) (rest, file uint64) {
	other, line, otherLine := own, uint64(0), uint64(0)
	file = own
	for {
		kind := uint64(Kinds[r.number(Kind)&31])
		r.read(Row, kind)
		if kind&HasRest != 0 {
			file, other, rest = own, own, r.numbers[4]
			p.Bounds = 0
		}
		if kind&OtherFile != 0 {
			file, other = other, file
			line, otherLine = otherLine, line
		}
		if kind&HasFile != 0 {
			file = r.numbers[3]
		}
		if kind&HasBounds != 0 {
			p.Bounds = int(r.numbers[5])
		}
		line += r.numbers[1] + r.numbers[2]
		if offset <= r.numbers[0] || r.ended {
			p.Line, p.NoFrame = int(line), kind&NoFrame != 0
			return rest, file
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
