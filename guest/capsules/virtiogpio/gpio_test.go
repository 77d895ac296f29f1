package virtiogpio

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/abi/virtio"
	"kapsel/guest/abi/virtio/hostile"
	"kapsel/guest/capsules/virtio/virtiotest"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/hil"
)

// heard is a client that writes down what it is told.
type heard struct{ changes []string }

func (h *heard) PinChanged(pin int, high bool) {
	h.changes = append(h.changes, fmt.Sprint(pin, " ", high))
}

// take returns the changes since the last time.
func (h *heard) take() []string {
	changes := h.changes
	h.changes = nil
	return changes
}

// rig is a driver, its device and the clients of its groups.
type rig struct {
	GPIO
	tb      testing.TB
	device  *virtiotest.Device
	kernel  kernel.Kernel
	clients [3]heard
	events  map[int]*virtiotest.Chain // by line
}

// newDevice makes a device with so many lines, and names.
func newDevice(tb testing.TB, lines int, names string) *virtiotest.Device {
	d := virtiotest.New(tb, virtio.IDGPIO, virtio.GPIOFeatureIRQ, 64, 64)
	d.Config = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, uint32(lines)), uint32(len(names)))
	return d
}

// start starts the driver on a device.
func start(tb testing.TB, d *virtiotest.Device) (*rig, abi.ErrorCode) {
	r := &rig{tb: tb, device: d, events: map[int]*virtiotest.Chain{}}
	e := r.Init(&r.kernel, d.Place())
	for i := range r.clients {
		r.groups[i].SetGPIOClient(&r.clients[i])
	}
	return r, e
}

// names are those of most tests' device: line 2 is LED 0, line 0 pin 0.
const names = "reset\x00button0\x00led0\x00\x00ledge\x00button\x00"

func newRig(t *testing.T) *rig {
	r, e := start(t, newDevice(t, 6, names))
	require.Equal(t, abi.OK, e)
	assert.False(t, r.Settled())
	assert.Equal(t, request{kind: virtio.GPIOGetNames}, r.answer("\x00"+names))
	require.True(t, r.Settled())
	return r
}

// request is what the driver asks for.
type request struct {
	kind, line uint16
	value      uint32
}

// answer has the device answer the next request.
func (r *rig) answer(p string) request {
	r.tb.Helper()
	c, ok := r.device.Queues[virtio.GPIORequestQueue].Next()
	require.True(r.tb, ok, "nothing is asked for")
	require.Len(r.tb, c.Readable, virtio.GPIORequestSize)
	require.GreaterOrEqual(r.tb, c.Room(), len(p))
	r.device.Queues[virtio.GPIORequestQueue].Use(c.Head, c.Write([]byte(p)))
	r.HandleInterrupt()
	le := binary.LittleEndian
	return request{le.Uint16(c.Readable), le.Uint16(c.Readable[2:]), le.Uint32(c.Readable[4:])}
}

// asks asserts that these are the next requests, which succeed, and that there are no others.
func (r *rig) asks(want ...request) {
	r.tb.Helper()
	for _, w := range want {
		assert.Equal(r.tb, w, r.answer("\x00\x00"))
	}
	r.quiet()
}

// quiet asserts that nothing is asked for.
func (r *rig) quiet() {
	r.tb.Helper()
	assert.Zero(r.tb, r.device.Queues[virtio.GPIORequestQueue].Waiting())
}

