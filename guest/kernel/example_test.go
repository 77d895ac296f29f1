package kernel_test

import (
	"fmt"
	"testing"

	"kapsel/guest/abi"
	"kapsel/guest/capsules/alarm"
	"kapsel/guest/capsules/console"
	"kapsel/guest/capsules/debugwriter"
	"kapsel/guest/capsules/lowleveldebug"
	"kapsel/guest/capsules/uartmux"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
)

// A board is these variables, laid out by the linker. Here the machine layer (CPU, alarm,
// line) is kerneltest's; a real board has its own, and the driver of its UART.
var (
	exampleMachine *kerneltest.Machine
	exampleKernel  kernel.Kernel
	exampleMux     uartmux.Mux
	consoleLine    uartmux.Device
	debugLine      uartmux.Device
	exampleDebug   debugwriter.Writer
	exampleConsole console.Console
	exampleAlarm   alarm.Alarm
	exampleLLDB    lowleveldebug.LowLevelDebug
	exampleRAM     [1 << 20]byte
)

// exampleBoard is the board's kernel.Platform.
type exampleBoard struct{}

// Interrupt hands each line to the driver of the device behind it: here kerneltest knows.
func (exampleBoard) Interrupt(line int) { exampleMachine.Interrupt(line) }

// Example wires a board, runs a task to its end, and shows what it wrote.
func Example() {
	caps := capability.Mint()
	exampleMachine = kerneltest.New(&testing.B{}, caps)
	exampleMachine.CPU.Programs[0] = func(k *kerneltest.Task) {
		k.Store(k.Start.RAMStart, []byte("Hello\n")...)
		k.AllowRO(abi.DriverConsole, 1, k.Start.RAMStart, 6)
		k.Command(abi.DriverConsole, 1, 6, 0)
		k.WaitFor(abi.DriverConsole, 1)
		k.Command(abi.DriverLowLevelDebug, 2, 0x2a, 0)
	}

	exampleKernel.Init(kernel.Config{
		CPU:         &exampleMachine.CPU,
		Platform:    exampleBoard{},
		Scheduler:   &kernel.RoundRobin{},
		Policy:      &kernel.FaultLimit{Dump: true},
		Credentials: &kernel.SHA256Credentials{},
		Identity:    &kernel.HeaderIdentity{},
		Debug:       &exampleDebug,
		RAM:         &kernel.RAM{Low: exampleRAM[:]},
	})
	exampleMux.Init(&exampleKernel, &exampleMachine.Line)
	consoleLine.Init(&exampleMux)
	debugLine.Init(&exampleMux)
	exampleDebug.Init(&exampleKernel, &debugLine)
	exampleConsole.Init(&exampleKernel, &consoleLine, make([]byte, 256), caps.MemoryAllocation)
	exampleAlarm.Init(&exampleKernel, &exampleMachine.Alarm, caps.MemoryAllocation)
	exampleLLDB.Init(&exampleDebug)
	exampleKernel.AddDriver(abi.DriverConsole, &exampleConsole)
	exampleKernel.AddDriver(abi.DriverAlarm, &exampleAlarm)
	exampleKernel.AddDriver(abi.DriverLowLevelDebug, &exampleLLDB)

	exampleKernel.Load([][]byte{kerneltest.Object(&testing.B{}, "hello", nil)}, caps.TaskManagement)
	exampleKernel.Run(caps.MainLoop)

	exampleKernel.PrintTasks(&exampleDebug)
	exampleMux.Drain(&exampleMachine.Line)
	exampleDebug.Drain(&exampleMachine.Line)
	for _, text := range exampleMachine.Line.Sent {
		fmt.Print(text)
	}
	fmt.Print(exampleMachine.Line.Polled)
	fmt.Println("status", exampleKernel.ExitStatus())
	// Output:
	// task 1 hello: flash 0x40000000..0x40001000, RAM 0x80000000..0x80005000, entry 0x40000044
	// Hello
	// LowLevelDebug: App 0x1 prints 0x2a
	// PID   Name              State       Restarts   Syscalls  Dropped  Expired  Ended by
	//    1  hello             Terminated         0          5        0        0  exit with code 0
	// status 0
}
