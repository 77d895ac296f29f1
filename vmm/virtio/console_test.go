package virtio_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	abi "kapsel/guest/abi/virtio"
	"kapsel/vmm/device"
	"kapsel/vmm/virtio"
	"kapsel/vmm/virtio/virtiotest"
)

const com1 = 0x3f8

// consoleTest is a machine's console as a guest has it: a UART and a console device at one line.
type consoleTest struct {
	*virtiotest.Driver
	serial  *device.Serial
	console *virtio.Console
	m       *virtio.MMIO
}

func newConsole(t testing.TB) *consoleTest {
	c := &consoleTest{serial: device.NewSerial(nil, func(bool) {})}
	c.console = virtio.NewConsole(c.serial)
	c.Driver, c.m = start(t, c.console)
	t.Cleanup(c.serial.Close)
	return c
}

func startConsole(t testing.TB) *consoleTest {
	c := newConsole(t)
	c.start()
	return c
}

func (c *consoleTest) start() { c.StartWith(abi.FeatureEventIndex|abi.ConsoleFeatureSize, 2, 16) }

func (c *consoleTest) receive() *virtiotest.Queue  { return c.Queues[abi.ConsoleReceiveQueue] }
func (c *consoleTest) transmit() *virtiotest.Queue { return c.Queues[abi.ConsoleTransmitQueue] }

// print gives the device a text, and does not wait.
func (c *consoleTest) print(at uint64, text string) {
	c.Put(at, []byte(text))
	c.transmit().Send(abi.Descriptor{Address: at, Length: uint32(len(text))})
}

// uart has the guest write to the UART, as the monitor does it.
func (c *consoleTest) uart(text string) {
	c.console.Flush()
	c.serial.WritePort(com1, 1, []byte(text))
}

// output takes n bytes of what went out.
func (c *consoleTest) output(n int) string {
	c.T.Helper()
	var out strings.Builder
	for out.Len() < n {
		p, ok := c.serial.Take(nil)
		require.True(c.T, ok)
		out.Write(p)
	}
	return out.String()
}

// room gives the device room for so many bytes of what is typed.
func (c *consoleTest) room(n uint32) {
	c.receive().Send(abi.Descriptor{Address: roomAt(0), Length: n, Flags: abi.DescWrite})
}

// typed waits until room is given back, and returns what is in it.
func (c *consoleTest) typed() string {
	c.T.Helper()
	return string(c.Memory.Bytes(c.T, roomAt(0), uint64(c.receive().WaitUsed().Length)))
}

func TestConsoleOffers(t *testing.T) {
	c := newConsole(t)
	assert.EqualValues(t, abi.FeatureVersion1|abi.FeatureEventIndex|abi.ConsoleFeatureSize|abi.ConsoleFeatureEmergencyWrite, c.Offered())
	assert.EqualValues(t, 1, binary.LittleEndian.Uint32(c.Config(abi.ConsoleConfigMaxPorts, 4)))
}

func TestConsolePrints(t *testing.T) {
	c := startConsole(t)
	page := strings.Repeat("0123456789abcde\n", 256)
	c.print(virtiotest.Buffers, page)
	assert.Equal(t, page, c.output(4096))
	assert.Zero(t, c.transmit().WaitUsed().Length)
	c.transmit().Send(abi.Descriptor{Address: virtiotest.Buffers, Length: 3}, abi.Descriptor{Address: virtiotest.Buffers + 3, Length: 4})
	assert.Equal(t, "0123456", c.output(7))
	c.transmit().WaitUsed()
	assert.EqualValues(t, 4096+7, c.m.Counters().Read)
	assert.EqualValues(t, 2, c.m.Counters().Notifications)
}

