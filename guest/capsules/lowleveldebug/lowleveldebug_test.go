package lowleveldebug

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
)

func TestTexts(t *testing.T) {
	m := kerneltest.New(t, capability.Mint())
	var out kerneltest.Log
	l := new(LowLevelDebug)
	l.Init(&out)
	m.Drivers[abi.DriverLowLevelDebug] = l
	m.AddTask("task", func(k *kerneltest.Task) {
		const driver = abi.DriverLowLevelDebug
		for command, want := range []uint64{128, 128, 128, 128, 0} {
			assert.Equal(t, want, k.Command(driver, uint64(command), 0x123, 0xABC)[0], "command %d", command)
		}
		nosupport := uint64(abi.NOSUPPORT)
		assert.Equal(t, nosupport, k.Subscribe(driver, 0, 0, 0)[1])
		assert.Equal(t, nosupport, k.AllowRO(driver, 0, 0, 0)[1])
	}, nil)
	assert.False(t, m.Run())
	assert.Equal(t, `LowLevelDebug: App 0x1 status code 0x123
LowLevelDebug: App 0x1 prints 0x123
LowLevelDebug: App 0x1 prints 0x123 0xabc
`, out.String())
}
