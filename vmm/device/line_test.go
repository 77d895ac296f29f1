package device

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fetch is what the other device finds.
func fetch(s *Serial) string {
	p := make([]byte, 2*queueSize)
	return string(p[:s.Fetch(p)])
}

func TestLineOffersInTurnWithTheUART(t *testing.T) {
	s := NewSerial(nil, func(bool) {})
	s.WritePort(com1, 1, []byte("one "))
	assert.Equal(t, 4, s.Offer([]byte("two ")))
	s.WritePort(com1, 1, []byte("three"))
	sent, ok := s.Take(nil)
	assert.True(t, ok)
	assert.Equal(t, "one two three", string(sent))
}

func TestLineOffersAtOnceInStep(t *testing.T) {
	u := newUART()
	assert.Equal(t, 3, u.Offer([]byte("now")))
	assert.Equal(t, "now", u.out.String())
	u.Await()
}

// What has no room waits with who offered it, who is told once when there is room.
func TestLineIsBoundedAndWakes(t *testing.T) {
	s := NewSerial(nil, func(bool) {})
	wakes := 0
	s.Divert(func() { wakes++ })
	p := bytes.Repeat([]byte("x"), outputSize+1000)
	assert.Equal(t, outputSize, s.Offer(p))
	assert.Zero(t, s.Offer(p[outputSize:]))
	assert.Zero(t, wakes)
	sent, _ := s.Take(nil)
	assert.Len(t, sent, outputSize)
	assert.Equal(t, 1, wakes)
	assert.Equal(t, 1000, s.Offer(p[outputSize:]))
	s.Take(nil)
	assert.Equal(t, 1, wakes, "nobody waits")
}

func TestLineTakesAllWhenNothingIsWanted(t *testing.T) {
	s := NewSerial(nil, func(bool) {})
	wakes := 0
	s.Divert(func() { wakes++ })
	s.Offer(make([]byte, outputSize))
	assert.Zero(t, s.Offer([]byte("x")))
	waited := make(chan struct{})
	go func() {
		s.Await()
		close(waited)
	}()
	s.Finish()
	<-waited
	assert.Equal(t, 1, wakes)
	assert.Equal(t, outputSize+1, s.Offer(make([]byte, outputSize+1)))
	sent, _ := s.Take(nil)
	assert.Len(t, sent, outputSize)
}

// What was typed and not read goes to the other device and comes back, in order and whole.
func TestLineDivertsWhatWasTyped(t *testing.T) {
	u := newUART()
	u.outb(regIntEnable, ierReceived)
	require.NoError(t, u.Feed([]byte("abcdef")))
	assert.EqualValues(t, 'a', u.in(regData))
	require.True(t, u.level)

	wakes := 0
	u.Divert(func() { wakes++ })
	assert.False(t, u.level, "the UART has nothing")
	assert.Equal(t, 1, wakes)
	assert.EqualValues(t, 0, u.in(regLineStatus)&lsrDataReady)
	require.NoError(t, u.Feed([]byte("gh")))
	assert.Equal(t, 2, wakes)
	p := make([]byte, 4)
	assert.Equal(t, 4, u.Fetch(p))
	assert.Equal(t, "bcde", string(p))
	assert.EqualValues(t, 0, u.in(regLineStatus)&lsrDataReady)

	u.Divert(nil)
	require.True(t, u.level)
	for _, want := range []byte("fgh") {
		assert.Equal(t, want, u.in(regData))
	}
	require.NoError(t, u.Feed([]byte("i")))
	assert.EqualValues(t, 'i', u.in(regData))
}

// A full queue holds Feed back until the other device fetches.
func TestLineHoldsTypingBack(t *testing.T) {
	s := NewSerial(nil, func(bool) {})
	s.Divert(func() {})
	fed := make(chan error)
	go func() { fed <- s.Feed(make([]byte, queueSize+1)) }()
	total := 0
	for total < queueSize+1 {
		total += len(fetch(s))
	}
	require.NoError(t, <-fed)
	assert.Equal(t, queueSize+1, total)
}

// The FIFO's bytes in front of a full queue make it longer than it may grow.
func TestLineDivertsAFullQueue(t *testing.T) {
	s := NewSerial(nil, func(bool) {})
	s.WritePort(com1+regIntID, 1, []byte{fcrEnable})
	require.NoError(t, s.Feed(make([]byte, fifoSize+queueSize)))
	s.Divert(func() {})
	fed := make(chan error)
	go func() { fed <- s.Feed([]byte("x")) }()
	total := 0
	for total < fifoSize+queueSize+1 {
		total += len(fetch(s))
	}
	require.NoError(t, <-fed)
}

// A line that the other device has filled and that is taken is no interrupt of a UART which has sent nothing; one whose guest
// found the transmitter not empty, or enables the interrupt meanwhile, gets it.
func TestLineTakenInterruptsWhoWaits(t *testing.T) {
	for _, tt := range []struct {
		name  string
		waits func(s *Serial)
		edges int
	}{
		{"nobody", func(*Serial) {}, 0},
		{"a look at the line status", func(s *Serial) { s.ReadPort(com1+regLineStatus, 1, []byte{0}) }, 1},
		{"the interrupt enabled anew", func(s *Serial) {
			s.WritePort(com1+regIntEnable, 1, []byte{0})
			s.WritePort(com1+regIntEnable, 1, []byte{ierTransmitted})
		}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			edges := 0
			s := NewSerial(nil, func(level bool) {
				if level {
					edges++
				}
			})
			s.WritePort(com1+regIntEnable, 1, []byte{ierTransmitted})
			s.ReadPort(com1+regIntID, 1, []byte{0}) // which clears it
			edges = 0
			s.Offer(make([]byte, outputSize))
			tt.waits(s)
			assert.Zero(t, edges)
			s.Take(nil)
			assert.Equal(t, tt.edges, edges)
			s.Offer(make([]byte, outputSize))
			s.Take(nil)
			assert.Equal(t, tt.edges, edges, "once")
		})
	}
}

// In loopback the FIFO has what the guest sent itself, which is nobody else's.
func TestLineKeepsTheLoopback(t *testing.T) {
	u := newUART()
	u.outb(regModemControl, mcrLoop)
	u.outb(regData, 'l')
	require.NoError(t, u.Feed([]byte("typed")))
	u.Divert(func() {})
	assert.Equal(t, "typed", fetch(u.Serial))
	assert.EqualValues(t, 'l', u.in(regData))
}

// A guest that sends to itself in loopback, and has that diverted over and over, takes no more memory than a full queue.
func TestLineDivertedLoopbackIsBounded(t *testing.T) {
	u := newUART()
	u.outb(regIntID, fcrEnable)
	for range 2 * queueSize / fifoSize {
		u.outb(regModemControl, mcrLoop)
		for range fifoSize {
			u.outb(regData, 'l')
		}
		u.outb(regModemControl, 0)
		u.Divert(func() {})
		u.outb(regModemControl, mcrLoop)
		u.Divert(nil)
	}
	assert.LessOrEqual(t, len(u.queue), queueSize+fifoSize)
}
