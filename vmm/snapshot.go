package vmm

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"kapsel/guest/abi"
	"kapsel/vmm/device"
	"kapsel/vmm/image"
	"kapsel/vmm/kvm"
	"kapsel/vmm/snapshot"
)

// Time says how a guest's time goes on from a snapshot. Its real-time clock is the host's in any case.
type Time int

// Times.
const (
	// StandStill: the guest's counter, and with it its timers, go on from where they were.
	StandStill Time = iota
	// GoOn: as much has passed as on the host since the snapshot was taken.
	GoOn
)

// ResetStats count what a Reset did.
type ResetStats struct {
	Pages  int // of abi.PageSize bytes that were copied back
	Bytes  int // in them
	Ioctls int // calls of KVM
}

// ProcessorError is why a snapshot cannot be restored on this host: it is of another processor. It says what differs.
type ProcessorError struct{ Err error }

func (e *ProcessorError) Error() string { return e.Err.Error() }

// Unwrap returns what differs.
func (e *ProcessorError) Unwrap() error { return e.Err }

var (
	errRuns  = errors.New("this machine runs: have it Pause first")
	errLinux = errors.New("no snapshots of Linux: it uses more of the processor than a snapshot has")
)

// Snapshot takes the machine as it is before Run, or Paused; it stays so. The error says why there is none: during Run, after
// the guest's end, for Linux, or what this host's KVM lacks. What is outside of the machine, such as the console and what is typed,
// the host's ends of ports and the contents of disks' files, is no part of it; what was written to a private disk is. Close the snapshot after use; machines that came of it live on. It waits for Do.
func (m *Machine) Snapshot() (s *snapshot.Snapshot, err error) {
	err = m.standing(func() error {
		if m.ended.Load() {
			return fmt.Errorf("no snapshot of a machine that has ended: %w", m.whyEnded())
		}
		s, err = m.take()
		return err
	})
	return s, err
}

// standing executes f on the machine's thread while the machine does not run, if it can have snapshots.
func (m *Machine) standing(f func() error) (err error) {
	if !m.running.CompareAndSwap(false, true) {
		return errRuns
	}
	defer m.running.Store(false)
	if m.noSnapshot != nil {
		return m.noSnapshot
	}
	if e := m.Do(func() {
		if m.cpu == nil { // Close is at work
			err = errClosed
			return
		}
		err = f()
	}); e != nil {
		return e
	}
	return err
}

// take makes a snapshot, on the machine's thread. Meanwhile nothing that comes from outside raises an interrupt.
func (m *Machine) take() (*snapshot.Snapshot, error) {
	m.pauseDevices()
	defer m.resumeDevices()
	s := &snapshot.Snapshot{State: snapshot.State{Guest: m.guest, Taken: time.Now()}}
	for _, p := range m.places {
		s.State.Devices = append(s.State.Devices, snapshot.Device{Name: p.name, State: p.transport.Save()})
	}
	s.State.Serial, s.State.CMOS = m.serial.Save(), m.cmos.Save()
	s.State.IOAPIC = m.ioapic.Save()
	s.Disks = m.saveDisks()
	var err error
	if s.State.Processor, err = m.saveProcessor(); err != nil {
		return nil, err
	}
	if s.Memory, err = m.memory.save(m.vm); err != nil {
		return nil, err
	}
	return s, nil
}

func (m *Machine) pauseDevices() {
	for _, p := range m.places {
		p.transport.Pause()
	}
	m.serial.Pause()
}

func (m *Machine) resumeDevices() {
	for _, p := range m.places {
		p.transport.Resume()
	}
	m.serial.Resume()
}

