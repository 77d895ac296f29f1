package net

// recordSize is what a datagram takes in a ring beside its data: length, port, address.
const recordSize = 8

// A ring is a queue of datagrams with their endpoints, in one buffer.
type ring struct {
	buf         []byte
	first, used int
}

// push adds a datagram, if there is room.
func (r *ring) push(data []byte, e Endpoint) bool {
	if recordSize+len(data) > len(r.buf)-r.used {
		return false
	}
	var head [recordSize]byte
	put16(head[:], uint16(len(data)))
	put16(head[2:], e.Port)
	copy(head[4:], e.Address[:])
	r.add(head[:])
	r.add(data)
	return true
}

// add adds bytes, for which there is room.
func (r *ring) add(b []byte) {
	if len(b) == 0 {
		return
	}
	end := r.first + r.used
	if end >= len(r.buf) {
		end -= len(r.buf)
	}
	n := copy(r.buf[end:], b)
	copy(r.buf, b[n:])
	r.used += len(b)
}

// remove takes n bytes, and copies as many as fit to b.
func (r *ring) remove(b []byte, n int) {
	b = b[:min(n, len(b))]
	m := copy(b, r.buf[r.first:])
	copy(b[m:], r.buf)
	if r.first += n; r.first >= len(r.buf) {
		r.first -= len(r.buf)
	}
	r.used -= n
}

// pop takes the first datagram and copies as much as fits to b; length is all of it.
func (r *ring) pop(b []byte) (length int, e Endpoint, ok bool) {
	if r.used == 0 {
		return 0, e, false
	}
	var head [recordSize]byte
	r.remove(head[:], recordSize)
	length = int(get16(head[:]))
	r.remove(b, length)
	return length, Endpoint{getAddress(head[4:]), get16(head[2:])}, true
}

// empty removes all.
func (r *ring) empty() { r.first, r.used = 0, 0 }
