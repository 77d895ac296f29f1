package vmm

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"kapsel/guest/abi"
	"kapsel/vmm/kvm"
)

// hugePage is the size that the host can back guest memory with at best.
const hugePage = 2 << 20

// memory is a guest's RAM: one mapping, of which low appears at physical 0 and high, if
// there is more than fits below the MMIO hole, at 4 GiB. Nothing of it is touched, and so
// takes host memory, before somebody uses it.
type memory struct {
	mapping   []byte
	low, high []byte
	forked    bool // pages of a snapshot's file are mapped in it
	tracked
}

// newMemory maps size bytes of zeroed RAM, aligned for huge pages, and lets the host use
// them unless small. It does not get into core dumps.
func newMemory(size uint64, small bool) (*memory, error) {
	mapping, err := unix.Mmap(-1, 0, int(size)+hugePage, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("mapping %d MiB of guest memory: %w", size>>20, err)
	}
	start := -uint64(uintptr(unsafe.Pointer(&mapping[0]))) % hugePage
	ram := mapping[start : start+size]
	advice := unix.MADV_HUGEPAGE
	if small {
		advice = unix.MADV_NOHUGEPAGE
	}
	// Where the host has no huge pages this fails, and the guest runs all the same.
	_ = unix.Madvise(ram, advice)
	lowSize := min(size, abi.MMIOHole)
	m := &memory{mapping: mapping, low: ram[:lowSize:lowSize], high: ram[lowSize:]}
	if err := unix.Madvise(mapping, unix.MADV_DONTDUMP); err != nil {
		return nil, errors.Join(fmt.Errorf("keeping guest memory out of core dumps: %w", err), m.close())
	}
	return m, nil
}

// attach makes the RAM the VM's memory, or begins to log which pages of it the guest writes.
func (m *memory) attach(vm *kvm.VM, log bool) error {
	if err := vm.SetMemory(0, 0, m.low, log); err != nil {
		return err
	}
	if len(m.high) == 0 {
		return nil
	}
	return vm.SetMemory(1, abi.MMIOHoleEnd, m.high, log)
}

// at returns up to n bytes of RAM at a physical address: fewer where the RAM ends, none
// where there is none.
func (m *memory) at(address uint64, n int) []byte {
	ram := m.low
	if address >= abi.MMIOHoleEnd {
		ram, address = m.high, address-abi.MMIOHoleEnd
	}
	if address >= uint64(len(ram)) {
		return nil
	}
	ram = ram[address:]
	return ram[:min(n, len(ram))]
}

// At returns n bytes of RAM from a physical address on, or false unless all of them are RAM: the ranges of RAM below the
// MMIO hole and above it do not join. It makes the guest's memory a virtio.Memory.
func (m *memory) At(address, n uint64) ([]byte, bool) {
	ram := m.low
	if address >= abi.MMIOHoleEnd {
		ram, address = m.high, address-abi.MMIOHoleEnd
	}
	size := uint64(len(ram))
	if address > size || n > size-address {
		return nil, false
	}
	return ram[address : address+n : address+n], true
}

// resident counts the pages of abi.PageSize that the host has memory for (mincore(2)); in a fork those that are its own.
func (m *memory) resident() (uint64, error) {
	var pages uint64
	if m.forked {
		return m.own()
	}
	for _, ram := range [][]byte{m.low, m.high} {
		if len(ram) == 0 {
			continue
		}
		state := make([]byte, len(ram)/abi.PageSize)
		_, _, errno := unix.Syscall(unix.SYS_MINCORE,
			uintptr(unsafe.Pointer(&ram[0])), uintptr(len(ram)), uintptr(unsafe.Pointer(&state[0])))
		if errno != 0 {
			return 0, fmt.Errorf("counting the guest's pages: mincore: %w", errno)
		}
		for _, s := range state {
			pages += uint64(s & 1)
		}
	}
	return pages, nil
}

// close unmaps the RAM. No VM may use it any more.
func (m *memory) close() error {
	if m.mapping == nil {
		return nil
	}
	err := errors.Join(unix.Munmap(m.mapping), m.differFrom(nil))
	*m = memory{}
	return err
}