// Reset makes the machine what it was when s was taken, of this machine or of another with the same processor, memory and devices.
// It is as before Run then, also if the guest has ended; but where a console, an input or streams of ports end with the guest they do
// so for good, and then, or if the machine was cancelled, Reset fails. After an error that is no refusal the machine cannot go on: Reset it by
// another snapshot, or Close it. It waits for Do.
//
// Pages that were written since s was taken or restored are copied. With another snapshot than the last one all pages are compared. The kernel gets a new
// generation (abi.NoteGeneration).
func (m *Machine) Reset(s *snapshot.Snapshot, t Time) (stats ResetStats, err error) {
	err = m.standing(func() error {
		if err := m.mayReset(s); err != nil {
			return fmt.Errorf("no reset: %w", err)
		}
		calls := m.vm.Calls()
		if stats.Pages, err = m.restore(s, t); err != nil {
			m.poison = fmt.Errorf("the machine is neither what it was nor what it was to be, as its reset failed: %w", err)
			m.ended.Store(true)
			return m.poison
		}
		stats.Bytes = stats.Pages * abi.PageSize
		stats.Ioctls = int(m.vm.Calls() - calls)
		return nil
	})
	return stats, err
}

// mayReset says why the machine stays as it is; nil if it can be reset to s.
func (m *Machine) mayReset(s *snapshot.Snapshot) error {
	switch {
	case m.wants.bits.Load()&wantCancel != 0:
		return errors.New("the machine was cancelled: make another with Fork")
	case m.outsideEnded:
		return errors.New("the machine has ended, and what is outside of it has with it: make another with Fork")
	}
	return m.checkSnapshot(s)
}

// checkSnapshot says why s cannot be restored in this machine; nil if it is to be tried.
func (m *Machine) checkSnapshot(s *snapshot.Snapshot) error {
	g := &s.State.Guest
	if err := checkHost(g, m.guest.CPUID, m.guest.TSCKHz); err != nil {
		return &ProcessorError{err}
	}
	if g.Memory != m.memory.size() || g.Memory != s.Memory.Len() {
		return fmt.Errorf("the snapshot is of a machine with %d bytes of memory, and has %d; this one has %d", g.Memory, s.Memory.Len(), m.memory.size())
	}
	for _, address := range []uint64{g.Heartbeat, g.Identity} {
		if _, ok := m.memory.At(address, 8); !ok || address%8 != 0 {
			return fmt.Errorf("the snapshot has a word of the kernel's at %#x: want an aligned one, in memory", address)
		}
	}
	if len(s.State.Devices) != len(m.places) {
		return fmt.Errorf("the snapshot is of a machine with %d devices, this one has %d", len(s.State.Devices), len(m.places))
	}
	for i, p := range m.places {
		if err := p.transport.Check(&s.State.Devices[i].State); err != nil {
			return &DeviceError{fmt.Errorf("the snapshot's device %d, %s, is not %s: %w", i, s.State.Devices[i].Name, p.name, err)}
		}
	}
	if err := m.checkDisks(s.Disks); err != nil {
		return &DeviceError{err}
	}
	return m.checkProcessor(&s.State.Processor)
}

// restore makes the machine what it was when s was taken, and returns how many pages were copied.
func (m *Machine) restore(s *snapshot.Snapshot, t Time) (pages int, err error) {
	m.pauseDevices()
	if err := m.forgetAccess(); err != nil {
		return 0, err
	}
	if pages, err = m.memory.revert(m.vm, s.Memory); err != nil {
		return pages, err
	}
	m.restoreDisks(s.Disks)
	if err := m.restoreDevices(&s.State); err != nil {
		return pages, err
	}
	if err := m.restoreProcessor(&s.State.Processor, tscAt(&s.State, t)); err != nil {
		return pages, err
	}
	m.guest = s.State.Guest
	m.prepareWatch()
	m.renew()
	m.exit = device.DebugExit{}
	m.wants.bits.And(wantCancel)
	m.poison = nil
	m.ended.Store(false)
	m.resumeDevices()
	return pages, nil
}

// forgetAccess finishes what a guest that failed may have left of its last access, so that it does not go on in another's.
func (m *Machine) forgetAccess() error {
	for m.half {
		var err error
		if m.half, err = m.cpu.Complete(); err != nil {
			return err
		}
	}
	return nil
}

