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
	// Devices are of Config.Devices, in their order.
	Devices []DeviceStats
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
	s := m.stats.read()
	s.Loaded = m.loaded
	s.Devices = m.deviceStats()
	return s
}

// read returns what the live counters are now.
func (s *stats) read() Stats {
	return Stats{
		IO:           s.io.Load(),
		MMIO:         s.mmio.Load(),
		EOI:          s.eoi.Load(),
		Other:        s.other.Load(),
		Interrupted:  s.interrupted.Load(),
		UnknownPorts: s.unknownPorts.Load(),
		UnknownMMIO:  s.unknownMMIO.Load(),
	}
}

// Resident counts the pages of the guest's memory, of abi.PageSize bytes, that the host
// has given it: those that were touched, and with them the rest of each huge page unless
// Config.SmallPages forbids them. It may be called until Close is.
func (m *Machine) Resident() (uint64, error) { return m.memory.resident() }
