//go:build kapsel_kernel

package main

import (
	"kapsel/guest/abi"
	spec "kapsel/guest/abi/virtio"
	"kapsel/guest/capsules/adc"
	"kapsel/guest/capsules/adcport"
	"kapsel/guest/capsules/aes"
	"kapsel/guest/capsules/alarm"
	"kapsel/guest/capsules/alarmmux"
	"kapsel/guest/capsules/appflash"
	"kapsel/guest/capsules/apploader"
	"kapsel/guest/capsules/button"
	"kapsel/guest/capsules/buzzer"
	"kapsel/guest/capsules/buzzerport"
	"kapsel/guest/capsules/console"
	"kapsel/guest/capsules/crc"
	"kapsel/guest/capsules/dac"
	"kapsel/guest/capsules/dacport"
	"kapsel/guest/capsules/datetime"
	"kapsel/guest/capsules/debugwriter"
	"kapsel/guest/capsules/environment"
	"kapsel/guest/capsules/ethernettap"
	"kapsel/guest/capsules/gpio"
	"kapsel/guest/capsules/ipc"
	"kapsel/guest/capsules/kvstore"
	"kapsel/guest/capsules/led"
	"kapsel/guest/capsules/loadport"
	"kapsel/guest/capsules/lowleveldebug"
	"kapsel/guest/capsules/mc146818"
	"kapsel/guest/capsules/nonvolatile"
	"kapsel/guest/capsules/processconsole"
	"kapsel/guest/capsules/processinfo"
	"kapsel/guest/capsules/readonlystate"
	"kapsel/guest/capsules/rng"
	"kapsel/guest/capsules/screenport"
	"kapsel/guest/capsules/service"
	"kapsel/guest/capsules/softaes"
	"kapsel/guest/capsules/softcrc"
	"kapsel/guest/capsules/textscreen"
	"kapsel/guest/capsules/uart16550"
	"kapsel/guest/capsules/uartmux"
	"kapsel/guest/capsules/virtioconsole"
	"kapsel/guest/capsules/virtiogpio"
	"kapsel/guest/capsules/virtioports"
	"kapsel/guest/capsules/virtiorng"
	"kapsel/guest/capsules/volume"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/mmio"
)

