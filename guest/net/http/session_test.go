package http_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	stdhttp "net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/kernel/format"
	"kapsel/guest/net"
	"kapsel/guest/net/http"
)

// wire is a Stream of which the test is the other end.
type wire struct {
	in, out         bytes.Buffer
	room            int // what Write takes
	ended           bool
	broken          error
	closed, aborted bool
	half            bool
}

func (w *wire) Read(p []byte) (int, error) {
	if w.in.Len() == 0 && w.ended {
		return 0, io.EOF
	}
	n, _ := w.in.Read(p)
	return n, nil
}

func (w *wire) Write(p []byte) (int, error) {
	if w.broken != nil {
		return 0, w.broken
	}
	n := min(len(p), w.room)
	w.room -= n
	return w.out.Write(p[:n])
}

func (w *wire) CloseWrite() { w.half = true }
func (w *wire) Close()      { w.closed = true }
func (w *wire) Abort()      { w.aborted = true }

// plenty is more room than any test needs.
const plenty = 1 << 20

// began is when sessions begin.
const began = net.Time(1000)

// hello says which request it is.
func hello() http.Handler {
	count := 0
	return func(r *http.Request, a *http.Answer) {
		count++
		format.Print(&a.Text, "request %d: ", uint64(count))
		a.Text.WriteString(string(r.Path))
	}
}

func begin(w *wire) *http.Session {
	s := new(http.Session)
	s.Begin(w, make([]byte, 256), began)
	return s
}

// answers reads what a client of net/http would: the answers to GETs, or HEADs, with their bodies.
func answers(t *testing.T, w *wire, method string) (all []*stdhttp.Response, bodies []string) {
	t.Helper()
	r := bufio.NewReader(&w.out)
	for {
		if _, err := r.Peek(1); err != nil {
			return all, bodies
		}
		a, err := stdhttp.ReadResponse(r, &stdhttp.Request{Method: method})
		require.NoError(t, err)
		body, err := io.ReadAll(a.Body)
		require.NoError(t, err)
		all, bodies = append(all, a), append(bodies, string(body))
	}
}

const get = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"

func TestKeepAlive(t *testing.T) {
	w := &wire{room: plenty}
	s, h := begin(w), hello()
	for i := range 3 {
		w.in.WriteString(get)
		s.Serve(h, began)
		all, bodies := answers(t, w, "GET")
		require.Len(t, all, 1)
		assert.Equal(t, "200 OK", all[0].Status)
		assert.Equal(t, "text/html; charset=utf-8", all[0].Header.Get("Content-Type"))
		assert.False(t, all[0].Close)
		assert.Equal(t, []string{"request 1: /a", "request 2: /a", "request 3: /a"}[i:i+1], bodies)
		assert.False(t, s.Idle())
	}
	w.ended = true
	s.Serve(h, began)
	assert.True(t, s.Idle())
	assert.True(t, w.closed)
}

// TestPipelining: requests that come at once, and in whatever pieces, are answered in turn.
func TestPipelining(t *testing.T) {
	const n = 300 // more than the session keeps at once
	for _, size := range []int{1, 7, 1000, plenty} {
		w := &wire{room: plenty}
		s, h := begin(w), hello()
		for rest := strings.Repeat(get, n); len(rest) > 0; {
			m := min(size, len(rest))
			w.in.WriteString(rest[:m])
			rest = rest[m:]
			s.Serve(h, began)
		}
		_, bodies := answers(t, w, "GET")
		require.Len(t, bodies, n)
		assert.Equal(t, "request 300: /a", bodies[n-1])
	}
}

// TestAnswerInPieces: an answer waits for room, and the next request for the answer.
func TestAnswerInPieces(t *testing.T) {
	w := &wire{}
	s, h := begin(w), hello()
	w.in.WriteString(get + get)
	for range 1000 {
		w.room = 1
		s.Serve(h, began)
	}
	_, bodies := answers(t, w, "GET")
	assert.Equal(t, []string{"request 1: /a", "request 2: /a"}, bodies)
}

