package vmm

import (
	"context"
	"errors"
	"io"
)

var errNotYet = errors.New("not built yet")

// Machine is a virtual machine with one processor.
type Machine struct{}

// New makes a machine with the image loaded, ready to run. Close it after use.
func New(c Config) (*Machine, error) { return nil, errNotYet }

// Run runs the machine until the guest ends, the context does, or KVM fails, and says
// which. The error is nil unless Exit.Reason is Failed. A machine runs once.
func (m *Machine) Run(ctx context.Context) (Exit, error) { return Exit{}, errNotYet }

// Close stops the machine and gives everything back. Calling it again does nothing.
func (m *Machine) Close() error { return errNotYet }

// Dump writes the processor's state to w, for a person: after Run has returned, or before.
func (m *Machine) Dump(w io.Writer) {}

// Stats counts a machine's exits.
type Stats struct {
	IO, MMIO, EOI, Interrupted, Other uint64 // exits by cause
	UnknownPort, UnknownMMIO          uint64 // accesses that no device answers
}

// Stats returns the counters. It may be called at any time.
func (m *Machine) Stats() Stats { return Stats{} }

// Probe runs a few instructions in a machine of its own, SSE and a system call from ring 3
// among them, and says in words why this host cannot run the kernel, or nil if it can.
func Probe(ctx context.Context) error { return errNotYet }

// Capability is something that KVM may offer.
type Capability struct {
	Name   string // KVM's name: "KVM_CAP_SPLIT_IRQCHIP"
	Use    string // what the monitor uses it for
	Have   bool
	Needed bool // the monitor cannot work without it
}

// Capabilities asks the KVM device what it offers of what the monitor uses.
func Capabilities() ([]Capability, error) { return nil, errNotYet }
