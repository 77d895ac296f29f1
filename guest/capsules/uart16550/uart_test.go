package uart16550

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
	"kapsel/guest/mmio"
)

// device models the registers of an 8250 with or without a FIFO. Its interrupt line is
// level; the test stands in for the edge-triggered controller.
type device struct {
	t    *testing.T
	fifo bool

	enabled interrupts
	line    line
	divisor [2]divisor
	modem   modem
	queue   []byte // given to the transmitter, not yet on the wire
	wire    []byte
	input   []byte
	jammed  bool // the transmitter never empties
}

func (d *device) size() int {
	if d.fifo {
		return 16
	}
	return 1
}

func (d *device) Read(offset, width uint16) uint32 {
	assert.EqualValues(d.t, 1, width)
	switch offset {
	case uint16(receiverBuffer):
		b := d.input[0]
		d.input = d.input[1:]
		return uint32(b)
	case uint16(interruptIdentity):
		id := identity(0)
		if d.fifo {
			id = fifos.With(0, fifosWork)
		}
		if !d.asserted() {
			id |= noInterrupt
		}
		return uint32(id)
	case uint16(lineStatus):
		s := status(0)
		if len(d.input) > 0 {
			s |= dataReady
		}
		if len(d.queue) == 0 {
			s |= transmitterEmpty
		}
		return uint32(s)
	}
	d.t.Errorf("read of register %d", offset)
	return 0
}

func (d *device) Write(offset, width uint16, v uint32) {
	assert.EqualValues(d.t, 1, width)
	switch {
	case offset <= 1 && d.line&divisorLatch != 0:
		d.divisor[offset] = divisor(v)
	case offset == uint16(interruptEnable):
		d.enabled = interrupts(v)
	case offset == uint16(lineControl):
		d.line = line(v)
	case offset == uint16(modemControl):
		d.modem = modem(v)
	case offset == uint16(fifoControl):
		if d.fifo {
			d.input = nil
		}
	default:
		d.t.Errorf("write of %#x to register %d", v, offset)
	}
}

func (d *device) WriteBytes(offset uint16, b []byte) {
	assert.EqualValues(d.t, transmitterHolding, offset)
	assert.LessOrEqual(d.t, len(d.queue)+len(b), d.size(), "the transmitter overflows")
	d.queue = append(d.queue, b...)
}

func (d *device) asserted() bool {
	return d.enabled&receivedData != 0 && len(d.input) > 0 ||
		d.enabled&transmitterReady != 0 && len(d.queue) == 0
}

// sendQueue puts what the transmitter has on the wire.
func (d *device) sendQueue() {
	if !d.jammed {
		d.wire = append(d.wire, d.queue...)
		d.queue = nil
	}
}

// on are the registers behind a bus.
func on(b mmio.Bus) mmio.Device[Registers] {
	return mmio.NewDevice[Registers](b, capability.Mint().Hardware)
}

// client records what it is told.
type client struct {
	sent, received []string
	errors         []abi.ErrorCode
	again          func()
}

func (c *client) Transmitted(buf []byte, n int, e abi.ErrorCode) {
	c.sent = append(c.sent, string(buf[:n]))
	c.errors = append(c.errors, e)
	if c.again != nil {
		c.again()
	}
}

func (c *client) Received(buf []byte, n int, e abi.ErrorCode) {
	c.received = append(c.received, string(buf[:n]))
	c.errors = append(c.errors, e)
}

// rig is a driver, its device and its client.
type rig struct {
	UART
	device device
	client client
	kernel kernel.Kernel
}

func newRig(t *testing.T, fifo bool) *rig {
	r := &rig{device: device{t: t, fifo: fifo}}
	r.Init(&r.kernel, on(&r.device))
	r.SetTransmitClient(&r.client)
	r.SetReceiveClient(&r.client)
	return r
}

// interrupts serves the device as long as it asks, each time when its queue is sent.
func (r *rig) interrupts() {
	for range 1000 {
		r.device.sendQueue()
		if !r.device.asserted() {
			return
		}
		r.HandleInterrupt()
	}
	r.device.t.Error("the interrupt never ends")
}

func eachDevice(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Run("8250", func(t *testing.T) { test(t, newRig(t, false)) })
	t.Run("16550", func(t *testing.T) { test(t, newRig(t, true)) })
}

