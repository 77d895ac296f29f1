package led

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
)

const driver = abi.DriverLED

// The answers that commands give.
var (
	success = [4]uint64{uint64(abi.Success)}
	inval   = [4]uint64{uint64(abi.Failure), uint64(abi.INVAL)}
	fail    = [4]uint64{uint64(abi.Failure), uint64(abi.FAIL)}
	unknown = [4]uint64{uint64(abi.Failure), uint64(abi.NOSUPPORT)}
)

// TestCommands: as Tock's driver answers (capsules/core/src/led.rs).
func TestCommands(t *testing.T) {
	m := kerneltest.New(t, capability.Mint())
	pins := kerneltest.NewPins(m, 5, 3)
	pins.List[0].Output = true
	l := new(LED)
	l.Init(pins)
	m.Drivers[driver] = l
	lit := func() (on [3]bool) {
		for i := range pins.List {
			assert.True(t, pins.List[i].IsOutput)
			on[i] = pins.List[i].Output
		}
		return on
	}
	m.AddTask("task", func(k *kerneltest.Task) {
		assert.Zero(t, lit(), "all are off at first")
		assert.Equal(t, [4]uint64{uint64(abi.SuccessU32), 3}, k.Command(driver, count, 0, 0))
		assert.Equal(t, success, k.Command(driver, on, 0, 0))
		assert.Equal(t, success, k.Command(driver, on, 2, 0))
		assert.Equal(t, success, k.Command(driver, on, 2, 0))
		assert.Equal(t, [3]bool{true, false, true}, lit())
		assert.Equal(t, success, k.Command(driver, off, 0, 0))
		assert.Equal(t, success, k.Command(driver, toggle, 1, 0))
		assert.Equal(t, success, k.Command(driver, toggle, 2, 0))
		assert.Equal(t, [3]bool{false, true, false}, lit())
		for _, command := range []uint64{on, off, toggle} {
			assert.Equal(t, inval, k.Command(driver, command, 3, 0))
			assert.Equal(t, inval, k.Command(driver, command, 1<<32-1, 0))
		}
		for _, command := range []uint64{4, 5, 1<<32 - 1} {
			assert.Equal(t, unknown, k.Command(driver, command, 0, 0))
		}
		assert.EqualValues(t, abi.NOSUPPORT, k.Subscribe(driver, 0, 0, 0)[1])
		pins.Broken = true
		assert.Equal(t, fail, k.Command(driver, on, 0, 0))
	}, nil)
	assert.False(t, m.Run())
	assert.Equal(t, [3]bool{false, true, false}, lit())
}