// unmasked takes what the driver lent for events, and returns of which lines the device has buffers.
func (r *rig) unmasked() (lines []int) {
	q := r.device.Queues[virtio.GPIOEventQueue]
	for c, ok := q.Next(); ok; c, ok = q.Next() {
		line := int(binary.LittleEndian.Uint16(c.Readable))
		assert.Nil(r.tb, r.events[line], "two buffers for a line")
		assert.Equal(r.tb, 1, c.Room())
		r.events[line] = c
	}
	for line := range r.events {
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}

// event gives the buffer of a line back.
func (r *rig) event(line int, status byte) {
	r.tb.Helper()
	r.unmasked()
	c := r.events[line]
	require.NotNil(r.tb, c, "line %d is masked", line)
	delete(r.events, line)
	r.device.Queues[virtio.GPIOEventQueue].Use(c.Head, c.Write([]byte{status}))
	r.HandleInterrupt()
}

// read has the device answer that it reads a level of a line.
func (r *rig) read(line uint16, level string) {
	r.tb.Helper()
	assert.Equal(r.tb, request{virtio.GPIOGetValue, line, 0}, r.answer("\x00"+level))
	r.quiet()
}

const both = virtio.GPIORisingEdge | virtio.GPIOFallingEdge

// input makes a button an input, which is line's, and has it read as low.
func (r *rig) input(button int, line uint16) {
	r.tb.Helper()
	assert.Equal(r.tb, abi.OK, r.Buttons().MakeInput(button))
	assert.Equal(r.tb, request{virtio.GPIOSetDirection, line, virtio.GPIOInput}, r.answer("\x00\x00"))
	assert.Equal(r.tb, request{virtio.GPIOSetIRQType, line, both}, r.answer("\x00\x00"))
	r.read(line, "\x00")
}

// TestGroups: lines are sorted by their names.
func TestGroups(t *testing.T) {
	r := newRig(t)
	assert.Equal(t, []int{2, 2, 2}, []int{r.LEDs().Pins(), r.Buttons().Pins(), r.Pins().Pins()})
	assert.Equal(t, []uint8{2, 4}, r.LEDs().lines[:2])
	assert.Equal(t, []uint8{1, 5}, r.Buttons().lines[:2])
	assert.Equal(t, []uint8{0, 3}, r.Pins().lines[:2])
	r.quiet()
	for _, pin := range []int{-1, 2, 1 << 40} {
		for _, e := range []abi.ErrorCode{r.LEDs().MakeOutput(pin), r.LEDs().MakeInput(pin), r.LEDs().Deactivate(pin), r.LEDs().Give(pin, true),
			r.LEDs().TellOf(pin, hil.BothEdges)} {
			assert.Equal(t, abi.INVAL, e)
		}
		assert.False(t, r.LEDs().Level(pin))
	}
	r.quiet()
	assert.Zero(t, r.device.Refused())
}

// TestLinesWithoutNames are pins: the device has none, or more than are read, or does not give them, or not all.
func TestLinesWithoutNames(t *testing.T) {
	for _, tt := range []struct {
		name   string
		lines  int
		names  string
		answer string
		want   []int
	}{
		{"none", 3, "", "", []int{0, 0, 3}},
		{"too many", 3, string(make([]byte, 256)), "", []int{0, 0, 3}},
		{"refused", 3, "led\x00", "\x01led\x00", []int{0, 0, 3}},
		{"no answer", 3, "led\x00", "", []int{0, 0, 3}},
		{"too few", 3, "led\x00\x00", "\x00led", []int{1, 0, 2}},
		{"more lines than are used", 500, "led", "\x00led", []int{1, 0, 15}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, e := start(t, newDevice(t, tt.lines, tt.names))
			require.Equal(t, abi.OK, e)
			if !r.Settled() {
				r.answer(tt.answer)
			}
			assert.True(t, r.Settled())
			assert.Equal(t, tt.want, []int{r.LEDs().Pins(), r.Buttons().Pins(), r.Pins().Pins()})
		})
	}
}

// TestOutputs: the level is there before the direction; what is set in a row is one request, with the last of it.
func TestOutputs(t *testing.T) {
	r := newRig(t)
	l := r.LEDs()
	assert.Equal(t, abi.OK, l.Give(0, true))
	assert.False(t, l.Level(0), "it is no output")
	r.quiet()
	assert.Equal(t, abi.OK, l.MakeOutput(0))
	assert.True(t, l.Level(0))
	r.asks(request{virtio.GPIOSetValue, 2, 1}, request{virtio.GPIOSetDirection, 2, virtio.GPIOOutput})
	for i := range 7 {
		l.Give(0, i%2 != 0)
		assert.Equal(t, i%2 != 0, l.Level(0))
	}
	l.MakeOutput(1)
	r.asks(request{virtio.GPIOSetValue, 2, 0}, request{virtio.GPIOSetDirection, 4, virtio.GPIOOutput})
	l.Give(1, true)
	l.Give(1, false)
	l.Give(1, true)
	r.asks(request{virtio.GPIOSetValue, 4, 1})
	l.Deactivate(1)
	assert.False(t, l.Level(1))
	r.asks(request{virtio.GPIOSetDirection, 4, virtio.GPIONone})
	l.MakeOutput(1)
	r.asks(request{virtio.GPIOSetValue, 4, 1}, request{virtio.GPIOSetDirection, 4, virtio.GPIOOutput})
	assert.Empty(t, r.unmasked())
	assert.Empty(t, r.device.Log.String())
}

