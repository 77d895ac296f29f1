package virtio_test

import (
	"iter"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	spec "kapsel/guest/abi/virtio"
	"kapsel/guest/abi/virtio/hostile"
	"kapsel/guest/capsules/virtio"
	"kapsel/guest/capsules/virtio/virtiotest"
)

// attacked is a driver that a device attacks, and what must hold of the driver meanwhile.
type attacked struct {
	*rig
	tb       testing.TB
	attacker *virtiotest.Attacker
	inFlight [2]map[uint16]bool
	began    bool // the driver has found its device fit for use
}

// attack runs a script against drivers: one that has found its device broken is followed by another, as if the machine were
// booted again. It returns how many steps there were.
func attack(tb testing.TB, script iter.Seq[hostile.Step]) (steps int) {
	d := newDevice(tb)
	d.Config = make([]byte, 64)
	a := &attacked{tb: tb, attacker: virtiotest.NewAttacker(d), rig: &rig{device: d}}
	a.restart()
	for s := range script {
		a.attacker.Reads = 0
		if s.Act == hostile.Serve {
			a.serve()
		} else {
			a.attacker.Do(s)
			a.HandleInterrupt()
		}
		a.hold()
		steps++
	}
	return steps
}

// restart begins with another driver, on a device that is no more than unfit for one of them.
func (a *attacked) restart() {
	if !a.began {
		a.attacker.Forget()
	}
	a.rig = &rig{device: a.device}
	a.inFlight = [2]map[uint16]bool{{}, {}}
	a.onUsed = a.check
	a.attacker.Restart()
	place := a.device.Place()
	place.Alarm = &a.clock
	a.began = a.begin(&a.kernel, place) == abi.OK
	a.ask()
}

// serve lets the driver run for a while, with something in flight.
func (a *attacked) serve() {
	a.HandleInterrupt()
	a.HandleDeferredCall()
	a.clock.pass(1)
	a.ReadConfig(make([]byte, 8), 0, 4)
	if !a.Works() {
		a.hold()
		a.restart()
		return
	}
	a.ask()
}

// ask has the driver ask for something, and make room, as far as there is room for that.
func (a *attacked) ask() {
	for i := range 8 {
		q := [...]*virtio.Queue{&a.requests, &a.room}[i&1]
		head, e := q.Add([]virtio.Element{
			{Buffer: a.buffers[2*i], Length: 20},
			{Buffer: a.buffers[2*i+1], Length: 32, Writable: true},
		})
		q.Kick()
		if e != abi.OK {
			continue
		}
		if a.inFlight[i&1][head] || int(head) >= q.Size() {
			a.tb.Fatalf("queue %d: Add returns head %d, which is in flight", i&1, head)
		}
		a.inFlight[i&1][head] = true
	}
}

// check checks what the driver is told of a chain.
func (a *attacked) check(u used) {
	if !a.inFlight[u.queue][u.head] || u.written > 32 {
		a.tb.Fatalf("the driver is told of a chain that is not in flight, or of more than it has room for: %+v", u)
	}
	delete(a.inFlight[u.queue], u.head)
}

// hold checks what holds at any time.
func (a *attacked) hold() {
	if a.attacker.Reads > 20_000 {
		a.tb.Fatalf("%d reads of registers in a step", a.attacker.Reads)
	}
	lent := 0
	for _, b := range a.buffers {
		if b.Len() != 0 && b.ReadAt(make([]byte, 1), 0) == 0 {
			lent++
		}
	}
	works := a.Works()
	inFlight := len(a.inFlight[0]) + len(a.inFlight[1])
	switch {
	case works && lent != 2*inFlight:
		a.tb.Fatalf("%d buffers are lent, %d chains are in flight", lent, inFlight)
	case works != (a.broken == 0) || a.broken > 1:
		a.tb.Fatalf("works: %v, told that it is broken %d times", works, a.broken)
	case !works && a.device.Status == spec.StatusFailed && lent != 0:
		a.tb.Fatalf("%d buffers are lent to a device that was reset", lent)
	}
}

// TestHostileScripts: what peers elsewhere did, as a device does it.
func TestHostileScripts(t *testing.T) {
	for _, script := range hostile.Scripts {
		t.Run(script.Name, func(t *testing.T) { attack(t, slices.Values(script.Steps)) })
	}
}

func FuzzDevice(f *testing.F) {
	for _, script := range hostile.Scripts {
		f.Add(hostile.Encode(script.Steps))
	}
	f.Fuzz(func(t *testing.T, data []byte) { attack(t, hostile.Decode(data[:min(len(data), 4096)])) })
}

// TestRandomDevices runs devices that mix all scripts, with other numbers: 100,000 steps, or as many as KAPSEL_DEVICE_STEPS
// says.
func TestRandomDevices(t *testing.T) {
	want := 100_000
	if text := os.Getenv("KAPSEL_DEVICE_STEPS"); text != "" {
		var err error
		want, err = strconv.Atoi(text)
		require.NoError(t, err, "KAPSEL_DEVICE_STEPS is a number of steps")
	}
	random := rand.New(rand.NewPCG(1, 2))
	for steps := 0; steps < want; {
		steps += attack(t, mixed(random, 100))
	}
}

// mixed is a script of so many steps out of all, of which some are changed.
func mixed(random *rand.Rand, steps int) iter.Seq[hostile.Step] {
	return func(yield func(hostile.Step) bool) {
		for range steps {
			script := hostile.Scripts[random.IntN(len(hostile.Scripts))].Steps
			s := script[random.IntN(len(script))]
			switch random.IntN(8) {
			case 0:
				s.Act = hostile.Serve
			case 1:
				s.Value = random.Uint64() >> random.IntN(64)
			case 2:
				s.Offset += uint16(random.IntN(8))
			case 3:
				s.Queue = 1
			}
			if !yield(s) {
				return
			}
		}
	}
}
