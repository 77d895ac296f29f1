package ethernet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// frameOf is a frame of a length, with a number in it.
func frameOf(length, number int) []byte {
	frame := bytes.Repeat([]byte{byte(number)}, length)
	copy(frame, fmt.Sprintf("frame %08d", number))
	return frame
}

// A device is a Port as a device's goroutine has it, with the calls of ready.
type device struct {
	*Port
	ready chan struct{}
}

// newDevice starts a Port that ends with the test.
func newDevice(t *testing.T, b Backend, c *Capture) *device {
	d := &device{NewPort(macs[0], b, c, t.Logf), make(chan struct{}, 1)}
	d.Start(func() {
		select {
		case d.ready <- struct{}{}:
		default:
		}
	})
	t.Cleanup(func() { assert.NoError(t, d.Close()) })
	return d
}

// next waits for a frame.
func (d *device) next(t *testing.T) []byte {
	t.Helper()
	end := time.After(patience)
	var frame [MaxFrame]byte
	for {
		if n := d.Receive(&frame); n > 0 {
			return frame[:n]
		}
		select {
		case <-d.ready:
		case <-end:
			t.Fatalf("no frame came within %s; %+v", patience, d.Stats())
		}
	}
}

func TestFramesPassBothWays(t *testing.T) {
	one, other := Pair()
	a, b := newDevice(t, one, nil), newDevice(t, other, nil)
	for i := range 3 * QueueSize { // so that the rings go round
		want := frameOf(HeaderSize+i%(MTU+1), i)
		from, to := a, b
		if i%2 == 1 {
			from, to = b, a
		}
		require.NoError(t, from.Send(want))
		require.Equal(t, want, to.next(t))
	}
	assert.EqualValues(t, 3*QueueSize/2, a.Stats().Received)
	assert.EqualValues(t, 3*QueueSize/2, b.Stats().Received)
}

// TestFrameLengths is the rule for lengths, in both directions and each by one byte.
func TestFrameLengths(t *testing.T) {
	for _, test := range []struct {
		name   string
		length int
		passes bool
	}{
		{"empty", 0, false},
		{"one byte", 1, false},
		{"a byte short of a header", HeaderSize - 1, false},
		{"header alone", HeaderSize, true},
		{"longest", MaxFrame, true},
		{"a byte too long", MaxFrame + 1, false},
		{"as long as a GSO driver would send", 65562, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			frame := make([]byte, test.length)
			b := &scripted{reads: [][]byte{frame, frameOf(64, 1)}, written: make(chan []byte, 1)}
			d := newDevice(t, b, nil)

			err := d.Send(frame)
			got := d.next(t)
			if test.passes {
				require.NoError(t, err)
				assert.Len(t, <-b.written, test.length)
				assert.Len(t, got, test.length)
				assert.Zero(t, d.Stats().SentBad+d.Stats().ReceivedBad)
				return
			}
			assert.ErrorIs(t, err, errLength)
			assert.Equal(t, frameOf(64, 1), got, "the frame behind the bad one")
			assert.EqualValues(t, 1, d.Stats().SentBad)
			assert.EqualValues(t, 1, d.Stats().ReceivedBad)
		})
	}
}

// A scripted backend gives its reads and then waits for Close.
type scripted struct {
	reads   [][]byte
	read    atomic.Int64 // how many were given
	written chan []byte  // nil: no frame is ever taken
	closed  onceClosed
	refusal error
}

// onceClosed is a channel that is made when it is first used.
type onceClosed struct{ c atomic.Pointer[chan struct{}] }

func (o *onceClosed) get() chan struct{} {
	c := make(chan struct{})
	o.c.CompareAndSwap(nil, &c)
	return *o.c.Load()
}

func (s *scripted) ReadFrame(buffer []byte) (int, error) {
	i := int(s.read.Load())
	if i < len(s.reads) {
		s.read.Add(1)
		return copy(buffer, s.reads[i]), nil
	}
	<-s.closed.get()
	return 0, io.EOF
}

func (s *scripted) WriteFrame(frame []byte) error {
	if s.refusal != nil {
		return s.refusal
	}
	select {
	case s.written <- bytes.Clone(frame):
		return nil
	case <-s.closed.get():
		return io.ErrClosedPipe
	}
}

func (s *scripted) Close() error { close(s.closed.get()); return nil }

// TestSendNeverWaits: a network that takes nothing costs the device frames, and no time.
func TestSendNeverWaits(t *testing.T) {
	d := newDevice(t, &scripted{}, nil)
	const frames = 4 * QueueSize
	for i := range frames {
		d.Send(frameOf(64, i))
	}
	s := d.Stats()
	assert.Zero(t, s.Sent)
	assert.GreaterOrEqual(t, s.SentDropped, uint64(frames-QueueSize-1), "all but the queue and the frame that is being written")
}

