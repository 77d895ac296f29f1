//go:build kapsel_kernel

package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/capsules/adc"
	"kapsel/guest/capsules/adcport"
	"kapsel/guest/capsules/buzzer"
	"kapsel/guest/capsules/buzzerport"
	"kapsel/guest/capsules/dac"
	"kapsel/guest/capsules/dacport"
	"kapsel/guest/capsules/screenport"
	"kapsel/guest/capsules/service"
	"kapsel/guest/capsules/textscreen"
	"kapsel/guest/capsules/virtioports"
	"kapsel/guest/kernel/capability"
)

// ports are the named ports that the host gives the machine, and what is at the other ends of some.
type ports struct {
	driver     virtioports.Ports
	present    [len(named)]bool // whether the host gave it when the machine was booted
	adcPort    adcport.ADC
	adc        adc.ADC
	dacPort    dacport.DAC
	dac        dac.DAC
	buzzerPort buzzerport.Buzzer
	buzzer     buzzer.Buzzer
	screenPort screenport.Screen
	textScreen textscreen.TextScreen
}

// named are the names that there are drivers for.
var named = [...]string{abi.PortADC, abi.PortDAC, abi.PortBuzzer, abi.PortScreen, abi.PortLoad, abi.PortService}

// wirePorts makes the driver of ports. It knows the names before the device tells of its own.
func wirePorts(can capability.Set) bool {
	d := &system.devices
	place, ok := d.place(idPorts, &d.ports.driver, can)
	if !ok {
		return false
	}
	for _, name := range named {
		d.ports.driver.Named(name)
	}
	return d.ports.driver.Init(&system.kernel, place) == abi.OK
}

// portsAreKnown reports whether it is known what ports the host gives. That takes no longer than the driver waits for its device.
func portsAreKnown() bool { return !made("virtioports") || system.devices.ports.driver.Settled() }

// port is the port of a name, or nil if the host gave none of that name when the machine was booted.
func port(name string) *virtioports.Port {
	p := &system.devices.ports
	for i := range named {
		if named[i] == name && made("virtioports") {
			port := p.driver.Named(name)
			p.present[i] = p.present[i] || port.State() != abi.NODEVICE
			if p.present[i] {
				return port
			}
		}
	}
	return nil
}

func wireADCPort(capability.Set) bool {
	p := port(abi.PortADC)
	if p == nil {
		return false
	}
	system.devices.ports.adcPort.Init(p, &system.devices.alarms.adc)
	return true
}

// adcIsKnown reports whether it is known what the converter can do. That takes no longer than its driver waits for an answer.
func adcIsKnown() bool { return !made("adcport") || system.devices.ports.adcPort.Settled() }

func wireADC(can capability.Set) bool {
	p := &system.devices.ports
	if !made("adcport") {
		return false
	}
	p.adc.Init(&system.kernel, &p.adcPort, can.MemoryAllocation)
	system.kernel.AddDriver(abi.DriverADC, &p.adc)
	return true
}

func wireDACPort(capability.Set) bool {
	p := port(abi.PortDAC)
	if p == nil {
		return false
	}
	system.devices.ports.dacPort.Init(p)
	return true
}

func wireDAC(capability.Set) bool {
	p := &system.devices.ports
	if !made("dacport") {
		return false
	}
	p.dac.Init(&p.dacPort)
	system.kernel.AddDriver(abi.DriverDAC, &p.dac)
	return true
}

func wireBuzzerPort(capability.Set) bool {
	p := port(abi.PortBuzzer)
	if p == nil {
		return false
	}
	system.devices.ports.buzzerPort.Init(p, &system.devices.alarms.buzzer)
	return true
}

func wireBuzzer(can capability.Set) bool {
	p := &system.devices.ports
	if !made("buzzerport") {
		return false
	}
	p.buzzer.Init(&system.kernel, &p.buzzerPort, can.MemoryAllocation)
	system.kernel.AddDriver(abi.DriverBuzzer, &p.buzzer)
	return true
}

func wireScreenPort(capability.Set) bool {
	p := port(abi.PortScreen)
	if p == nil {
		return false
	}
	system.devices.ports.screenPort.Init(p)
	return true
}

func wireTextScreen(can capability.Set) bool {
	p := &system.devices.ports
	if !made("screenport") {
		return false
	}
	p.textScreen.Init(&system.kernel, &p.screenPort, can.MemoryAllocation)
	system.kernel.AddDriver(abi.DriverTextScreen, &p.textScreen)
	return true
}

// wireLoadPort lets the host load tasks.
func wireLoadPort(can capability.Set) bool {
	p := port(abi.PortLoad)
	if p == nil {
		return false
	}
	system.loadPort.Init(&system.kernel, p, &system.hostLoader, &system.hostSaver, system.loadPortFell, can.TaskManagement)
	return true
}

// loadPortFell gives up what the host has begun. The host is told when the driver is there again.
func loadPortFell() {
	system.hostLoader.Abort()
	system.hostSaver.Abort()
	system.loadPortFell = true
}

// wireService lets tasks and the host call each other's services.
func wireService(can capability.Set) bool {
	p := port(abi.PortService)
	if p == nil {
		return false
	}
	anew := system.serviceMemory != nil
	if !keep(&system.serviceMemory, service.MemorySize) {
		system.debug.WriteString("there is no memory for services, which are not there\n")
		return false
	}
	system.service.Init(&system.kernel, p, system.serviceMemory, anew, can)
	system.kernel.AddDriver(abi.DriverService, &system.service)
	return true
}
