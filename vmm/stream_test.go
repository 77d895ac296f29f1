package vmm

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// openStream is a stream whose wake-ups can be waited for.
func openStream(t *testing.T, p Port) (*stream, chan struct{}) {
	s := newStream(p, t.Logf)
	woken := make(chan struct{}, 1)
	s.Attach(func() {
		select {
		case woken <- struct{}{}:
		default:
		}
	})
	t.Cleanup(s.close)
	return s, woken
}

// fetchAll fetches until the stream is at its end.
func fetchAll(s *stream, woken chan struct{}) string {
	var all []byte
	p := make([]byte, 1000)
	for {
		n := s.Fetch(p)
		all = append(all, p[:n]...)
		if n == 0 {
			if s.Ended() {
				return string(all)
			}
			<-woken
		}
	}
}

// TestStreamIn: what is read comes out in order, with an end, and no more than the buffer is read ahead.
func TestStreamIn(t *testing.T) {
	text := strings.Repeat("0123456789", streamSize)
	input := &counting{r: strings.NewReader(text)}
	s, woken := openStream(t, Port{Input: input})
	<-woken
	s.mu.Lock()
	for s.in.Len() < streamSize {
		s.change.Wait()
	}
	assert.LessOrEqual(t, input.count(), streamSize+4096)
	s.mu.Unlock()
	assert.Equal(t, text, fetchAll(s, woken))
}

// counting counts what is read.
type counting struct {
	r  io.Reader
	mu sync.Mutex
	n  int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += n
	return n, err
}

func (c *counting) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// gate is an output that takes nothing until it is opened.
type gate struct {
	open chan struct{}
	got  bytes.Buffer
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	return g.got.Write(p)
}

// TestStreamOut: an output that waits holds the guest back, in bounds, and finish waits until it has taken all.
func TestStreamOut(t *testing.T) {
	g := &gate{open: make(chan struct{})}
	s, woken := openStream(t, Port{Output: g})
	sent := 0
	for range 200 {
		n := s.Offer(make([]byte, 1000))
		sent += n
		if n == 0 {
			break
		}
	}
	assert.LessOrEqual(t, sent, 2*streamSize, "one is being written, one waits")
	close(g.open)
	<-woken
	for s.Offer([]byte("x")) == 0 {
		<-woken
	}
	s.finish()
	assert.Equal(t, sent+1, g.got.Len())
}

// TestStreamCloseAbandons: an output that never takes anything does not hold whoever ends the machine.
func TestStreamCloseAbandons(t *testing.T) {
	g := &gate{open: make(chan struct{})}
	defer close(g.open)
	s, _ := openStream(t, Port{Output: g})
	s.Offer([]byte("x"))
	finished := make(chan struct{})
	go func() {
		s.finish()
		close(finished)
	}()
	s.close()
	<-finished
	assert.Equal(t, 3, s.Offer([]byte("abc")), "it is dropped")
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no room") }
func (failing) Read([]byte) (int, error)  { return 0, errors.New("no disk") }

// TestStreamFailures: an output that fails gets nothing more, and the guest goes on; an input that fails is at its end.
func TestStreamFailures(t *testing.T) {
	s, woken := openStream(t, Port{Input: failing{}, Output: failing{}})
	assert.Empty(t, fetchAll(s, woken))
	big := make([]byte, streamSize)
	for range 10 {
		for sent := 0; sent < len(big); {
			n := s.Offer(big[sent:])
			if n == 0 {
				<-woken
			}
			sent += n
		}
	}
	s.finish()
}

// TestStreamWithoutEnds: nothing comes, and what is sent is dropped.
func TestStreamWithoutEnds(t *testing.T) {
	s, _ := openStream(t, Port{})
	assert.Equal(t, 100000, s.Offer(make([]byte, 100000)))
	assert.Zero(t, s.Fetch(make([]byte, 10)))
	assert.False(t, s.Ended())
	s.finish()
}

// TestStreamBeforeItIsUsed: finish and close wait for nothing.
func TestStreamBeforeItIsUsed(t *testing.T) {
	s := newStream(Port{Input: strings.NewReader("x"), Output: io.Discard}, t.Logf)
	s.finish()
	s.close()
}

// TestCheckPorts: which ports a machine can have.
func TestCheckPorts(t *testing.T) {
	for want, devices := range map[string][]Device{
		"":                        {Ports{{Name: "a"}, {Name: "A-b_c.9"}}},
		"0 ports: want 1 to 8":    {Ports{}},
		"9 ports: want 1 to 8":    {make(Ports, 9)},
		"two devices with ports":  {Ports{{Name: "a"}}, Ports{{Name: "b"}}},
		"two ports with the name": {Ports{{Name: "a"}, {Name: "a"}}},
		`the name ""`:             {Ports{{}}},
		`the name "a,b"`:          {Ports{{Name: "a,b"}}},
		`the name "é"`:            {Ports{{Name: "é"}}},
		`the name "x`:             {Ports{{Name: strings.Repeat("x", 32)}}},
	} {
		err := CheckDevices(devices)
		if want == "" {
			assert.NoError(t, err)
			continue
		}
		require.Error(t, err, want)
		assert.Contains(t, err.Error(), want)
	}
	assert.Equal(t, "ports a b", Ports{{Name: "a"}, {Name: "b"}}.String())
}
