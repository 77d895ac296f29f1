//go:build kapsel_kernel

// Command kvm is the kernel for a virtual machine under KVM or QEMU: it mints the
// capabilities and wires the machine layer, the kernel and the capsules together.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/arch/amd64"
	"kapsel/guest/board/base"
	"kapsel/guest/capsules/alarm"
	"kapsel/guest/capsules/appflash"
	"kapsel/guest/capsules/apploader"
	"kapsel/guest/capsules/console"
	"kapsel/guest/capsules/datetime"
	"kapsel/guest/capsules/debugwriter"
	"kapsel/guest/capsules/environment"
	"kapsel/guest/capsules/ipc"
	"kapsel/guest/capsules/loadport"
	"kapsel/guest/capsules/lowleveldebug"
	"kapsel/guest/capsules/mc146818"
	"kapsel/guest/capsules/processconsole"
	"kapsel/guest/capsules/processinfo"
	"kapsel/guest/capsules/readonlystate"
	"kapsel/guest/capsules/service"
	"kapsel/guest/capsules/uart16550"
	"kapsel/guest/capsules/uartmux"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/format"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/mmio"
)

// A board is the whole system.
type board struct {
	machine    *amd64.Machine
	options    base.Options
	hasConsole bool // the process console is on, and the machine stays up without tasks
	started    bool // it was started
	management management
	kernel     kernel.Kernel

	scheduler     kernel.Scheduler // one of the next four
	roundRobin    kernel.RoundRobin
	cooperative   kernel.Cooperative
	priority      kernel.Priority
	feedbackQueue kernel.FeedbackQueue
	policy        kernel.FaultLimit

	credentials    kernel.CredentialsPolicy // one of the next three
	noCredentials  kernel.NoCredentials
	sha256Checked  kernel.SHA256Credentials
	sha256Required kernel.SHA256Credentials
	identity       kernel.IdentityPolicy // one of the next three
	noIdentity     kernel.NoIdentity
	headerIdentity kernel.HeaderIdentity
	nameIdentity   kernel.NameIdentity

	components kernel.Components
	hardware   hil.Alarm // the alarm that is shared
	line       hil.UART  // what the kernel and tasks print by: the UART, or a virtio console
	polling    hil.PollingTransmitter
	chunk      []byte // for the console capsule: what it sends at once

	ports          mmio.Ports
	uart           uart16550.UART
	lines          lines
	debug          debugwriter.Writer
	console        console.Console
	smallChunk     [256]byte
	alarm          alarm.Alarm
	lowLevelDebug  lowleveldebug.LowLevelDebug
	ipc            ipc.IPC
	readOnlyState  readonlystate.State
	reuse          kernel.Reuse  // memory that unloaded tasks gave back
	taskLoader     kernel.Loader // for tasks
	hostLoader     kernel.Loader // for the host
	hostSaver      kernel.Saver  // likewise
	loadPort       loadport.LoadPort
	loadPortFell   bool // the host waits, perhaps
	service        service.Service
	serviceMemory  []byte
	appLoader      apploader.AppLoader
	processInfo    processinfo.ProcessInfo
	appFlash       appflash.AppFlash
	environment    environment.Environment
	cmosPorts      mmio.Ports
	cmosClock      mc146818.Clock
	dateTime       datetime.DateTime
	processConsole processconsole.Console
	instruments    instruments
	injection      injection
	devices        devices
	computing      computing
}

// lines are the shares of the line.
type lines struct {
	mux                     uartmux.Mux
	console, debug, process uartmux.Device
}

var system board