// capsules is the board's list: to add a capsule is to add its line. Those that a capsule uses come before it.
var capsules = [...]kernel.Component{
	{Name: "uart16550", Init: wireUART, Clear: func() { system.uart = uart16550.UART{} }},
	{Name: "benchmark", Init: wireBenchmark, Clear: func() { system.instruments.clear() }},
	{Name: "alarmmux", Init: wireAlarms, Clear: func() { system.devices.alarms = alarms{} }},
	{Name: "virtiorng", Uses: "alarmmux", Init: wireEntropy, Clear: func() { system.devices.entropy = virtiorng.RNG{} }},
	{Name: "virtioconsole", Uses: "uart16550 alarmmux", Init: wireVirtioConsole, Clear: func() { system.devices.console = virtioconsole.Console{} }},
	{Name: "virtioblk", Uses: "alarmmux", Init: wireDisk, Clear: func() { system.devices.disk = disk{} }},
	{Name: "virtiogpio", Uses: "alarmmux", Init: wireVirtioGPIO, Clear: func() { system.devices.pins = virtiogpio.GPIO{} }},
	{Name: "virtionet", Uses: "alarmmux", Init: wireNetwork, Clear: func() { system.devices.network = network{} }},
	{Name: "virtioports", Uses: "alarmmux", Init: wirePorts, Clear: func() { system.devices.ports.driver = virtioports.Ports{} }},
	{Name: "uartmux", Uses: "uart16550 virtioconsole", With: "uart16550 virtioconsole", Init: wireLine, Clear: func() { system.lines = lines{} }},
	{Name: "debugwriter", Uses: "uartmux", Debug: true, Init: wireDebugWriter, Clear: func() { system.debug = debugwriter.Writer{} }},
	{Name: "blockcache", Uses: "virtioblk", With: "virtioblk", Init: wireCache, Clear: func() { system.devices.storage.cached = cached{} }},
	{Name: "volume", Uses: "blockcache debugwriter", Init: wireVolume, Clear: func() { system.devices.storage.volume = volume.Volume{} }},

	{Name: "softcrc", Init: wireCRCEngine, Clear: func() { system.computing.crcEngine = softcrc.CRC{} }},
	{Name: "softdigest", Init: wireDigestEngines, Clear: func() { system.computing.digests = digestEngines{} }},
	{Name: "softaes", Init: wireAESEngine, Clear: func() { system.computing.aesEngine = softaes.AES{} }},

	{Name: "alarm", Uses: "alarmmux benchmark", Init: wireAlarm, Clear: func() { system.alarm = alarm.Alarm{} }},
	{Name: "console", Uses: "uartmux", Init: wireConsole, Clear: func() { system.console = console.Console{} }},
	{Name: "lowleveldebug", Uses: "debugwriter", Init: wireLowLevelDebug, Clear: func() { system.lowLevelDebug = lowleveldebug.LowLevelDebug{} }},
	{Name: "ipc", Init: wireIPC, Clear: func() { system.ipc = ipc.IPC{} }},
	{Name: "readonlystate", Init: wireReadOnlyState, Clear: func() { system.readOnlyState = readonlystate.State{} }},
	{Name: "processconsole", Uses: "uartmux debugwriter", Init: wireProcessConsole, Clear: func() { system.processConsole = processconsole.Console{} }},
	{Name: "apploader", Init: wireAppLoader, Clear: func() { system.appLoader = apploader.AppLoader{} }, Fell: func() { system.taskLoader.Abort() }},
	{Name: "processinfo", Init: wireProcessInfo, Clear: func() { system.processInfo = processinfo.ProcessInfo{} }},
	{Name: "appflash", Init: wireAppFlash, Clear: func() { system.appFlash = appflash.AppFlash{} }},
	{Name: "mc146818", Init: wireCMOSClock, Clear: func() { system.cmosClock = mc146818.Clock{} }},
	{Name: "datetime", Uses: "mc146818", Init: wireDateTime, Clear: func() { system.dateTime = datetime.DateTime{} }},
	{Name: "led", Uses: "virtiogpio", Ready: pinsAreKnown, Init: wireLED, Clear: func() { system.devices.led = led.LED{} }},
	{Name: "button", Uses: "virtiogpio", Ready: pinsAreKnown, Init: wireButton, Clear: func() { system.devices.button = button.Button{} }},
	{Name: "gpio", Uses: "virtiogpio", Ready: pinsAreKnown, Init: wireGPIO, Clear: func() { system.devices.gpio = gpio.GPIO{} }},
	{Name: "adcport", Uses: "virtioports alarmmux", Ready: portsAreKnown, Init: wireADCPort, Clear: func() { system.devices.ports.adcPort = adcport.ADC{} }},
	{Name: "adc", Uses: "adcport", Ready: adcIsKnown, Init: wireADC, Clear: func() { system.devices.ports.adc = adc.ADC{} }},
	{Name: "dacport", Uses: "virtioports", Ready: portsAreKnown, Init: wireDACPort, Clear: func() { system.devices.ports.dacPort = dacport.DAC{} }},
	{Name: "dac", Uses: "dacport", Ready: portsAreKnown, Init: wireDAC, Clear: func() { system.devices.ports.dac = dac.DAC{} }},
	{Name: "buzzerport", Uses: "virtioports alarmmux", Ready: portsAreKnown, Init: wireBuzzerPort, Clear: func() { system.devices.ports.buzzerPort = buzzerport.Buzzer{} }},
	{Name: "buzzer", Uses: "buzzerport", Ready: portsAreKnown, Init: wireBuzzer, Clear: func() { system.devices.ports.buzzer = buzzer.Buzzer{} }},
	{Name: "screenport", Uses: "virtioports", Ready: portsAreKnown, Init: wireScreenPort, Clear: func() { system.devices.ports.screenPort = screenport.Screen{} }},
	{Name: "textscreen", Uses: "screenport", Ready: portsAreKnown, Init: wireTextScreen, Clear: func() { system.devices.ports.textScreen = textscreen.TextScreen{} }},
	{Name: "loadport", Uses: "virtioports", Ready: portsAreKnown, Init: wireLoadPort, Clear: func() { system.loadPort = loadport.LoadPort{} }, Fell: loadPortFell},
	{Name: "service", Uses: "virtioports", Ready: portsAreKnown, Init: wireService, Clear: func() { system.service = service.Service{} }},
	{Name: "environment", Uses: "virtioports", Init: wireEnvironment, Clear: func() { system.environment = environment.Environment{} }},
	{Name: "crc", Uses: "softcrc", Init: wireCRC, Clear: func() { system.computing.crc = crc.CRC{} }},
	{Name: "digest", Uses: "softdigest", Init: wireDigests, Clear: func() { system.computing.digest = digests{} }},
	{Name: "aes", Uses: "softaes", Init: wireAES, Clear: func() { system.computing.aes = aes.AES{} }},
	{Name: "rng", Uses: "virtiorng", With: "virtiorng", Init: wireRNG, Clear: func() { system.devices.rng = rng.RNG{} }},
	{Name: "ethernettap", Uses: "virtionet", With: "virtionet", Init: wireTap, Clear: func() { system.devices.tap = ethernettap.EthernetTap{} }},
	{Name: "rawblock", Uses: "virtioblk", With: "virtioblk", Init: wireRawBlock, Clear: func() { system.instruments.clearRawBlock() }},
	{Name: "rawnet", Uses: "virtionet", With: "virtionet", Init: wireRawNet, Clear: func() { system.instruments.clearRawNet() }},
	{Name: "kvstore", Uses: "blockcache volume", Ready: diskIsKnown, Init: wireKeyValue, Clear: func() { system.devices.storage.keyValue = kvstore.KVStore{} }},
	{Name: "nonvolatile", Uses: "blockcache volume", Ready: diskIsKnown, Init: wireNonvolatile, Clear: func() { system.devices.storage.nonvolatile = nonvolatile.Server{} }},

	{Name: "faultymux", Init: wireFaultyMux, Clear: clearFaultyMux}, // for tests: faulty.go
	{Name: "faulty", Uses: "faultymux", Init: wireFaulty, Clear: clearFaulty},
}

