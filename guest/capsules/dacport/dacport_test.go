package dacport

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/kerneltest"
)

func TestSetValue(t *testing.T) {
	var d DAC
	var port kerneltest.Port
	d.Init(&port)
	assert.Equal(t, abi.INVAL, d.SetValue(4096))
	assert.Equal(t, abi.OK, d.SetValue(4095))
	assert.Equal(t, abi.BUSY, d.SetValue(1))
	assert.Equal(t, "4095\n", port.Take())
	assert.Equal(t, abi.OK, d.SetValue(0))
	port.Change(abi.OFF)
	assert.Equal(t, abi.OFF, d.SetValue(1))
	port.Change(abi.OK)
	assert.Equal(t, abi.OK, d.SetValue(1))
	d.Received(nil, 0, abi.OK)
	assert.Equal(t, "1\n", port.Take())
}
