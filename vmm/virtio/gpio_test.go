package virtio_test

import (
	"encoding/binary"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	abi "kapsel/guest/abi/virtio"
	"kapsel/vmm/virtio"
	"kapsel/vmm/virtio/virtiotest"
)

// outside is what a device's lines are connected to: it writes down what it is told.
type outside struct {
	names []string
	drive func(line int, high bool)

	mu   sync.Mutex
	told []string
	also func(line int, high bool)
}

func (o *outside) Names() []string                         { return o.names }
func (o *outside) Connect(drive func(line int, high bool)) { o.drive = drive }

func (o *outside) Output(line int, high bool) {
	o.mu.Lock()
	o.told = append(o.told, fmt.Sprint(o.names[line], " ", high))
	o.mu.Unlock()
	if o.also != nil {
		o.also(line, high)
	}
}

// take returns what the outside was told since the last time.
func (o *outside) take() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	told := o.told
	o.told = nil
	return told
}

// pins is a driver of a GPIO device, and what the device is connected to.
type pins struct {
	*virtiotest.Driver
	m       *virtio.MMIO
	outside *outside
}

const gpioFeatures = abi.FeatureEventIndex | abi.GPIOFeatureIRQ

func newPins(t testing.TB, names ...string) *pins {
	o := &outside{names: names}
	d, m := start(t, virtio.NewGPIO(o))
	p := &pins{Driver: d, m: m, outside: o}
	p.StartWith(gpioFeatures, 2, 64)
	return p
}

// Where requests and events lie in memory, and how far apart those of a line are from the next one's.
const (
	gpioRequests = virtiotest.Buffers
	gpioEvents   = virtiotest.Buffers + 0x1000
	gpioStride   = 16
)

// ask sends a request with room for an answer of n bytes, and returns that.
func (p *pins) ask(kind, line uint16, value uint32, n uint32) []byte {
	p.T.Helper()
	request := binary.LittleEndian.AppendUint16(nil, kind)
	request = binary.LittleEndian.AppendUint16(request, line)
	p.Put(gpioRequests, binary.LittleEndian.AppendUint32(request, value))
	q := p.Queues[abi.GPIORequestQueue]
	head := q.Send(abi.Descriptor{Address: gpioRequests, Length: abi.GPIORequestSize},
		abi.Descriptor{Address: gpioRequests + gpioStride, Length: n, Flags: abi.DescWrite})
	used := q.WaitUsed()
	assert.EqualValues(p.T, head, used.ID)
	return append([]byte(nil), p.Memory.Bytes(p.T, gpioRequests+gpioStride, uint64(used.Length))...)
}

// want asserts that a request succeeds with a value.
func (p *pins) want(value byte, kind, line uint16, argument uint32) {
	p.T.Helper()
	assert.Equal(p.T, []byte{abi.GPIOOK, value}, p.ask(kind, line, argument, abi.GPIOAnswerSize), "request %d of line %d", kind, line)
}

// refused asserts that a request fails.
func (p *pins) refused(kind, line uint16, argument uint32) {
	p.T.Helper()
	errors := p.m.Counters().Errors
	assert.Equal(p.T, []byte{abi.GPIOError, 0}, p.ask(kind, line, argument, abi.GPIOAnswerSize), "request %d of line %d, %d", kind, line, argument)
	assert.Equal(p.T, errors+1, p.m.Counters().Errors)
}

// interrupt makes a line an input that interrupts.
func (p *pins) interrupt(line uint16, irq uint32) {
	p.T.Helper()
	p.want(0, abi.GPIOSetDirection, line, abi.GPIOInput)
	p.want(0, abi.GPIOSetIRQType, line, irq)
}

// unmask lends a buffer for an event of a line.
func (p *pins) unmask(line uint16) {
	at := gpioEvents + 2*gpioStride*uint64(line)
	p.Put(at, binary.LittleEndian.AppendUint16(nil, line))
	p.Put(at+gpioStride, []byte{0xee})
	p.Queues[abi.GPIOEventQueue].Send(abi.Descriptor{Address: at, Length: abi.GPIOEventSize},
		abi.Descriptor{Address: at + gpioStride, Length: 1, Flags: abi.DescWrite})
}

// event waits for the buffer of a line and returns its status.
func (p *pins) event(line uint16) byte {
	p.T.Helper()
	assert.EqualValues(p.T, 1, p.Queues[abi.GPIOEventQueue].WaitUsed().Length)
	return p.Memory.Bytes(p.T, gpioEvents+2*gpioStride*uint64(line)+gpioStride, 1)[0]
}

