package http

import "kapsel/guest/net"

// crowded is how long a connection may be silent while another waits for its place.
const crowded = net.Second

// A Server has a fixed number of sessions for the connections to a port. Another connection waits until a session is free: meanwhile each
// answer is the last of its connection, and who is silent between two requests makes way.
type Server struct {
	sessions []Session
	pages    [][]byte
	waiting  Stream // for a session; nil: none
	began    uint64
	answered uint64
}

// NewServer returns a server with so many sessions, each with a page of so many bytes, 64 at the least, to make answers in. Nothing is
// allocated afterwards.
func NewServer(sessions, page int) *Server {
	s := &Server{sessions: make([]Session, sessions), pages: make([][]byte, sessions)}
	for i := range s.pages {
		s.pages[i] = make([]byte, page)
	}
	return s
}

// Full reports whether Begin has no place for another connection now.
func (s *Server) Full() bool { return s.waiting != nil }

// Begin has the server serve a connection. It must not be full.
func (s *Server) Begin(c Stream, now net.Time) {
	s.waiting = c
	s.place(now)
}

// Serve does all that can be done now. Afterwards there may be place for another connection.
func (s *Server) Serve(h Handler, now net.Time) {
	s.place(now)
	for i := range s.sessions {
		s.serve(&s.sessions[i], h, now)
	}
	if t := s.place(now); t != nil {
		s.serve(t, h, now)
	}
}

func (s *Server) serve(t *Session, h Handler, now net.Time) {
	t.crowded = s.Full()
	before := t.answers
	t.Serve(h, now)
	s.answered += uint64(t.answers - before)
}

// place gives the connection that waits a session, which it returns, if there is one: one that is idle, or else the one that has been silent
// longest, if for long enough.
func (s *Server) place(now net.Time) *Session {
	if s.waiting == nil {
		return nil
	}
	at, longest := -1, crowded
	for i := range s.sessions {
		t := &s.sessions[i]
		if t.Idle() {
			at = i
			break
		}
		if silent := t.silent(now); silent >= longest {
			at, longest = i, silent
		}
	}
	if at < 0 {
		return nil
	}
	t := &s.sessions[at]
	if !t.Idle() {
		t.close()
	}
	t.Begin(s.waiting, s.pages[at], now)
	s.waiting = nil
	s.began++
	return t
}

// Deadline returns when Serve has to be called at the latest: at the end of time if there is no connection.
func (s *Server) Deadline(now net.Time) net.Time {
	at := ^net.Time(0)
	for i := range s.sessions {
		t := &s.sessions[i]
		switch {
		case t.Idle():
		case s.Full():
			at = min(at, t.Deadline(), now+crowded)
		default:
			at = min(at, t.Deadline())
		}
	}
	return at
}

// Counts returns how many connections have got a session, how many requests were answered, refused ones included, and how many connections there are now.
func (s *Server) Counts() (began, answered uint64, open int) {
	for i := range s.sessions {
		if !s.sessions[i].Idle() {
			open++
		}
	}
	return s.began, s.answered, open
}
