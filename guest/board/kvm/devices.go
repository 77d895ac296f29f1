//go:build kapsel_kernel

package main

import (
	"kapsel/guest/abi"
	spec "kapsel/guest/abi/virtio"
	"kapsel/guest/capsules/alarmmux"
	"kapsel/guest/capsules/ethernettap"
	"kapsel/guest/capsules/rng"
	"kapsel/guest/capsules/virtio"
	"kapsel/guest/capsules/virtioblk"
	"kapsel/guest/capsules/virtioconsole"
	"kapsel/guest/capsules/virtionet"
	"kapsel/guest/capsules/virtiorng"
	"kapsel/guest/dma"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/format"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/mmio"
)

// devices are the virtio devices that the command line tells of, and their drivers: one of each kind. Without such a word all
// of this is left alone.
type devices struct {
	windows   virtio.Windows
	registers [abi.VirtioPlaces]mmio.Memory
	store     dma.Store
	memory    dma.Region
	alarms    alarmmux.Mux
	shares    [1 + abi.VirtioPlaces]alarmmux.Share // the alarm capsule's, and one of each device
	lines     [16]interrupted
	kinds     uint32 // those that were found, a bit each

	entropy virtiorng.RNG
	rng     rng.RNG
	console virtioconsole.Console
	chunk   []byte // for the console capsule, where the console is one that takes much at once
	disk    disk
	storage storage
	network network
	tap     ethernettap.EthernetTap
}

// A disk is a block device's driver and what it needs for as many requests at once as the board lets it have.
type disk struct {
	virtioblk.Disk
	requests [diskRequests]virtioblk.Request
	slots    [16]virtio.Slot // at least virtioblk.Parts for each request
}

// A network is a network device's driver and room for frames that come before anybody takes them.
type network struct {
	virtionet.Network
	frames [16]virtionet.Frame
	slots  [16]virtio.Slot // one for each
}

const (
	diskRequests = 4
	diskBytes    = 4096 // in a request
)

// interrupted is a driver whose device interrupts.
type interrupted interface{ HandleInterrupt() }

// deviceMemory is how much memory devices and drivers share, in bytes.
const deviceMemory = 64 << 10

// wire finds out what the devices are, and connects their drivers. It returns the alarm for the alarm capsule: where there
// are devices, a share of the hardware's.
func (d *devices) wire(alarm hil.Alarm, can capability.Set) hil.Alarm {
	windows := d.windows.All()
	if len(windows) == 0 {
		return alarm
	}
	m := system.machine
	memory, physical := m.DeviceMemory(deviceMemory)
	if memory == nil {
		system.debug.WriteString("there is no memory for devices, which are not used\n")
		return alarm
	}
	d.memory = dma.NewRegion(&d.store, memory, physical, can.Hardware)
	d.alarms.Init(alarm)
	for i := range windows {
		d.connect(i, can)
	}
	share := &d.shares[len(d.shares)-1]
	share.Init(&d.alarms)
	return share
}

// connect connects the device of a window with the driver of its kind.
func (d *devices) connect(i int, can capability.Set) {
	w := &d.windows.All()[i]
	d.registers[i] = mmio.NewMemory(d.mapped(i)+uintptr(w.Base%abi.PageSize), spec.RegistersSize, can.Hardware)
	place := virtio.Place{
		Registers: mmio.NewDevice[virtio.MMIO](&d.registers[i], can.Hardware),
		Base:      w.Base,
		Memory:    d.memory,
		Log:       &system.debug,
		Alarm:     &d.shares[i],
	}
	d.shares[i].Init(&d.alarms)
	id, problem := virtio.Probe(&place.Registers)
	if problem != "" {
		d.refuse(w, problem)
		return
	}
	system.machine.Route(w.Line) // no interrupt is served, nor lost, before the main loop
	driver, problem := d.drive(id, place, can)
	if problem != "" {
		d.refuse(w, problem)
	}
	d.lines[w.Line] = driver
}

// mapped maps the page that a window's registers are in, if no earlier window's are there, and returns its virtual address.
func (d *devices) mapped(i int) uintptr {
	windows := d.windows.All()
	page := abi.PageDown(windows[i].Base)
	for _, before := range windows[:i] {
		if abi.PageDown(before.Base) == page {
			return uintptr(abi.DirectMap + page)
		}
	}
	return system.machine.MapDevice(page)
}

// refuse says why a device is not used.
func (d *devices) refuse(w *virtio.Window, problem string) {
	format.Print(&system.debug, "device at 0x%x: ", w.Base)
	system.debug.WriteString(problem)
	system.debug.WriteString("; it is not used\n")
}

// drive gives a device to the driver of its kind, or says why it does not. A driver that is nil has no use for interrupts: an
// empty place, or a device that is broken.
func (d *devices) drive(id uint32, place virtio.Place, can capability.Set) (driver interrupted, problem string) {
	const unknown = "there is no driver for its kind"
	switch {
	case id == 0:
		return nil, ""
	case id >= 32: // kinds has a bit for each below
		return nil, unknown
	case d.kinds>>id&1 != 0:
		return nil, "there is another of its kind"
	}
	d.kinds |= 1 << id
	k := &system.kernel
	switch id {
	case spec.IDEntropy:
		if d.entropy.Init(k, place) != abi.OK {
			return nil, ""
		}
		d.rng.Init(k, &d.entropy, can.MemoryAllocation)
		k.AddDriver(abi.DriverRNG, &d.rng)
		return &d.entropy, ""
	case spec.IDConsole:
		chunk, _ := system.machine.DeviceMemory(abi.PageSize)
		if chunk == nil || d.console.Init(k, place, &system.uart) != abi.OK {
			return nil, ""
		}
		d.chunk = chunk
		return &d.console, ""
	case spec.IDBlock:
		disk := &d.disk
		raw := system.instruments.wireDisk(k, disk, can)
		if disk.Init(k, place, disk.requests[:], disk.slots[:], diskBytes) != abi.OK {
			return nil, ""
		}
		if !raw {
			d.storage.wire(disk)
		}
		return disk, ""
	case spec.IDNet:
		network := &d.network
		raw := system.instruments.wireNetwork(k, network, can)
		if network.Init(k, place, network.frames[:], network.slots[:]) != abi.OK {
			return nil, ""
		}
		if !raw {
			d.wireTap(k, can)
		}
		return network, ""
	}
	return nil, unknown
}

// wireTap lets tasks at the network.
func (d *devices) wireTap(k *kernel.Kernel, can capability.Set) {
	memory, _ := system.machine.DeviceMemory(abi.PageSize) // at least ethernettap.MemorySize
	if memory == nil {
		system.debug.WriteString("there is no memory for the Ethernet tap, which is not used\n")
		return
	}
	d.tap.Init(k, &d.network, &system.machine.Timer, memory, can.MemoryAllocation)
	k.AddDriver(abi.DriverEthernetTap, &d.tap)
}

// wiredConsole is the driver of the console, or nil if there is none.
func (d *devices) wiredConsole() *virtioconsole.Console {
	if d.chunk == nil {
		return nil
	}
	return &d.console
}

// interrupt has a device's driver serve its interrupt.
func (d *devices) interrupt(line int) {
	if line < len(d.lines) && d.lines[line] != nil {
		d.lines[line].HandleInterrupt()
	}
}
