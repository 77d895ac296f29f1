package main

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"kapsel/guest/net"
	"kapsel/vmm"
	"kapsel/vmm/ethernet"
)

// webPaths are what the image measures in a machine with a customer at its network.
var webPaths = []string{"HTTPRequest"}

// withCustomer boots the image as often as asked for in a machine whose web server it measures.
func (m *measurer) withCustomer(ctx context.Context) (int, error) {
	if !slices.ContainsFunc(webPaths, m.wants) {
		return 0, nil
	}
	devices := func() []vmm.Device { return []vmm.Device{vmm.Network{Connection: shopping{}}} }
	return m.in(ctx, "with a network", "", devices, webPaths)
}

// shopping is a network on which a customer asks the machine's web server for a page again and again.
type shopping struct{}

// String implements vmm.Connection.
func (shopping) String() string { return "with a customer" }

// Open implements vmm.Connection.
func (shopping) Open(log func(string, ...any)) (*ethernet.Port, error) {
	c, err := newCustomer()
	if err != nil {
		return nil, err
	}
	return ethernet.NewPort(ethernet.MAC{0x52, 0x54, 0, 0, 0, 2}, c, nil, log), nil
}

// webRequest is what a customer sends, as curl does.
const webRequest = "GET / HTTP/1.1\r\nHost: 10.0.0.2\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n"

// A customer keeps one connection to 10.0.0.2, and asks for the next page answerTime behind the answer before, which is one segment.
type customer struct {
	mu       sync.Mutex
	stack    net.Stack
	conn     *net.Conn
	asked    bool      // an answer is awaited
	answered bool      // there was one
	next     time.Time // when the next request is sent
	began    time.Time
	wake     chan struct{} // something may have changed
	closed   chan struct{}
	close    sync.Once
}

func newCustomer() (*customer, error) {
	c := &customer{began: time.Now(), wake: make(chan struct{}, 1), closed: make(chan struct{})}
	number := uint32(1) // the same in each run: nobody else is on this network
	err := c.stack.Init(net.Config{
		Hardware: net.HardwareAddress{0x52, 0x54, 0, 0, 0, 3}, Conns: net.MakeConns(1, 2048, 4096),
		Random: func() uint32 { number += 1 << 20; return number },
	})
	if err == nil {
		err = c.stack.SetAddress(net.Address{10, 0, 0, 1}, 24, net.Address{}, c.now())
	}
	return c, err
}

func (c *customer) now() net.Time { return net.Time(time.Since(c.began).Microseconds()) }

// ReadFrame implements ethernet.Backend.
func (c *customer) ReadFrame(buffer []byte) (int, error) {
	for {
		n, wait := c.output(buffer)
		if n > 0 {
			return n, nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-c.wake:
		case <-timer.C:
		case <-c.closed:
			timer.Stop()
			return 0, io.EOF
		}
		timer.Stop()
	}
}

// output asks if it is time to, and returns the next frame, or how long there is none. Between an answer and the next request nothing is
// sent: the request acknowledges the answer, or else whether a frame of its own does would be up to the host.
func (c *customer) output(buffer []byte) (n int, wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if wait = time.Until(c.next); !c.asked && c.answered && wait > 0 {
		return 0, wait
	}
	c.ask()
	if n = c.stack.Output(buffer, c.now()); n > 0 {
		return n, 0
	}
	wait = answerTime
	if at, ok := c.stack.Deadline(); ok && c.asked {
		wait = time.Duration(at-min(at, c.now())) * time.Microsecond
	}
	return 0, wait
}

// ask sends the next request if it is time to. A connection that there is not, or not any more, is made.
func (c *customer) ask() {
	if c.asked || time.Now().Before(c.next) {
		return
	}
	if c.conn == nil {
		c.conn, _ = c.stack.Dial(net.Endpoint{Address: net.Address{10, 0, 0, 2}, Port: 80}, c.now())
		c.next = time.Now().Add(answerTime)
		return
	}
	n, err := c.conn.Write([]byte(webRequest))
	switch {
	case err != nil:
		c.conn.Close()
		c.conn = nil
	case n > 0:
		c.asked = true
		return
	}
	c.next = time.Now().Add(answerTime)
}

// WriteFrame implements ethernet.Backend.
func (c *customer) WriteFrame(frame []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stack.Input(frame, c.now())
	var answer [4096]byte
	if c.asked {
		if n, _ := c.conn.Read(answer[:]); n > 0 {
			c.asked, c.answered, c.next = false, true, time.Now().Add(answerTime)
		}
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return nil
}

// Close implements ethernet.Backend.
func (c *customer) Close() error {
	c.close.Do(func() { close(c.closed) })
	return nil
}
