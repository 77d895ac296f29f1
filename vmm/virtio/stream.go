package virtio

// sender moves what a driver sends, in a queue, to an end outside that may take it in pieces.
type sender struct{ sending *Chain } // nil: none

// send has the end take what the driver gave, as far as it has room and in a turn, and reports whether that was all.
func (s *sender) send(q *Queue, offer func(p []byte) int) bool {
	for {
		if s.sending == nil {
			var ok bool
			if s.sending, ok = q.Next(); !ok {
				return !q.more
			}
		}
		for p := s.sending.Peek(); len(p) > 0; p = s.sending.Peek() {
			p = p[:min(uint64(len(p)), q.left())]
			if len(p) == 0 {
				q.more = true
				return false
			}
			n := offer(p)
			s.sending.Skip(n)
			if n < len(p) {
				return false
			}
		}
		q.Use(s.sending, 0)
		s.sending = nil
	}
}

// receiver moves what comes from an end outside to where a driver has room for it, in a queue.
type receiver struct{ room *Chain } // nil: none yet

// receive gives the driver what the end has, by way of buffer, at most its length at once. It keeps the request for which there
// is nothing, and looks for none before there is something.
func (r *receiver) receive(q *Queue, buffer []byte, fetch func(p []byte) int) {
	for {
		if r.room == nil {
			var ok bool
			if r.room, ok = q.Next(); !ok {
				return
			}
		}
		p := buffer[:min(r.room.Writable(), uint64(len(buffer)))]
		n := fetch(p)
		if n == 0 && len(p) > 0 { // one without room goes back as it came
			return
		}
		r.room.Write(p[:n])
		q.Use(r.room, uint32(n))
		r.room = nil
		if n < len(p) {
			return // that was all: whoever has more wakes the queue, and until then the driver need not tell of the room that it gives
		}
	}
}
