package device

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// board is a UART, an I/O APIC and a clock as a machine has them, with what comes out of them.
type board struct {
	serial   *Serial
	diverted bool
	ioapic   *IOAPIC
	cmos     *CMOS
	out      []byte         // that the guest sent
	typed    []byte         // that another device fetched
	sent     []MSI          // interrupts
	routes   map[int]MSI    // of level-triggered pins
	seen     map[int]string // what the guest read last, by port
}

const serialPin = 4

func newBoard() *board {
	b := &board{routes: map[int]MSI{}, seen: map[int]string{}}
	b.ioapic = NewIOAPIC(func(m MSI) { b.sent = append(b.sent, m) }, func(pin int, m MSI) { b.routes[pin] = m })
	b.serial = NewSerial(nil, func(level bool) { b.ioapic.SetLine(serialPin, level) })
	b.cmos = NewCMOS(func() time.Time { return time.Unix(1e9, 0) })
	return b
}

// Take takes what the guest has sent, if it has.
func (b *board) take() {
	if b.serial.hasOutput() {
		sent, _ := b.serial.Take(nil)
		b.out = append(b.out, sent...)
	}
}

func (s *Serial) hasOutput() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.output) > 0
}

// divert makes the line another device's, which fetches what is typed, or nobody's.
func (b *board) divert(on bool) {
	b.diverted = on
	if on {
		b.serial.Divert(func() {})
	} else {
		b.serial.Divert(nil)
	}
}

// act does one thing to the devices, as a guest or who types does it. rest is called where they are to be paused.
func (b *board) act(r *rand.Rand, rest func(meanwhile func())) {
	p := []byte{byte(r.Uint32())}
	text := make([]byte, r.IntN(30))
	for i := range text {
		text[i] = byte(r.Uint32())
	}
	feed := func() { b.serial.Feed(text[:min(len(text), queueSize-len(b.serial.queue))]) }
	switch op := r.IntN(20); op {
	case 0, 1, 2:
		if port := r.IntN(registers); port != regModemControl || r.IntN(4) == 0 {
			b.serial.WritePort(uint16(port), 1, p)
		}
	case 3, 4, 5:
		port := r.IntN(registers)
		b.serial.ReadPort(uint16(port), 1, p)
		b.seen[port] = string(p)
	case 6:
		feed()
	case 7:
		b.take()
	case 8:
		b.serial.WritePort(regIntEnable, 1, []byte{ierReceived | ierTransmitted})
	case 9:
		if r.IntN(4) == 0 {
			b.divert(!b.diverted)
		}
		b.typed = append(b.typed, text[:b.serial.Fetch(text)]...)
	case 10:
		index := indexPins + r.Uint32N(2*Pins)
		b.ioapic.WriteMMIO(regSelect, word(index))
		b.ioapic.WriteMMIO(regWindow, word(r.Uint32()&0x1_ffff))
	case 11:
		b.ioapic.SetLine(r.IntN(Pins-1)/2*2+1, r.IntN(2) == 0)
	case 12:
		b.ioapic.EndOfInterrupt(byte(r.Uint32()))
	case 13:
		b.ioapic.WriteMMIO(regSelect, word(indexPins+2*serialPin))
		b.ioapic.WriteMMIO(regWindow, word(0x30+r.Uint32N(2)<<15))
	case 14:
		b.cmos.WritePort(cmosPort, 1, p)
	case 15:
		b.cmos.WritePort(cmosPort+1, 1, p)
	case 16:
		b.cmos.ReadPort(cmosPort+1, 1, p)
		b.seen[cmosPort] = string(p)
	case 17:
		rest(feed)
	case 18:
		rest(b.take)
	default:
		rest(func() {})
	}
}

func word(v uint32) []byte { return []byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)} }

// boardState is what is saved of a board.
type boardState struct {
	Serial SerialState
	IOAPIC IOAPICState
	CMOS   CMOSState
}

func (b *board) save() boardState { return boardState{b.serial.Save(), b.ioapic.Save(), b.cmos.Save()} }

