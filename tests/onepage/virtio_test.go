package onepage

import (
	"context"
	"encoding/binary"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/abi/virtio"
	"kapsel/vmm"
)

// Entries of KernelBase's page directory, where the boot page tables have nothing, for device, I/O APIC and local APIC.
const (
	deviceEntry = 511 - iota
	ioapicEntry
	lapicEntry
)

// window is the virtual address of what an entry of the page directory maps.
func window(entry uint64) uint64 { return abi.KernelBase + entry<<21 }

// store writes an immediate to a virtual address among the highest 2 GiB, or the lowest: 12 bytes.
func store(address uint64, v uint32) []byte {
	return join(movEAX(v), []byte{0x89, 0x04, 0x25}, binary.LittleEndian.AppendUint32(nil, uint32(address)))
}

// load reads from such an address to %eax: 7 bytes.
func load(address uint64) []byte {
	return join([]byte{0x8b, 0x04, 0x25}, binary.LittleEndian.AppendUint32(nil, uint32(address)))
}

// expect ends the guest with a status unless %eax is v.
func expect(v, status uint32) []byte { return join(cmpEAX(v), []byte{0x74, 7}, exit(status)) } // je behind exit

// until reads an address until bits are set there.
func until(address uint64, bits uint32) []byte {
	return join(load(address), imm32(0xa9, bits), []byte{0x74, 0xf2}) // 1: load; test $bits, %eax; je 1b
}

func mapDevice() []byte { return mapAt(deviceEntry, abi.VirtioBase) }

// register is the virtual address of a register of the device in place 0.
func register(offset uint64) uint64 { return window(deviceEntry) + offset }

func put(offset uint64, v uint32) []byte { return store(register(offset), v) }

// Where the guest has its queue, of 8, and a buffer.
const (
	descriptors = 0x30_0000
	available   = 0x30_1000
	used        = 0x30_2000
	buffer      = 0x30_3000
)

// startEntropy negotiates with the entropy device, and sets its queue up: 16 writes of registers.
func startEntropy() []byte {
	return join(
		put(virtio.RegStatus, 0),
		put(virtio.RegStatus, 1), put(virtio.RegStatus, 3),
		put(virtio.RegDriverFeaturesSel, 1), put(virtio.RegDriverFeatures, virtio.FeatureVersion1>>32),
		put(virtio.RegStatus, 0xb),
		put(virtio.RegQueueSel, 0), put(virtio.RegQueueSize, 8),
		put(virtio.RegQueueDescLow, descriptors), put(virtio.RegQueueDescHigh, 0),
		put(virtio.RegQueueDriverLow, available), put(virtio.RegQueueDriverHigh, 0),
		put(virtio.RegQueueDeviceLow, used), put(virtio.RegQueueDeviceHigh, 0),
		put(virtio.RegQueueReady, 1),
		put(virtio.RegStatus, 0xf))
}

// askEntropy asks for 16 bytes and notifies.
func askEntropy() []byte {
	return join(
		store(descriptors, buffer), store(descriptors+8, 16), store(descriptors+12, virtio.DescWrite),
		store(available, 1<<16), // index 1: descriptor 0
		put(virtio.RegQueueNotify, 0))
}

func withEntropy() vmm.Config { return vmm.Config{Devices: []vmm.Device{vmm.Entropy{}}} }

// The words of the command line tell where the device is; its first registers say what it is; the next place is empty.
func TestVirtioProbe(t *testing.T) {
	words := vmm.DeviceWords(1)
	assert.Equal(t, "virtio_mmio.device=4K@0xd0000000:5 ", words)
	code := join(mapDevice(),
		load(register(virtio.RegMagic)), expect(virtio.Magic, 1),
		load(register(virtio.RegVersion)), expect(virtio.Version, 2),
		load(register(virtio.RegDeviceID)), expect(virtio.IDEntropy, 3),
		load(register(virtio.RegStatus)), expect(0, 4),
		load(register(abi.PageSize)), expect(0xffff_ffff, 5),
		[]byte{0x48, 0x8b, 0x77, 0x38}, outString(len(words)), // mov Cmdline(%rdi), %rsi
		exit(0))
	r := run(t, code, withEntropy())
	assert.Equal(t, guestExit(0), r.Exit)
	assert.Equal(t, words, r.console)
	assert.EqualValues(t, 5, r.stats.MMIO)
}

// Without devices there are no places and no words.
func TestNoVirtioUnlessAskedFor(t *testing.T) {
	code := join(mapDevice(), load(register(0)), expect(0xffff_ffff, 1),
		[]byte{0x48, 0x8b, 0x47, 0x40}, expect(0, 2), // mov CmdlineSize(%rdi), %rax
		exit(0))
	r := run(t, code, vmm.Config{})
	assert.Equal(t, guestExit(0), r.Exit)
	assert.Empty(t, r.stats.Devices)
}

