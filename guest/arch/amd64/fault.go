package amd64

import "kapsel/guest/kernel"

// PrintRegisters implements kernel.CPU.
func (c *CPU) PrintRegisters(slot int, w kernel.Writer) {
	x := contexts[slot]
	if x.came == cameBySyscall {
		x.completeSyscall()
	}
	x.print(w)
}
