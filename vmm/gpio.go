package vmm

import (
	"kapsel/vmm/gpio"
	"kapsel/vmm/virtio"
)

// GPIO is a GPIO device whose lines are those of a board, which is made for this machine alone.
type GPIO struct{ Board *gpio.Board }

// String returns "gpio".
func (GPIO) String() string { return "gpio" }

func (g GPIO) open(*Machine) (virtio.Device, error) { return virtio.NewGPIO(g.Board), nil }
