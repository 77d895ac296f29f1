package virtio

import "sync/atomic"

// Counters count what happened in a device since it was made.
type Counters struct {
	Requests      uint64 // given back to the driver
	Read, Written uint64 // bytes of requests that the device read, and that it wrote
	Errors        uint64 // requests that failed, and accesses to registers that are none
	Broken        uint64 // times that a driver broke the device
	Notifications uint64 // of the driver
	Interrupts    uint64 // of the device
}

// counters are the live ones.
type counters struct {
	requests, read, written, errors, broken, notifications, interrupts atomic.Uint64
}

// use counts a request that was given back.
func (c *counters) use(read, written uint64) {
	c.requests.Add(1)
	c.read.Add(read)
	c.written.Add(written)
}

// load returns what they are now.
func (c *counters) load() Counters {
	return Counters{
		Requests:      c.requests.Load(),
		Read:          c.read.Load(),
		Written:       c.written.Load(),
		Errors:        c.errors.Load(),
		Broken:        c.broken.Load(),
		Notifications: c.notifications.Load(),
		Interrupts:    c.interrupts.Load(),
	}
}