// events is how many buffers for events came back, once the device has served all that it was given.
func (p *pins) events() uint16 {
	for range 2 { // the first request may come before the other queue's turn, and the second does not
		p.want(0, abi.GPIOSetDirection, uint16(len(p.outside.names)-1), abi.GPIONone)
	}
	return p.Queues[abi.GPIOEventQueue].UsedIndex()
}

func TestGPIOConfiguration(t *testing.T) {
	p := newPins(t, "led0", "", "pin0")
	assert.EqualValues(t, 41, p.Read(abi.RegDeviceID))
	assert.Equal(t, []byte{3, 0, 0, 0, 11, 0, 0, 0}, p.Config(0, abi.GPIOConfigBytes))
	assert.Equal(t, []byte("\x00led0\x00\x00pin0\x00"), p.ask(abi.GPIOGetNames, 0, 0, 12))
	assert.Equal(t, []byte{abi.GPIOError, 0}, p.ask(abi.GPIOGetNames, 0, 0, 11), "there is no room for them")
}

// TestGPIOOutputs: the outside sees levels, when they change and in order.
func TestGPIOOutputs(t *testing.T) {
	p := newPins(t, "a", "b")
	p.want(abi.GPIONone, abi.GPIOGetDirection, 0, 0)
	p.want(0, abi.GPIOSetValue, 0, 1)
	assert.Empty(t, p.outside.take(), "it is no output yet")
	p.want(0, abi.GPIOSetDirection, 0, abi.GPIOOutput)
	p.want(abi.GPIOOutput, abi.GPIOGetDirection, 0, 0)
	assert.Equal(t, []string{"a true"}, p.outside.take())
	p.want(0, abi.GPIOSetValue, 0, 1)
	p.want(0, abi.GPIOSetDirection, 1, abi.GPIOOutput)
	assert.Empty(t, p.outside.take(), "nothing changed")
	p.outside.drive(0, false)
	p.want(1, abi.GPIOGetValue, 0, 0)
	p.want(0, abi.GPIOSetValue, 0, 0)
	p.want(0, abi.GPIOSetValue, 0, 1)
	p.want(0, abi.GPIOSetValue, 1, 1)
	assert.Equal(t, []string{"a false", "a true", "b true"}, p.outside.take())
	p.want(0, abi.GPIOSetDirection, 0, abi.GPIOInput)
	assert.Equal(t, []string{"a false"}, p.outside.take(), "an input gives no level")
	p.want(0, abi.GPIOSetDirection, 0, abi.GPIONone)
	p.want(0, abi.GPIOSetDirection, 0, abi.GPIOOutput)
	assert.Empty(t, p.outside.take(), "without a direction it forgot its level (5.18.6.9)")
	p.StartWith(gpioFeatures, 2, 64)
	assert.Equal(t, []string{"b false"}, p.outside.take(), "a driver that begins anew finds lines that are nobody's")
}

// TestGPIOInputs: without interrupts a line has the level that the outside gives it last.
func TestGPIOInputs(t *testing.T) {
	p := newPins(t, "a")
	p.want(0, abi.GPIOSetDirection, 0, abi.GPIOInput)
	p.want(0, abi.GPIOGetValue, 0, 0)
	p.outside.drive(0, true)
	p.Wait("the level is high", func() bool { return p.ask(abi.GPIOGetValue, 0, 0, 2)[1] == 1 })
	p.StartWith(gpioFeatures, 2, 64)
	p.want(1, abi.GPIOGetValue, 0, 0)
}

// TestGPIOInterrupts: by what the driver wants to be interrupted for, which changes of a line it is told of. The line goes up and
// down twice, at once, and the driver reads it when it is told.
func TestGPIOInterrupts(t *testing.T) {
	for _, tt := range []struct {
		name string
		irq  uint32
		want []byte // levels
	}{
		{"rising edges", abi.GPIORisingEdge, []byte{1, 1}},
		{"falling edges", abi.GPIOFallingEdge, []byte{0, 0}},
		{"both edges", abi.GPIORisingEdge | abi.GPIOFallingEdge, []byte{1, 0, 1, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPins(t, "a", "b")
			p.interrupt(0, tt.irq)
			for _, high := range []bool{true, false, true, false} {
				p.outside.drive(0, high)
			}
			assert.Zero(t, p.events(), "masked")
			for _, level := range tt.want {
				p.unmask(0)
				assert.EqualValues(t, abi.GPIOEventValid, p.event(0))
				p.want(level, abi.GPIOGetValue, 0, 0)
			}
			p.unmask(0)
			assert.EqualValues(t, len(tt.want), p.events())
			p.outside.drive(0, true)
			p.outside.drive(0, false)
			assert.EqualValues(t, abi.GPIOEventValid, p.event(0), "unmasked before")
		})
	}
}