func TestInit(t *testing.T) {
	eachDevice(t, func(t *testing.T, r *rig) {
		assert.Equal(t, [2]divisor{1, 0}, r.device.divisor)
		assert.Equal(t, line(3), r.device.line, "8 data bits, no parity, one stop bit")
		assert.Equal(t, dataTerminalReady|requestToSend|out2, r.device.modem)
		assert.Zero(t, r.device.enabled, "no interrupts")
	})
}

func TestTransmit(t *testing.T) {
	eachDevice(t, func(t *testing.T, r *rig) {
		text := strings.Repeat("0123456789", 5)
		assert.Equal(t, abi.SIZE, r.Transmit([]byte("x"), 2))
		assert.Equal(t, abi.SIZE, r.Transmit([]byte("x"), 0))
		assert.Equal(t, abi.OK, r.Transmit([]byte(text+"more"), 50))
		assert.Empty(t, r.client.sent, "no callback from within the call")
		assert.Equal(t, abi.BUSY, r.Transmit([]byte("x"), 1))
		r.interrupts()
		assert.Equal(t, text, string(r.device.wire))
		assert.Equal(t, []string{text}, r.client.sent)
		assert.Zero(t, r.device.enabled, "the interrupt is off when nothing is sent")
	})
}

func TestTransmitFromTheCallback(t *testing.T) {
	eachDevice(t, func(t *testing.T, r *rig) {
		r.client.again = func() {
			if len(r.client.sent) < 3 {
				assert.Equal(t, abi.OK, r.Transmit([]byte("again"), 5))
			}
		}
		r.Transmit([]byte("first"), 5)
		r.interrupts()
		assert.Equal(t, "firstagainagain", string(r.device.wire))
	})
}

// TestServiceIsBounded: a device that is ready for more at once, as emulated ones are, and a
// client that never stops are served a few rounds at a time, and deferred calls go on.
func TestServiceIsBounded(t *testing.T) {
	for _, fifo := range []bool{false, true} {
		m := kerneltest.New(t, capability.Mint())
		d := &device{t: t, fifo: fifo}
		quick := &sendingRegisters{d}
		var u UART
		c := client{}
		u.Init(&m.Kernel, on(quick))
		u.SetTransmitClient(&c)
		const chunk = 20
		c.again = func() {
			if len(c.sent) < 100 {
				assert.Equal(t, abi.OK, u.Transmit(make([]byte, chunk), chunk))
			}
		}
		u.Transmit(make([]byte, chunk), chunk)
		u.HandleInterrupt()
		assert.LessOrEqual(t, len(d.wire)+len(d.queue), (1+2*maxInterruptRuns)*d.size(), "bytes sent at once")
		m.AddTask("task", func(k *kerneltest.Task) { k.Wait() }, nil)
		assert.True(t, m.Run())
		assert.Len(t, c.sent, 100, "all is sent without another interrupt")
	}
}

// asking are the registers of a device that always asks to be served.
type asking struct{ *device }

func (a asking) Read(offset, width uint16) uint32 {
	if offset == uint16(interruptIdentity) {
		return 0
	}
	return a.device.Read(offset, width)
}

// TestDeviceThatAlwaysAsks: it keeps nobody busy.
func TestDeviceThatAlwaysAsks(t *testing.T) {
	m := kerneltest.New(t, capability.Mint())
	var u UART
	u.Init(&m.Kernel, on(asking{&device{t: t}}))
	u.HandleInterrupt()
	m.AddTask("task", func(k *kerneltest.Task) { k.Wait() }, nil)
	assert.True(t, m.Run(), "the machine sleeps")
}

func TestReceive(t *testing.T) {
	eachDevice(t, func(t *testing.T, r *rig) {
		r.device.input = []byte("abcdef")
		assert.False(t, r.device.asserted(), "bytes wait in the device while nobody receives")
		buf := make([]byte, 4)
		assert.Equal(t, abi.SIZE, r.Receive(buf, 5))
		assert.Equal(t, abi.OK, r.Receive(buf, 4))
		assert.Equal(t, abi.BUSY, r.Receive(buf, 4))
		r.interrupts()
		assert.Equal(t, []string{"abcd"}, r.client.received)
		assert.Equal(t, "ef", string(r.device.input), "the rest waits")
		r.Receive(buf, 2)
		r.interrupts()
		assert.Equal(t, []string{"abcd", "ef"}, r.client.received)
	})
}

