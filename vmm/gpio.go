package vmm

import (
	"errors"
	"fmt"

	"kapsel/vmm/gpio"
	"kapsel/vmm/virtio"
)

// GPIO is a GPIO device whose lines are those of a board, which is made for this machine alone.
type GPIO struct{ Board *gpio.Board }

// String returns "gpio".
func (GPIO) String() string { return "gpio" }

// check says in words why the device cannot be; nil if it can.
func (g GPIO) check() error {
	if g.Board == nil {
		return errors.New("a GPIO device without a board")
	}
	if n := len(g.Board.Names()); n == 0 || n > virtio.MaxLines {
		return fmt.Errorf("a GPIO device with a board of %d lines: want 1 to %d", n, virtio.MaxLines)
	}
	return nil
}

func (g GPIO) open(*Machine) (virtio.Device, error) { return virtio.NewGPIO(g.Board), nil }