func TestHEAD(t *testing.T) {
	w := &wire{room: plenty}
	s := begin(w)
	w.in.WriteString(strings.Replace(get, "GET", "HEAD", 1) + strings.Replace(get, "GET", "HEAD", 1))
	s.Serve(hello(), began)
	all, bodies := answers(t, w, "HEAD")
	require.Len(t, all, 2)
	assert.EqualValues(t, len("request 1: /a"), all[0].ContentLength)
	assert.Equal(t, []string{"", ""}, bodies)
}

func TestConnectionCloses(t *testing.T) {
	for name, request := range map[string]string{
		"close":    "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		"HTTP/1.0": "GET /a HTTP/1.0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			w := &wire{room: plenty}
			s := begin(w)
			w.in.WriteString(request + get)
			s.Serve(hello(), began)
			all, bodies := answers(t, w, "GET")
			assert.Equal(t, []string{"request 1: /a"}, bodies)
			assert.True(t, all[0].Close)
			assert.True(t, s.Idle())
			assert.True(t, w.closed)
		})
	}
}

// TestConnectionClosesBehindABody: one that comes behind the answer does not have the system reset the connection.
func TestConnectionClosesBehindABody(t *testing.T) {
	w := &wire{room: plenty}
	s := begin(w)
	w.in.WriteString("GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\n")
	s.Serve(hello(), began)
	all, bodies := answers(t, w, "GET")
	assert.Equal(t, []string{"request 1: /a"}, bodies)
	assert.True(t, all[0].Close)
	assert.True(t, w.half, "the end was told")
	assert.False(t, w.closed, "the body is still taken")
	w.in.WriteString("body")
	w.ended = true
	s.Serve(hello(), began)
	assert.Zero(t, w.in.Len())
	assert.True(t, w.closed)
}

// TestBodyIsSkipped: a request in a body is none.
func TestBodyIsSkipped(t *testing.T) {
	w := &wire{room: plenty}
	s, h := begin(w), hello()
	for range 2 {
		w.in.WriteString("GET /b HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\n")
		for range 10 {
			s.Serve(h, began)
			w.in.WriteString(strings.Repeat("GET /evil ", 100))
		}
	}
	w.in.WriteString(get)
	s.Serve(h, began)
	_, bodies := answers(t, w, "GET")
	assert.Equal(t, []string{"request 1: /b", "request 2: /b", "request 3: /a"}, bodies)
}

func TestRefusalsEndTheConnection(t *testing.T) {
	w := &wire{room: plenty}
	s := begin(w)
	w.in.WriteString("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n" + get)
	s.Serve(hello(), began)
	all, bodies := answers(t, w, "GET")
	require.Len(t, all, 1)
	assert.Equal(t, "405 Method Not Allowed", all[0].Status)
	assert.Equal(t, "GET, HEAD", all[0].Header.Get("Allow"))
	assert.True(t, all[0].Close)
	assert.Equal(t, "405 Method Not Allowed\n", bodies[0])

	assert.True(t, w.half, "the end was told")
	assert.False(t, w.closed, "what comes is still taken")
	w.in.WriteString("the body, and " + get)
	s.Serve(hello(), began)
	assert.Zero(t, w.in.Len())
	assert.Zero(t, w.out.Len())
	s.Serve(hello(), began+net.Second-1)
	assert.False(t, w.closed)
	s.Serve(hello(), began+net.Second)
	assert.True(t, w.closed)

	w = &wire{room: plenty, ended: true}
	s = begin(w)
	w.in.WriteString("POST / HTTP/1.1\r\n")
	s.Serve(hello(), began)
	assert.True(t, w.closed, "the peer has ended already")
}

// TestAnswerTooLong: what has no room in the page is an error of the server's, and never a page cut short.
func TestAnswerTooLong(t *testing.T) {
	w := &wire{room: plenty}
	s := begin(w)
	w.in.WriteString(get)
	s.Serve(func(r *http.Request, a *http.Answer) { a.Text.WriteString(strings.Repeat("x", 257)) }, began)
	all, bodies := answers(t, w, "GET")
	require.Len(t, all, 1)
	assert.Equal(t, "500 Internal Server Error", all[0].Status)
	assert.Equal(t, "500 Internal Server Error\n", bodies[0])
}

