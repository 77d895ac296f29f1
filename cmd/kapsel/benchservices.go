package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"slices"
	"sync"
	"time"

	"kapsel/guest/abi"
	"kapsel/vmm"
)

// servicePaths are what the image measures in a machine with services.
var servicePaths = []string{"ServiceCall", "ServiceCallHost"}

// withServices boots the image as often as asked for in a machine whose host and task call each other.
func (m *measurer) withServices(ctx context.Context) (int, error) {
	if !slices.ContainsFunc(servicePaths, m.wants) {
		return 0, nil
	}
	var c *caller
	status, err := m.in(ctx, "with services", "", func() []vmm.Device {
		c.Close()
		c = newCaller()
		return []vmm.Device{vmm.Ports{{Name: abi.PortService, Input: c, Output: c}}}
	}, servicePaths)
	c.Close()
	return status, err
}

// A caller is the host's end of the port of services (guest/abi/service.go). It calls the task answerTime behind the answer before, and answers as much behind a call.
// Nothing that it sends or gets has a payload.
type caller struct {
	frames chan []byte // to the guest
	rest   []byte      // of the frame that is read
	heard  []byte      // of the guest
	closed chan struct{}
	close  sync.Once
}

func newCaller() *caller {
	return &caller{frames: make(chan []byte, 2), closed: make(chan struct{}), rest: serviceFrame(abi.ServiceHello, 0, "")}
}

// serviceFrame is a frame without a payload.
func serviceFrame(kind byte, number uint32, name string) []byte {
	b := []byte{abi.ServiceVersion, kind, 0, byte(len(name))}
	b = binary.LittleEndian.AppendUint32(b, number)
	return append(append(b, make([]byte, 8)...), name...)
}

// Read is what the machine's port reads.
func (c *caller) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		select {
		case c.rest = <-c.frames:
			time.Sleep(answerTime)
		case <-c.closed:
			return 0, io.EOF
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// Write is what the machine's port writes to.
func (c *caller) Write(p []byte) (int, error) {
	c.heard = append(c.heard, p...)
	for len(c.heard) >= abi.ServiceHeader && len(c.heard) >= abi.ServiceHeader+int(c.heard[3]) {
		kind, number := c.heard[1], binary.LittleEndian.Uint32(c.heard[4:])
		c.heard = bytes.Clone(c.heard[abi.ServiceHeader+int(c.heard[3]):])
		next := serviceFrame(abi.ServiceCall, number+1, "bench64")
		if kind == abi.ServiceCall {
			next = serviceFrame(abi.ServiceAnswer, number, "")
		}
		select {
		case c.frames <- next:
		case <-c.closed:
		}
	}
	return len(p), nil
}

// Close ends what the machine reads. A caller that there is not is closed.
func (c *caller) Close() {
	if c != nil {
		c.close.Do(func() { close(c.closed) })
	}
}
