// Package faultymux is what several drivers of package faulty share, for tests of capsules that fail: it fails when it is told to, or calls its
// clients, which do.
package faultymux

import (
	"kapsel/guest/capsules/faulty/failures"
	"kapsel/guest/kernel"
)

// Client is who shares the mux.
type Client = interface {
	// Called is called from within Call, or later.
	Called(way uint32)
}

// Mux is shared.
type Mux struct {
	work   kernel.DeferredCall
	client Client // to be called, or nil
	way    uint32
	calls  uint32
}

// Init makes the mux ready.
func (m *Mux) Init(k *kernel.Kernel) { m.work.Register(k, m) }

// Fail fails in the mux.
func (m *Mux) Fail(way uint32) {
	m.calls++
	failures.Fail(way)
}

// Call has the client called at once.
func (m *Mux) Call(c Client, way uint32) {
	m.calls++
	c.Called(way)
}

// CallLater has the client called from a deferred call.
func (m *Mux) CallLater(c Client, way uint32) {
	m.calls++
	m.client, m.way = c, way
	m.work.Set()
}

// Calls is how often the mux was asked for something.
func (m *Mux) Calls() uint32 { return m.calls }

// HandleDeferredCall implements kernel.DeferredClient.
func (m *Mux) HandleDeferredCall() {
	if c := m.client; c != nil {
		m.client = nil
		c.Called(m.way)
	}
}