// made reports whether a capsule of the list was made.
func made(name string) bool { return system.components.Made(name) }

func wireUART(can capability.Set) bool {
	b := &system
	b.ports = mmio.NewPorts(abi.PortCOM1, 8, can.Hardware)
	b.uart.Init(&b.kernel, mmio.NewDevice[uart16550.Registers](&b.ports, can.Hardware))
	b.machine.BurstSerial(b.uart.Burst())
	b.components.Serve(abi.IRQCOM1, &b.uart)
	b.line, b.polling, b.chunk = &b.uart, &b.uart, b.smallChunk[:]
	return true
}

// wireAlarms shares the hardware's alarm where there are devices.
func wireAlarms(capability.Set) bool {
	d := &system.devices
	if len(d.windows.All()) == 0 {
		return false
	}
	d.alarms.mux.Init(system.hardware)
	for i := range d.windows.All() {
		d.alarms.devices[i].Init(&d.alarms.mux)
	}
	for _, share := range [...]*alarmmux.Share{&d.alarms.tasks, &d.alarms.adc, &d.alarms.buzzer} {
		share.Init(&d.alarms.mux)
	}
	return true
}

func wireEntropy(can capability.Set) bool {
	d := &system.devices
	place, ok := d.place(spec.IDEntropy, &d.entropy, can)
	return ok && d.entropy.Init(&system.kernel, place) == abi.OK
}