func TestRefusedFramesAreCountedAndToldOnce(t *testing.T) {
	var lines atomic.Int64
	p := NewPort(macs[0], &scripted{refusal: errors.New("link down")}, nil, func(string, ...any) { lines.Add(1) })
	p.Start(func() {})
	for i := range 10 {
		require.NoError(t, p.Send(frameOf(64, i)))
	}
	assert.Eventually(t, func() bool { return p.Stats().SentDropped == 10 }, patience, time.Millisecond)
	require.NoError(t, p.Close())
	assert.EqualValues(t, 1, lines.Load())
}

// TestReceivingGoesOnAfterTheGuestHadNoBuffers: the network is held back while the device takes nothing, and
// no frame is lost, late or out of order when it does again.
func TestReceivingGoesOnAfterTheGuestHadNoBuffers(t *testing.T) {
	const frames = 5 * QueueSize
	b := &scripted{}
	for i := range frames {
		b.reads = append(b.reads, frameOf(100, i))
	}
	d := newDevice(t, b, nil)
	assert.Eventually(t, func() bool { return b.read.Load() == QueueSize+1 }, patience, time.Millisecond)
	for i := range frames {
		require.Equal(t, frameOf(100, i), d.next(t))
		assert.LessOrEqual(t, b.read.Load(), int64(i+1+QueueSize+1), "the network is read no further than there is room")
	}
}

// TestCloseEndsWhateverWaits: with the queues full on both sides.
func TestCloseEndsWhateverWaits(t *testing.T) {
	b := &scripted{}
	for i := range 2 * QueueSize {
		b.reads = append(b.reads, frameOf(100, i))
	}
	p := NewPort(macs[0], b, nil, t.Logf)
	p.Start(func() {})
	for i := range 2 * QueueSize {
		p.Send(frameOf(100, i))
	}
	done := make(chan error)
	go func() { done <- p.Close() }()
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(patience):
		t.Fatal("Close waits")
	}
	require.NoError(t, p.Close(), "a second Close")
	assert.Error(t, p.Send(frameOf(100, 0)))
}

func TestCloseOfAPortThatNeverStarted(t *testing.T) {
	one, _ := Pair()
	assert.NoError(t, NewPort(macs[0], one, nil, nil).Close())
}

// TestLastFramesGoOut: what a guest sends before it ends is not lost.
func TestLastFramesGoOut(t *testing.T) {
	one, other := Pair()
	p := NewPort(macs[0], one, nil, t.Logf)
	p.linger = patience
	p.Start(func() {})
	for i := range 10 {
		require.NoError(t, p.Send(frameOf(64, i)))
	}
	require.NoError(t, p.Close())
	buffer := make([]byte, MaxFrame)
	for i := range 10 {
		n, err := other.ReadFrame(buffer)
		require.NoError(t, err)
		assert.Equal(t, frameOf(64, i), buffer[:n])
	}
}

// TestPortDoesNotAllocate: a frame costs no garbage in either direction.
func TestPortDoesNotAllocate(t *testing.T) {
	one, other := Pair()
	a, b := newDevice(t, one, nil), newDevice(t, other, nil)
	frame, buffer := frameOf(MaxFrame, 1), new([MaxFrame]byte)
	assert.Zero(t, testing.AllocsPerRun(500, func() {
		a.Send(frame)
		for b.Receive(buffer) == 0 {
			<-b.ready
		}
	}))
}

func TestMAC(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"52:54:00:12:34:56", ""},
		{"52-54-00-12-34-5A", ""},
		{"", "want six bytes as 52:54:00:12:34:56, found \"\""},
		{"52:54:00:12:34", "want six bytes"},
		{"52:54:00:12:34:56:78:9a", "want six bytes"},
		{"00:00:00:00:00:00", "no device's address"},
		{"ff:ff:ff:ff:ff:ff", "the address of a group"},
		{"01:00:5e:00:00:01", "the address of a group"},
	} {
		m, err := ParseMAC(test.text)
		if test.want != "" {
			assert.ErrorContains(t, err, test.want, test.text)
			continue
		}
		require.NoError(t, err, test.text)
		again, err := ParseMAC(m.String())
		require.NoError(t, err)
		assert.Equal(t, m, again)
	}
	for range 100 {
		m := RandomMAC()
		again, err := ParseMAC(m.String())
		require.NoError(t, err)
		assert.Equal(t, m, again)
		assert.NotZero(t, m[0]&local)
	}
}
