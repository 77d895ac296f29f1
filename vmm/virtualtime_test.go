package vmm_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/tests/machine"
	"kapsel/vmm"
	"kapsel/vmm/device"
	"kapsel/vmm/image"
	"kapsel/vmm/kvm"
)

// Ports of a virtual clock, which the kernel reads in the place of its time-stamp counter, and to which it writes model-specific registers.
const (
	portClock = 0xe0
	portMSR   = 0xe1
)

// timerVector is the kernel's vector for the local APIC's timer (guest/arch/amd64, LineTimer).
const timerVector = 32 + 24

const msrDeadline = 0x6e0 // IA32_TSC_DEADLINE

// patched returns an image whose kernel reads the clock and writes model-specific registers by ports: RDTSC is IN, WRMSR is OUT, of two bytes each.
func patched(t *testing.T, name string) *image.Image {
	data, err := os.ReadFile(machine.File(t, name))
	require.NoError(t, err)
	replace := func(old, new []byte) {
		require.Equal(t, 1, bytes.Count(data, old), "% x", old)
		copy(data[bytes.Index(data, old):], new)
	}
	// rdtsc: RDTSC; SHLQ $32, DX; ORQ DX, AX; MOVQ AX, 8(SP); RET
	replace([]byte{0x0f, 0x31, 0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0, 0x48, 0x89, 0x44, 0x24, 0x08, 0xc3}, []byte{0xe5, portClock})
	// wrmsr: SHRQ $32, DX; WRMSR; RET
	replace([]byte{0x48, 0xc1, 0xea, 0x20, 0x0f, 0x30, 0xc3}, []byte{0x48, 0xc1, 0xea, 0x20, 0xe7, portMSR})
	img, err := image.Parse(data)
	require.NoError(t, err)
	return img
}

// virtualTime is a clock that goes on at exits alone, and the timer that runs by it.
type virtualTime struct {
	m        *vmm.Machine
	now      uint64
	deadline uint64
	exits    int
	sum      uint64
	err      error
}

func (v *virtualTime) ReadPort(_ uint16, _ int, data []byte) {
	regs, err := v.m.CPU().Regs()
	v.fail(err)
	regs.RDX = v.now >> 32
	v.fail(v.m.CPU().SetRegs(regs))
	binary.LittleEndian.PutUint32(data, uint32(v.now))
}

func (v *virtualTime) WritePort(_ uint16, _ int, _ []byte) {
	regs, err := v.m.CPU().Regs()
	v.fail(err)
	value := regs.RDX<<32 | regs.RAX&0xffff_ffff
	if uint32(regs.RCX) == msrDeadline {
		v.deadline = value
		return
	}
	if ok, err := v.m.CPU().SetMSR(uint32(regs.RCX), value); !ok || err != nil {
		v.fail(fmt.Errorf("MSR %#x: %v %v", regs.RCX, ok, err))
	}
}

func (v *virtualTime) fail(err error) {
	if v.err == nil {
		v.err = err
	}
}

func (v *virtualTime) ring() {
	if v.deadline != 0 && v.now >= v.deadline {
		v.deadline = 0
		_, err := v.m.VM().Signal(&kvm.MSI{AddressLow: 0xfee0_0000, Data: timerVector})
		v.fail(err)
	}
}

func (v *virtualTime) run(limit int, trace func(*kvm.Regs)) (exit vmm.Exit) {
	stop := make(chan bool)
	go func() {
		for tick := time.NewTicker(2 * time.Millisecond); ; {
			select {
			case <-stop:
				return
			case <-tick.C:
				v.m.Kick()
			}
		}
	}()
	defer close(stop)
	err := v.m.Turns(func(turn func() (vmm.Exit, bool, error)) {
		for end := time.Now().Add(10 * time.Second); v.err == nil && v.exits < limit && time.Now().Before(end); {
			e, served, err := turn()
			v.fail(err)
			switch {
			case e.Reason != 0:
				exit = e
				return
			case served:
				v.served(trace)
			case v.waits():
				if v.deadline == 0 || v.deadline-v.now > 1<<50 { // nobody waits for a time
					return
				}
				v.now = max(v.now, v.deadline)
				v.ring()
			}
		}
	})
	v.fail(err)
	return exit
}

// served counts an exit, at which time goes on.
func (v *virtualTime) served(trace func(*kvm.Regs)) {
	regs, err := v.m.CPU().Regs()
	v.fail(err)
	if trace != nil {
		trace(regs)
	}
	v.exits++
	v.now += 1000
	v.ring()
}

// waits reports whether the processor waits for an interrupt, and none is on its way.
func (v *virtualTime) waits() bool {
	halted, err := v.m.CPU().Halted()
	v.fail(err)
	lapic, err := v.m.CPU().LAPIC()
	v.fail(err)
	const request = 0x200 // the first of eight registers, 16 bytes apart
	for i := 0; err == nil && i < 8; i++ {
		if binary.LittleEndian.Uint32(lapic[request+16*i:]) != 0 {
			return false
		}
	}
	return halted
}

func TestVirtualTimePrototype(t *testing.T) {
	if machine.Accelerator(t) != "kvm" {
		t.Skip("needs KVM")
	}
	img := patched(t, "test/labour/labours.elf")
	var first []uint64
	for n := range 3 {
		var console bytes.Buffer
		m, err := vmm.New(t.Context(), vmm.Config{Image: img, Memory: 32 << 20, Console: &console, ConsoleInStep: true})
		require.NoError(t, err)
		v := &virtualTime{m: m}
		m.AddPorts(portClock, 2, v)
		m.AddPorts(abi.PortCMOS, device.CMOSSize, device.NewCMOS(func() time.Time { return time.Unix(1e9, int64(v.now&0xffff_ffff_ffff)) }))
		var sums []uint64
		start := time.Now()
		exit := v.run(200000, func(r *kvm.Regs) {
			h := fnv.New64a()
			binary.Write(h, binary.LittleEndian, r)
			sums = append(sums, h.Sum64())
		})
		t.Logf("%v %v exits %d now %d in %v", exit, v.err, v.exits, v.now, time.Since(start))
		if n == 0 {
			t.Logf("%s", console.String())
			first = sums
		} else {
			same := 0
			for same < len(sums) && same < len(first) && sums[same] == first[same] {
				same++
			}
			t.Logf("same for %d of %d, %d", same, len(first), len(sums))
		}
		m.Close()
	}
}
