package vmm_test

import (
	"bytes"
	"encoding/binary"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/tests/machine"
	"kapsel/vmm"
	"kapsel/vmm/device"
	"kapsel/vmm/image"
	"kapsel/vmm/kvm"
	"kapsel/vmm/snapshot"
	"kapsel/vmm/volume"
)

// The tests here run a machine in virtual time: what the guest does depends on nothing but its state. Its kernel is patched, so that
// reading the time-stamp counter, writing a model-specific register and waiting for an interrupt are exits. The clock goes on at exits
// alone, by a constant, and up to the timer's deadline while the kernel waits. As all devices are in step, interrupts come at exits alone, too. So two runs
// from the same state are the same in each instruction, and the registers at each exit show it.

// Ports of the virtual clock.
const (
	portClock = 0xe0 // read: the time-stamp counter
	portMSR   = 0xe1 // write: RDX:RAX into the register that RCX names
	portIdle  = 0xe2 // write: wait for an interrupt
	clockSize = 3
)

// ticks is how far the clock goes on at an exit.
const ticks = 1000

// timerVector is the kernel's vector for the local APIC's timer (guest/arch/amd64, LineTimer).
const timerVector = 32 + 24

const diskSize = 4 << 20

const msrDeadline = 0x6e0 // IA32_TSC_DEADLINE

// inVirtualTime returns an image with RDTSC, WRMSR and STI; HLT replaced by IN and OUT, which have two bytes, too.
func inVirtualTime(t *testing.T, name string) *image.Image {
	data, err := os.ReadFile(machine.File(t, name))
	require.NoError(t, err)
	for _, p := range []struct{ before, old, behind, port []byte }{
		// RDTSC; SHLQ $32, DX; ORQ DX, AX; RET
		{nil, []byte{0x0f, 0x31}, []byte{0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0, 0xc3}, []byte{0xe5, portClock}},
		// SHRQ $32, DX; WRMSR; RET
		{[]byte{0x48, 0xc1, 0xea, 0x20}, []byte{0x0f, 0x30}, []byte{0xc3}, []byte{0xe7, portMSR}},
		// STI; HLT; CLI; RET
		{nil, []byte{0xfb, 0xf4}, []byte{0xfa, 0xc3}, []byte{0xe7, portIdle}},
	} {
		code := slices.Concat(p.before, p.old, p.behind)
		require.Equal(t, 1, bytes.Count(data, code), "places with the code % x", code)
		copy(data[bytes.Index(data, code)+len(p.before):], p.port)
	}
	img, err := image.Parse(data)
	require.NoError(t, err)
	return img
}

// virtualMachine is a machine in virtual time, with what is outside of it.
type virtualMachine struct {
	*vmm.Machine
	t       *testing.T
	cmos    *device.CMOS
	console bytes.Buffer
	disk    *ramDisk

	clock
	err   error
	ended bool
}

// clock is the virtual time.
type clock struct {
	now      uint64
	deadline uint64 // 0: none
	forever  bool   // the kernel waits for what does not come
}

func (v *virtualMachine) config() vmm.Config {
	v.disk = &ramDisk{content: make([]byte, diskSize)}
	return vmm.Config{Memory: 16 << 20, Console: &v.console, InStep: true, Devices: []vmm.Device{vmm.BlockDevice{Storage: v.disk}}}
}

// newVirtualMachine makes a machine whose disk is formatted.
func newVirtualMachine(t *testing.T, img *image.Image) *virtualMachine {
	v := &virtualMachine{t: t}
	c := v.config()
	copy(v.disk.content, formatted(t))
	c.Image = img
	var err error
	v.Machine, err = vmm.New(t.Context(), c)
	require.NoError(t, err)
	v.connect()
	return v
}

func (v *virtualMachine) connect() {
	v.t.Cleanup(func() { v.Close() })
	v.cmos = device.NewCMOS(func() time.Time { return time.Unix(1e9, int64(v.now&(1<<40-1))) })
	v.AddPorts(portClock, clockSize, v)
	v.AddPorts(abi.PortCMOS, device.CMOSSize, v.cmos)
}