func TestBodyOfTheHandlers(t *testing.T) {
	w := &wire{room: plenty}
	s := begin(w)
	w.in.WriteString(get)
	body := bytes.Repeat([]byte("long "), 1000)
	s.Serve(func(r *http.Request, a *http.Answer) { a.Status, a.Type, a.Body = http.NotFound, "text/plain", body }, began)
	all, bodies := answers(t, w, "GET")
	require.Len(t, all, 1)
	assert.Equal(t, "404 Not Found", all[0].Status)
	assert.Equal(t, []string{string(body)}, bodies)
}

// TestPatience: who sends nothing, or too slowly, or takes nothing, is waited for ten seconds and no longer.
func TestPatience(t *testing.T) {
	for _, tt := range []struct {
		name, sent string
		room       int
		want       string // of the answer
		aborted    bool
	}{
		{"nothing sent", "", plenty, "", false},
		{"half a request", "GET / HT", plenty, "408 Request Timeout", false},
		{"half a request, and nothing taken", "GET / HT", 0, "", true},
		{"half a body", "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab", plenty, "200 OK", false},
		{"answer not taken", get, 3, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := &wire{room: tt.room}
			s, h := begin(w), hello()
			w.in.WriteString(tt.sent)
			s.Serve(h, began)
			s.Serve(h, s.Deadline()-1)
			assert.False(t, s.Idle())
			s.Serve(h, s.Deadline())
			if !s.Idle() {
				assert.True(t, w.half)
				s.Serve(h, s.Deadline())
			}
			assert.True(t, s.Idle())
			assert.Equal(t, tt.aborted, w.aborted)
			assert.Equal(t, !tt.aborted, w.closed)
			if tt.want != "" {
				all, _ := answers(t, w, "GET")
				require.Len(t, all, 1)
				assert.Equal(t, tt.want, all[0].Status)
			}
		})
	}
	t.Run("begins anew behind an answer", func(t *testing.T) {
		w := &wire{room: plenty}
		s := begin(w)
		w.in.WriteString(get)
		s.Serve(hello(), began+5*net.Second)
		assert.Equal(t, began+5*net.Second+http.Patience, s.Deadline())
	})
	t.Run("does not begin anew with each byte", func(t *testing.T) {
		w := &wire{room: plenty}
		s := begin(w)
		for _, b := range []byte(get[:20]) {
			w.in.WriteByte(b)
			s.Serve(hello(), began+5*net.Second)
		}
		assert.Equal(t, began+http.Patience, s.Deadline())
	})
}

func TestBrokenConnection(t *testing.T) {
	w := &wire{broken: errors.New("reset")}
	s := begin(w)
	w.in.WriteString(get)
	s.Serve(hello(), began)
	assert.True(t, s.Idle())
	assert.True(t, w.aborted)
	w = &wire{broken: errors.New("reset")}
	s = begin(w)
	w.in.WriteString("GET")
	s.Serve(hello(), began)
	s.Serve(hello(), s.Deadline())
	assert.True(t, s.Idle())
}

func TestServingAllocatesNothing(t *testing.T) {
	w := &wire{}
	w.in.Grow(plenty)
	w.out.Grow(plenty)
	var s http.Session
	h, page := hello(), make([]byte, 256)
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		w.room = plenty
		s.Begin(w, page, began)
		w.in.WriteString(get)
		s.Serve(h, began)
		w.out.Reset()
	}))
}

// FuzzSession: whatever comes, in whatever pieces, with however little room, is answered by whole answers, as if it had come at once.
func FuzzSession(f *testing.F) {
	f.Add([]byte(get+get), uint8(3), uint8(5))
	f.Add([]byte("GET /b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab"+get), uint8(1), uint8(1))
	f.Add([]byte("HEAD / HTTP/1.0\r\n\r\n"), uint8(9), uint8(9))
	f.Fuzz(func(t *testing.T, b []byte, size, room uint8) {
		b = b[:min(len(b), 10_000)]
		once := &wire{room: plenty, ended: true}
		once.in.Write(b)
		s := begin(once)
		s.Serve(hello(), began)
		assert.True(t, s.Idle())

		w := &wire{}
		s, h := begin(w), hello()
		for rest := b; !s.Idle(); {
			n := min(len(rest), 1+int(size))
			w.in.Write(rest[:n])
			rest = rest[n:]
			w.ended = len(rest) == 0
			w.room = 1 + int(room)
			s.Serve(h, began)
		}
		assert.Equal(t, once.out.String(), w.out.String())
	})
}
