package vmm

import (
	"fmt"
	"time"

	"kapsel/vmm/kvm"
	"kapsel/vmm/snapshot"
)

// What of a processor is saved and restored, and in which order: docs/decisions/0030-snapshots.md.

// saveProcessor returns the state of the processor, which is between two instructions.
func (m *Machine) saveProcessor() (p snapshot.Processor, err error) {
	size, err := m.vm.XSaveSize()
	if err != nil {
		return p, err
	}
	p.XSave = make(kvm.XSave, size)
	msrs := append([]kvm.MSR{{Index: msrTSC}}, savedMSRs(m.cpuid, m.smm)...)
	for _, save := range []func() error{
		func() error { p.MPState, err = m.cpu.MPState(); return err },
		func() error { return into(&p.Regs, m.cpu.Regs) },
		func() error { return into(&p.Sregs, m.cpu.Sregs) },
		func() error { return m.cpu.XSave(p.XSave) },
		func() error { return m.cpu.XCRs(&p.XCRs) },
		func() error { return m.cpu.DebugRegs(&p.Debug) },
		func() error { p.LAPIC, err = m.cpu.LAPIC(); return err },
		func() error { return m.cpu.MSRs(msrs) },
		func() error { return m.cpu.Events(&p.Events) },
	} {
		if err := save(); err != nil {
			return p, fmt.Errorf("saving the processor: %w", err)
		}
	}
	p.TSC, p.MSRs = msrs[0].Data, msrs[1:]
	return p, nil
}

// into stores what read returns.
func into[T any](to *T, read func() (*T, error)) error {
	value, err := read()
	if err == nil {
		*to = *value
	}
	return err
}

// restoreProcessor sets all of the processor that saveProcessor saves, with the counter at tsc.
func (m *Machine) restoreProcessor(p *snapshot.Processor, tsc uint64) error {
	var late kvm.Events
	for _, restore := range []func() error{
		func() error { return m.cpu.Events(&late) }, // an SMI that is on its way comes, else it would come behind what is set
		m.disarm, // else the local APIC would start the timer by the deadline that is to be forgotten
		func() error { return m.cpu.SetMPState(p.MPState) },
		func() error { return m.cpu.SetRegs(&p.Regs) },
		func() error { return m.cpu.SetSregs(&p.Sregs) },
		func() error { return m.cpu.SetXSave(p.XSave) },
		func() error { return m.cpu.SetXCRs(&p.XCRs) },
		func() error { return m.cpu.SetDebugRegs(&p.Debug) },
		func() error { return m.cpu.SetLAPIC(p.LAPIC) },
		func() error { return m.setTSC(tsc) },
		func() error { return m.cpu.SetMSRs(p.MSRs) },
		func() error { return m.cpu.SetEvents(&p.Events) },
	} {
		if err := restore(); err != nil {
			return fmt.Errorf("restoring the processor: %w", err)
		}
	}
	return nil
}

// disarm stops a timer that waits for a deadline.
func (m *Machine) disarm() error {
	if leaf(m.cpuid, leafFeatures, 0).Ecx&featureDeadline == 0 {
		return nil
	}
	return m.cpu.SetMSRs([]kvm.MSR{{Index: msrTSCDeadline}})
}

// setTSC makes the guest's time-stamp counter go on from a value.
func (m *Machine) setTSC(tsc uint64) error {
	now := []kvm.MSR{{Index: msrTSC}}
	if err := m.cpu.MSRs(now); err != nil {
		return err
	}
	offset, err := m.cpu.TSCOffset()
	if err != nil {
		return err
	}
	return m.cpu.SetTSCOffset(offset + tsc - now[0].Data)
}

// tscAt returns what the counter is to be at when a snapshot's guest goes on.
func tscAt(s *snapshot.State, t Time) uint64 {
	tsc := s.Processor.TSC
	if t == GoOn {
		passed := max(time.Since(s.Taken), 0)
		seconds, rest := uint64(passed/time.Second), uint64(passed%time.Second)
		tsc += seconds*uint64(s.Guest.TSCKHz)*1000 + rest*uint64(s.Guest.TSCKHz)/1_000_000
	}
	return tsc
}

// checkProcessor says why a snapshot's processor, which nobody has checked, cannot be restored in this machine; nil if KVM is to be
// asked.
func (m *Machine) checkProcessor(p *snapshot.Processor) error {
	size, err := m.vm.XSaveSize()
	if err != nil {
		return err
	}
	if len(p.XSave) != size {
		return fmt.Errorf("the snapshot's extended state has %d bytes, this host's KVM wants %d", len(p.XSave), size)
	}
	return checkMSRs(p.MSRs, savedMSRs(m.cpuid, m.smm))
}

// checkMSRs says how a snapshot's model-specific registers differ from those that are saved here: another index, or another number of them.
func checkMSRs(theirs, ours []kvm.MSR) error {
	if len(theirs) != len(ours) {
		return fmt.Errorf("the snapshot has %d model-specific registers: want %d", len(theirs), len(ours))
	}
	for i := range ours {
		if theirs[i].Index != ours[i].Index {
			return fmt.Errorf("the snapshot has %#x as number %d of its model-specific registers: want %#x", theirs[i].Index, i, ours[i].Index)
		}
	}
	return nil
}