// move has another board go on, through JSON. What the guest has sent stays with the old one, which is emptied.
func (b *board) move(t *testing.T, meanwhile func()) {
	b.serial.Pause()
	meanwhile()
	for b.serial.hasOutput() {
		b.take()
	}
	text, err := json.Marshal(b.save())
	require.NoError(t, err)
	var state boardState
	require.NoError(t, json.Unmarshal(text, &state))
	n := newBoard()
	n.serial.Pause()
	if b.diverted { // as the console device's Restore does
		n.divert(true)
	}
	require.NoError(t, n.ioapic.Restore(state.IOAPIC))
	require.NoError(t, n.serial.Restore(state.Serial), "%s", text)
	require.NoError(t, n.cmos.Restore(state.CMOS))
	again, err := json.Marshal(n.save())
	require.NoError(t, err)
	require.Equal(t, string(text), string(again))
	assert.Empty(t, n.sent, "restoring interrupts nobody")
	for pin, m := range n.routes {
		assert.Equal(t, m, b.routes[pin])
	}
	b.ioapic.send, b.ioapic.route = nil, nil // nothing of the old one is of use
	b.serial, b.ioapic, b.cmos = n.serial, n.ioapic, n.cmos
	n.ioapic.send = func(m MSI) { b.sent = append(b.sent, m) }
	n.ioapic.route = func(pin int, m MSI) { b.routes[pin] = m }
	b.serial.irq = func(level bool) { b.ioapic.SetLine(serialPin, level) }
	b.serial.Resume()
}

func (b *board) rest(meanwhile func()) {
	b.serial.Pause()
	meanwhile()
	for b.serial.hasOutput() {
		b.take()
	}
	b.serial.Resume()
}

// TestSnapshotGoesOn: at random points of random conversations the devices are paused and saved, and others go on. Guest and outside see,
// to the byte and to the interrupt, what they see of those that rest at those points.
func TestSnapshotGoesOn(t *testing.T) {
	for c := range uint64(300) {
		a, b := newBoard(), newBoard()
		r := rand.New(rand.NewPCG(1, c))
		for step := range 100 {
			seed := r.Uint64()
			a.act(rand.New(rand.NewPCG(seed, 0)), a.rest)
			b.act(rand.New(rand.NewPCG(seed, 0)), func(meanwhile func()) { b.move(t, meanwhile) })
			require.Equal(t, fmt.Sprint(a.seen, a.out, a.typed, a.sent, a.routes, a.save()), fmt.Sprint(b.seen, b.out, b.typed, b.sent, b.routes, b.save()),
				"case %d, step %d", c, step)
			for _, x := range []*board{a, b} {
				x.out, x.typed, x.sent = nil, nil, nil
			}
		}
	}
}

// While it is paused the line of a UART stays as it is, and what was typed and taken counts afterwards.
func TestSerialPaused(t *testing.T) {
	var levels []bool
	s := NewSerial(nil, func(level bool) { levels = append(levels, level) })
	s.WritePort(regIntEnable, 1, []byte{ierReceived})
	s.Pause()
	require.NoError(t, s.Feed([]byte("abc")))
	assert.Empty(t, levels)
	assert.Equal(t, []byte("abc"), s.Save().Waiting)
	s.Resume()
	assert.Equal(t, []bool{true}, levels)
	p := []byte{0}
	s.ReadPort(regData, 1, p)
	assert.Equal(t, "a", string(p))
}

// What waits on a line that another device has goes along.
func TestSnapshotOfADivertedLine(t *testing.T) {
	s := NewSerial(nil, func(bool) {})
	s.Divert(func() {})
	require.NoError(t, s.Feed([]byte("abc")))
	s.Pause()
	n := NewSerial(nil, func(bool) {})
	n.Pause()
	require.NoError(t, n.Restore(s.Save()))
	woken := 0
	n.Divert(func() { woken++ })
	n.Resume()
	p := make([]byte, 5)
	assert.Equal(t, "abc", string(p[:n.Fetch(p)]))
	assert.NotZero(t, woken)
}

