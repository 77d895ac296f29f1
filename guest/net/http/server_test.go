package http_test

import (
	"fmt"
	"os"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/net"
	"kapsel/guest/net/http"
	"kapsel/guest/net/node"
)

// crowd is a server whose sessions are all taken, and the connections that have them.
func crowd(n int) (*http.Server, []*wire, http.Handler) {
	s, h := http.NewServer(n, 256), hello()
	wires := make([]*wire, n)
	for i := range wires {
		wires[i] = &wire{room: plenty}
		s.Begin(wires[i], began)
		s.Serve(h, began)
	}
	return s, wires, h
}

func TestServerServesSeveral(t *testing.T) {
	s, wires, h := crowd(3)
	assert.False(t, s.Full())
	for range 2 {
		for _, w := range wires[1:] { // the first is silent, and stops nobody
			w.in.WriteString(get)
			s.Serve(h, began)
			all, _ := answers(t, w, "GET")
			require.Len(t, all, 1)
			assert.False(t, all[0].Close)
		}
	}
	conns, answered, open := s.Counts()
	assert.EqualValues(t, 3, conns)
	assert.EqualValues(t, 4, answered)
	assert.Equal(t, 3, open)
}

func TestNinthConnection(t *testing.T) {
	t.Run("gets the place of one that ends", func(t *testing.T) {
		s, wires, h := crowd(8)
		ninth := &wire{room: plenty}
		ninth.in.WriteString(get)
		s.Begin(ninth, began)
		s.Serve(h, began)
		assert.True(t, s.Full())
		wires[3].ended = true
		s.Serve(h, began)
		assert.False(t, s.Full())
		assert.NotZero(t, ninth.out.Len(), "who waits for the network now has left nothing undone")
	})
	t.Run("has connections that are busy end behind an answer", func(t *testing.T) {
		s, wires, h := crowd(8)
		s.Begin(&wire{room: plenty}, began)
		wires[5].in.WriteString(get + get)
		s.Serve(h, began)
		all, _ := answers(t, wires[5], "GET")
		require.Len(t, all, 1)
		assert.True(t, all[0].Close)
		assert.True(t, wires[5].half)
		wires[5].ended = true
		s.Serve(h, began)
		assert.True(t, wires[5].closed)
		assert.False(t, s.Full())
	})
	t.Run("has the one make way that is silent longest", func(t *testing.T) {
		s, wires, h := crowd(8)
		for i, w := range wires {
			if i != 2 {
				w.in.WriteString(get)
			}
		}
		s.Serve(h, began+net.Second/2)
		s.Begin(&wire{room: plenty}, began+net.Second-1)
		s.Serve(h, began+net.Second-1)
		assert.True(t, s.Full())
		assert.LessOrEqual(t, s.Deadline(began+net.Second-1), began+2*net.Second)
		s.Serve(h, began+net.Second)
		assert.False(t, s.Full())
		for i, w := range wires {
			assert.Equal(t, i == 2, w.closed)
		}
	})
	t.Run("waits for those in the middle of a request", func(t *testing.T) {
		s, wires, h := crowd(8)
		for _, w := range wires {
			w.in.WriteString("GET")
		}
		s.Serve(h, began)
		s.Begin(&wire{room: plenty}, began)
		s.Serve(h, began+http.Patience-1)
		assert.True(t, s.Full())
		s.Serve(h, began+http.Patience)
		s.Serve(h, began+http.Patience+net.Second)
		assert.False(t, s.Full())
	})
}

func TestServerDeadline(t *testing.T) {
	s, h := http.NewServer(2, 256), hello()
	assert.Equal(t, ^net.Time(0), s.Deadline(began))
	s.Begin(&wire{}, began)
	s.Serve(h, began)
	s.Begin(&wire{}, began+5)
	s.Serve(h, began+5)
	assert.Equal(t, began+http.Patience, s.Deadline(began+5))
	s.Serve(h, began+http.Patience)
	assert.Equal(t, began+5+http.Patience, s.Deadline(began+http.Patience))
}

// TestMemoryOfAConnection holds what docs/network.md says that a connection of guest/tasks/httpd takes against the structures.
func TestMemoryOfAConnection(t *testing.T) {
	const buffer, page = 2048, 1024 // guest/tasks/httpd
	conn := unsafe.Sizeof(net.Conn{}) + 2*buffer
	session := unsafe.Sizeof(http.Session{}) + page
	text, err := os.ReadFile("../../../docs/network.md")
	require.NoError(t, err)
	assert.Contains(t, string(text), fmt.Sprintf("frames on their way take %d,%03d bytes", node.Memory/1000, node.Memory%1000))
	assert.Contains(t, string(text), fmt.Sprintf("takes %d bytes: %d of TCP, its two buffers of %d among them, and %d of HTTP", conn+session, conn, buffer, session))
}
