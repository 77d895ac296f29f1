package http

import (
	"kapsel/guest/kernel/format"
	"kapsel/guest/net"
)

// Patience is how long a session waits: within it a request has to come, and its answer has to be taken, else the connection
// ends. It begins with the connection, and anew behind each answer.
const Patience = 10 * net.Second

// linger is how long what still comes is read and dropped, behind an answer with which the server ends the connection: a peer that is
// reset by the system, since nobody reads what it sends, may lose the answer (RFC 9112, 9.6).
const linger = net.Second

// A Stream is a connection, as *net.Conn of guest/net is one. No call waits.
type Stream interface {
	Read(p []byte) (int, error)  // 0 and no error: nothing has come
	Write(p []byte) (int, error) // as much as there is room for
	CloseWrite()                 // what was written is still sent, and then the end
	Close()                      // likewise, and nothing more is read
	Abort()
}

// A Handler answers a request: it changes the answer.
type Handler func(r *Request, a *Answer)

// A Session is the server's side of one connection at a time, with the memory for it. The zero value is idle.
type Session struct {
	stream   Stream // nil: idle
	page     []byte
	deadline net.Time
	last     bool // behind the answer the connection ends
	lingers  bool // and the peer may still send
	ended    bool // it was told
	crowded  bool // each answer is the last
	answers  uint32

	in     [MaxHead]byte
	n      int // bytes that came and were not used yet
	parser Parser
	skip   uint32 // bytes of a body that are passed over

	answer Answer // what is passed to other functions lies here: nothing is allocated
	lines  Text   // the answer's head, in head
	head   [maxAnswerHead]byte
	out    [2][]byte // what is left to write of head and body
}

// Begin serves a connection from now on. The session has to be idle. Page is where a Handler's Text is made, 64 bytes at the
// least; until the session is idle again it is used for nothing else.
func (s *Session) Begin(c Stream, page []byte, now net.Time) {
	s.stream, s.page, s.deadline, s.last = c, page, now+Patience, false
	s.lingers, s.ended = false, false
	s.n, s.skip, s.parser, s.out = 0, 0, Parser{}, [2][]byte{}
}

// Idle reports whether the session has no connection.
func (s *Session) Idle() bool { return s.stream == nil }

// Deadline returns when Serve has to be called at the latest, if the session is not idle.
func (s *Session) Deadline() net.Time { return s.deadline }

// silent returns for how long nothing has come of the next request; 0 if something has.
func (s *Session) silent(now net.Time) net.Time {
	if s.n > 0 || s.skip > 0 || s.last || s.writing() {
		return 0
	}
	return now - min(s.deadline-Patience, now)
}

// Serve does all that can be done now. Requests that came at once (pipelining) are answered in turn, each when all of the answer before was written.
func (s *Session) Serve(h Handler, now net.Time) {
	if !s.run(h, now) && now >= s.deadline {
		s.expire(now)
		s.run(h, now)
	}
}

// run does one thing after another, and reports whether the session is idle.
func (s *Session) run(h Handler, now net.Time) bool {
	for !s.Idle() && s.step(h, now) {
	}
	return s.Idle()
}

// step does one thing, and reports whether there may be another to do.
func (s *Session) step(h Handler, now net.Time) bool {
	switch {
	case s.writing():
		return s.write(now)
	case s.last && !s.lingers:
		s.close()
		return false
	case s.last:
		return s.drop(now)
	case s.skip > 0 && s.n > 0:
		n := min(s.skip, uint32(s.n))
		s.skip -= n
		s.use(int(n))
		return true
	case s.skip > 0:
		return s.read()
	}
	head, refused := s.parser.Parse(s.in[:s.n])
	switch {
	case refused != 0:
		s.refuse(refused)
	case head > 0:
		s.handle(h)
		s.skip = s.parser.Request.Length
		s.use(head)
		s.parser = Parser{}
	default:
		return s.read()
	}
	return true
}

// handle answers the request that was parsed.
func (s *Session) handle(h Handler) {
	a, r := &s.answer, &s.parser.Request
	a.init(s.page)
	h(r, a)
	if a.Body == nil {
		a.Body = a.Text.Bytes()
	}
	if a.Text.Full() || len(a.Type) > maxType {
		s.refuse(InternalServerError)
		return
	}
	s.begin(r.Close || s.crowded, !r.Close || r.Length > 0)
}

// refuse answers why there is no other answer, and has the connection end: where the next request begins is not known.
func (s *Session) refuse(why Status) {
	a := &s.answer
	a.init(s.page)
	a.Status, a.Type = why, "text/plain"
	format.Print(&a.Text, "%d ", uint64(why))
	a.Text.WriteString(why.String())
	a.Text.WriteString("\n")
	a.Body = a.Text.Bytes()
	s.begin(true, true)
}

// begin begins to write the answer. If it is the last, the connection ends behind it; it lingers where more may still come.
func (s *Session) begin(last, lingers bool) {
	s.lingers = lingers
	s.answers++
	s.lines.Init(s.head[:])
	s.answer.head(&s.lines, last)
	s.out, s.last = [2][]byte{s.lines.Bytes(), s.answer.Body}, last
	if s.parser.Request.Head {
		s.out[1] = nil
	}
}

func (s *Session) writing() bool { return len(s.out[0])+len(s.out[1]) > 0 }

// write writes what there is room for, and reports whether that was all.
func (s *Session) write(now net.Time) bool {
	for i := range s.out {
		for len(s.out[i]) > 0 {
			n, err := s.stream.Write(s.out[i])
			s.out[i] = s.out[i][n:]
			if err != nil {
				s.abort()
				return false
			}
			if n == 0 {
				return false
			}
		}
	}
	s.deadline = now + Patience
	return true
}

// read reads what has come, and reports whether there was something. At the peer's end, or if the connection broke, the
// session ends.
func (s *Session) read() bool {
	n, err := s.stream.Read(s.in[s.n:])
	s.n += n
	if n == 0 && err != nil {
		s.close()
	}
	return n > 0
}

// drop tells the peer that this is the end, and drops what it still sends.
func (s *Session) drop(now net.Time) bool {
	if !s.ended {
		s.ended, s.deadline = true, now+linger
		s.stream.CloseWrite()
	}
	s.n, s.skip = 0, 0
	return s.read()
}

// use drops the first n bytes that came.
func (s *Session) use(n int) {
	s.n = copy(s.in[:], s.in[n:s.n])
}

// expire ends a session whose time is over. Who sent part of a head is told; a request whose body lacks was answered already.
func (s *Session) expire(now net.Time) {
	switch {
	case s.writing():
		s.abort() // what waits would wait for ever
	case s.last || s.n == 0 || s.skip > 0:
		s.close()
	default:
		s.refuse(RequestTimeout)
		s.write(now)
		if s.writing() && !s.Idle() {
			s.abort()
		}
	}
}

func (s *Session) close() {
	s.stream.Close()
	s.stream = nil
}

func (s *Session) abort() {
	s.stream.Abort()
	s.stream = nil
}
