package tcp

// A ring is a buffer whose size is a power of two: the byte with sequence number n lies at n modulo the size.
type ring []byte

func (r ring) size() uint32 { return uint32(len(r)) }

// store copies p to where the sequence numbers from at on lie. p is not longer than the ring.
func (r ring) store(at uint32, p []byte) {
	n := copy(r[at&(r.size()-1):], p)
	copy(r, p[n:])
}

// load copies to p what lies at the sequence numbers from at on. p is not longer than the ring.
func (r ring) load(p []byte, at uint32) {
	n := copy(p, r[at&(r.size()-1):])
	copy(p[n:], r)
}

// sender is the send sequence space (RFC 9293, 3.3.1) and its buffer:
//
//	una ≤ next ≤ max ≤ end+1, with FIN at end
type sender struct {
	buffer    ring
	first     uint32 // of the first byte, behind SYN
	una       uint32 // the oldest that is not acknowledged
	next      uint32 // what is sent next; back at una after a timeout
	max       uint32 // behind all that was ever sent
	end       uint32 // behind all that was written
	window    uint32 // of the peer, from una on
	maxWindow uint32 // the largest that there was
	wl1, wl2  uint32 // sequence and acknowledgment of the segment that told window
	mss       uint32 // of data in a segment
}

func (o *sender) start(iss uint32, mss uint16) {
	o.una, o.next, o.max = iss, iss, iss
	o.first, o.end = iss+1, iss+1
	o.mss = max(uint32(mss), minimumMSS)
}

// minimumMSS is less than any peer needs: a smaller one would make many segments of few bytes.
const minimumMSS = 64

// takeMSS makes the MSS the smaller of ours and the peer's, which is 0 if none was told.
func (o *sender) takeMSS(mss uint16) {
	if mss == 0 {
		mss = DefaultMSS
	}
	o.mss = max(min(o.mss, uint32(mss)), minimumMSS)
}

// setWindow takes the window of a segment (RFC 9293, 3.10.7.4).
func (o *sender) setWindow(s *Segment) {
	o.window, o.wl1, o.wl2 = uint32(s.Window), s.Sequence, s.Acknowledgment
	o.maxWindow = max(o.maxWindow, o.window)
}

// oldest is the oldest byte in the buffer.
func (o *sender) oldest() uint32 {
	switch {
	case before(o.una, o.first):
		return o.first
	case before(o.end, o.una): // FIN is acknowledged
		return o.end
	}
	return o.una
}

// room is how many bytes the buffer takes.
func (o *sender) room() uint32 { return o.buffer.size() - (o.end - o.oldest()) }

func (o *sender) put(p []byte) int {
	n := min(uint32(min(len(p), len(o.buffer))), o.room())
	o.buffer.store(o.end, p[:n])
	o.end += n
	return int(n)
}

// maxGaps is how many gaps there can be in what has arrived.
const maxGaps = 8

// An island is what has arrived behind a gap: [from, to).
type island struct{ from, to uint32 }

// receiver is the receive sequence space (RFC 9293, 3.3.1) and its buffer:
//
//	read ≤ expected < the islands ≤ edge ≤ read+size
//
// until finished, when FIN lies before expected.
type receiver struct {
	buffer   ring
	mss      uint32 // that the peer was told
	initial  uint32 // of the peer's SYN
	read     uint32 // what Read gives next
	expected uint32 // what must come next
	edge     uint32 // behind what was ever offered
	islands  [maxGaps]island
	count    uint8 // of the islands
	behind   uint8 // segments that came behind a gap, and have yet to be acknowledged, each by a segment without data
	finKnown bool  // FIN has come, at fin
	finished bool  // and all before it
	fin      uint32
}

func (r *receiver) start(initial uint32) {
	r.initial = initial
	r.read, r.expected = initial+1, initial+1
	r.edge = r.expected + r.largest()
}

// largest is the largest window, without scaling.
func (r *receiver) largest() uint32 { return min(r.buffer.size(), 0xffff) }

func (r *receiver) readable() uint32 {
	n := r.expected - r.read
	if r.finished {
		n--
	}
	return n
}

func (r *receiver) take(p []byte) int {
	n := min(uint32(min(len(p), len(r.buffer))), r.readable())
	r.buffer.load(p[:n], r.read)
	r.read += n
	return int(n)
}

// window is how much of what was offered is left.
func (r *receiver) window() uint32 {
	if before(r.edge, r.expected) { // FIN was taken without a window
		return 0
	}
	return r.edge - r.expected
}

// growth is by how much the window can grow: by nothing until it is worth a segment (silly window avoidance, RFC 9293, 3.8.6.2.2).
func (r *receiver) growth() uint32 {
	if r.finished {
		return 0
	}
	free := min(r.buffer.size()-r.readable(), 0xffff)
	if free < r.window() {
		return 0
	}
	n := free - r.window()
	if n < min(r.buffer.size()/2, r.mss) {
		return 0
	}
	return n
}

// fit cuts what lies outside the window off data, and what lies behind FIN.
func (r *receiver) fit(sequence uint32, data []byte) (uint32, []byte) {
	if before(sequence, r.expected) {
		old := min(r.expected-sequence, uint32(len(data)))
		data = data[old:]
		sequence = r.expected
	}
	end := r.edge
	if r.finKnown && before(r.fin, end) {
		end = r.fin
	}
	if before(end, sequence) {
		end = sequence
	}
	return sequence, data[:min(uint32(len(data)), end-sequence)]
}

// accept stores data that fits. What lies behind a gap too many is dropped.
func (r *receiver) accept(sequence uint32, data []byte) {
	to := sequence + uint32(len(data))
	if len(data) == 0 || !r.note(sequence, to) {
		return
	}
	r.buffer.store(sequence, data)
}

// note merges [from, to) with the islands that it touches, and moves expected, or reports false.
func (r *receiver) note(from, to uint32) bool {
	kept := uint8(0)
	for _, i := range r.islands[:r.count] {
		if before(to, i.from) || before(i.to, from) {
			r.islands[kept] = i
			kept++
			continue
		}
		if before(i.from, from) {
			from = i.from
		}
		if before(to, i.to) {
			to = i.to
		}
	}
	r.count = kept
	if from == r.expected {
		r.expected = to
		return true
	}
	if kept == maxGaps {
		return false
	}
	r.islands[kept] = island{from, to}
	r.count++
	return true
}

// noteFin notes where FIN is, unless data behind it has come, which only a liar sends; then it finishes if all before it is there.
func (r *receiver) noteFin(fin uint32) {
	for _, i := range r.islands[:r.count] {
		if before(fin, i.to) {
			return
		}
	}
	if !r.finKnown && notAfter(r.expected, fin) {
		r.finKnown, r.fin = true, fin
	}
}

// finish reports true when FIN is next, and takes it.
func (r *receiver) finish() bool {
	if r.finished || !r.finKnown || r.fin != r.expected {
		return false
	}
	r.finished = true
	r.expected++
	return true
}
