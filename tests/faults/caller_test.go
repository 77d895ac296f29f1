package faults

import (
	"io"
	"sync"
	"time"

	"kapsel/guest/abi"
	"kapsel/sandbox/wire"
	"kapsel/tests/guest/labour"
	"kapsel/tests/machine"
)

// A caller is the host's end of the port of services: it answers each call of a task's, and calls the task serves, again and again. What comes and
// is no frame is forgotten. Where an answer does not come, it says what is no frame, whatever the guest takes it for: nobody waits for it any longer then.
type caller struct {
	mu      sync.Mutex
	link    *wire.Link
	came    chan struct{} // bytes of the guest's
	done    <-chan struct{}
	waiting bool // for the guest to say something
	zeros   int  // bytes to be sent before all else: a payload of them, and then no header
	number  uint32
}

// resting is how long a caller waits before it calls a task that refused.
const resting = 20 * time.Millisecond

// silence is how long it waits for what the guest owes it: longer than a capsule that does not return holds the machine up.
func silence() time.Duration {
	if machine.InRig() {
		return 25 * time.Second
	}
	return 12 * time.Second
}

func newCaller(done <-chan struct{}) *caller {
	c := &caller{link: wire.New(labour.ServiceSize, func() {}), came: make(chan struct{}, 1), done: done}
	c.begin()
	return c
}

// begin says Hello: what was before is forgotten.
func (c *caller) begin() {
	c.link.Reset()
	c.send(wire.Frame{Kind: abi.ServiceHello})
	c.waiting = true
}

// call calls the task.
func (c *caller) call() {
	c.number++
	request := make([]byte, labour.ServiceSize)
	for i := range request {
		request[i] = byte(c.number) + byte(i)
	}
	c.send(wire.Frame{Kind: abi.ServiceCall, Number: c.number, Most: labour.ServiceSize, Name: []byte("serves"), Payload: request})
	c.waiting = true
}

// send has the guest get a frame. What it does not take is forgotten: it will be silent then.
func (c *caller) send(f wire.Frame) {
	if c.link.Send(f) != nil {
		c.link.Reset()
	}
}

// take takes a frame.
func (c *caller) take(f wire.Frame) {
	switch f.Kind {
	case abi.ServiceCall:
		labour.Served(f.Payload)
		c.send(wire.Frame{Kind: abi.ServiceAnswer, Number: f.Number, Payload: f.Payload})
	case abi.ServiceHello:
		c.call()
	case abi.ServiceAnswer:
		if c.waiting = false; f.Status == abi.OK {
			c.call()
		}
	}
}

// Write takes what the guest sends.
func (c *caller) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for taken := 0; taken < len(p); {
		taken += c.link.Offer(p[taken:])
		if c.link.Err() != nil {
			c.begin()
		}
		if f, _, ok := c.link.Receive(nil); ok {
			c.take(f)
		}
	}
	select {
	case c.came <- struct{}{}:
	default:
	}
	return len(p), nil
}

// fetch takes what there is to be sent, and says how long to wait for more.
func (c *caller) fetch(p []byte) (n int, pause time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.zeros > 0 {
		n = min(c.zeros, len(p))
		clear(p[:n])
		c.zeros -= n
		return n, 0
	}
	if n = c.link.Fetch(p); c.waiting {
		return n, silence()
	}
	return n, resting
}

// Read has what the guest gets.
func (c *caller) Read(p []byte) (int, error) {
	for {
		n, pause := c.fetch(p)
		if n > 0 {
			return n, nil
		}
		select {
		case <-c.came:
		case <-time.After(pause):
			c.mu.Lock()
			if c.waiting {
				c.link.Reset()
				c.zeros, c.waiting = abi.ServicePayload+abi.ServiceHeader+abi.ServiceName, false
			} else {
				c.call()
			}
			c.mu.Unlock()
		case <-c.done:
			return 0, io.EOF
		}
	}
}