// TestOutputsTakeTurns: a pin that is set again and again holds no other up.
func TestOutputsTakeTurns(t *testing.T) {
	r := newRig(t)
	l := r.LEDs()
	l.MakeOutput(0)
	l.MakeOutput(1)
	r.asks(request{virtio.GPIOSetDirection, 2, virtio.GPIOOutput}, request{virtio.GPIOSetDirection, 4, virtio.GPIOOutput})
	l.Give(0, true)
	l.Give(1, true)
	l.Give(0, false)
	assert.Equal(t, request{virtio.GPIOSetValue, 2, 1}, r.answer("\x00\x00"))
	l.Give(0, true)
	l.Give(0, false)
	assert.Equal(t, request{virtio.GPIOSetValue, 4, 1}, r.answer("\x00\x00"))
	r.asks(request{virtio.GPIOSetValue, 2, 0})
}

// TestInputs: a line that interrupts is read, then the client is told, then it may interrupt again.
func TestInputs(t *testing.T) {
	r := newRig(t)
	b, client := r.Buttons(), &r.clients[buttons]
	r.input(0, 1)
	assert.Equal(t, abi.OK, b.TellOf(0, hil.BothEdges))
	assert.Equal(t, []int{1}, r.unmasked())
	r.event(1, virtio.GPIOEventValid)
	assert.Empty(t, r.unmasked(), "it is masked while it is read")
	assert.Empty(t, client.take())
	r.read(1, "\x01")
	assert.Equal(t, []string{"0 true"}, client.take())
	assert.True(t, b.Level(0))
	assert.Equal(t, []int{1}, r.unmasked())
	r.event(1, virtio.GPIOEventValid)
	r.read(1, "\x01")
	assert.Empty(t, client.take(), "no other level")
	for _, tt := range []struct {
		edges hil.Edges
		want  []string
	}{{hil.RisingEdge, []string{"0 true"}}, {hil.FallingEdge, []string{"0 false"}}, {hil.NoEdge, nil}} {
		b.TellOf(0, tt.edges)
		for _, level := range []string{"\x00", "\x01"} {
			r.event(1, virtio.GPIOEventValid)
			r.read(1, level)
		}
		slices.Sort(client.changes)
		assert.Equal(t, tt.want, client.take(), tt.edges)
	}
	assert.Empty(t, r.clients[leds].changes)
	assert.Empty(t, r.clients[others].changes)
}

// TestInputsComeFirst: a line that was made an input interrupts before the outside sees an output that was set behind that.
func TestInputsComeFirst(t *testing.T) {
	r := newRig(t)
	r.LEDs().MakeOutput(0)
	r.LEDs().MakeOutput(1)
	r.Buttons().MakeInput(1)
	r.LEDs().Give(0, true)
	r.asks(request{virtio.GPIOSetDirection, 2, virtio.GPIOOutput}, request{virtio.GPIOSetDirection, 5, virtio.GPIOInput},
		request{virtio.GPIOSetIRQType, 5, both}, request{virtio.GPIOGetValue, 5, 0}, request{virtio.GPIOSetDirection, 4, virtio.GPIOOutput},
		request{virtio.GPIOSetValue, 2, 1})
	assert.Equal(t, []int{5}, r.unmasked())
}

// TestInputEnds: interrupts end before the direction does, and the line may be an input again before its buffers are back.
func TestInputEnds(t *testing.T) {
	r := newRig(t)
	b := r.Buttons()
	r.input(0, 1)
	r.unmasked()
	b.Deactivate(0)
	assert.False(t, b.Level(0))
	assert.Equal(t, request{virtio.GPIOSetIRQType, 1, virtio.GPIONoIRQ}, r.answer("\x00\x00"))
	b.MakeInput(0)
	assert.Equal(t, request{virtio.GPIOSetDirection, 1, virtio.GPIONone}, r.answer("\x00\x00"))
	r.asks(request{virtio.GPIOSetDirection, 1, virtio.GPIOInput}, request{virtio.GPIOGetValue, 1, 0})
	r.event(1, virtio.GPIOEventInvalid)
	r.asks(request{virtio.GPIOSetIRQType, 1, both}, request{virtio.GPIOGetValue, 1, 0})
	assert.Equal(t, []int{1}, r.unmasked())
	b.MakeOutput(0)
	assert.Equal(t, request{virtio.GPIOSetIRQType, 1, virtio.GPIONoIRQ}, r.answer("\x00\x00"))
	r.event(1, virtio.GPIOEventInvalid)
	r.asks(request{virtio.GPIOSetDirection, 1, virtio.GPIOOutput})
	assert.Empty(t, r.unmasked())
}