// TestGPIOLevels: a level interrupts as long as the line has it, whenever the driver unmasks it, and is not latched (5.18.6.9).
func TestGPIOLevels(t *testing.T) {
	for _, tt := range []struct {
		irq  uint32
		high bool
	}{{abi.GPIOHighLevel, true}, {abi.GPIOLowLevel, false}} {
		p := newPins(t, "a", "b")
		p.outside.drive(0, !tt.high) // so that it has another level than it interrupts for
		p.interrupt(0, tt.irq)
		p.outside.drive(0, tt.high)
		for range 3 {
			p.unmask(0)
			assert.EqualValues(t, abi.GPIOEventValid, p.event(0))
		}
		p.outside.drive(0, !tt.high)
		p.unmask(0)
		assert.EqualValues(t, 3, p.events())
		p.outside.drive(0, tt.high)
		assert.EqualValues(t, abi.GPIOEventValid, p.event(0), "unmasked before")
	}
}

// TestGPIOInterruptsEnd: with the interrupt, or the direction, the buffer comes back as invalid, and nothing waits any more.
func TestGPIOInterruptsEnd(t *testing.T) {
	const edges = abi.GPIORisingEdge | abi.GPIOFallingEdge
	for name, end := range map[string]func(p *pins){
		"no interrupts": func(p *pins) { p.want(0, abi.GPIOSetIRQType, 0, abi.GPIONoIRQ) },
		"no direction":  func(p *pins) { p.want(0, abi.GPIOSetDirection, 0, abi.GPIONone) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPins(t, "a", "b")
			p.interrupt(0, edges)
			p.unmask(0)
			p.events()
			end(p)
			assert.EqualValues(t, abi.GPIOEventInvalid, p.event(0))
			p.interrupt(0, edges)
			p.outside.drive(0, true)
			end(p)
			p.want(1, abi.GPIOGetValue, 0, 0)
			p.interrupt(0, edges)
			p.unmask(0)
			assert.EqualValues(t, 1, p.events(), "what was latched is forgotten (5.18.6.9)")
		})
	}
}

// TestGPIORefuses: requests that make no sense fail by themselves.
func TestGPIORefuses(t *testing.T) {
	p := newPins(t, "a", "b")
	p.refused(0, 0, 0)
	p.refused(7, 0, 0)
	for _, kind := range []uint16{abi.GPIOGetDirection, abi.GPIOSetDirection, abi.GPIOGetValue, abi.GPIOSetValue, abi.GPIOSetIRQType} {
		p.refused(kind, 2, 0)
		p.refused(kind, 0xffff, 0)
	}
	p.refused(abi.GPIOSetDirection, 0, 3)
	p.refused(abi.GPIOSetDirection, 0, 1<<8|abi.GPIOOutput)
	p.refused(abi.GPIOSetValue, 0, 2)
	for _, irq := range []uint32{5, 6, 7, 9, 12, 16, 1 << 8, 1<<32 - 1} {
		p.refused(abi.GPIOSetIRQType, 0, irq)
	}
	p.want(0, abi.GPIOSetDirection, 0, abi.GPIOOutput)
	p.refused(abi.GPIOSetIRQType, 0, abi.GPIORisingEdge)
	p.interrupt(0, abi.GPIORisingEdge)
	p.refused(abi.GPIOSetDirection, 0, abi.GPIOOutput)
	for _, line := range []uint16{1, 2} {
		p.unmask(line)
		assert.EqualValues(t, abi.GPIOEventInvalid, p.event(line), "line %d does not interrupt", line)
	}
	p.unmask(0)
	p.unmask(0)
	assert.EqualValues(t, abi.GPIOEventInvalid, p.event(0), "there is a buffer already (5.18.7.2)")
	p.StartWith(abi.FeatureEventIndex, 2, 64)
	p.want(0, abi.GPIOSetDirection, 0, abi.GPIOInput)
	p.refused(abi.GPIOSetIRQType, 0, abi.GPIORisingEdge) // which was not negotiated
}