func wireVirtioConsole(can capability.Set) bool {
	d := &system.devices
	place, ok := d.place(spec.IDConsole, &d.console, can)
	if !ok {
		return false
	}
	if !keep(&d.chunk, abi.PageSize) || d.console.Init(&system.kernel, place, &system.uart) != abi.OK {
		return false
	}
	system.line, system.polling, system.chunk = &d.console, &d.console, d.chunk
	return true
}

func wireDisk(can capability.Set) bool {
	d := &system.devices
	place, ok := d.place(spec.IDBlock, &d.disk.driver, can)
	return ok && d.disk.driver.Init(&system.kernel, place, d.disk.requests[:], d.disk.slots[:], diskBytes) == abi.OK
}

func wireNetwork(can capability.Set) bool {
	d := &system.devices
	place, ok := d.place(spec.IDNet, &d.network.driver, can)
	return ok && d.network.driver.Init(&system.kernel, place, d.network.frames[:], d.network.slots[:]) == abi.OK
}

func wireLine(capability.Set) bool {
	l := &system.lines
	l.mux.Init(&system.kernel, system.line)
	for _, share := range [...]*uartmux.Device{&l.console, &l.debug, &l.process} {
		share.Init(&l.mux)
	}
	return true
}

func wireDebugWriter(capability.Set) bool {
	system.debug.Init(&system.kernel, &system.lines.debug)
	return true
}

func wireAlarm(can capability.Set) bool {
	clock := system.hardware
	if made("alarmmux") {
		clock = &system.devices.alarms.tasks
	}
	system.alarm.Init(&system.kernel, clock, can.MemoryAllocation)
	system.kernel.AddDriver(abi.DriverAlarm, &system.alarm)
	return true
}

func wireConsole(can capability.Set) bool {
	b := &system
	b.console.Init(&b.kernel, &b.lines.console, b.chunk, can.MemoryAllocation)
	b.kernel.AddDriver(abi.DriverConsole, &b.console)
	return true
}

func wireLowLevelDebug(capability.Set) bool {
	system.lowLevelDebug.Init(system.debug.Tasks())
	system.kernel.AddDriver(abi.DriverLowLevelDebug, &system.lowLevelDebug)
	return true
}

func wireIPC(can capability.Set) bool {
	system.ipc.Init(&system.kernel, can.MemoryAllocation, can.MemorySharing)
	system.kernel.AddDriver(abi.DriverIPC, &system.ipc)
	return true
}

func wireReadOnlyState(can capability.Set) bool {
	b := &system
	b.readOnlyState.Init(&b.kernel, &b.machine.Timer, can.MemoryAllocation)
	b.kernel.OnContextSwitch(&b.readOnlyState, can.MainLoop)
	b.kernel.AddDriver(abi.DriverReadOnlyState, &b.readOnlyState)
	return true
}

func wireProcessConsole(can capability.Set) bool {
	b := &system
	b.processConsole.Init(&b.kernel, &b.lines.process, &b.debug, b, can.TaskManagement)
	if b.started {
		b.processConsole.Start()
	}
	return true
}

// wireAppLoader and wireProcessInfo let tasks at other tasks, as the command line wants it.
func wireAppLoader(can capability.Set) bool {
	b := &system
	if b.management == byNone {
		return false
	}
	b.appLoader.Init(&b.kernel, &b.taskLoader, b.management == byAll, can)
	b.kernel.AddDriver(abi.DriverAppLoader, &b.appLoader)
	return true
}

func wireProcessInfo(can capability.Set) bool {
	b := &system
	if b.management == byNone {
		return false
	}
	b.processInfo.Init(&b.kernel, b.management == byAll, can)
	b.kernel.AddDriver(abi.DriverProcessInfo, &b.processInfo)
	return true
}

// wireEnvironment gives tasks the arguments and the environment that the first of the modules holds, and lets the host ask them to end, where there is either.
func wireEnvironment(can capability.Set) bool {
	b := &system
	arguments, variables, given := abi.FindEnvironment(b.machine.ModuleTasks())
	ported := b.devices.window(idPorts) >= 0 && made("virtioports")
	if !given && !ported {
		return false
	}
	var port hil.Port
	if ported {
		port = b.devices.ports.driver.Named(abi.PortEnd)
	}
	b.environment.Init(&b.kernel, b, arguments, variables, port, can.MemoryAllocation)
	b.kernel.AddDriver(abi.DriverEnvironment, &b.environment)
	return true
}

