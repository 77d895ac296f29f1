package vmm

import "sync/atomic"

// Stats counts what happened in a machine.
type Stats struct {
	// Exits of the guest to the monitor, by cause.
	IO, MMIO, EOI, Other uint64
	// Interrupted counts the times that a signal ended KVM_RUN without an exit.
	Interrupted uint64
	// UnknownPorts and UnknownMMIO count accesses that no device answers.
	UnknownPorts, UnknownMMIO uint64
	// Loaded is the bytes that New wrote into the guest's memory.
	Loaded uint64
}

// Exits returns the exits of the guest to the monitor.
func (s Stats) Exits() uint64 { return s.IO + s.MMIO + s.EOI + s.Other }

// stats are the live counters: one thread writes, any may read.
type stats struct {
	io, mmio, eoi, other      atomic.Uint64
	interrupted               atomic.Uint64
	unknownPorts, unknownMMIO atomic.Uint64
}

// Stats returns the counters. It may be called at any time.
func (m *Machine) Stats() Stats {
	return Stats{
		IO:           m.stats.io.Load(),
		MMIO:         m.stats.mmio.Load(),
		EOI:          m.stats.eoi.Load(),
		Other:        m.stats.other.Load(),
		Interrupted:  m.stats.interrupted.Load(),
		UnknownPorts: m.stats.unknownPorts.Load(),
		UnknownMMIO:  m.stats.unknownMMIO.Load(),
		Loaded:       m.loaded,
	}
}

// Resident counts the pages of the guest's memory, of abi.PageSize bytes, that the host
// has given it: those that were touched, and with them the rest of each huge page unless
// Config.SmallPages forbids them. It may be called until Close is.
func (m *Machine) Resident() (uint64, error) { return m.memory.resident() }
