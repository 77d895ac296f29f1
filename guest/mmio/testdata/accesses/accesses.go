// Package accesses makes accesses that a compiler might merge or drop, if they were of variables.
package accesses

import "kapsel/guest/mmio"

type lamp struct{}

type bits uint8

const (
	status  mmio.ReadOnly[lamp, bits]  = 0
	command mmio.WriteOnly[lamp, bits] = 1
	level   mmio.ReadWrite[lamp, bits] = 2
	colour  mmio.Field[bits, uint8]    = 0x0c
)

// Six are the accesses: two reads of one register, whose results nobody uses, two writes of one value, a write of what was
// just read, and a read of what was just written.
func Six(d *mmio.Device[lamp]) bits {
	status.Read(d)
	status.Read(d)
	command.Write(d, colour.With(0, 1))
	command.Write(d, colour.With(0, 1))
	level.Write(d, 5)
	return level.Read(d)
}
