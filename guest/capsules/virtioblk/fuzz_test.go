package virtioblk

import (
	"iter"
	"slices"
	"testing"

	"kapsel/guest/abi"
	spec "kapsel/guest/abi/virtio"
	"kapsel/guest/abi/virtio/hostile"
	"kapsel/guest/capsules/virtio"
	"kapsel/guest/capsules/virtio/virtiotest"
	"kapsel/guest/kernel"
)

// attacked is a driver that its disk attacks, and its client.
type attacked struct {
	Disk
	tb       testing.TB
	kernel   kernel.Kernel
	requests [4]Request
	slots    [16]virtio.Slot
	began    bool
	goesOn   map[uint32]bool // requests, by tag
	tags     uint32
}

// BlockDone checks that a request ends once.
func (a *attacked) BlockDone(tag uint32, _ []byte, e abi.ErrorCode) {
	if !a.goesOn[tag] || e != abi.OK && e != abi.FAIL && e != abi.NOSUPPORT {
		a.tb.Fatalf("request %d ends by %v, and does not go on", tag, e)
	}
	delete(a.goesOn, tag)
}

// restart begins with a driver that knows nothing yet.
func restart(tb testing.TB, place virtio.Place) *attacked {
	a := &attacked{tb: tb, goesOn: map[uint32]bool{}}
	a.SetBlockClient(a)
	a.began = a.Init(&a.kernel, place, a.requests[:], a.slots[:], size) == abi.OK
	a.ask()
	return a
}

// ask makes requests of all kinds, as many as the driver takes.
func (a *attacked) ask() {
	buf := make([]byte, size)
	for i, begin := range []func(tag uint32) abi.ErrorCode{
		func(tag uint32) abi.ErrorCode { return a.Read(tag, buf, 1) },
		func(tag uint32) abi.ErrorCode { return a.Identify(tag, buf) },
		func(tag uint32) abi.ErrorCode { return a.Write(tag, buf, 0) },
		func(tag uint32) abi.ErrorCode { return a.Discard(tag, 0, 1) },
		func(tag uint32) abi.ErrorCode { return a.Flush(tag) },
		func(tag uint32) abi.ErrorCode { return a.WriteZeroes(tag, 0, 1) },
	} {
		tag := a.tags + uint32(i)
		if begin(tag) == abi.OK {
			a.goesOn[tag] = true
		}
	}
	a.tags += 6
}

// attack runs a script against drivers, one after another.
func attack(tb testing.TB, script iter.Seq[hostile.Step]) {
	device := virtiotest.New(tb, spec.IDBlock, allKinds, 16)
	device.Config = config(sectors)
	attacker := virtiotest.NewAttacker(device)
	attacker.Restart()
	a := restart(tb, device.Place())
	for s := range script {
		if s.Act != hostile.Serve {
			attacker.Do(s)
		}
		a.HandleInterrupt()
		if a.transport.Works() {
			if s.Act == hostile.Serve {
				a.ask()
			}
			continue
		}
		if len(a.goesOn) != 0 {
			tb.Fatalf("the disk is broken, and requests go on: %v", a.goesOn)
		}
		if !a.began {
			attacker.Forget()
		}
		attacker.Restart()
		a = restart(tb, device.Place())
	}
}

// TestHostileScripts: what peers elsewhere did, as a disk does it.
func TestHostileScripts(t *testing.T) {
	for _, script := range hostile.Scripts {
		t.Run(script.Name, func(t *testing.T) { attack(t, slices.Values(script.Steps)) })
	}
}

func FuzzDisk(f *testing.F) {
	for _, script := range hostile.Scripts {
		f.Add(hostile.Encode(script.Steps))
	}
	f.Fuzz(func(t *testing.T, data []byte) { attack(t, hostile.Decode(data[:min(len(data), 4096)])) })
}