// States that no device can be in are refused, and leave it as after a reset.
func TestRestoreRefuses(t *testing.T) {
	after := newBoard().save()
	for name, change := range map[string]func(*boardState){
		"interrupts enabled that there are not":      func(s *boardState) { s.Serial.IER = 0x10 },
		"modem controls that there are not":          func(s *boardState) { s.Serial.MCR = 0x20 },
		"a FIFO that is off with two bytes":          func(s *boardState) { s.Serial.FIFO = make([]byte, 2) },
		"a FIFO with 17 bytes":                       func(s *boardState) { s.Serial.FIFOs, s.Serial.FIFO = true, make([]byte, 17) },
		"a trigger of 0":                             func(s *boardState) { s.Serial.Trigger = 0 },
		"a trigger of 14 without FIFOs":              func(s *boardState) { s.Serial.Trigger = 14 },
		"a negative trigger":                         func(s *boardState) { s.Serial.FIFOs, s.Serial.Trigger = true, -1 },
		"a line with more than it holds":             func(s *boardState) { s.Serial.Waiting = make([]byte, queueSize+fifoSize+1) },
		"an interrupt line without interrupts":       func(s *boardState) { s.Serial.Line = true },
		"an interrupt without the line":              func(s *boardState) { s.Serial.IER, s.Serial.FIFO = ierReceived, []byte{1} },
		"an identity of more than 4 bits":            func(s *boardState) { s.IOAPIC.ID = 1 << 28 },
		"a line behind the last pin":                 func(s *boardState) { s.IOAPIC.Lines = 1 << Pins },
		"an entry with bits that there are not":      func(s *boardState) { s.IOAPIC.Redirection[3] |= 1 << 17 },
		"a delivery that is pending":                 func(s *boardState) { s.IOAPIC.Redirection[3] |= uint64(deliveryStatus) },
		"an unended interrupt of an edge":            func(s *boardState) { s.IOAPIC.Redirection[3] |= uint64(remoteIRR) },
		"a level that was not sent":                  func(s *boardState) { s.IOAPIC.Redirection[3], s.IOAPIC.Lines = uint64(levelTriggered), 1<<3 },
		"a register of the clock that there is not":  func(s *boardState) { s.CMOS.Index = 128 },
		"too little RAM":                             func(s *boardState) { s.CMOS.RAM = s.CMOS.RAM[1:] },
		"a time that stands still, and is not there": func(s *boardState) { s.CMOS.RegisterB = cmosSet },
		"a time that stands still, and goes on":      func(s *boardState) { s.CMOS.Held = make([]byte, cmosCentury+1) },
		"a clock at the end of time":                 func(s *boardState) { s.CMOS.Ahead = 1<<63 - 1 },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBoard()
			b.ioapic.WriteMMIO(regSelect, word(5))
			b.serial.WritePort(regScratch, 1, []byte{7})
			b.cmos.WritePort(cmosPort, 1, []byte{7})
			state := after
			state.CMOS.RAM = append([]byte(nil), after.CMOS.RAM...)
			change(&state)
			refused := 0
			for _, err := range []error{b.ioapic.Restore(state.IOAPIC), b.serial.Restore(state.Serial), b.cmos.Restore(state.CMOS)} {
				if err != nil {
					refused++
				}
			}
			assert.Equal(t, 1, refused)
			assert.Equal(t, fmt.Sprint(after), fmt.Sprint(b.save()))
		})
	}
}

// FuzzRestore: a state from anybody is refused or taken, and then the guest does anything: no panic, and the devices are as ever.
func FuzzRestore(f *testing.F) {
	text, err := json.Marshal(newBoard().save())
	require.NoError(f, err)
	f.Add(text, uint64(1))
	f.Add([]byte(`{"Serial":{"fifos":true,"trigger":14,"fifo":"AAAA","ier":15,"line":true}}`), uint64(2))
	f.Fuzz(func(t *testing.T, text []byte, seed uint64) {
		var state boardState
		if json.Unmarshal(text, &state) != nil {
			t.Skip()
		}
		b := newBoard()
		b.ioapic.Restore(state.IOAPIC)
		b.serial.Restore(state.Serial)
		b.cmos.Restore(state.CMOS)
		r := rand.New(rand.NewPCG(seed, 0))
		for range 200 {
			b.act(r, b.rest)
		}
		b.serial.Pause()
		require.NoError(t, newBoard().serial.Restore(b.serial.Save()))
		require.NoError(t, newBoard().ioapic.Restore(b.ioapic.Save()))
		require.NoError(t, newBoard().cmos.Restore(b.cmos.Save()))
	})
}