// 16: what nobody reads stays in the driver's queue. The line is bounded, the processor goes on, and all comes out in order.
func TestConsoleHoldsTheQueueBack(t *testing.T) {
	c := startConsole(t)
	c.Put(virtiotest.Buffers, bytes.Repeat([]byte("x"), 200<<10))
	c.transmit().Send(abi.Descriptor{Address: virtiotest.Buffers, Length: 200 << 10}) // the line takes 64 KiB
	c.print(virtiotest.Buffers+0x40000, "end")
	out, _ := c.serial.Take(nil)
	assert.LessOrEqual(t, len(out), 64<<10)
	total := len(out)
	for total < 200<<10+3 {
		out, _ = c.serial.Take(nil)
		assert.LessOrEqual(t, len(out), 64<<10)
		total += len(out)
	}
	assert.Equal(t, "end", string(out[len(out)-3:]))
	c.transmit().WaitUsed()
	c.transmit().WaitUsed()
}

// 16: a driver resets the device while nobody reads: neither waits for the other, and what the line has not taken is lost.
func TestConsoleResetWhileFull(t *testing.T) {
	c := startConsole(t)
	c.Put(virtiotest.Buffers, bytes.Repeat([]byte("x"), 100<<10))
	c.transmit().Send(abi.Descriptor{Address: virtiotest.Buffers, Length: 100 << 10})
	c.start()
	c.Put(virtiotest.Buffers, bytes.Repeat([]byte("y"), 100<<10))
	c.print(virtiotest.Buffers+0x40000, "end")
	out := ""
	for !strings.HasSuffix(out, "end") {
		out += c.output(1)
	}
	assert.NotContains(t, out, "y", "memory of the old session")
}

// The UART and the device come out in the order in which the guest wrote, however late the device's goroutine is.
func TestConsoleKeepsTheOrder(t *testing.T) {
	c := newConsole(t)
	c.uart("early ")
	c.start()
	want := "early "
	for i := range 50 {
		for j := range 3 {
			c.print(virtiotest.Buffers+0x100*uint64(j), string(rune('a'+j))+" ")
		}
		c.uart("panic ")
		want += "a b c panic "
		for range 3 {
			c.transmit().WaitUsed()
		}
		require.Equal(t, want, c.output(len(want)), "round %d", i)
		want = ""
	}
}

// More than a turn's requests come out before the UART's byte, too.
func TestConsoleFlushTakesAll(t *testing.T) {
	c := newConsole(t)
	c.StartWith(0, 2, 64)
	for range 10 {
		for i := range 64 {
			c.Put(virtiotest.Buffers+uint64(i), []byte("x"))
			c.transmit().Offer(c.transmit().Chain(abi.Descriptor{Address: virtiotest.Buffers + uint64(i), Length: 1}))
		}
		c.transmit().Notify()
		c.uart("!")
		assert.Equal(t, strings.Repeat("x", 64)+"!", c.output(65))
		for range 64 {
			c.transmit().WaitUsed()
		}
	}
}

// Flush ends when the device has none to serve any more, for whatever reason.
func TestConsoleFlushEnds(t *testing.T) {
	full := func(c *consoleTest) {
		c.Put(virtiotest.Buffers, make([]byte, 200<<10))
		c.transmit().Send(abi.Descriptor{Address: virtiotest.Buffers, Length: 200 << 10})
	}
	for _, tt := range []struct {
		name   string
		before func(c *consoleTest)
		end    func(c *consoleTest)
	}{
		{"no session", func(c *consoleTest) { c.Write(abi.RegStatus, 0) }, nil},
		{"nothing to send", func(*consoleTest) {}, nil},
		{"a broken device", func(c *consoleTest) {
			c.transmit().Send(abi.Descriptor{Address: 1 << 50, Length: 1})
			c.Wait("it is broken", c.Broken)
		}, nil},
		{"a device that breaks meanwhile", func(c *consoleTest) {
			c.transmit().Send(abi.Descriptor{Address: 1 << 50, Length: 1})
		}, nil},
		{"a receive queue that breaks meanwhile", func(c *consoleTest) {
			full(c)
			c.receive().Send(abi.Descriptor{Address: 1 << 50, Length: 1})
		}, nil},
		{"a queue that was stopped", func(c *consoleTest) {
			c.Write(abi.RegQueueSel, abi.ConsoleTransmitQueue)
			c.Write(abi.RegQueueReady, 0)
		}, nil},
		{"the end of the machine", full, func(c *consoleTest) { c.serial.Finish() }},
		{"a reset", full, func(c *consoleTest) { c.m.Finish() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := startConsole(t)
			tt.before(c)
			flushed := make(chan struct{})
			go func() {
				c.console.Flush()
				close(flushed)
			}()
			if tt.end != nil {
				tt.end(c)
			}
			<-flushed
		})
	}
}

