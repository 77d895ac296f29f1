//go:build kapsel_kernel

package main

import (
	"kapsel/guest/abi"
	spec "kapsel/guest/abi/virtio"
	"kapsel/guest/capsules/alarmmux"
	"kapsel/guest/capsules/button"
	"kapsel/guest/capsules/ethernettap"
	"kapsel/guest/capsules/gpio"
	"kapsel/guest/capsules/led"
	"kapsel/guest/capsules/rng"
	"kapsel/guest/capsules/virtio"
	"kapsel/guest/capsules/virtioblk"
	"kapsel/guest/capsules/virtioconsole"
	"kapsel/guest/capsules/virtiogpio"
	"kapsel/guest/capsules/virtionet"
	"kapsel/guest/capsules/virtioports"
	"kapsel/guest/capsules/virtiorng"
	"kapsel/guest/dma"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/format"
	"kapsel/guest/mmio"
)

// devices are the virtio devices that the command line tells of, and their drivers: one of each kind. Without such a word all
// of this is left alone.
type devices struct {
	windows   virtio.Windows
	registers [abi.VirtioPlaces]mmio.Memory
	found     [abi.VirtioPlaces]uint32 // the kind of the device in each window, 0 for none of use
	stores    [len(kinds)]dma.Store
	memory    [len(kinds)]memory // that a device and its driver share
	alarms    alarms
	chunk     []byte // for the console capsule, where the console is one that takes much at once
	tapMemory []byte

	entropy virtiorng.RNG
	rng     rng.RNG
	console virtioconsole.Console
	disk    disk
	storage storage
	network network
	pins    virtiogpio.GPIO
	led     led.LED
	button  button.Button
	gpio    gpio.GPIO
	tap     ethernettap.EthernetTap
	ports   ports
}

// memory is memory for a device.
type memory struct {
	bytes    []byte
	physical uint64
}

// alarms are the shares of the hardware's alarm.
type alarms struct {
	mux     alarmmux.Mux
	devices [abi.VirtioPlaces]alarmmux.Share
	tasks   alarmmux.Share // the alarm capsule's
	adc     alarmmux.Share
	buzzer  alarmmux.Share
}

// A disk is a block device's driver and what it needs for as many requests at once as the board lets it have.
type disk struct {
	driver   virtioblk.Disk
	requests [diskRequests]virtioblk.Request
	slots    [16]virtio.Slot // at least virtioblk.Parts for each request
}

// A network is a network device's driver and room for frames that come before anybody takes them.
type network struct {
	driver virtionet.Network
	frames [16]virtionet.Frame
	slots  [16]virtio.Slot // one for each
}

const (
	diskRequests = 4
	diskBytes    = 4096 // in a request
)

// kinds are the kinds of devices that there is a driver for, and how much memory device and driver share, in bytes.
var kinds = [...]struct {
	id     uint32
	memory uint64
}{
	{spec.IDEntropy, 4 << 10},
	{spec.IDConsole, 8 << 10},
	{spec.IDBlock, 20 << 10},
	{spec.IDNet, 32 << 10},
	{spec.IDGPIO, 8 << 10},
	{idPorts, (virtioports.MemorySize + abi.PageSize - 1) &^ (abi.PageSize - 1)},
}

// idPorts is the kind of a console device that has named ports: another driver than a console's drives it.
const idPorts = 1<<31 | spec.IDConsole

// kindOf is the index of a kind, or -1 if there is no driver for it.
func kindOf(id uint32) int {
	for i := range kinds {
		if kinds[i].id == id {
			return i
		}
	}
	return -1
}

// find finds out what the devices are.
func (d *devices) find(can capability.Set) {
	for i := range d.windows.All() {
		d.look(i, can)
	}
}

// look finds out of what kind the device of a window is. An empty place is left alone.
func (d *devices) look(i int, can capability.Set) {
	w := &d.windows.All()[i]
	d.registers[i] = mmio.NewMemory(d.mapped(i)+uintptr(w.Base%abi.PageSize), spec.RegistersSize, can.Hardware)
	registers := mmio.NewDevice[virtio.MMIO](&d.registers[i], can.Hardware)
	id, problem := virtio.Probe(&registers)
	if id == spec.IDConsole && virtio.Offers(&registers, spec.ConsoleFeatureMultiport) {
		id = idPorts
	}
	switch {
	case problem != "":
	case id == 0:
		return
	case kindOf(id) < 0:
		problem = "there is no driver for its kind"
	case d.window(id) >= 0:
		problem = "there is another of its kind"
	case !d.takeMemory(kindOf(id)):
		problem = "there is no memory for it"
	default:
		d.found[i] = id
		return
	}
	format.Print(&system.debug, "device at 0x%x: ", w.Base)
	system.debug.WriteString(problem)
	system.debug.WriteString("; it is not used\n")
}

// takeMemory takes memory for a kind of device.
func (d *devices) takeMemory(kind int) bool {
	m := &d.memory[kind]
	m.bytes, m.physical = system.machine.DeviceMemory(kinds[kind].memory)
	return m.bytes != nil
}

// window is the window of the device of a kind, or -1.
func (d *devices) window(id uint32) int {
	for i := range d.found {
		if d.found[i] == id {
			return i
		}
	}
	return -1
}

// place is what the driver of a kind is given for its device, or reports false if there is no such device. The driver serves its interrupts.
// One that is made anew has the memory that it had: it resets the device before it lends any.
func (d *devices) place(id uint32, driver kernel.Interrupted, can capability.Set) (place virtio.Place, ok bool) {
	i := d.window(id)
	if i < 0 {
		return place, false
	}
	w := &d.windows.All()[i]
	system.components.Serve(w.Line, driver)
	place.Registers = mmio.NewDevice[virtio.MMIO](&d.registers[i], can.Hardware)
	place.Base = w.Base
	kind := kindOf(id)
	m := &d.memory[kind]
	d.stores[kind] = dma.Store{}
	place.Memory = dma.NewRegion(&d.stores[kind], m.bytes, m.physical, can.Hardware)
	place.Log = &system.debug
	place.Alarm = &d.alarms.devices[i]
	return place, true
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

// keep makes sure that there is memory at p for a capsule that may be made anew, or reports false.
func keep(p *[]byte, size uint64) bool {
	if *p == nil {
		*p, _ = system.machine.DeviceMemory(size)
	}
	return *p != nil
}
