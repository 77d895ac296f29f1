// Package functab is the table that panics tell functions, files and lines by. Go's linker makes
// a larger one (pclntab), of which mkimage keeps this much. Addresses are offsets from the start
// of the program's code.
//
//	table    = prefixes, files, function...     functions by address, without a gap
//	prefixes = text of: text...                 what names begin with
//	files    = text of: (prefix, text)...       name: prefix, then text
//	function = size, text of: (prefix, text, row...)
//	row      = size<<3 | flags, line, [file], [bounds]
//	text     = length, bytes
//
// Everything else is a number in seven bits a byte, the lowest first, each byte but the last with
// its top bit set (LEB128). A prefix or a file is an index. A row tells of the next so many bytes of the
// function's code. Its line is the difference to the row before, at first to 0, and signed: twice the
// difference, or for a negative one twice its complement and 1. The file stays until a row has another.
package functab

// Flags of a row.
const (
	HasFile   = 1 << iota // the row has another file than the row before, at first than file 0
	HasBounds             // the row has a code of a bounds check
	NoFrame               // the return address is on top of the stack

	FlagBits = 3 // below a row's size
)

// A Place is where an instruction comes from.
type Place struct {
	Function Name // of functions inlined at the instruction the outermost
	File     Name // of them the innermost's, as the line
	Line     int
	NoFrame  bool // the return address is on top of the stack
	Bounds   int  // at a call that tells of a failed bounds check: which (internal/abi.BoundsDecode); else 0
}

// A Name is in two parts, as it takes memory to put them together.
type Name struct{ Prefix, Rest string }

// A Program is a program and its table.
type Program struct {
	Text  uint64 // address of its code
	Table string
}

// program is the one that this package is linked into. mkimage fills it in. It is not zero here,
// so that it lies in initialised data.
var program = Program{Text: 1}

// Here sets p to where an instruction of the running program comes from, or reports false.
func Here(pc uint64, p *Place) bool { return Find(program.Table, pc-program.Text, p) }

// Find sets p to where the instruction at an offset from the start of the code comes from, or
// reports false. Whatever the table holds, it ends, and reads nothing else.
func Find(table string, offset uint64, p *Place) bool {
	r := reader{table}
	prefixes, files := r.text(), r.text()
	for r.rest != "" {
		size := r.number()
		function := reader{r.text()}
		if offset < size {
			return function.place(prefixes, files, offset, p)
		}
		offset -= size
	}
	return false
}

// A reader reads a table from its start. At its end there are zeros.
type reader struct{ rest string }

//go:noinline
func (r *reader) number() uint64 {
	n := uint64(0)
	for shift := uint(0); r.rest != ""; shift += 7 {
		b := r.rest[0]
		r.rest = r.rest[1:]
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			break
		}
	}
	return n
}

func (r *reader) signed() int {
	n := r.number()
	return int(n>>1) ^ -int(n&1)
}

//go:noinline
func (r *reader) text() string {
	n := min(r.number(), uint64(len(r.rest)))
	s := r.rest[:n]
	r.rest = r.rest[n:]
	return s
}

// name sets n to a name of which the first part is one of the prefixes.
//
//go:noinline
func (r *reader) name(prefixes string, n *Name) {
	p := reader{prefixes}
	for i := r.number(); i > 0 && p.rest != ""; i-- {
		p.text()
	}
	n.Prefix, n.Rest = p.text(), r.text()
}

// place reads a function up to the row that tells of an offset in its code.
func (r *reader) place(prefixes, files string, offset uint64, p *Place) bool {
	r.name(prefixes, &p.Function)
	p.Line = 0
	file := uint64(0)
	for r.rest != "" {
		head := r.number()
		p.Line += r.signed()
		if head&HasFile != 0 {
			file = r.number()
		}
		p.Bounds = 0
		if head&HasBounds != 0 {
			p.Bounds = int(r.number())
		}
		p.NoFrame = head&NoFrame != 0
		size := head >> FlagBits
		if offset < size {
			f := reader{files}
			for f.name(prefixes, &p.File); file > 0 && f.rest != ""; file-- {
				f.name(prefixes, &p.File)
			}
			return true
		}
		offset -= size
	}
	return false
}
