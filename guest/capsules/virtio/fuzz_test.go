package virtio_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	spec "kapsel/guest/abi/virtio"
	"kapsel/guest/capsules/virtio"
)

// script is the bytes that say what a device does.
type script []byte

// next takes a byte, 0 behind the end.
func (s *script) next() byte {
	if len(*s) == 0 {
		return 0
	}
	b := (*s)[0]
	*s = (*s)[1:]
	return b
}

// word takes four bytes, by which values of all sizes and of either sign are near.
func (s *script) word() uint32 {
	return uint32(int8(s.next())) ^ uint32(s.next())<<8 ^ uint32(s.next())<<16 ^ uint32(s.next())<<24
}

// fuzzed is a driver on a device that does as a script says, and what must hold of the driver meanwhile.
type fuzzed struct {
	*rig
	tb       testing.TB
	script   script
	reads    int
	lies     map[uint16]uint32 // what registers read
	inFlight [2]map[uint16]bool
}

// fuzzDevice runs a script, and returns how many steps it had.
func fuzzDevice(tb testing.TB, data []byte) (steps int) {
	f := &fuzzed{tb: tb, script: data, lies: map[uint16]uint32{}, inFlight: [2]map[uint16]bool{{}, {}}}
	d := newDevice(tb)
	d.Lenient = true
	d.Config = make([]byte, 64)
	d.OnRead = f.read
	for f.script.next()&1 != 0 {
		f.lie()
	}
	f.rig = &rig{device: d}
	f.onUsed = f.check
	place := d.Place()
	place.Alarm = &f.clock
	f.begin(&f.kernel, place)
	for ; len(f.script) > 0; steps++ {
		f.step()
		f.hold()
	}
	return steps
}

// read is what a register reads.
func (f *fuzzed) read(offset uint16, v uint32) uint32 {
	f.reads++
	if lie, ok := f.lies[offset]; ok {
		return v ^ lie
	}
	return v
}

// lie makes a register read something else from now on, or the truth.
func (f *fuzzed) lie() {
	f.lies[uint16(f.script.next())<<2] = f.script.word()
}

// step does the next thing of the script.
func (f *fuzzed) step() {
	f.reads = 0
	q := f.device.Queues[f.script.next()&1]
	switch op := f.script.next(); op % 12 {
	case 0, 1:
		f.add(int(op>>4)&7, op&128 != 0)
	case 2:
		q.Next()
	case 3, 4:
		if c, ok := q.Next(); ok {
			q.Use(c.Head, c.Write([]byte("answer")))
		}
	case 5:
		q.Use(f.script.word(), f.script.word())
	case 6:
		q.SetUsedIndex(uint16(f.script.word()))
	case 7:
		parts := [][]byte{q.Descriptors(), q.Available(), q.Used()}
		if part := parts[op>>4%3]; part != nil {
			part[int(f.script.word())%len(part)] = f.script.next()
		}
	case 8:
		f.device.Interrupt ^= f.script.word()
	case 9:
		f.lie()
	case 10:
		f.clock.pass(uint64(op>>4) + 1)
	case 11:
		f.ReadConfig(make([]byte, 8), uint16(op>>4), 1<<(op>>4%3))
	}
	f.HandleInterrupt()
	f.HandleDeferredCall()
}

// add has the driver add a request, or room, of buffers 2i and 2i+1.
func (f *fuzzed) add(i int, room bool) {
	q, n := &f.requests, 0
	if room {
		q, n = &f.room, 1
	}
	head, e := q.Add([]virtio.Element{
		{Buffer: f.buffers[2*i], Length: 20},
		{Buffer: f.buffers[2*i+1], Length: 32, Writable: true},
	})
	q.Kick()
	if e != abi.OK {
		return
	}
	if f.inFlight[n][head] || int(head) >= q.Size() {
		f.tb.Fatalf("queue %d: Add returns head %d, which is in flight", n, head)
	}
	f.inFlight[n][head] = true
}

// check checks what the driver is told of a chain.
func (f *fuzzed) check(u used) {
	if !f.inFlight[u.queue][u.head] || u.written > 32 {
		f.tb.Fatalf("the driver is told of a chain that is not in flight, or of more than it has room for: %+v", u)
	}
	delete(f.inFlight[u.queue], u.head)
}

// hold checks what holds at any time.
func (f *fuzzed) hold() {
	if f.reads > 40_000 {
		f.tb.Fatalf("%d reads of registers in a step", f.reads)
	}
	lent := 0
	for _, b := range f.buffers {
		if b.ReadAt(make([]byte, 1), 0) == 0 {
			lent += 1
		}
	}
	works := f.Works()
	inFlight := len(f.inFlight[0]) + len(f.inFlight[1])
	switch {
	case works && lent != 2*inFlight:
		f.tb.Fatalf("%d buffers are lent, %d chains are in flight", lent, inFlight)
	case works != (f.broken == 0) || f.broken > 1:
		f.tb.Fatalf("works: %v, told that it is broken %d times", works, f.broken)
	case !works && f.device.Status == spec.StatusFailed && lent != 0:
		f.tb.Fatalf("%d buffers are lent to a device that was reset", lent)
	}
}

func FuzzDevice(f *testing.F) {
	for _, seed := range [][]byte{
		{0, 0, 0x00, 0, 0x03, 0, 0x10, 0, 0x03},                      // requests that are answered
		{0, 1, 0x80, 1, 0x03, 1, 0x80},                               // room
		{0, 0, 0x00, 0, 0x05, 9, 0, 0, 0, 0, 0, 0, 0},                // class a
		{0, 0, 0x00, 0, 0x05, 0, 0, 0, 0, 33, 0, 0, 0},               // class b
		{0, 0, 0x00, 0, 0x06, 9, 0, 0, 0},                            // class c
		{1, spec.RegQueueSizeMax / 4, 8, 0, 0, 0},                    // class d: no queue
		{1, spec.RegQueueSizeMax / 4, 11, 0, 0, 0, 0, 0, 0x00, 0, 3}, // class d: a queue of three
		{1, spec.RegStatus / 4, 8, 0, 0, 0},                          // class e
		{1, spec.RegDeviceFeatures / 4, 0xff, 0xff, 0xff, 0xff},      // class f
		{0, 0, 0x09, spec.RegConfigGeneration / 4, 1, 0, 0, 0, 0, 0x0b},
		{0, 0, 0x00, 0, 0xfa, 0, 0xfa, 0, 0xfa},                            // class h
		{0, 0, 0x09, spec.RegStatus / 4, 64, 0, 0, 0, 0, 0x08, 2, 0, 0, 0}, // class i
		{0, 0, 0x00, 0, 0x07, 8, 0, 0, 0, 0xff, 0, 0x03},                   // class k
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1000 {
			data = data[:1000]
		}
		fuzzDevice(t, data)
	})
}

// TestRandomDevices runs devices that do anything: 100,000 steps, or as many as KAPSEL_DEVICE_STEPS says.
func TestRandomDevices(t *testing.T) {
	want := 100_000
	if text := os.Getenv("KAPSEL_DEVICE_STEPS"); text != "" {
		var err error
		want, err = strconv.Atoi(text)
		require.NoError(t, err, "KAPSEL_DEVICE_STEPS is a number of steps")
	}
	random := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 300)
	for steps := 0; steps < want; {
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		steps += fuzzDevice(t, data)
	}
}
