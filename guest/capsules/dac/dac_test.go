package dac

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
)

// output is what a converter was set to.
type output struct {
	value  uint32
	refuse abi.ErrorCode
}

func (o *output) SetValue(v uint32) abi.ErrorCode {
	if o.refuse == abi.OK {
		o.value = v
	}
	return o.refuse
}

// TestCommands: those of Tock's capsules/extra/src/dac.rs.
func TestCommands(t *testing.T) {
	m := kerneltest.New(t, capability.Mint())
	var o output
	d := new(DAC)
	d.Init(&o)
	m.Drivers[abi.DriverDAC] = d
	m.AddTask("task", func(k *kerneltest.Task) {
		assert.Equal(t, [4]uint64{128}, k.Command(abi.DriverDAC, 0, 0, 0), "0: it is there")
		assert.Equal(t, [4]uint64{128}, k.Command(abi.DriverDAC, 1, 0, 0), "1: initialize")
		assert.Equal(t, [4]uint64{128}, k.Command(abi.DriverDAC, 2, 1234, 0), "2: set")
		assert.EqualValues(t, 1234, o.value)
		for _, e := range []abi.ErrorCode{abi.BUSY, abi.INVAL, abi.OFF} {
			o.refuse = e
			assert.Equal(t, [4]uint64{0, uint64(e)}, k.Command(abi.DriverDAC, 2, 1, 0))
		}
		assert.Equal(t, [4]uint64{0, uint64(abi.NOSUPPORT)}, k.Command(abi.DriverDAC, 3, 0, 0))
		assert.EqualValues(t, abi.FailureFnUserdata, k.Subscribe(abi.DriverDAC, 0, 0, 0)[0], "no upcalls")
	}, nil)
	assert.False(t, m.Run())
}