func main() {
	b := &system
	start := amd64.Ticks()
	b.machine = amd64.Boot()
	b.machine.OnPanic(b)
	b.readCmdline()
	b.machine.Mitigate(b.options.Mitigations)
	can := capability.Mint()
	b.kernel.Init(kernel.Config{
		CPU:         &b.machine.CPU,
		Platform:    b,
		Scheduler:   b.scheduler,
		Policy:      &b.policy,
		Credentials: b.credentials,
		Identity:    b.identity,
		Debug:       &b.debug,
		Backlog:     &b.debug,
		RAM:         &b.machine.TaskRAM,
	})
	b.kernel.OnTaskEnd(b, can.TaskManagement)
	b.reuse.Init(&b.machine.TaskRAM, &b.machine.CPU)
	b.taskLoader.Init(&b.kernel, &b.machine.CPU, &b.reuse, can.TaskManagement)
	b.hostLoader.Init(&b.kernel, &b.machine.CPU, &b.reuse, can.TaskManagement)
	b.hostSaver.Init(&b.kernel, &b.machine.CPU, &b.hostLoader, can.TaskManagement)
	b.hostSaver.SetResumer(abi.DriverAlarm, &b.alarm)
	b.hardware = b.instruments.alarmFor(&b.machine.Timer)
	b.devices.find(can)
	b.components.Init(&b.kernel, capsules[:], b.machine, can)
	b.components.Wire()
	b.machine.Contain(&b.components)
	b.debug.Poll(&b.uart)
	base.PrintBanner(&b.debug, b.machine)
	b.components.WireRest()
	b.injection.start()
	loaded := b.kernel.Load([][]byte{b.machine.ImageTasks(), b.machine.ModuleTasks()}, can.TaskManagement)
	b.instruments.booted(b.machine.EntryTicks(), start, amd64.Ticks())
	base.PrintLoaded(&b.debug, loaded)
	b.options.PrintBoot(&b.debug, b.machine, amd64.Ticks())
	b.debug.Booted()
	if b.hasConsole {
		b.started = true
		b.processConsole.Start()
	}
	forever := (b.hasConsole || made("loadport") || made("service")) && !b.injection.asked() // somebody can boot, load or call tasks when none can run
	b.kernel.RunTelling(&b.service, forever, can.MainLoop)
	b.End()
}

// End implements environment.Machine: it prints what is left, and the table of tasks, and ends the machine with their status.
func (b *board) End() {
	b.injection.print(&b.debug)
	b.printTasks(b.kernel.Messages())
	if b.components.Unsettled() { // a capsule failed that prints
		b.components.HandleDeferredCall()
		b.printTasks(b.kernel.Messages())
	}
	b.exit(b.kernel.ExitStatus())
}

// exit ends the machine with a status; with another if all is well but for a capsule.
func (b *board) exit(status uint32) {
	b.drain()
	if status == abi.ExitOK && b.components.StaysOff() {
		status = abi.ExitCapsule
	}
	amd64.Exit(status)
}

// Interrupt implements kernel.Platform.
func (b *board) Interrupt(line int) {
	if line == amd64.LineAlarm {
		b.machine.Timer.Interrupt()
		b.components.Look()
	} else {
		b.components.Interrupt(line)
	}
}

// TaskEnded implements kernel.TaskEndCallback.
func (b *board) TaskEnded(id kernel.TaskID) {
	b.appLoader.TaskEnded(id)
	b.service.TaskEnded(id)
	b.environment.TaskEnded(id)
}

// PrintKernel implements processconsole.Machine.
func (b *board) PrintKernel(w kernel.Writer) {
	base.PrintBanner(w, b.machine)
	i := b.machine.Image()
	const row = "  0x%x..0x%x%9d bytes  "
	format.Print(w, row+"code\n"+row+"constants\n"+row+"variables\n"+row+"task objects\n",
		i.Text, i.TextEnd, i.TextEnd-i.Text,
		i.Rodata, i.RodataEnd, i.RodataEnd-i.Rodata,
		i.Data, i.DataEnd, i.DataEnd-i.Data,
		i.Tasks, i.TasksEnd, i.TasksEnd-i.Tasks)
}

// PrintCapsules implements processconsole.Machine.
func (b *board) PrintCapsules(w kernel.Writer) { b.components.Print(w) }

// Reset implements processconsole.Machine.
func (b *board) Reset() { b.exit(abi.ExitOK) }

// Panic implements processconsole.Machine.
func (b *board) Panic() { panic("process console: told to panic") }

// hasLine reports whether there is a line to send by. Its driver falls with all that uses it, and with what still waited to be sent.
func (b *board) hasLine() bool { return made("uart16550") }

// drain sends by polling what still waits to be printed.
func (b *board) drain() {
	if !b.hasLine() {
		return
	}
	b.lines.mux.Drain(b.polling)
	b.debug.Drain(b.polling)
}

// printTasks sends all that still waits, and writes the table of tasks on lines of its own.
func (b *board) printTasks(w kernel.Writer) {
	b.drain()
	if !b.hasLine() || b.polling.MidLine() {
		w.WriteString("\n")
	}
	b.kernel.PrintTasks(w)
}

// KernelPanicked implements amd64.Mourner: what was printed before the panic, then the tasks.
func (b *board) KernelPanicked(w kernel.Writer) { b.printTasks(w) }
