//go:build kapsel_kernel

package main

import (
	"kapsel/guest/arch/amd64"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
)

// A hanging is a capsule whose deferred call does not return.
type hanging struct {
	call  kernel.DeferredCall
	deaf  bool // nor does what it does in a panic
	spins uint64
}

// HandleDeferredCall implements kernel.DeferredClient.
func (h *hanging) HandleDeferredCall() {
	for {
		h.spins++
	}
}

// KernelPanicked implements amd64.Mourner.
func (h *hanging) KernelPanicked(kernel.Writer) {
	for h.deaf {
		h.spins++
	}
}

// A hangingBoard has no tasks.
type hangingBoard struct {
	kernel    kernel.Kernel
	scheduler kernel.RoundRobin
	policy    kernel.FaultLimit
	capsule   hanging
}

func (*hangingBoard) Driver(uint32) kernel.Driver { return nil }

func (*hangingBoard) Interrupt(int) {}

var board hangingBoard

// hang runs a kernel whose capsule hangs, also in the panic if it is deaf; or else one that
// has nothing to do.
func hang(m *amd64.Machine, hangs, deaf bool) {
	can := capability.Mint()
	board.kernel.Init(kernel.Config{
		CPU: &m.CPU, Platform: &board, Scheduler: &board.scheduler, Policy: &board.policy, Debug: m.Serial(), RAM: &m.TaskRAM,
		Credentials: &kernel.NoCredentials{}, Identity: &kernel.NoIdentity{},
	})
	board.capsule.deaf = deaf
	board.capsule.call.Register(&board.kernel, &board.capsule)
	if hangs {
		board.capsule.call.Set()
	}
	m.OnPanic(&board.capsule)
	board.kernel.RunForever(can.MainLoop)
}