func wireAppFlash(can capability.Set) bool {
	system.appFlash.Init(&system.kernel, can.MemoryAllocation, can.FlashWriting)
	system.kernel.AddDriver(abi.DriverAppFlash, &system.appFlash)
	return true
}

// wireCMOSClock looks for the clock that a PC has.
func wireCMOSClock(can capability.Set) bool {
	b := &system
	b.cmosPorts = mmio.NewPorts(abi.PortCMOS, 2, can.Hardware)
	return b.cmosClock.Init(&b.kernel, mmio.NewDevice[mc146818.Registers](&b.cmosPorts, can.Hardware), &b.machine.Timer) == abi.OK
}

func wireDateTime(can capability.Set) bool {
	if !made("mc146818") {
		return false
	}
	system.dateTime.Init(&system.kernel, &system.cmosClock, can.MemoryAllocation)
	system.kernel.AddDriver(abi.DriverDateTime, &system.dateTime)
	return true
}

func wireRNG(can capability.Set) bool {
	d := &system.devices
	if !made("virtiorng") {
		return false
	}
	d.rng.Init(&system.kernel, &d.entropy, can.MemoryAllocation)
	system.kernel.AddDriver(abi.DriverRNG, &d.rng)
	return true
}

func wireVirtioGPIO(can capability.Set) bool {
	d := &system.devices
	place, ok := d.place(spec.IDGPIO, &d.pins, can)
	return ok && d.pins.Init(&system.kernel, place) == abi.OK
}

// pinsAreKnown reports whether it is known which pins the machine has, if it has any. That takes no longer than their driver waits for its
// device.
func pinsAreKnown() bool { return !made("virtiogpio") || system.devices.pins.Settled() }

func wireLED(capability.Set) bool {
	d := &system.devices
	if d.pins.LEDs().Pins() == 0 {
		return false
	}
	d.led.Init(d.pins.LEDs())
	system.kernel.AddDriver(abi.DriverLED, &d.led)
	return true
}

func wireButton(can capability.Set) bool {
	d := &system.devices
	if d.pins.Buttons().Pins() == 0 {
		return false
	}
	d.button.Init(&system.kernel, d.pins.Buttons(), can.MemoryAllocation)
	system.kernel.AddDriver(abi.DriverButton, &d.button)
	return true
}

func wireGPIO(can capability.Set) bool {
	d := &system.devices
	if d.pins.Pins().Pins() == 0 {
		return false
	}
	d.gpio.Init(&system.kernel, d.pins.Pins(), can.MemoryAllocation)
	system.kernel.AddDriver(abi.DriverGPIO, &d.gpio)
	return true
}

// wireTap lets tasks at the network.
func wireTap(can capability.Set) bool {
	d := &system.devices
	if !made("virtionet") || system.instruments.raw() {
		return false
	}
	if !keep(&d.tapMemory, abi.PageSize) { // at least ethernettap.MemorySize
		system.debug.WriteString("there is no memory for the Ethernet tap, which is not used\n")
		return false
	}
	d.tap.Init(&system.kernel, &d.network.driver, &system.machine.Timer, d.tapMemory, can.MemoryAllocation)
	system.kernel.AddDriver(abi.DriverEthernetTap, &d.tap)
	return true
}

func wireBenchmark(can capability.Set) bool { return system.instruments.wire(can) }

// wireRawBlock and wireRawNet let tasks at the devices as they are, if the command line asks for that.
func wireRawBlock(can capability.Set) bool {
	return made("virtioblk") && system.instruments.wireDisk(&system.devices.disk.driver, can)
}

func wireRawNet(can capability.Set) bool {
	return made("virtionet") && system.instruments.wireNetwork(&system.devices.network.driver, can)
}
