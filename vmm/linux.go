package vmm

import (
	"kapsel/guest/abi"
	"kapsel/vmm/kvm"
	"kapsel/vmm/linux"
)

// tssAddress is where KVM has three pages of its own on a VT-x that does not run real mode by itself, and
// below them one for its page table: in the MMIO hole, where Linux is told of nothing.
const tssAddress = 0xfffb_d000

// placeLinux lays Linux out in memory.
func (m *Machine) placeLinux() (entry, error) {
	e, err := m.config.Linux.Place(m.memory.low, m.linuxParams())
	m.loaded = e.Written
	return entry{
		rip: e.RIP, rsi: e.RSI, cr3: e.CR3,
		code: linux.SelectorCode, data: linux.SelectorData,
		gdt: kvm.Descriptor{Base: e.GDT, Limit: e.GDTLimit},
	}, err
}

func (m *Machine) linuxParams() linux.Params {
	var devices []linux.Device
	for i := range m.config.Devices {
		devices = append(devices, linux.Device{Base: uint32(deviceAddress(i)), Size: abi.PageSize, IRQ: abi.VirtioIRQ + i})
	}
	return linux.Params{
		RAMHigh: uint64(len(m.memory.high)),
		Cmdline: m.config.Cmdline,
		Initrd:  m.config.Initrd,
		Devices: devices,
	}
}