// A notification is no exit to the monitor where KVM has ioeventfds: the device's registers are.
func TestVirtioNotification(t *testing.T) {
	code := join(mapDevice(), startEntropy(), askEntropy(),
		until(used, 1<<16), load(used+8), expect(16, 1),
		imm32(0xbe, buffer), outString(16), // mov $buffer, %esi
		exit(0))
	r := run(t, code, withEntropy())
	assert.Equal(t, guestExit(0), r.Exit)
	assert.Len(t, r.console, 16)
	assert.NotEqual(t, make([]byte, 16), []byte(r.console))
	require.Len(t, r.stats.Devices, 1)
	device := r.stats.Devices[0]
	assert.Equal(t, "entropy", device.Name)
	assert.EqualValues(t, 1, device.Counters.Requests)
	assert.EqualValues(t, 16, device.Counters.Written)
	assert.EqualValues(t, 1, device.Counters.Interrupts)
	exits := 16
	if !capability(t, "KVM_CAP_IOEVENTFD") {
		exits++
		assert.EqualValues(t, 1, device.Counters.Notifications)
	}
	assert.EqualValues(t, exits, r.stats.MMIO)
}

// The device's interrupt reaches the local APIC as the vector that the I/O APIC has for line 5.
func TestVirtioInterrupt(t *testing.T) {
	const vector = 0x45
	ioapic, lapic := window(ioapicEntry), window(lapicEntry)
	code := join(mapDevice(), mapAt(ioapicEntry, abi.IOAPICBase), mapAt(lapicEntry, abi.LAPICBase),
		store(lapic+0xf0, 0x1ff),                                   // on
		store(ioapic, 0x11+2*abi.VirtioIRQ), store(ioapic+0x10, 0), // to processor 0
		store(ioapic, 0x10+2*abi.VirtioIRQ), store(ioapic+0x10, vector), // by an edge
		startEntropy(), askEntropy(), until(lapic+0x200+vector/32*0x10, 1<<(vector%32)), // IRR
		load(register(virtio.RegInterruptStatus)), expect(virtio.InterruptUsed, 1),
		put(virtio.RegInterruptACK, virtio.InterruptUsed),
		load(register(virtio.RegInterruptStatus)), expect(0, 2),
		load(used), expect(1<<16, 3),
		exit(0))
	assert.Equal(t, guestExit(0), run(t, code, withEntropy()).Exit)
}

// A dump tells how far driver and device are.
func TestVirtioInADump(t *testing.T) {
	console, said := says(1)
	c := withEntropy()
	c.Console = console
	m := newMachine(t, join(mapDevice(), startEntropy(), askEntropy(), until(used, 1<<16), hello, spin), c)
	stop := start(t, m)
	<-said
	assert.Equal(t, vmm.Exit{Reason: vmm.Cancelled}, stop())
	assert.Contains(t, dump(m), "Device 0, entropy, at 0xd0000000, line 5: status 0xf (acknowledged, driver, features ok, driver ok), "+
		"features 0x100000000, interrupt status 0x1; queue 0 of 8, available index 1, used index 1; 1 requests, 0 bytes read, 16 written")
}

// A machine that is closed while its devices work leaves nothing behind: no goroutine, no file, no mapping.
func TestVirtioLeavesNothing(t *testing.T) {
	life := func() {
		console, said := says(1)
		c := withEntropy()
		c.Console = console
		loop := join(put(virtio.RegQueueNotify, 0), put(virtio.RegInterruptACK, 1))
		code := join(mapDevice(), startEntropy(), askEntropy(), hello,
			loop, []byte{0xeb, byte(-len(loop) - 2)}) // jmp loop
		m := newMachine(t, code, c)
		var wg sync.WaitGroup
		wg.Go(func() { m.Run(context.Background()) })
		<-said
		require.NoError(t, m.Close())
		wg.Wait()
	}
	life() // what is made once
	fds, mappings := resources(t)
	goroutines := runtime.NumGoroutine()
	for range 10 {
		life()
	}
	fdsAfter, mappingsAfter := resources(t)
	assert.Equal(t, fds, fdsAfter, "file descriptors")
	assert.Equal(t, mappings, mappingsAfter, "mappings of kvm_run")
	for end := time.Now().Add(patience); runtime.NumGoroutine() > goroutines; runtime.Gosched() { // the machines' threads are about to end
		require.True(t, time.Now().Before(end), "%d goroutines, %d before", runtime.NumGoroutine(), goroutines)
	}
}

// What a driver leaves in a queue is served when the guest has ended, and a guest that breaks the rules goes on.
func TestVirtioEndOfTheGuest(t *testing.T) {
	code := join(mapDevice(), startEntropy(), askEntropy(), exit(0))
	r := run(t, code, withEntropy())
	assert.Equal(t, guestExit(0), r.Exit)
	assert.EqualValues(t, 1, r.stats.Devices[0].Counters.Requests)

	code = join(mapDevice(), startEntropy(), put(virtio.RegQueueSize, 4),
		load(register(virtio.RegStatus)), expect(0xf|virtio.StatusNeedsReset, 1),
		put(virtio.RegStatus, 0), load(register(virtio.RegStatus)), expect(0, 2),
		exit(0))
	r = run(t, code, withEntropy())
	assert.Equal(t, guestExit(0), r.Exit)
	assert.EqualValues(t, 1, r.stats.Devices[0].Counters.Broken)
}