// TestByteBeforeInit: what was typed before the driver was there is not lost, and comes first.
func TestByteBeforeInit(t *testing.T) {
	for _, fifo := range []bool{false, true} {
		r := &rig{device: device{t: t, fifo: fifo, input: []byte("a")}}
		r.Init(&r.kernel, on(&r.device))
		r.SetReceiveClient(&r.client)
		r.device.input = []byte("bc")
		r.Receive(make([]byte, 2), 2)
		assert.Empty(t, r.client.received, "no callback from within the call")
		r.interrupts()
		assert.Equal(t, []string{"ab"}, r.client.received)
		r.HandleDeferredCall()

		r = &rig{device: device{t: t, fifo: fifo, input: []byte("a")}}
		r.Init(&r.kernel, on(&r.device))
		r.SetReceiveClient(&r.client)
		r.Receive(make([]byte, 1), 1)
		r.HandleDeferredCall() // nothing else comes
		assert.Equal(t, []string{"a"}, r.client.received)
	}
}

func TestAbortReceive(t *testing.T) {
	eachDevice(t, func(t *testing.T, r *rig) {
		assert.Equal(t, abi.ALREADY, r.AbortReceive())
		r.Receive(make([]byte, 4), 4)
		r.device.input = []byte("ab")
		r.interrupts()
		assert.Equal(t, abi.OK, r.AbortReceive())
		assert.Empty(t, r.client.received, "no callback from within the call")
		r.HandleDeferredCall()
		assert.Equal(t, []string{"ab"}, r.client.received)
		assert.Equal(t, []abi.ErrorCode{abi.CANCEL}, r.client.errors)
		r.HandleDeferredCall()
		assert.Len(t, r.client.received, 1)
	})
}

func TestTransmitPolling(t *testing.T) {
	eachDevice(t, func(t *testing.T, r *rig) {
		r.device.sendQueue()
		r.Transmit([]byte("begun by interrupt; "), 20)
		r.UART.device = on(&sendingRegisters{&r.device})
		r.TransmitPolling([]byte("ended by polling, more than a FIFO takes"))
		r.device.sendQueue()
		assert.Equal(t, "begun by interrupt; ended by polling, more than a FIFO takes", string(r.device.wire))
		assert.Empty(t, r.client.sent)
	})
}

// TestMidLine: the driver knows whether what it sent last, by interrupts or by polling, ended a line.
func TestMidLine(t *testing.T) {
	eachDevice(t, func(t *testing.T, r *rig) {
		assert.False(t, r.MidLine(), "nothing was sent")
		for _, text := range []string{"a line\n", "the beginning of a long line", "its end\n", "x", "\n"} {
			r.Transmit([]byte(text+"\nmore"), len(text))
			r.interrupts()
			assert.Equal(t, text[len(text)-1] != '\n', r.MidLine(), "%q", text)
		}
		r.UART.device = on(&sendingRegisters{&r.device})
		for _, text := range []string{"polled", "", "to its end\n", ""} {
			before := r.MidLine()
			r.TransmitPolling([]byte(text))
			assert.Equal(t, text == "polled" || text == "" && before, r.MidLine(), "%q", text)
		}
	})
}

// TestMidLineBehindACutTransmission: polling ends a transmission that goes on, once.
func TestMidLineBehindACutTransmission(t *testing.T) {
	eachDevice(t, func(t *testing.T, r *rig) {
		long := bytes.Repeat([]byte("x"), 100)
		r.Transmit(long, len(long))
		r.UART.device = on(&sendingRegisters{&r.device})
		r.TransmitPolling([]byte("its end\n"))
		assert.False(t, r.MidLine())
		r.TransmitPolling(nil)
		assert.False(t, r.MidLine(), "the cut transmission ended before that line")
	})
}

// sendingRegisters is a device that sends its queue whenever it is asked for its status.
type sendingRegisters struct{ *device }

func (s *sendingRegisters) Read(offset, width uint16) uint32 {
	s.sendQueue()
	return s.device.Read(offset, width)
}

func TestPollingGivesUp(t *testing.T) {
	r := newRig(t, true)
	r.device.queue, r.device.jammed = []byte("x"), true
	r.TransmitPolling([]byte("lost"))
	assert.Equal(t, "x", string(r.device.queue))
}
