package kernel

// RAM is memory that nobody has yet: of it the kernel takes what tasks get, and the CPU what it
// needs for their page tables and registers. What is taken is taken for good.
type RAM struct {
	Low, High []byte // two pieces, each starting on a page; each may be empty
}

// Take takes so many bytes, whole pages, in one piece, with whatever is in them. It returns nil
// if there is no such piece.
func (r *RAM) Take(size uint64) []byte {
	room := r.roomFor(size)
	if room == nil {
		return nil
	}
	taken := (*room)[:size:size]
	*room = (*room)[size:]
	return taken
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