// EMERG_WRITE works before the driver does anything, with whatever width, and behind what the device was given.
func TestConsoleEmergencyWrite(t *testing.T) {
	c := newConsole(t)
	write := func(data ...byte) { c.m.WriteMMIO(abi.RegConfig+abi.ConsoleConfigEmergencyWrite, data) }
	write('a', 0, 0, 0)
	write('b')
	write('c', 0)
	assert.Equal(t, "abc", c.output(3))
	c.start()
	c.print(virtiotest.Buffers, "printed ")
	write('!', 0, 0, 0)
	assert.Equal(t, "printed !", c.output(9))
	c.m.WriteMMIO(abi.RegConfig+abi.ConsoleConfigColumns, []byte{'x', 0, 0, 0})
	c.m.WriteMMIO(abi.RegConfig+abi.ConsoleConfigEmergencyWrite+1, []byte{'x'})
	c.uart(".")
	assert.Equal(t, ".", c.output(1), "nothing else of the configuration can be written")
}

// It waits for room as the UART does, until the end.
func TestConsoleEmergencyWriteWaits(t *testing.T) {
	c := newConsole(t)
	c.serial.Offer(make([]byte, 64<<10))
	var written atomic.Bool
	done := make(chan struct{})
	go func() {
		c.m.WriteMMIO(abi.RegConfig+abi.ConsoleConfigEmergencyWrite, []byte{'a'})
		written.Store(true)
		close(done)
	}()
	assert.False(t, written.Load())
	out := c.output(64<<10 + 1)
	<-done
	assert.Equal(t, "a", out[64<<10:])
}

// What is typed goes to the UART until the driver is up, then to the device, with what was not read yet; and back.
func TestConsoleTyped(t *testing.T) {
	c := newConsole(t)
	read := func() (b byte) {
		p := []byte{0}
		c.serial.ReadPort(com1, 1, p)
		return p[0]
	}
	require.NoError(t, c.serial.Feed([]byte("abc")))
	assert.EqualValues(t, 'a', read())
	c.start()
	c.room(100)
	assert.Equal(t, "bc", c.typed())
	assert.Zero(t, read())
	c.room(4)
	c.print(virtiotest.Buffers, "x")
	c.transmit().WaitUsed() // by now the device has the room, and found nothing
	require.NoError(t, c.serial.Feed([]byte("defghi")))
	assert.Equal(t, "defg", c.typed())
	c.Write(abi.RegStatus, 0)
	assert.EqualValues(t, 'h', read())
	assert.EqualValues(t, 'i', read())
	require.NoError(t, c.serial.Feed([]byte("j")))
	assert.EqualValues(t, 'j', read())
}

// 16: what is typed and not read waits in the line, which is bounded, and none of it is lost.
func TestConsoleTypingIsHeldBack(t *testing.T) {
	c := startConsole(t)
	const size = 100 << 10
	typed := make([]byte, size)
	for i := range typed {
		typed[i] = byte(i * 13 >> 3)
	}
	fed := make(chan error, 1)
	go func() { fed <- c.serial.Feed(typed) }()
	var got []byte
	for len(got) < size {
		assert.Empty(t, fed, "%d bytes were read", len(got))
		c.room(1000)
		p := c.typed()
		require.LessOrEqual(t, len(p), 256)
		got = append(got, p...)
		if len(got) > size-8192 {
			break
		}
	}
	for len(got) < size {
		c.room(1000)
		got = append(got, c.typed()...)
	}
	require.NoError(t, <-fed)
	assert.True(t, bytes.Equal(typed, got))
}

// Room without bytes, and such as the driver gives, goes back as it came.
func TestConsoleUselessRoom(t *testing.T) {
	c := startConsole(t)
	c.receive().Send(abi.Descriptor{Address: roomAt(0), Flags: abi.DescWrite})
	assert.Zero(t, c.receive().WaitUsed().Length)
	c.receive().Send(abi.Descriptor{Address: roomAt(0), Length: 10})
	assert.Zero(t, c.receive().WaitUsed().Length)
	require.NoError(t, c.serial.Feed([]byte("x")))
	c.room(10)
	assert.Equal(t, "x", c.typed())
}