// TestGPIOBreaks: requests and buffers for events that are none break the device, until it is reset.
func TestGPIOBreaks(t *testing.T) {
	write := func(n uint32) abi.Descriptor {
		return abi.Descriptor{Address: gpioRequests + gpioStride, Length: n, Flags: abi.DescWrite}
	}
	read := func(n uint32) abi.Descriptor { return abi.Descriptor{Address: gpioRequests, Length: n} }
	for _, tt := range []struct {
		name  string
		queue int
		chain []abi.Descriptor
	}{
		{"a short request", abi.GPIORequestQueue, []abi.Descriptor{read(7), write(2)}},
		{"no request", abi.GPIORequestQueue, []abi.Descriptor{write(10)}},
		{"a short answer", abi.GPIORequestQueue, []abi.Descriptor{read(8), write(1)}},
		{"no answer", abi.GPIORequestQueue, []abi.Descriptor{read(8)}},
		{"a short event", abi.GPIOEventQueue, []abi.Descriptor{read(1), write(1)}},
		{"no room for an event", abi.GPIOEventQueue, []abi.Descriptor{read(2)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPins(t, "a")
			p.Queues[tt.queue].Send(tt.chain...)
			p.Wait("it is broken", p.Broken)
			p.StartWith(gpioFeatures, 2, 64)
			p.want(0, abi.GPIOSetDirection, 0, abi.GPIOOutput)
		})
	}
}

// TestGPIOChangesAreBounded: who drives a line that the driver does not look at takes no memory, and the last level counts.
func TestGPIOChangesAreBounded(t *testing.T) {
	p := newPins(t, "a", "b")
	p.interrupt(0, abi.GPIORisingEdge)
	for i := range 1001 {
		p.outside.drive(0, i%2 == 0)
	}
	rises := 0
	for p.want(0, abi.GPIOGetValue, 1, 0); ; rises++ {
		p.unmask(0)
		if p.events() == uint16(rises) {
			break
		}
		assert.EqualValues(t, abi.GPIOEventValid, p.event(0))
	}
	assert.Equal(t, 32, rises)
	p.want(1, abi.GPIOGetValue, 0, 0)
}

// TestGPIODrivenFromOutput: who sees an output may drive an input at once, and others may meanwhile.
func TestGPIODrivenFromOutput(t *testing.T) {
	p := newPins(t, "out", "in")
	p.outside.also = func(_ int, high bool) { p.outside.drive(1, high) }
	p.interrupt(1, abi.GPIORisingEdge|abi.GPIOFallingEdge)
	p.want(0, abi.GPIOSetDirection, 0, abi.GPIOOutput)
	for level := range byte(10) {
		p.unmask(1)
		p.want(0, abi.GPIOSetValue, 0, uint32(1-level%2))
		assert.EqualValues(t, abi.GPIOEventValid, p.event(1))
		p.want(1-level%2, abi.GPIOGetValue, 1, 0)
	}
}

// TestGPIOResetStorm: lines are driven while the driver begins anew again and again.
func TestGPIOResetStorm(t *testing.T) {
	p := newPins(t, "a", "b")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				p.outside.drive(i/2%2, i%2 == 0)
			}
		}
	}()
	for range 300 {
		p.StartWith(gpioFeatures, 2, 64)
		p.interrupt(0, abi.GPIORisingEdge|abi.GPIOFallingEdge)
		p.unmask(0)
		assert.EqualValues(t, abi.GPIOEventValid, p.event(0))
	}
	close(stop)
	<-stopped
	require.False(t, p.Broken())
}

// FuzzGPIO has a driver send any requests and buffers for events, and the outside drive its lines: no panic, no hang, and each
// buffer comes back at most once, with a status.
func FuzzGPIO(f *testing.F) {
	f.Add([]byte{0, 3, 0, 2, 0, 6, 0, 3, 1, 0, 0, 0, 2, 0, 1, 0, 0, 4, 0, 0})
	f.Add([]byte{0, 5, 1, 1, 0, 3, 1, 1, 2, 1, 1, 0, 0, 4, 1, 0, 0, 3, 1, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		p := newPins(t, "a", "b", "c")
		for ; len(script) >= 4 && !p.Broken(); script = script[4:] {
			kind, line, value := uint16(script[1]%8), uint16(script[2]%4), uint32(script[3])
			switch script[0] % 3 {
			case 0:
				answer := p.ask(kind, line, value%10, 2+value/10)
				require.NotEmpty(t, answer)
				require.LessOrEqual(t, answer[0], byte(abi.GPIOError))
			case 1:
				p.unmask(line)
			case 2:
				p.outside.drive(int(line%3), value%2 == 1)
			}
			if p.Queues[abi.GPIOEventQueue].Index()-p.Queues[abi.GPIOEventQueue].UsedIndex() > 3 {
				p.Wait("at most one buffer for each line is kept", func() bool {
					return p.Queues[abi.GPIOEventQueue].Index()-p.Queues[abi.GPIOEventQueue].UsedIndex() <= 3
				})
			}
		}
		require.False(t, p.Broken())
	})
}
