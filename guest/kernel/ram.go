package kernel

// RAM is memory that nobody has: of it the kernel takes what tasks get, and the CPU what it
// needs for their page tables and registers. What is taken is taken for good, unless the RAM has a Reuse.
type RAM struct {
	Low, High []byte // two pieces, each starting on a page; each may be empty

	reuse taker // what was given back, or nil
}

// taker is a Reuse, which boards that give nothing back do without.
type taker interface {
	take(size uint64) []byte
	give(mem []byte)
}

// Take takes so many bytes, whole pages, in one piece, with whatever is in them. It returns nil
// if there is no such piece. What nobody ever had comes before what was given back.
func (r *RAM) Take(size uint64) []byte {
	room := r.roomFor(size)
	if room == nil {
		if r.reuse == nil {
			return nil
		}
		return r.reuse.take(size)
	}
	all := *room
	*room = all[size:]
	return all[:size:size]
}

// roomFor finds the piece that has room for so much, or returns nil.
func (r *RAM) roomFor(size uint64) *[]byte {
	switch {
	case size <= uint64(len(r.Low)):
		return &r.Low
	case size <= uint64(len(r.High)):
		return &r.High
	}
	return nil
}
