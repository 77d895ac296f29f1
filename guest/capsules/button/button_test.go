package button

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

const driver = abi.DriverButton

// The answers that commands give.
var (
	success  = [4]uint64{uint64(abi.Success)}
	inval    = [4]uint64{uint64(abi.Failure), uint64(abi.INVAL)}
	unknown  = [4]uint64{uint64(abi.Failure), uint64(abi.NOSUPPORT)}
	up, down = [4]uint64{uint64(abi.SuccessU32), 0}, [4]uint64{uint64(abi.SuccessU32), 1}
)

func newMachine(t *testing.T, n int) (*kerneltest.Machine, *kerneltest.Pins, *Button) {
	m := kerneltest.New(t, capability.Mint())
	pins := kerneltest.NewPins(m, 5, n)
	b := new(Button)
	b.Init(&m.Kernel, pins, m.Capabilities.MemoryAllocation)
	m.Drivers[driver] = b
	return m, pins, b
}

// TestCommands: as Tock's driver answers (capsules/core/src/button.rs).
func TestCommands(t *testing.T) {
	m, pins, _ := newMachine(t, 2)
	m.AddTask("task", func(k *kerneltest.Task) {
		assert.Equal(t, [4]uint64{uint64(abi.SuccessU32), 2}, k.Command(driver, count, 0, 0))
		assert.Equal(t, up, k.Command(driver, read, 1, 0))
		assert.Equal(t, success, k.Command(driver, enable, 1, 0))
		pins.Drive(1, true)
		assert.Equal(t, [4]uint64{1, 1}, k.WaitFor(driver, changed))
		assert.Equal(t, down, k.Command(driver, read, 1, 0))
		assert.Equal(t, up, k.Command(driver, read, 0, 0))
		pins.Drive(1, false)
		assert.Equal(t, [4]uint64{1, 0}, k.WaitFor(driver, changed))
		for _, command := range []uint64{enable, disable, read} {
			assert.Equal(t, inval, k.Command(driver, command, 2, 0))
			assert.Equal(t, inval, k.Command(driver, command, 1<<32-1, 0))
		}
		for _, command := range []uint64{4, 5, 1<<32 - 1} {
			assert.Equal(t, unknown, k.Command(driver, command, 2, 0), "whatever the button")
		}
	}, nil)
	assert.False(t, m.Run())
}

// TestEachTaskHearsOfItsButtons: of those that it enabled, until it disables them.
func TestEachTaskHearsOfItsButtons(t *testing.T) {
	m, pins, _ := newMachine(t, 3)
	heard := map[string][][3]uint32{}
	hear := func(name string, events int, buttons ...uint64) {
		m.AddTask(name, func(k *kerneltest.Task) {
			f := k.Function(func(args [3]uint32, _ uint64) { heard[name] = append(heard[name], args) })
			k.Subscribe(driver, changed, f, 0)
			for _, b := range buttons {
				k.Command(driver, enable, b, 0)
			}
			k.Command(driver, enable, 2, 0)
			k.Command(driver, disable, 2, 0)
			for range events {
				k.Wait()
			}
		}, nil)
	}
	hear("both", 4, 0, 1)
	hear("one", 2, 1)
	m.AddTask("driver", func(k *kerneltest.Task) {
		k.NoWait()
		for pin := range 3 {
			pins.Drive(pin, true)
			pins.Drive(pin, false)
		}
		k.NoWait()
	}, nil)
	assert.False(t, m.Run())
	assert.Equal(t, map[string][][3]uint32{
		"both": {{0, 1, 0}, {0, 0, 0}, {1, 1, 0}, {1, 0, 0}},
		"one":  {{1, 1, 0}, {1, 0, 0}},
	}, heard)
}

// TestNoRoomForAGrant: a task without room for it hears of nothing, and reads all the same.
func TestNoRoomForAGrant(t *testing.T) {
	m, _, _ := newMachine(t, 1)
	m.AddTask("task", func(k *kerneltest.Task) {
		variant, end := k.Memop(abi.MemopGrantStart, 0)
		assert.EqualValues(t, abi.SuccessAddress, variant)
		k.Memop(abi.MemopBrk, end)
		for range 200 { // so that nothing is left below the grants
			k.Memop(abi.MemopSbrk, 1)
		}
		assert.Equal(t, [4]uint64{uint64(abi.Failure), uint64(abi.NOMEM)}, k.Command(driver, enable, 0, 0))
		assert.Equal(t, up, k.Command(driver, read, 0, 0))
	}, func(s *tbfbuild.Spec) { s.MinimumRAM = abi.PageSize })
	assert.False(t, m.Run())
}

// TestMoreThan32Buttons: those that there is a bit for count.
func TestMoreThan32Buttons(t *testing.T) {
	m, pins, _ := newMachine(t, 40)
	m.AddTask("task", func(k *kerneltest.Task) {
		assert.Equal(t, [4]uint64{uint64(abi.SuccessU32), 32}, k.Command(driver, count, 0, 0))
		assert.Equal(t, success, k.Command(driver, enable, 31, 0))
		assert.Equal(t, inval, k.Command(driver, enable, 32, 0))
		pins.Drive(32, true)
		pins.Drive(31, true)
		assert.Equal(t, [4]uint64{31, 1}, k.WaitFor(driver, changed))
	}, nil)
	assert.False(t, m.Run())
}

// TestNothingWasAskedFor: a change that comes while nobody waits, or before anything was set, is left alone.
func TestNothingWasAskedFor(t *testing.T) {
	_, _, b := newMachine(t, 1)
	b.PinChanged(0, true)
	b.PinChanged(40, true)
	new(Button).PinChanged(0, true)
}
