//go:build kapsel_kernel

// Command minimal is a small kernel for a virtual machine under KVM or QEMU: console, alarm, IPC and
// low-level debug. Tasks take turns, every object may run, and the kernel's own messages are
// sent by polling, when they arise.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/arch/amd64"
	"kapsel/guest/arch/amd64/mitigation"
	"kapsel/guest/board/base"
	"kapsel/guest/capsules/alarm"
	"kapsel/guest/capsules/console"
	"kapsel/guest/capsules/ipc"
	"kapsel/guest/capsules/lowleveldebug"
	"kapsel/guest/capsules/uart16550"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/mmio"
)

// A board is the whole system.
type board struct {
	machine *amd64.Machine
	options base.Options
	kernel  kernel.Kernel

	scheduler   kernel.RoundRobin
	policy      kernel.FaultLimit
	credentials kernel.NoCredentials
	identity    kernel.HeaderIdentity

	ports         mmio.Ports
	uart          uart16550.UART
	console       console.Console
	chunk         [256]byte // what it sends at once
	alarm         alarm.Alarm
	lowLevelDebug lowleveldebug.LowLevelDebug
	ipc           ipc.IPC
}

var system board

func main() {
	b := &system
	b.machine = amd64.Boot()
	b.machine.OnPanic(b)
	b.options.Mitigations = mitigation.Auto
	debug := b.machine.Serial()
	base.ReadCmdline(b.machine.Cmdline(), &b.options, debug, base.Words)
	b.policy = b.options.FaultPolicy()
	b.machine.Mitigate(b.options.Mitigations)
	can := capability.Mint()
	b.kernel.Init(kernel.Config{
		CPU:         &b.machine.CPU,
		Platform:    b,
		Scheduler:   &b.scheduler,
		Policy:      &b.policy,
		Credentials: &b.credentials,
		Identity:    &b.identity,
		Debug:       debug,
		RAM:         &b.machine.TaskRAM,
	})
	b.wire(can)
	base.PrintBanner(debug, b.machine)
	loaded := b.kernel.Load([][]byte{b.machine.ImageTasks(), b.machine.ModuleTasks()}, can.TaskManagement)
	base.PrintLoaded(debug, loaded)
	ticks := amd64.Ticks()
	b.kernel.Run(can.MainLoop)
	b.options.PrintBoot(debug, b.machine, ticks) // behind the first task, which is not to wait for it
	b.KernelPanicked(debug)
	amd64.Exit(b.kernel.ExitStatus())
}

// wire connects the capsules, lines before their users.
func (b *board) wire(can capability.Set) {
	k := &b.kernel
	b.ports = mmio.NewPorts(abi.PortCOM1, 8, can.Hardware)
	b.uart.Init(k, mmio.NewDevice[uart16550.Registers](&b.ports, can.Hardware))
	b.machine.BurstSerial(b.uart.Burst())
	b.machine.Route(abi.IRQCOM1)
	b.console.Init(k, &b.uart, b.chunk[:], can.MemoryAllocation)
	b.alarm.Init(k, &b.machine.Timer, can.MemoryAllocation)
	b.lowLevelDebug.Init(b.machine.Serial())
	b.ipc.Init(k, can.MemoryAllocation, can.MemorySharing)
	k.AddDriver(abi.DriverAlarm, &b.alarm)
	k.AddDriver(abi.DriverConsole, &b.console)
	k.AddDriver(abi.DriverLowLevelDebug, &b.lowLevelDebug)
	k.AddDriver(abi.DriverIPC, &b.ipc)
}

// Interrupt implements kernel.Platform.
func (b *board) Interrupt(line int) {
	switch line {
	case amd64.LineAlarm:
		b.machine.Timer.Interrupt()
	case abi.IRQCOM1:
		b.uart.HandleInterrupt()
	}
}

// KernelPanicked implements amd64.Mourner: the rest of what was being sent, then the tasks.
func (b *board) KernelPanicked(w kernel.Writer) {
	b.uart.TransmitPolling(nil)
	b.kernel.PrintTasks(w)
}
