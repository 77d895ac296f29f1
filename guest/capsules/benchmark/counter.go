package benchmark

// Counter is a capsule for another to call: a hil.CycleCounter that counts its calls.
type Counter struct{ calls uint64 }

// Cycles implements hil.CycleCounter.
func (c *Counter) Cycles() uint64 {
	c.calls++
	return c.calls
}

// CyclesAt implements hil.CycleCounter.
func (c *Counter) CyclesAt(t uint64) uint64 { return t }
