package sandbox

import (
	"context"
	"encoding/binary"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"kapsel/guest/abi"
	"kapsel/vmm"
	"kapsel/vmm/image"
	"kapsel/vmm/kvm"
	machines "kapsel/vmm/snapshot"
)

// Benchmarks of a sandbox, beside the floor: what it takes to enter a guest and to leave it. scripts/bench has them and the floor in C in one run, and docs/benchmarks.md the
// table. In the rig they show what is many times as much as what, and no hardware's time.

// BenchmarkFloor enters and leaves a guest of one page in 16-bit mode that does nothing else, by KVM_RUN alone. bench/peers/floor.c is the same in C.
func BenchmarkFloor(b *testing.B) {
	needKVM(b)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	host, err := kvm.Open(vmm.DefaultKVM)
	require.NoError(b, err)
	defer host.Close()
	vm, err := host.CreateVM()
	require.NoError(b, err)
	defer vm.Close()
	require.NoError(b, vm.SplitIRQChip(24))
	page, err := unix.Mmap(-1, 0, abi.PageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	require.NoError(b, err)
	copy(page, []byte{0xe6, 0x80, 0xeb, 0xfc}) // again: out %al, $0x80; jmp again
	require.NoError(b, vm.SetMemory(0, abi.PageSize, page, false))
	cpu, err := vm.CreateVCPU(0)
	require.NoError(b, err)
	defer cpu.Close()
	sregs, err := cpu.Sregs()
	require.NoError(b, err)
	sregs.CS.Base, sregs.CS.Selector = 0, 0
	require.NoError(b, cpu.SetSregs(sregs))
	require.NoError(b, cpu.SetRegs(&kvm.Regs{RIP: abi.PageSize, RFLAGS: 2}))
	for b.Loop() {
		if err := cpu.Run(); err != nil || cpu.Reason() != kvm.ExitIO {
			b.Fatalf("%v: %v", cpu.Reason(), err)
		}
	}
}

// BenchmarkCall calls the task in Go: there and back.
func BenchmarkCall(b *testing.B) {
	s := start(b)
	request, reply := []byte("greet host"), make([]byte, 0, 100)
	call(b, s, "greeter", "greet host")
	before := s.Stats().Machine.Exits()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.AppendCall(context.Background(), reply, "greeter", request); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(s.Stats().Machine.Exits()-before)/float64(b.N), "exits/op")
}

// BenchmarkCallAndReset calls the task and takes the sandbox back to before.
func BenchmarkCallAndReset(b *testing.B) {
	s := start(b)
	request, reply := []byte("greet host"), make([]byte, 0, 100)
	call(b, s, "greeter", "greet host")
	snap := snapshot(b, s)
	for b.Loop() {
		if _, err := s.AppendCall(context.Background(), reply, "greeter", request); err != nil {
			b.Fatal(err)
		}
		if err := s.Reset(snap); err != nil {
			b.Fatal(err)
		}
	}
	reset := s.Stats().Reset
	b.ReportMetric(float64(reset.Pages), "pages/op")
	b.ReportMetric(float64(reset.Ioctls), "ioctls/op")
}

// BenchmarkReset16Pages resets a machine whose guest has written 16 pages, without what the guest takes.
func BenchmarkReset16Pages(b *testing.B) {
	m, snap := writer(b)
	var stats vmm.ResetStats
	for b.Loop() {
		b.StopTimer()
		runToPause(b, m)
		b.StartTimer()
		var err error
		if stats, err = m.Reset(snap, vmm.StandStill); err != nil {
			b.Fatal(err)
		}
	}
	require.Equal(b, 16, stats.Pages)
	b.ReportMetric(float64(stats.Bytes), "copied-bytes/op")
	b.ReportMetric(float64(stats.Ioctls), "ioctls/op")
}

// BenchmarkForkMachine makes a machine of a snapshot, and counts the pages that are its own and not the snapshot's: before it has run, and when it has written 16.
func BenchmarkForkMachine(b *testing.B) {
	_, snap := writer(b)
	var own, written uint64
	for b.Loop() {
		var f *vmm.Machine
		f, err := vmm.Fork(b.Context(), snap, vmm.Config{InStep: true, Console: pauses{&f}}, vmm.StandStill)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		own = resident(b, f)
		runToPause(b, f)
		written = resident(b, f)
		require.NoError(b, f.Close())
		b.StartTimer()
	}
	b.ReportMetric(float64(own), "own-pages/op")
	b.ReportMetric(float64(written), "written-pages/op")
}

// writer is a machine whose guest writes 16 pages and pauses, again and again, and a snapshot of it.
func writer(b *testing.B) (*vmm.Machine, *machines.Snapshot) {
	needKVM(b)
	img, err := image.Parse(image.Flat(writes16Pages(), 20*abi.PageSize))
	require.NoError(b, err)
	var m *vmm.Machine
	m, err = vmm.New(b.Context(), vmm.Config{Image: img, Memory: 4 << 20, InStep: true, Console: pauses{&m}})
	require.NoError(b, err)
	b.Cleanup(func() { assert.NoError(b, m.Close()) })
	runToPause(b, m) // the page tables are marked as used
	snap, err := m.Snapshot()
	require.NoError(b, err)
	b.Cleanup(func() { assert.NoError(b, snap.Close()) })
	return m, snap
}

func runToPause(b *testing.B, m *vmm.Machine) {
	if exit, err := m.Run(b.Context()); err != nil || exit.Reason != vmm.Paused {
		b.Fatalf("%v: %v", exit, err)
	}
}

// resident is how many pages are the machine's own.
func resident(b *testing.B, m *vmm.Machine) uint64 {
	pages, err := m.Resident()
	require.NoError(b, err)
	return pages
}

// writes16Pages is a guest that adds one to a byte in each of 16 pages behind it, and sends one, again and again.
func writes16Pages() (code []byte) {
	const variables = abi.KernelBase&(1<<32-1) + image.FlatAddress + abi.PageSize
	for page := range uint32(16) {
		code = append(code, 0xfe, 0x04, 0x25) // incb page
		code = binary.LittleEndian.AppendUint32(code, variables+page*abi.PageSize)
	}
	code = append(code, 0xba, 0xf8, 3, 0, 0, 0xee, 0xe9) // mov $COM1, %edx; out %al, (%dx); jmp to the beginning
	return binary.LittleEndian.AppendUint32(code, -uint32(len(code)+4))
}

// pauses is a console that pauses its machine at each byte.
type pauses struct{ machine **vmm.Machine }

func (p pauses) Write(b []byte) (int, error) {
	(*p.machine).Pause()
	return len(b), nil
}

// BenchmarkFork starts a sandbox from a snapshot, until it can be called.
func BenchmarkFork(b *testing.B) {
	snap := snapshot(b, start(b))
	for b.Loop() {
		s, err := snap.Start(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		err = s.Close()
		b.StartTimer()
		if err != nil {
			b.Fatal(err)
		}
	}
}