// 20: a driver that gives useless room as fast as it can keeps what it prints from nothing.
func TestConsoleUselessRoomDoesNotStarve(t *testing.T) {
	c := startConsole(t)
	for range 200 {
		for range 8 {
			c.receive().Send(abi.Descriptor{Address: roomAt(0), Length: 10})
		}
		c.print(virtiotest.Buffers, "x")
		assert.Equal(t, "x", c.output(1))
		c.transmit().WaitUsed()
		for range 8 {
			c.receive().WaitUsed()
		}
	}
}

// 15: what is typed after a reset is not written to the memory of the old session.
func TestConsoleTypedAcrossAReset(t *testing.T) {
	c := startConsole(t)
	c.room(100)
	c.Write(abi.RegStatus, 0)
	c.Memory.Snapshot()
	require.NoError(t, c.serial.Feed([]byte("abc")))
	assert.False(t, c.Memory.Changed())
	c.start()
	c.room(100)
	assert.Equal(t, "abc", c.typed())
}

func TestConsoleSize(t *testing.T) {
	c := newConsole(t)
	assert.True(t, c.console.Resize(80, 25))
	assert.False(t, c.console.Resize(80, 25))
	c.start()
	assert.Equal(t, []byte{80, 0, 25, 0}, c.Config(abi.ConsoleConfigColumns, 4))
	generation := c.Read(abi.RegConfigGeneration)
	require.True(t, c.console.Resize(300, 100))
	c.m.ConfigChanged()
	assert.NotEqual(t, generation, c.Read(abi.RegConfigGeneration))
	assert.NotZero(t, c.Read(abi.RegInterruptStatus)&abi.InterruptConfig)
	assert.Equal(t, []byte{44, 1, 100, 0}, c.Config(abi.ConsoleConfigColumns, 4))
}

// FuzzConsole has a driver print and give room in any order and framing while it is typed: all that it prints comes out, in
// order, and all that is typed comes in.
func FuzzConsole(f *testing.F) {
	f.Add([]byte{0, 10, 1, 20, 2, 5, 3, 0})
	f.Add([]byte{2, 200, 2, 200, 1, 255, 1, 1, 3, 0, 1, 255, 0, 0})
	f.Add([]byte{4, 0, 1, 9, 2, 9, 4, 0, 2, 3, 1, 100})
	f.Fuzz(func(t *testing.T, steps []byte) {
		c := startConsole(t)
		var printed, typed, wantTyped []byte
		next := byte(0)
		text := func(n byte) (p []byte) {
			for range n {
				next++
				p = append(p, next)
			}
			return p
		}
		for ; len(steps) > 1; steps = steps[2:] {
			n := steps[1]
			switch steps[0] % 4 {
			case 0: // print, in two descriptors
				p := text(n)
				c.Put(virtiotest.Buffers, p)
				half := uint32(len(p) / 2)
				c.transmit().Send(abi.Descriptor{Address: virtiotest.Buffers, Length: half},
					abi.Descriptor{Address: virtiotest.Buffers + uint64(half), Length: uint32(len(p)) - half})
				c.transmit().WaitUsed()
				printed = append(printed, p...)
			case 1: // by the UART
				p := text(n)
				c.uart(string(p))
				printed = append(printed, p...)
			case 2: // type, and read it
				p := text(n)
				require.NoError(t, c.serial.Feed(p))
				wantTyped = append(wantTyped, p...)
				for len(typed) < len(wantTyped) {
					c.room(uint32(n)/2 + 1)
					typed = append(typed, c.typed()...)
				}
			case 3:
				c.start()
			}
			if len(printed) > 32<<10 { // the line holds 64 KiB
				break
			}
		}
		c.console.Flush()
		assert.Equal(t, string(printed), c.output(len(printed)))
		assert.Equal(t, string(wantTyped), string(typed))
		assert.False(t, c.Broken())
	})
}
