package vmm

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"kapsel/guest/abi"
	abivirtio "kapsel/guest/abi/virtio"
	"kapsel/vmm/kvm"
	"kapsel/vmm/virtio"
)

// Device describes a virtio device that a machine is to have, for any accelerator: Entropy. Under KVM New makes a model of
// package vmm/virtio of it; under QEMU it becomes options.
type Device interface {
	// String returns the device in words, for messages: "disk /tmp/a".
	String() string
	// open makes the device, for a machine that has its other devices already.
	open(m *Machine) (virtio.Device, error)
}

// Entropy is a device that gives the guest random bytes of the host's.
type Entropy struct{}

// String returns "entropy".
func (Entropy) String() string { return "entropy" }

func (Entropy) open(*Machine) (virtio.Device, error) { return virtio.NewEntropy(), nil }

// DeviceWords returns the words of the command line by which the kernel finds n devices, each with a space behind it. A
// machine under KVM has them in front of Config.Cmdline.
func DeviceWords(n int) string {
	var words strings.Builder
	for i := range n {
		fmt.Fprintf(&words, "%s%dK@%#x:%d ", abi.VirtioWord, abi.PageSize>>10, deviceAddress(i), abi.VirtioIRQ+i)
	}
	return words.String()
}

func deviceAddress(place int) uint64 { return abi.VirtioBase + uint64(place)*abi.PageSize }

// DeviceError is why New cannot make one of Config.Devices: what it is to be made of cannot be used. Of Fork and Reset it is also that a device is not as the snapshot's.
type DeviceError struct{ Err error }

func (e *DeviceError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *DeviceError) Unwrap() error { return e.Err }

// CheckDevices says in words why Config.Devices cannot be these; nil if they can.
func CheckDevices(devices []Device) error {
	if len(devices) > abi.VirtioPlaces {
		return fmt.Errorf("%d devices are more than the %d that a machine can have", len(devices), abi.VirtioPlaces)
	}
	consoles, ports := 0, 0
	for i, d := range devices {
		if d == nil {
			return fmt.Errorf("device %d is nil", i)
		}
		if c, ok := d.(interface{ check() error }); ok {
			if err := c.check(); err != nil {
				return err
			}
		}
		if d == (Console{}) {
			consoles++
		}
		if _, ok := d.(Ports); ok {
			ports++
		}
	}
	switch {
	case consoles > 1:
		return errors.New("two console devices: a machine has one console")
	case ports > 1:
		return errors.New("two devices with ports: one can have all of them")
	}
	return nil
}

// CheckCmdline says in words why Config.Cmdline cannot be this with n devices, for a machine that boots an image; nil if it
// can. Linux has words of its own and finds its devices without any.
func CheckCmdline(cmdline string, n int) error {
	if words := len(DeviceWords(n)); words > 0 && words+len(cmdline) > abi.CmdlineMax {
		return fmt.Errorf("a command line of %d bytes, and %d bytes that tell of the devices: the kernel reads at most %d",
			len(cmdline), words, abi.CmdlineMax)
	}
	return nil
}

// place is a device in its place.
type place struct {
	name      string
	transport *virtio.MMIO
	events    []*os.File // eventfds, which KVM signals when the driver notifies a queue

	notifiers sync.WaitGroup // goroutines that read events
}

// openDevices makes the devices of the configuration, in their places.
func (m *Machine) openDevices(host *kvm.Device) error {
	if len(m.config.Devices) == 0 {
		return nil
	}
	noEvents := wantCapability(host, kvm.CapIOEventFD)
	if noEvents != nil && !m.config.InStep {
		m.config.Log("notifications of devices are exits: %v", noEvents)
	}
	for i, description := range m.config.Devices {
		d, err := description.open(m)
		if err != nil {
			return &DeviceError{err}
		}
		p := m.addPlace(i, description.String(), d)
		if noEvents != nil || m.config.InStep {
			continue
		}
		if err := p.watch(m.vm, deviceAddress(i)); err != nil {
			return fmt.Errorf("device %d, %v: its notifications: %w", i, description, err)
		}
	}
	return nil
}

// addPlace puts a device into its place.
func (m *Machine) addPlace(i int, name string, d virtio.Device) *place {
	edge := func() { m.ioapic.Edge(abi.VirtioIRQ + i) }
	log := func(format string, args ...any) {
		m.config.Log("device %d, %s: "+format, append([]any{i, name}, args...)...)
	}
	var bell func()
	if m.config.InStep {
		bell = func() {
			if err := m.want(wantServe); err != nil {
				log("it is not served: %v", err)
			}
		}
	}
	p := &place{name: name, transport: virtio.NewMMIO(d, m.memory, edge, log, bell)}
	m.places = append(m.places, p)
	m.mmio = append(m.mmio, mmioRange{deviceAddress(i), abi.PageSize, p.transport})
	return p
}

// watch has KVM signal an eventfd when the driver notifies a queue, and a goroutine pass that on.
func (p *place) watch(vm *kvm.VM, address uint64) error {
	for queue := range p.transport.Queues() {
		fd, err := newEvent()
		if err != nil {
			return err
		}
		event := os.NewFile(uintptr(fd), "eventfd") // one that does not block, so Close ends a Read
		p.events = append(p.events, event)
		if err := vm.MemoryEvent(address+abivirtio.RegQueueNotify, uint32(queue), fd); err != nil {
			return err
		}
		p.notifiers.Go(func() { p.passOn(event, queue) })
	}
	return nil
}

// passOn notifies a queue whenever its event is signalled, until that is closed.
func (p *place) passOn(event *os.File, queue int) {
	var count [8]byte
	for {
		if _, err := event.Read(count[:]); err != nil {
			return
		}
		p.transport.Notify(queue)
	}
}

// newEvent makes an eventfd whose reads do not block.
func newEvent() (int, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return -1, fmt.Errorf("eventfd: %w", err)
	}
	return fd, nil
}

// endDevices has the devices serve what the guest, which has ended, left in their queues, and tells of each. A machine that
// was cancelled waits for none.
func (m *Machine) endDevices(cancelled bool) {
	if m.terminal != nil && !cancelled {
		m.terminal.Flush() // while there is room in the line; Finish does not wait for it
	}
	if m.flushPorts != nil && !cancelled {
		m.flushPorts() // likewise
	}
	for i, p := range m.places {
		if !cancelled {
			p.transport.Finish()
		}
		m.config.Log("device %d, %s: %v", i, p.name, p.transport.Counters())
	}
	for _, s := range m.streams {
		s.finish()
	}
}

// closeDevices closes the devices. From its return on none of them touches the guest's memory or the VM.
func (m *Machine) closeDevices() error {
	var errs []error
	for _, p := range m.places {
		errs = append(errs, p.transport.Close())
		for _, event := range p.events {
			errs = append(errs, event.Close())
		}
		p.notifiers.Wait()
	}
	return errors.Join(errs...)
}

// DeviceStats count what happened in a device.
type DeviceStats struct {
	Name     string // Device's String
	Counters virtio.Counters
}

// deviceStats returns those of all devices.
func (m *Machine) deviceStats() (all []DeviceStats) {
	for _, p := range m.places {
		all = append(all, DeviceStats{p.name, p.transport.Counters()})
	}
	return all
}

// dumpDevices writes the devices' state, for a person.
func (m *Machine) dumpDevices(w *strings.Builder) {
	for i, p := range m.places {
		fmt.Fprintf(w, "Device %d, %s, at %#x, line %d: %v\n", i, p.name, deviceAddress(i), abi.VirtioIRQ+i, p.transport)
	}
}
