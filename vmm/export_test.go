package vmm

import (
	"strconv"

	"kapsel/vmm/device"
	"kapsel/vmm/kvm"
	"kapsel/vmm/virtio"
)

// BlockDevice is a block device that keeps its sectors where a test wants it to.
type BlockDevice struct{ Storage virtio.Storage }

func (BlockDevice) String() string { return "block device" }

func (d BlockDevice) open(m *Machine) (virtio.Device, error) {
	return virtio.NewBlock(d.Storage, "disk"+strconv.Itoa(len(m.places)), m.config.Log), nil
}

// Turns runs f on the machine's thread. Each call of turn enters the guest once: served says whether it made an exit.
func (m *Machine) Turns(f func(turn func() (exit Exit, served bool, err error))) error {
	return m.Do(func() {
		f(func() (Exit, bool, error) {
			m.half = false
			exit, err := m.step()
			return exit, m.half, err
		})
	})
}

// AddPorts gives the machine another device.
func (m *Machine) AddPorts(base, size uint16, d device.Ports) {
	m.ports = append([]portRange{{base, size, d}}, m.ports...)
}

// CPU is the machine's processor, VM its machine: for its thread.
func (m *Machine) CPU() *kvm.VCPU { return m.cpu }
func (m *Machine) VM() *kvm.VM    { return m.vm }

// Kick interrupts the processor.
func (m *Machine) Kick() error { return m.kickCPU() }
