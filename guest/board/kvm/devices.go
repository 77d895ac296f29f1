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
	store     dma.Store
	memory    dma.Region
	alarms    alarms

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

// deviceMemory is how much memory devices and drivers share, in bytes, but for ports.
const deviceMemory = 64 << 10

// kinds are the kinds of devices that there is a driver for.
var kinds = [...]uint32{spec.IDEntropy, spec.IDConsole, spec.IDBlock, spec.IDNet, spec.IDGPIO, idPorts}

// idPorts is the kind of a console device that has named ports: another driver than a console's drives it.
const idPorts = 1<<31 | spec.IDConsole

// find finds out what the devices are.
func (d *devices) find(can capability.Set) {
	windows := d.windows.All()
	if len(windows) == 0 {
		return
	}
	for i := range windows {
		d.look(i, can)
	}
	size := uint64(deviceMemory)
	if d.window(idPorts) >= 0 {
		size += abi.PageUp(virtioports.MemorySize)
	}
	memory, physical := system.machine.DeviceMemory(size)
	if memory == nil {
		system.debug.WriteString("there is no memory for devices, which are not used\n")
		clear(d.found[:])
		return
	}
	d.memory = dma.NewRegion(&d.store, memory, physical, can.Hardware)
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
	case !driven(id):
		problem = "there is no driver for its kind"
	case d.window(id) >= 0:
		problem = "there is another of its kind"
	default:
		d.found[i] = id
		return
	}
	format.Print(&system.debug, "device at 0x%x: ", w.Base)
	system.debug.WriteString(problem)
	system.debug.WriteString("; it is not used\n")
}

func driven(id uint32) bool {
	for _, kind := range kinds {
		if kind == id {
			return true
		}
	}
	return false
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
func (d *devices) place(id uint32, driver interrupted, can capability.Set) (place virtio.Place, ok bool) {
	i := d.window(id)
	if i < 0 {
		return place, false
	}
	w := &d.windows.All()[i]
	system.attach(w.Line, driver)
	place.Registers = mmio.NewDevice[virtio.MMIO](&d.registers[i], can.Hardware)
	place.Base = w.Base
	place.Memory = d.memory
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
