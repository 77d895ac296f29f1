package gpio

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/kernel/kerneltest"
)

const driver = abi.DriverGPIO

// The answers that commands give.
var (
	success   = [4]uint64{uint64(abi.Success)}
	inval     = [4]uint64{uint64(abi.Failure), uint64(abi.INVAL)}
	fail      = [4]uint64{uint64(abi.Failure), uint64(abi.FAIL)}
	unknown   = [4]uint64{uint64(abi.Failure), uint64(abi.NOSUPPORT)}
	low, high = [4]uint64{uint64(abi.SuccessU32), 0}, [4]uint64{uint64(abi.SuccessU32), 1}
)

func newMachine(t *testing.T, n int) (*kerneltest.Machine, *kerneltest.Pins, *GPIO) {
	m := kerneltest.New(t, capability.Mint())
	pins := kerneltest.NewPins(m, 5, n)
	g := new(GPIO)
	g.Init(&m.Kernel, pins, m.Capabilities.MemoryAllocation)
	m.Drivers[driver] = g
	return m, pins, g
}

// TestCommands: as Tock's driver answers (capsules/core/src/gpio.rs).
func TestCommands(t *testing.T) {
	m, pins, _ := newMachine(t, 2)
	m.AddTask("task", func(k *kerneltest.Task) {
		is := func(want kerneltest.PinState, what string) { assert.Equal(t, want, pins.List[1], what) }
		assert.Equal(t, success, k.Command(driver, exists, 9, 9))
		assert.Equal(t, [4]uint64{uint64(abi.SuccessU32), 2}, k.Command(driver, count, 9, 9))
		assert.Equal(t, success, k.Command(driver, set, 1, 0))
		assert.Equal(t, low, k.Command(driver, read, 1, 0), "it is no output")
		assert.Equal(t, success, k.Command(driver, makeOutput, 1, 0))
		is(kerneltest.PinState{IsOutput: true, Output: true}, "an output with the level that was set before")
		assert.Equal(t, high, k.Command(driver, read, 1, 0))
		assert.Equal(t, success, k.Command(driver, toggle, 1, 0))
		assert.Equal(t, low, k.Command(driver, read, 1, 0))
		assert.Equal(t, success, k.Command(driver, toggle, 1, 0))
		assert.Equal(t, success, k.Command(driver, clear, 1, 0))
		is(kerneltest.PinState{IsOutput: true}, "cleared")
		for pull := range uint64(3) {
			assert.Equal(t, success, k.Command(driver, makeInput, 1, pull))
			is(kerneltest.PinState{IsInput: true}, "an input")
		}
		assert.Equal(t, success, k.Command(driver, makeOutput, 1, 0))
		assert.Equal(t, unknown, k.Command(driver, makeInput, 1, 3))
		is(kerneltest.PinState{IsInput: true}, "an input all the same, as in Tock")
		for config, edges := range []hil.Edges{hil.BothEdges, hil.RisingEdge, hil.FallingEdge} {
			assert.Equal(t, success, k.Command(driver, enableInterrupt, 1, uint64(config)))
			is(kerneltest.PinState{IsInput: true, Edges: edges}, "interrupts")
		}
		assert.Equal(t, unknown, k.Command(driver, enableInterrupt, 1, 3))
		assert.Equal(t, unknown, k.Command(driver, enableInterrupt, 1, 1<<32-1))
		is(kerneltest.PinState{IsInput: true, Edges: hil.FallingEdge}, "as before")
		assert.Equal(t, success, k.Command(driver, deactivate, 1, 0))
		is(kerneltest.PinState{Edges: hil.FallingEdge}, "deactivated")
		assert.Equal(t, success, k.Command(driver, makeInput, 1, 0))
		assert.Equal(t, success, k.Command(driver, disableInterrupt, 1, 0))
		is(kerneltest.PinState{}, "without interrupts it is deactivated, too")
		for command := uint64(makeOutput); command <= deactivate; command++ {
			assert.Equal(t, inval, k.Command(driver, command, 2, 0))
			assert.Equal(t, inval, k.Command(driver, command, 1<<32-1, 3))
		}
		for _, command := range []uint64{11, 1<<32 - 1} {
			assert.Equal(t, unknown, k.Command(driver, command, 2, 0))
		}
		pins.Broken = true
		for _, command := range []uint64{makeOutput, set, clear, toggle, makeInput, enableInterrupt, disableInterrupt, deactivate} {
			assert.Equal(t, fail, k.Command(driver, command, 1, 0), command)
		}
	}, nil)
	assert.False(t, m.Run())
}

// TestTasksAreToldOfChanges: all that use the driver are, whoever of them enabled it.
func TestTasksAreToldOfChanges(t *testing.T) {
	m, pins, _ := newMachine(t, 3)
	heard := map[string][][3]uint32{}
	for _, name := range []string{"one", "two"} {
		m.AddTask(name, func(k *kerneltest.Task) {
			f := k.Function(func(args [3]uint32, _ uint64) { heard[name] = append(heard[name], args) })
			assert.EqualValues(t, abi.SuccessFnUserdata, k.Subscribe(driver, changed, f, 0)[0])
			if name == "two" {
				k.Command(driver, makeInput, 0, 0)
				k.Command(driver, makeInput, 2, 0)
				k.Command(driver, enableInterrupt, 0, 1) // rising
				k.Command(driver, enableInterrupt, 2, 2) // falling
				for pin := range 3 {
					pins.Drive(pin, true)
					pins.Drive(pin, false)
				}
			}
			k.Wait()
			k.Wait()
		}, nil)
	}
	assert.False(t, m.Run())
	want := [][3]uint32{{0, 1, 0}, {2, 0, 0}}
	assert.Equal(t, map[string][][3]uint32{"one": want, "two": want}, heard)
}

// TestWaitForAPin: a task without a subscription is told, too, once it has enabled the interrupt.
func TestWaitForAPin(t *testing.T) {
	m, pins, _ := newMachine(t, 1)
	m.AddTask("task", func(k *kerneltest.Task) {
		k.Command(driver, makeInput, 0, 0)
		k.Command(driver, enableInterrupt, 0, 0)
		pins.Drive(0, true)
		assert.Equal(t, [4]uint64{0, 1}, k.WaitFor(driver, changed))
		pins.Drive(0, false)
		assert.Equal(t, [4]uint64{0, 0}, k.WaitFor(driver, changed))
	}, nil)
	assert.False(t, m.Run())
}

// TestNothingWasAskedFor: a change that comes while nobody waits, or before anything was set, is left alone.
func TestNothingWasAskedFor(t *testing.T) {
	_, _, g := newMachine(t, 1)
	g.PinChanged(0, true)
	new(GPIO).PinChanged(9, true)
}
