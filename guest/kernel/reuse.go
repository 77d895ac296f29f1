package kernel

// Reuse is memory of a RAM that was given back, to be taken again. What it knows of that lies in the
// memory itself, which is nobody's: there is always room for it.
type Reuse struct {
	_      notComparable
	frames Frames
	pieces [2]piece // of RAM.Low and RAM.High
	ram    *RAM
}

// Frames tells where memory lies.
type Frames interface {
	// Frame is the physical address of memory that the board handed the kernel.
	Frame(mem []byte) uint64
}

// piece is one of the two pieces of a RAM. Free memory in it is ranges of whole pages, in the order of
// addresses, of which no two touch, nor the last one what nobody ever had. Each begins with two words: where the next
// range begins, and its own length. Where something begins is told in bytes from the start of the piece.
type piece struct {
	_     notComparable
	all   []byte  // what was left of the piece when the Reuse was made
	fresh *[]byte // the end of that: what nobody ever had
	start uint64  // physical address
	first uint64  // where the first range begins, or none
}

// none is where the range begins that there is not.
const none = ^uint64(0)

// Init makes the Reuse of what the RAM has now: what was taken before is never given back. It is called once, before
// tasks are loaded.
func (r *Reuse) Init(ram *RAM, frames Frames) {
	if ram.reuse != nil {
		panic("kernel: a RAM has two of Reuse")
	}
	r.ram, r.frames = ram, frames
	r.pieces[0].init(&ram.Low, frames)
	r.pieces[1].init(&ram.High, frames)
	ram.reuse = r
}

func (p *piece) init(fresh *[]byte, frames Frames) {
	p.all, p.fresh, p.first = *fresh, fresh, none
	if len(p.all) != 0 {
		p.start = frames.Frame(p.all)
	}
}

// Give gives back memory, whole pages, that was taken of the RAM since it had a Reuse. Nobody uses it any more.
func (r *RAM) Give(mem []byte) { r.reuse.give(mem) }

// Free is how many bytes nobody has.
func (r *Reuse) Free() uint64 {
	free := uint64(len(r.ram.Low) + len(r.ram.High))
	for i := range r.pieces {
		p := &r.pieces[i]
		for at := p.first; at != none; at = p.next(at) {
			free += p.length(at)
		}
	}
	return free
}

// Take is RAM.Take, but that what was given back comes before what nobody ever had.
func (r *Reuse) Take(size uint64) []byte {
	if taken := r.take(size); taken != nil {
		return taken
	}
	return r.ram.Take(size)
}

// take implements taker: it takes from the first range that has room for so much.
func (r *Reuse) take(size uint64) []byte {
	for i := range r.pieces {
		if taken := r.pieces[i].take(size); taken != nil {
			return taken
		}
	}
	return nil
}

// give implements taker.
func (r *Reuse) give(mem []byte) {
	frame := r.frames.Frame(mem)
	for i := range r.pieces {
		p := &r.pieces[i]
		if at := frame - p.start; at < uint64(len(p.all)) { // beyond every end if it lies below
			p.give(at, uint64(len(mem)))
			return
		}
	}
	panic(neverTaken)
}

const neverTaken = "kernel: memory was given back that nobody had taken"

func (p *piece) next(at uint64) uint64   { return load64(p.all[at:]) }
func (p *piece) length(at uint64) uint64 { return load64(p.all[at+8:]) }

// set makes a range of so many bytes at a place, in front of the next one.
func (p *piece) set(at, next, length uint64) {
	store64(p.all[at:], next)
	store64(p.all[at+8:], length)
}

// link makes the range at next the one behind the range at before, or the first one.
func (p *piece) link(before, next uint64) {
	if before == none {
		p.first = next
	} else {
		store64(p.all[before:], next)
	}
}

func (p *piece) take(size uint64) []byte {
	before := none
	for at := p.first; at != none; before, at = at, p.next(at) {
		length, next := p.length(at), p.next(at)
		if length < size {
			continue
		}
		if length > size {
			p.set(at+size, next, length-size)
			next = at + size
		}
		p.link(before, next)
		return p.all[at:][:size:size]
	}
	return nil
}

// give makes a range of memory, or a part of what it touches.
func (p *piece) give(at, size uint64) {
	last, before, next := none, none, p.first // last is in front of before
	for next != none && next < at {
		last, before, next = before, next, p.next(next)
	}
	end, fresh := at+size, uint64(len(p.all)-len(*p.fresh))
	if end > fresh || next != none && end > next || before != none && before+p.length(before) > at {
		panic(neverTaken)
	}
	if end == next {
		end, next = next+p.length(next), p.next(next)
	}
	if before != none && before+p.length(before) == at {
		at, before = before, last
	}
	if end == fresh {
		*p.fresh = p.all[at:]
		p.link(before, none)
		return
	}
	p.set(at, next, end-at)
	p.link(before, at)
}