// ReadPort implements device.Ports.
func (v *virtualMachine) ReadPort(_ uint16, _ int, data []byte) {
	regs := v.regs()
	regs.RDX = v.now >> 32
	v.check(v.CPU().SetRegs(regs))
	binary.LittleEndian.PutUint32(data, uint32(v.now))
}

// WritePort implements device.Ports.
func (v *virtualMachine) WritePort(port uint16, _ int, _ []byte) {
	regs := v.regs()
	if port == portIdle {
		v.idle(regs)
		return
	}
	value := regs.RDX<<32 | regs.RAX&0xffff_ffff
	if uint32(regs.RCX) == msrDeadline {
		v.deadline = value
		return
	}
	ok, err := v.CPU().SetMSR(uint32(regs.RCX), value)
	v.check(err)
	assert.True(v.t, ok, "model-specific register %#x", regs.RCX)
}

// idle has interrupts come; if none does before the timer's, time goes on up to that.
func (v *virtualMachine) idle(regs *kvm.Regs) {
	const interruptFlag = 1 << 9
	regs.RFLAGS |= interruptFlag
	v.check(v.CPU().SetRegs(regs))
	if v.requested() {
		return
	}
	const never = 1 << 50 // ticks from now
	if v.deadline == 0 || v.deadline > v.now+never {
		v.forever = true
		return
	}
	v.now = max(v.now, v.deadline)
}

// requested reports whether the local APIC has an interrupt to deliver (Intel SDM vol. 3, section 12.8.4).
func (v *virtualMachine) requested() bool {
	lapic, err := v.CPU().LAPIC()
	v.check(err)
	const request = 0x200 // the first of eight registers of 32 bits, 16 bytes apart
	for i := 0; err == nil && i < 8; i++ {
		if binary.LittleEndian.Uint32(lapic[request+16*i:]) != 0 {
			return true
		}
	}
	return false
}

func (v *virtualMachine) regs() *kvm.Regs {
	regs, err := v.CPU().Regs()
	v.check(err)
	return regs
}

func (v *virtualMachine) check(err error) {
	if v.err == nil {
		v.err = err
	}
}

// served counts an exit, at which time goes on, and returns the registers' digest.
func (v *virtualMachine) served() uint64 {
	h := fnv.New64a()
	v.check(binary.Write(h, binary.LittleEndian, v.regs()))
	v.now += ticks
	if v.deadline != 0 && v.now >= v.deadline {
		v.deadline = 0
		_, err := v.VM().Signal(&kvm.MSI{AddressLow: 0xfee0_0000, Data: timerVector})
		v.check(err)
	}
	return h.Sum64()
}

// run runs so many exits, or fewer if the guest ends or waits for ever, or, if that is wanted, until somebody has kicked the processor. It returns the
// registers' digests.
func (v *virtualMachine) run(exits int, untilKicked bool) (digests []uint64) {
	v.check(v.Turns(func(turn func() (vmm.Exit, bool, error)) {
		for v.err == nil && len(digests) < exits && !v.forever {
			exit, served, err := turn()
			v.check(err)
			if v.ended = exit.Reason != 0; v.ended {
				return
			}
			if served {
				digests = append(digests, v.served())
			} else if untilKicked {
				return
			}
		}
	}))
	require.NoError(v.t, v.err)
	return digests
}

// instant is a snapshot, with what is outside of the machine.
type instant struct {
	snapshot *snapshot.Snapshot
	clock    clock
	cmos     device.CMOSState
	console  int // bytes that were sent
	disk     []byte
}

func (v *virtualMachine) take() instant {
	s, err := v.Snapshot()
	require.NoError(v.t, err)
	return instant{s, v.clock, v.cmos.Save(), v.console.Len(), bytes.Clone(v.disk.content)}
}

// settle makes what is outside of the machine what it was.
func (v *virtualMachine) settle(i instant) {
	v.clock, v.ended = i.clock, false
	require.NoError(v.t, v.cmos.Restore(i.cmos))
	copy(v.disk.content, i.disk)
}

