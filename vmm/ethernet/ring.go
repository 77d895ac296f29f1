package ethernet

import "sync"

// QueueSize is how many frames wait in each direction of a Port.
const QueueSize = 256

// A ring is a queue of at most QueueSize frames, in memory of its own.
type ring struct {
	mu      sync.Mutex
	room    sync.Cond // there is room, or the end has come
	waiting sync.Cond // there is a frame, or the end has come
	closed  bool
	first   int // the frame that waits longest
	count   int
	lengths [QueueSize]int
	frames  [QueueSize][MaxFrame]byte
}

func (r *ring) init() { r.room.L, r.waiting.L = &r.mu, &r.mu }

// put appends a frame. It reports false if there is no room, or after close.
func (r *ring) put(frame []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.count == QueueSize {
		return false
	}
	r.append(frame)
	return true
}

// putWait appends a frame, when there is room. It reports whether the frame is the only one, and
// false after close.
func (r *ring) putWait(frame []byte) (only, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.count == QueueSize && !r.closed {
		r.room.Wait()
	}
	if r.closed {
		return false, false
	}
	r.append(frame)
	return r.count == 1, true
}

// append is put with the lock held and room for the frame, which passes.
func (r *ring) append(frame []byte) {
	last := (r.first + r.count) % QueueSize
	r.lengths[last] = copy(r.frames[last][:], frame)
	r.count++
	r.waiting.Signal()
}

// take removes the first frame into buffer and returns its length, or 0 if there is none.
func (r *ring) take(buffer *[MaxFrame]byte) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.remove(buffer)
}

// takeWait is take that waits for a frame. It returns 0 after close, when all were taken.
func (r *ring) takeWait(buffer *[MaxFrame]byte) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.count == 0 && !r.closed {
		r.waiting.Wait()
	}
	return r.remove(buffer)
}

// remove is take with the lock held.
func (r *ring) remove(buffer *[MaxFrame]byte) int {
	if r.count == 0 {
		return 0
	}
	n := r.lengths[r.first]
	copy(buffer[:n], r.frames[r.first][:n])
	r.first = (r.first + 1) % QueueSize
	r.count--
	r.room.Signal()
	return n
}

// close ends all waiting, now and later. Nothing is appended any more.
func (r *ring) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.room.Broadcast()
	r.waiting.Broadcast()
}
