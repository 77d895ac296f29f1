package device

import (
	"bytes"
	"io"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const com1 = 0x3f8

// uart is a Serial with its output and its interrupt line's history.
type uart struct {
	*Serial
	out   bytes.Buffer
	edges int // rising
	level bool
}

func newUART() *uart {
	u := &uart{}
	u.Serial = NewSerial(&u.out, func(level bool) {
		u.level = level
		if level {
			u.edges++
		}
	})
	return u
}

func (u *uart) in(reg uint16) byte {
	data := []byte{0xaa}
	u.ReadPort(com1+reg, 1, data)
	return data[0]
}

func (u *uart) outb(reg uint16, b byte) { u.WritePort(com1+reg, 1, []byte{b}) }

func TestSerialResetState(t *testing.T) {
	u := newUART()
	for reg, want := range map[uint16]byte{
		regData: 0, regIntEnable: 0, regIntID: iirNone, regLineControl: 0, regModemControl: 0,
		regLineStatus: 0x60, regModemStatus: 0xb0, regScratch: 0,
	} {
		assert.Equal(t, want, u.in(reg), "register %d", reg)
	}
	assert.Zero(t, u.edges)
}

func TestSerialSends(t *testing.T) {
	u := newUART()
	for _, b := range []byte("one by one ") {
		u.outb(regData, b)
	}
	u.WritePort(com1, 1, []byte("string"))
	assert.Equal(t, "one by one string", u.out.String())
}

// writes counts the calls of Write.
type writes struct{ sizes []int }

func (w *writes) Write(p []byte) (int, error) {
	w.sizes = append(w.sizes, len(p))
	return len(p), nil
}

func TestSerialSendsAStringAtOnce(t *testing.T) {
	w := &writes{}
	NewSerial(w, func(bool) {}).WritePort(com1, 1, make([]byte, 1000))
	assert.Equal(t, []int{1000}, w.sizes)
}

func TestSerialWideAccessReachesNeighbours(t *testing.T) {
	u := newUART()
	u.WritePort(com1, 2, []byte{'x', ierReceived}) // data and interrupt enable
	assert.Equal(t, "x", u.out.String())
	assert.EqualValues(t, ierReceived, u.in(regIntEnable))

	data := make([]byte, 4)
	u.ReadPort(com1+regModemStatus, 4, data) // MSR, SCR, and two beyond the device
	assert.Equal(t, []byte{0xb0, 0, 0xff, 0xff}, data)
	u.WritePort(com1+regScratch, 4, []byte{1, 2, 3, 4})
	assert.EqualValues(t, 1, u.in(regScratch))
}

func TestSerialScratchAndMasks(t *testing.T) {
	u := newUART()
	u.outb(regScratch, 0x5a)
	assert.EqualValues(t, 0x5a, u.in(regScratch))
	u.outb(regIntEnable, 0xff)
	assert.EqualValues(t, 0x0f, u.in(regIntEnable))
	u.outb(regModemControl, 0xff)
	assert.EqualValues(t, 0x1f, u.in(regModemControl))
}

func TestSerialDivisorLatch(t *testing.T) {
	u := newUART()
	u.outb(regLineControl, lcrDLAB|3)
	u.outb(regData, 0x0c)
	u.outb(regIntEnable, 0x01)
	assert.EqualValues(t, 0x0c, u.in(regData))
	assert.EqualValues(t, 0x01, u.in(regIntEnable))
	u.outb(regLineControl, 3)
	assert.EqualValues(t, 0, u.in(regIntEnable), "the latch hides the interrupt enables, it does not change them")
	assert.Empty(t, u.out.String())
}

func TestSerialFIFODetection(t *testing.T) {
	u := newUART()
	assert.EqualValues(t, iirNone, u.in(regIntID))
	u.outb(regIntID, fcrEnable)
	assert.EqualValues(t, iirFIFO|iirNone, u.in(regIntID))
}

func TestSerialTransmitterInterrupt(t *testing.T) {
	u := newUART()
	u.outb(regIntEnable, ierTransmitted)
	assert.True(t, u.level, "the transmitter is empty when its interrupt is enabled")
	assert.EqualValues(t, iirTransmitted, u.in(regIntID))
	assert.False(t, u.level, "reading the identification clears it")
	assert.EqualValues(t, iirNone, u.in(regIntID))

	u.outb(regData, 'a')
	assert.True(t, u.level)
	u.outb(regData, 'b') // without reading the identification: a new edge all the same
	assert.Equal(t, 3, u.edges)
	u.outb(regIntEnable, 0)
	assert.False(t, u.level)
}

func TestSerialReceiveInterrupt(t *testing.T) {
	u := newUART()
	require.NoError(t, u.Feed([]byte("ab")))
	assert.False(t, u.level, "not enabled")
	u.outb(regIntEnable, ierReceived)
	assert.True(t, u.level)
	assert.EqualValues(t, iirReceived, u.in(regIntID))
	assert.EqualValues(t, 0x61, u.in(regLineStatus))
	assert.EqualValues(t, 'a', u.in(regData))
	assert.True(t, u.level)
	assert.EqualValues(t, 'b', u.in(regData))
	assert.False(t, u.level)
	assert.EqualValues(t, 0x60, u.in(regLineStatus))
	assert.EqualValues(t, 0, u.in(regData), "nothing there")
}

// A guest that reads one byte for each edge gets them all.
func TestSerialEdgeForEachByte(t *testing.T) {
	for name, fcr := range map[string]byte{"without FIFO": 0, "with FIFO": fcrEnable | 0xc0} {
		u := newUART()
		u.outb(regIntID, fcr)
		u.outb(regIntEnable, ierReceived)
		require.NoError(t, u.Feed([]byte("abc")))
		for i, b := range []byte("abc") {
			assert.Equal(t, i+1, u.edges, name)
			assert.True(t, u.level, name)
			assert.Equal(t, b, u.in(regData), name)
		}
		assert.False(t, u.level, name)
	}
}

func TestSerialTriggerLevel(t *testing.T) {
	u := newUART()
	u.outb(regIntID, fcrEnable|0x80) // 8 bytes
	u.outb(regIntEnable, ierReceived)
	require.NoError(t, u.Feed([]byte("1234567")))
	assert.EqualValues(t, iirFIFO|iirTimeout, u.in(regIntID), "below the level: as if timed out")
	require.NoError(t, u.Feed([]byte("8")))
	assert.EqualValues(t, iirFIFO|iirReceived, u.in(regIntID))
}

func TestSerialPriorities(t *testing.T) {
	u := newUART()
	u.outb(regModemControl, mcrLoop)
	u.outb(regIntEnable, ierImplemented)
	u.outb(regData, 'x')
	u.outb(regData, 'y') // no FIFO: overrun
	assert.EqualValues(t, iirLineStatus, u.in(regIntID))
	assert.EqualValues(t, 0x63, u.in(regLineStatus))
	assert.EqualValues(t, iirReceived, u.in(regIntID))
	assert.EqualValues(t, 'x', u.in(regData))
	assert.EqualValues(t, iirTransmitted, u.in(regIntID))
	assert.EqualValues(t, iirNone, u.in(regIntID))
}

func TestSerialLoopback(t *testing.T) {
	u := newUART()
	require.NoError(t, u.Feed([]byte("Z")))
	u.in(regData)
	u.outb(regModemControl, mcrLoop|0x0a) // RTS and OUT2
	assert.EqualValues(t, msrCTS|msrDCD, u.in(regModemStatus))
	require.NoError(t, u.Feed([]byte("host")))
	assert.EqualValues(t, 0x60, u.in(regLineStatus), "the line is disconnected")
	u.outb(regData, 'g')
	assert.EqualValues(t, 'g', u.in(regData))
	assert.Empty(t, u.out.String())
	u.outb(regModemControl, 0)
	assert.EqualValues(t, 'h', u.in(regData), "what the host sent waited")
}

func TestSerialClearsFIFO(t *testing.T) {
	u := newUART()
	u.outb(regIntID, fcrEnable)
	require.NoError(t, u.Feed(bytes.Repeat([]byte{'a'}, 16)))
	require.NoError(t, u.Feed([]byte("b")))
	u.outb(regIntID, fcrEnable|fcrClearReceive)
	assert.EqualValues(t, 'b', u.in(regData))
}

func TestSerialStringInput(t *testing.T) {
	u := newUART()
	require.NoError(t, u.Feed([]byte("hello")))
	data := make([]byte, 5)
	u.ReadPort(com1, 1, data)
	assert.Equal(t, "hello", string(data))
}

func TestSerialFeedWaitsForTheGuest(t *testing.T) {
	u := newUART()
	sent := make([]byte, 3*queueSize)
	for i := range sent {
		sent[i] = byte(i * 7)
	}
	var wg sync.WaitGroup
	wg.Go(func() { assert.NoError(t, u.Feed(sent)) })
	var got []byte
	for len(got) < len(sent) {
		if u.in(regLineStatus)&lsrDataReady != 0 {
			got = append(got, u.in(regData))
		}
	}
	wg.Wait()
	assert.Equal(t, sent, got)
}

func TestSerialCloseEndsFeed(t *testing.T) {
	u := newUART()
	require.NoError(t, u.Feed(make([]byte, queueSize)))
	result := make(chan error)
	go func() { result <- u.Feed(make([]byte, queueSize)) }()
	u.Close()
	assert.ErrorIs(t, <-result, io.ErrClosedPipe)
	assert.ErrorIs(t, u.Feed([]byte("x")), io.ErrClosedPipe)
}

// newKept is a UART whose output is kept for Take.
func newKept() *uart {
	u := newUART()
	u.Serial.out = nil
	return u
}

func TestSerialKeepsOutputForTake(t *testing.T) {
	u := newKept()
	u.outb(regData, 'a')
	u.WritePort(com1, 1, []byte("bc"))
	u.WritePort(com1, 2, []byte{'d', 0})
	sent, ok := u.Take(nil)
	assert.True(t, ok)
	assert.Equal(t, "abcd", string(sent))
	u.outb(regData, 'e')
	u.Finish()
	sent, ok = u.Take(sent)
	assert.True(t, ok)
	assert.Equal(t, "e", string(sent))
	_, ok = u.Take(sent)
	assert.False(t, ok)
	assert.True(t, u.Drain())
}

// fill sends as much as makes the transmitter full, and returns how much.
func (u *uart) fill() int {
	n := outputSize - fifoSize + 1
	u.WritePort(com1, 1, make([]byte, n))
	return n
}

// A guest whose output nobody takes finds its transmitter not empty, and is told by an
// interrupt when it is again.
func TestSerialHoldsBackTheTransmitter(t *testing.T) {
	u := newKept()
	u.outb(regIntEnable, ierTransmitted)
	u.in(regIntID)
	u.WritePort(com1, 1, make([]byte, outputSize-fifoSize))
	assert.EqualValues(t, lsrTransmitted, u.in(regLineStatus), "room for a FIFO")
	assert.True(t, u.level)
	u.outb(regData, 'x')
	assert.Zero(t, u.in(regLineStatus))
	assert.False(t, u.level)
	assert.EqualValues(t, iirNone, u.in(regIntID))
	u.outb(regIntEnable, 0)
	u.outb(regIntEnable, ierTransmitted)
	assert.False(t, u.level, "enabled while it is not empty")

	edges := u.edges
	sent, ok := u.Take(nil)
	assert.True(t, ok)
	assert.Len(t, sent, outputSize-fifoSize+1)
	assert.True(t, u.level)
	assert.Equal(t, edges+1, u.edges)
	assert.EqualValues(t, iirTransmitted, u.in(regIntID))
	assert.EqualValues(t, lsrTransmitted, u.in(regLineStatus))
}

func TestSerialInLoopbackIsNeverFull(t *testing.T) {
	u := newKept()
	u.fill()
	u.outb(regModemControl, mcrLoop)
	assert.EqualValues(t, lsrTransmitted, u.in(regLineStatus))
	u.outb(regData, 'x')
	assert.EqualValues(t, 'x', u.in(regData))
}

// Guests that cannot go on without room wait for it, and lose nothing.
func TestSerialGuestWaitsForRoom(t *testing.T) {
	for name, guest := range map[string]func(u *uart){
		"it sends without a look": func(u *uart) {
			u.WritePort(com1, 1, make([]byte, fifoSize-1)) // what is left
			u.outb(regData, '!')
		},
		"it polls": func(u *uart) {
			for u.in(regLineStatus)&lsrTransmitted == 0 {
			}
			u.outb(regData, '!')
		},
		"it sends more than there is room at all": func(u *uart) {
			u.WritePort(com1, 1, append(make([]byte, 3*outputSize), '!'))
		},
	} {
		t.Run(name, func(t *testing.T) {
			u := newKept()
			u.fill()
			var guestEnds sync.WaitGroup
			guestEnds.Go(func() { guest(u); u.Finish() })
			last, zeros := byte(0), 0
			for sent, ok := u.Take(nil); ok; sent, ok = u.Take(sent) {
				zeros += bytes.Count(sent, []byte{0})
				last = sent[len(sent)-1]
			}
			guestEnds.Wait()
			assert.EqualValues(t, '!', last)
			assert.GreaterOrEqual(t, zeros, outputSize-fifoSize+1)
		})
	}
}

// A poll is a read of the line status behind another; after anything else the first read
// does not wait.
func TestSerialOneLookDoesNotWait(t *testing.T) {
	u := newKept()
	u.fill()
	for range 3 {
		assert.Zero(t, u.in(regLineStatus))
		assert.EqualValues(t, iirNone, u.in(regIntID))
		assert.Zero(t, u.in(regLineStatus))
		u.outb(regScratch, 1)
	}
}

// Whatever waits for room, a machine that ends lets it go.
func TestSerialFinishEndsWaiting(t *testing.T) {
	for name, wait := range map[string]func(u *uart){
		"a guest that sends": func(u *uart) { u.WritePort(com1, 1, make([]byte, outputSize)) },
		"a guest that polls": func(u *uart) { u.in(regLineStatus); u.in(regLineStatus) },
	} {
		u := newKept()
		n := u.fill()
		done := make(chan struct{})
		go func() { wait(u); close(done) }()
		u.Finish()
		<-done
		sent, ok := u.Take(nil)
		assert.True(t, ok, name)
		assert.GreaterOrEqual(t, len(sent), n, "what came before is still there: %s", name)
	}
}

func TestSerialDrainWaitsForTheWriter(t *testing.T) {
	u := newKept()
	u.outb(regData, 'x')
	u.Finish()
	written := false
	go func() {
		sent, _ := u.Take(nil)
		written = true // as long as Take is not called again, what was taken is being written
		u.Take(sent)
	}()
	assert.True(t, u.Drain())
	assert.True(t, written)
}

// Close gives up what a writer does not come back from.
func TestSerialCloseEndsDrainAndTake(t *testing.T) {
	u := newKept()
	u.outb(regData, 'x')
	sent, _ := u.Take(nil)
	u.outb(regData, 'y')
	done := make(chan struct{})
	go func() { assert.False(t, u.Drain()); close(done) }()
	u.Close()
	<-done
	_, ok := u.Take(sent)
	assert.False(t, ok)
}

// FuzzSerial makes a guest do anything with the registers: no panic, and the interrupt line
// always says what the identification register says.
func FuzzSerial(f *testing.F) {
	f.Add([]byte{1, 0x0f, 4, 0x10, 0, 'x', 0, 'y', 0x80, 0, 2, 0xc1})
	f.Add([]byte{1, 0x0f, 0x30, 'x', 0x30, 'y', 0, 'z', 0, 'z', 0, 'z', 0x85, 0, 0x82, 0, 0x85, 0, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		u := newUART()
		if len(script)%2 == 1 { // a nearly full one, which Take empties before the guest must wait
			u = newKept()
			u.WritePort(com1, 1, make([]byte, outputSize-fifoSize-4))
		}
		for len(script) >= 2 {
			op, b := script[0], script[1]
			script = script[2:]
			size := []int{1, 2, 4, 1}[op>>4&3]
			data := bytes.Repeat([]byte{b}, size*int(1+op>>6&1))
			if len(u.output) > outputSize-8 || u.full() && (u.polled || len(data) > 1) {
				_, ok := u.Take(nil)
				require.True(t, ok)
			}
			switch {
			case op&8 != 0 && len(u.queue)+len(data) < queueSize:
				require.NoError(t, u.Feed(data))
			case op&0x80 != 0:
				u.ReadPort(com1+uint16(op&7), size, data)
			default:
				u.WritePort(com1+uint16(op&7), size, data)
			}
			require.Equal(t, u.pending() != iirNone, u.level)
			require.LessOrEqual(t, u.fifoLen, fifoSize)
		}
	})
}