// TestRefusedLine: a line of which the device refuses something is not used any more, and the others are.
func TestRefusedLine(t *testing.T) {
	r := newRig(t)
	r.LEDs().MakeOutput(0)
	r.answer("\x01\x00")
	r.quiet()
	assert.Equal(t, abi.FAIL, r.LEDs().Give(0, true))
	assert.Equal(t, abi.FAIL, r.LEDs().MakeOutput(0))
	assert.Equal(t, abi.OK, r.LEDs().MakeOutput(1))
	r.asks(request{virtio.GPIOSetDirection, 4, virtio.GPIOOutput})
	assert.Empty(t, r.device.Log.String())
}

// TestBrokenGPIODevice: it is told of once, calls fail, and it is settled.
func TestBrokenGPIODevice(t *testing.T) {
	use := func(r *rig, queue int, written uint32) {
		q := r.device.Queues[queue]
		c, _ := q.Next()
		q.Use(c.Head, written)
		r.HandleInterrupt()
	}
	for _, tt := range []struct {
		name, why string
		do        func(r *rig)
	}{
		{"half an answer", "it gives half an answer", func(r *rig) { r.LEDs().MakeOutput(0); use(r, 0, 1) }},
		{"more than it may", "it claims to have written more than it may", func(r *rig) { r.LEDs().MakeOutput(0); use(r, 0, 3) }},
		{"an event without a status", "it gives an event without a status", func(r *rig) { r.input(0, 1); use(r, 1, 0) }},
		{"a reset", "it says that it needs a reset", func(r *rig) {
			r.device.Status |= virtio.StatusNeedsReset
			r.device.Interrupt |= virtio.InterruptConfig
			r.HandleInterrupt()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			tt.do(r)
			assert.Equal(t, "GPIO device at 0xd0000000 is broken, and not used any more: "+tt.why+"\n", r.device.Log.String())
			assert.True(t, r.Settled())
			assert.Equal(t, abi.FAIL, r.LEDs().Give(1, true))
			assert.Equal(t, abi.FAIL, r.Buttons().MakeInput(0))
			assert.Equal(t, abi.INVAL, r.Buttons().MakeInput(2))
		})
	}
}

// TestNoGPIODevice: what is none is not used.
func TestNoGPIODevice(t *testing.T) {
	noIRQ := newDevice(t, 4, "")
	noIRQ.Offered &^= virtio.GPIOFeatureIRQ
	for _, tt := range []struct {
		name, why string
		device    *virtiotest.Device
	}{
		{"another kind", "it is of another kind", virtiotest.New(t, virtio.IDBlock, 0, 8)},
		{"no lines", "it has no lines", newDevice(t, 0, "")},
		{"no interrupts", "its lines do not interrupt", noIRQ},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, e := start(t, tt.device)
			assert.Equal(t, abi.FAIL, e)
			assert.Equal(t, "GPIO device at 0xd0000000 is broken, and not used any more: "+tt.why+"\n", tt.device.Log.String())
			assert.True(t, r.Settled())
			assert.Zero(t, r.LEDs().Pins()+r.Buttons().Pins()+r.Pins().Pins())
		})
	}
}

// attack runs a script of the corpus against a driver that is used meanwhile.
func attack(tb testing.TB, steps []hostile.Step) {
	d := newDevice(tb, 6, names)
	a := virtiotest.NewAttacker(d)
	r, _ := start(tb, d)
	for i, s := range steps {
		a.Reads = 0
		if s.Act != hostile.Serve {
			a.Do(s)
		}
		r.HandleInterrupt()
		r.transport.HandleDeferredCall()
		pin := i % 3
		for g := range r.groups {
			p := &r.groups[g]
			p.Give(pin, i%2 == 0)
			p.TellOf(pin, hil.BothEdges)
			switch (i / 3) % 3 {
			case 0:
				p.MakeInput(pin)
			case 1:
				p.MakeOutput(pin)
			case 2:
				p.Deactivate(pin)
			}
			p.Level(pin)
		}
		if a.Reads > 20_000 {
			tb.Fatalf("%d reads of registers in a step", a.Reads)
		}
	}
}

// TestHostileScripts: a device does what it may not, by the corpus of all drivers, and none harms this one.
func TestHostileScripts(t *testing.T) {
	for _, s := range hostile.Scripts {
		t.Run(s.Name, func(t *testing.T) { attack(t, s.Steps) })
	}
}

// FuzzPins is TestHostileScripts by any script.
func FuzzPins(f *testing.F) {
	for _, s := range hostile.Scripts {
		f.Add(hostile.Encode(s.Steps))
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		attack(t, slices.Collect(hostile.Decode(script[:min(len(script), 1<<12)])))
	})
}