// restoreDevices restores the devices, which are paused, behind the memory that they refer to and before the processor: what they interrupt meanwhile, its local APIC forgets.
// The UART comes behind the console device that its line may be diverted to.
func (m *Machine) restoreDevices(s *snapshot.State) error {
	if err := m.ioapic.Restore(s.IOAPIC); err != nil {
		return fmt.Errorf("restoring the I/O APIC: %w", err)
	}
	if err := m.cmos.Restore(s.CMOS); err != nil {
		return fmt.Errorf("restoring the real-time clock: %w", err)
	}
	for i, p := range m.places {
		if err := p.transport.Restore(s.Devices[i].State); err != nil {
			return fmt.Errorf("restoring device %d, %s, from %.40q: %w", i, p.name, s.Devices[i].Name, err)
		}
	}
	if err := m.serial.Restore(s.Serial); err != nil {
		return fmt.Errorf("restoring the UART: %w", err)
	}
	return nil
}

// renew gives the kernel a new generation. Nobody is told of the page: each restore does it anew.
func (m *Machine) renew() {
	if m.guest.Identity == 0 {
		return
	}
	word, _ := m.memory.At(m.guest.Identity, 8) // it was checked
	rand.Read(word)
	word[0] |= 1 // a machine that was booted has 0
}

// Fork makes a machine that is as the one of which s was taken, ready to run, and shares with s the memory that it does not write. c has what is outside of it: its devices are to
// be of the same kinds in the same order, of the same size where they have one. What it says of the guest (Image, Modules, Arguments, Environment, Cmdline, Memory) is
// not looked at: the fork's tasks have the arguments and the environment of that machine. If ctx ends meanwhile the error is its cause; it is a ProcessorError for a snapshot of another processor. Close the machine after use.
func Fork(ctx context.Context, s *snapshot.Snapshot, c Config, t Time) (*Machine, error) {
	if c.Linux != nil {
		return nil, errLinux
	}
	c.Image, c.Modules, c.Arguments, c.Environment, c.Cmdline, c.Memory = nil, nil, nil, nil, "", s.State.Guest.Memory
	c, err := c.complete()
	if err != nil {
		return nil, err
	}
	if err := s.Memory.Use(); err != nil { // while it is being mapped
		return nil, err
	}
	defer s.Memory.Release()
	m, err := assemble(ctx, c, func() (*memory, error) { return forkMemory(s.Memory) }, func(m *Machine) error { return m.wake(s, t) })
	if err != nil {
		return nil, fmt.Errorf("no fork: %w", err)
	}
	return m, nil
}

// wake makes a new machine with a snapshot's memory go on from there.
func (m *Machine) wake(s *snapshot.Snapshot, t Time) error {
	if m.noSnapshot != nil {
		return m.noSnapshot
	}
	if err := m.checkSnapshot(s); err != nil {
		return err
	}
	if err := m.memory.differFrom(s.Memory); err != nil {
		return err
	}
	if err := m.memory.track(m.vm); err != nil {
		return err
	}
	_, err := m.restore(s, t)
	return err
}

// describe says what the machine is, for its snapshots.
func (m *Machine) describe() {
	m.guest = snapshot.Guest{Memory: m.memory.size(), Vendor: vendor(m.cpuid), CPUID: m.cpuid}
	if khz, err := m.cpu.TSCKHz(); err == nil {
		m.guest.TSCKHz = uint32(khz)
	}
	if img := m.config.Image; img != nil {
		m.guest.Heartbeat, _ = img.Heartbeat(image.Direct)
		m.guest.Identity, _ = img.Generation(image.Direct)
	}
}

// whyNoSnapshot says what keeps the machine from having snapshots; nil if nothing does.
func (m *Machine) whyNoSnapshot(host *kvm.Device) error {
	if m.config.Linux != nil {
		return errLinux
	}
	if err := checkKept(m.config.Devices); err != nil {
		return err
	}
	list, err := readCapabilities(host)
	if err != nil {
		return err
	}
	if missing := missing(list, func(c Capability) bool { return c.Snapshots }); missing != "" {
		return fmt.Errorf("no snapshots: this host's KVM lacks %s", missing)
	}
	return nil
}