func (v *virtualMachine) reset(i instant) {
	_, err := v.Reset(i.snapshot, vmm.StandStill)
	require.NoError(v.t, err)
	v.settle(i)
	v.console.Truncate(i.console)
}

func fork(t *testing.T, i instant) *virtualMachine {
	v := &virtualMachine{t: t}
	var err error
	v.Machine, err = vmm.Fork(t.Context(), i.snapshot, v.config(), vmm.StandStill)
	require.NoError(t, err)
	v.connect()
	v.settle(i)
	return v
}

// A machine is stopped at random instants, between any two instructions, and saved. What follows is the same, to the instruction, when it goes on, when it is
// reset to the instant, and in a fork.
func TestContinuationIsTheSame(t *testing.T) {
	if machine.Accelerator(t) != "kvm" {
		t.Skip("a machine of our own monitor is needed")
	}
	instants, forks := 60, 6
	if machine.Nightly() {
		instants, forks = 1000, 100
	}
	const exits = 40 // that are compared
	img := inVirtualTime(t, "test/labour/labours.elf")
	random := rand.New(rand.NewPCG(1, 2))
	v := newVirtualMachine(t, img)
	lives, compared, within, said := 1, 0, 0, ""
	for n := range instants {
		v.run(random.IntN(300), false)
		if v.forever || v.ended {
			said += v.console.String()
			v.Close()
			v = newVirtualMachine(t, img)
			lives++
			v.run(random.IntN(3000), false)
		}
		kicked := time.AfterFunc(time.Duration(random.IntN(3000))*time.Microsecond, func() { v.Kick() })
		v.run(1000, true)
		kicked.Stop()
		at := v.take()
		v.check(v.Do(func() {
			if v.regs().RIP < abi.KernelBase {
				within++
			}
		}))
		want := v.run(exits, false)
		console := v.console.String()
		v.reset(at)
		require.Equal(t, want, v.run(exits, false), "instant %d, reset", n)
		require.Equal(t, console, v.console.String(), "instant %d, reset", n)
		if n%(instants/forks) == 0 {
			f := fork(t, at)
			require.Equal(t, want, f.run(exits, false), "instant %d, fork", n)
			require.Equal(t, console[at.console:], f.console.String(), "instant %d, fork", n)
			require.NoError(t, f.Close())
		}
		require.NoError(t, at.snapshot.Close())
		compared += len(want)
	}
	t.Logf("%d instants, %d of them in tasks, %d exits compared, in %d lives", instants, within, compared, lives)
	assert.Greater(t, compared, instants*exits/2)
	for _, line := range []string{"prints: a line of text", "LowLevelDebug: App"} {
		assert.Contains(t, said+v.console.String(), line)
	}
}

// formatted returns a disk with a storage.
func formatted(t *testing.T) []byte {
	name := filepath.Join(t.TempDir(), "disk")
	_, err := volume.Format(name, volume.Options{Size: diskSize})
	require.NoError(t, err)
	content, err := os.ReadFile(name)
	require.NoError(t, err)
	return content
}

// ramDisk is a disk in memory.
type ramDisk struct{ content []byte }

func (d *ramDisk) Size() uint64      { return uint64(len(d.content)) }
func (d *ramDisk) BlockSize() uint64 { return abi.PageSize }
func (d *ramDisk) ReadOnly() bool    { return false }
func (d *ramDisk) CanDiscard() bool  { return false }
func (d *ramDisk) Flush() error      { return nil }
func (d *ramDisk) Close() error      { return nil }

func (d *ramDisk) Read(pieces [][]byte, at uint64) error {
	for _, p := range pieces {
		at += uint64(copy(p, d.content[at:]))
	}
	return nil
}

func (d *ramDisk) Write(pieces [][]byte, at uint64) error {
	for _, p := range pieces {
		at += uint64(copy(d.content[at:], p))
	}
	return nil
}

func (d *ramDisk) Discard(_, _ uint64) error { return nil }
func (d *ramDisk) Zero(_, _ uint64) error    { return nil }
