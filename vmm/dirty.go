package vmm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"kapsel/guest/abi"
	"kapsel/vmm/kvm"
	"kapsel/vmm/snapshot"
)

// tracked is what a guest's RAM knows of the snapshot from which it differs in few pages. Pages are numbered as in
// snapshot.Memory: RAM at 4 GiB follows that below the hole.
type tracked struct {
	base  *snapshot.Memory // which the RAM is a user of; nil: none
	dirty []uint64         // pages that the guest has written since, as KVM tells
	wrote []atomic.Uint64  // pages that the monitor has; nil until there is a base for the first time
}

var zeroPage [abi.PageSize]byte

func (m *memory) size() uint64 { return uint64(len(m.low) + len(m.high)) }

func (m *memory) words() int { return int((m.size()/abi.PageSize + 63) / 64) }

// page returns a page by its number.
func (m *memory) page(number uint64) []byte {
	ram, offset := m.low, number*abi.PageSize
	if offset >= uint64(len(m.low)) {
		ram, offset = m.high, offset-uint64(len(m.low))
	}
	return ram[offset : offset+abi.PageSize : offset+abi.PageSize]
}

// Wrote implements virtio.Memory.
func (m *memory) Wrote(address, n uint64) {
	if m.wrote == nil || n == 0 {
		return
	}
	if address >= abi.MMIOHoleEnd {
		address -= abi.MMIOHoleEnd - uint64(len(m.low))
	}
	for page := address / abi.PageSize; page <= (address+n-1)/abi.PageSize; page++ {
		if word, bit := &m.wrote[page/64], uint64(1)<<(page%64); word.Load()&bit == 0 {
			word.Or(bit)
		}
	}
}

// track begins anew to notice which pages are written. No device writes meanwhile.
func (m *memory) track(vm *kvm.VM) error {
	if m.wrote != nil {
		if err := m.attach(vm, false); err != nil {
			return err
		}
	}
	if err := m.attach(vm, true); err != nil {
		return fmt.Errorf("having KVM tell which pages a guest writes: %w", err)
	}
	m.dirty, m.wrote = make([]uint64, m.words()), make([]atomic.Uint64, m.words())
	return nil
}

// written returns the pages that were written since the call before, by bit, which are forgotten then.
func (m *memory) written(vm *kvm.VM) ([]uint64, error) {
	low := (len(m.low)/abi.PageSize + 63) / 64 // there is nothing at 4 GiB unless this is exact
	if err := vm.DirtyLog(0, m.dirty[:low]); err != nil {
		return nil, err
	}
	if len(m.high) > 0 {
		if err := vm.DirtyLog(1, m.dirty[low:]); err != nil {
			return nil, err
		}
	}
	for i := range m.wrote {
		if m.wrote[i].Load() != 0 {
			m.dirty[i] |= m.wrote[i].Swap(0)
		}
	}
	return m.dirty, nil
}

// differFrom makes base what the RAM differs from in the pages that were noticed.
func (m *memory) differFrom(base *snapshot.Memory) error {
	if m.base == base {
		return nil
	}
	if base != nil {
		if err := base.Use(); err != nil {
			return err
		}
	}
	old := m.base
	m.base = base
	if old == nil {
		return nil
	}
	return old.Release()
}

// save copies the pages that are not zero. The RAM differs from the copy from now on by what is noticed. Nobody writes meanwhile.
func (m *memory) save(vm *kvm.VM) (*snapshot.Memory, error) {
	if err := m.track(vm); err != nil {
		return nil, err
	}
	copied, err := snapshot.NewMemory(m.size(), func(w io.WriterAt) error {
		if err := writePages(w, m.low, 0); err != nil {
			return err
		}
		return writePages(w, m.high, int64(len(m.low)))
	})
	if err != nil {
		return nil, err
	}
	if err := m.differFrom(copied); err != nil {
		copied.Release()
		return nil, err
	}
	return copied, nil
}

// writePages writes the pages of ram that are not zero, those that lie side by side at once.
func writePages(w io.WriterAt, ram []byte, offset int64) error {
	start := 0 // of what is to be written
	flush := func(end int) error {
		if start == end {
			return nil
		}
		_, err := w.WriteAt(ram[start:end], offset+int64(start))
		return err
	}
	for at := 0; at < len(ram); at += abi.PageSize {
		if bytes.Equal(ram[at:at+abi.PageSize], zeroPage[:]) {
			if err := flush(at); err != nil {
				return err
			}
			start = at + abi.PageSize
		}
	}
	return flush(len(ram))
}

// revert makes the RAM what it is in to, and returns how many pages were copied: those that differ. It looks at those that were written, if the RAM
// is known to differ in no other, else at all.
//
// Page tables go back, too, and the processor must not remember what they were. KVM has it forget all translations whenever it hands over a log
// with a page in it, and when a log begins.
func (m *memory) revert(vm *kvm.VM, to *snapshot.Memory) (pages int, err error) {
	if m.base != to {
		return m.revertAll(vm, to)
	}
	written, err := m.written(vm)
	if err != nil { // a part of the log may be lost
		return 0, errors.Join(err, m.differFrom(nil))
	}
	for i, word := range written {
		for ; word != 0; word &= word - 1 {
			pages += m.revertPage(to, uint64(64*i+bits.TrailingZeros64(word)))
		}
	}
	return pages, nil
}

func (m *memory) revertAll(vm *kvm.VM, to *snapshot.Memory) (pages int, err error) {
	if err := m.track(vm); err != nil {
		return 0, err
	}
	if err := m.differFrom(to); err != nil {
		return 0, err
	}
	for page := range m.size() / abi.PageSize {
		pages += m.revertPage(to, page)
	}
	return pages, nil
}

// revertPage makes a page what it is in to, and returns how many were copied. A page that does not differ stays shared in a fork. The processor
// marks pages as written that it only reads as page tables.
func (m *memory) revertPage(to *snapshot.Memory, number uint64) int {
	have, want := m.page(number), to.Page(number)
	if want == nil {
		want = zeroPage[:]
	}
	if bytes.Equal(have, want) {
		return 0
	}
	copy(have, want)
	return 1
}

// minHole is the smallest range of zeros in a snapshot that a fork has memory of its own for, so that its mappings are few: a write there
// costs one page, and in the snapshot's file two.
const minHole = 1 << 20

// forkMemory maps a snapshot's memory privately: a page is copied when somebody writes it. The host backs it with small pages.
func forkMemory(s *snapshot.Memory) (*memory, error) {
	m, err := newMemory(s.Len(), true)
	if err != nil {
		return nil, err
	}
	m.forked = true
	for _, r := range joined(s.Runs(), max(minHole, s.Len()/64)) {
		if err := m.mapFile(s, r); err != nil {
			return nil, errors.Join(err, m.close())
		}
	}
	return m, nil
}

// joined returns the runs with those joined that are less than hole apart.
func joined(runs []snapshot.Run, hole uint64) (all []snapshot.Run) {
	for _, r := range runs {
		if n := len(all); n > 0 && r.Offset-(all[n-1].Offset+all[n-1].Length) < hole {
			all[n-1].Length = r.Offset + r.Length - all[n-1].Offset
			continue
		}
		all = append(all, r)
	}
	return all
}

// mapFile puts a run of a snapshot's file into its place.
func (m *memory) mapFile(s *snapshot.Memory, r snapshot.Run) error {
	place := unsafe.Pointer(&m.page(r.Offset / abi.PageSize)[0]) // the RAM is one piece on the host
	if _, err := unix.MmapPtr(s.FD(), int64(r.Offset), place, uintptr(r.Length), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_FIXED|unix.MAP_NORESERVE); err != nil {
		return fmt.Errorf("mapping %d bytes of a snapshot: %w", r.Length, err)
	}
	ram := unsafe.Slice((*byte)(place), r.Length)
	if err := unix.Madvise(ram, unix.MADV_DONTDUMP); err != nil {
		return fmt.Errorf("keeping guest memory out of core dumps: %w", err)
	}
	_ = unix.Madvise(ram, unix.MADV_NOHUGEPAGE) // where the host has none this fails
	return nil
}

// Bits of an entry of /proc/self/pagemap (Linux, admin-guide/mm/pagemap.rst).
const (
	pagePresent = 1 << 63
	pageSwapped = 1 << 62
	pageOfFile  = 1 << 61
	pageAlone   = 1 << 56 // mapped once: not the page of zeros
)

// own counts the pages that are no snapshot's and not the host's page of zeros.
func (m *memory) own() (pages uint64, err error) {
	file, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return 0, fmt.Errorf("counting a fork's pages: %w", err)
	}
	defer file.Close()
	first := uint64(uintptr(unsafe.Pointer(&m.low[0]))) / abi.PageSize
	entries := make([]byte, 8*512)
	for left := m.size() / abi.PageSize; left > 0; {
		n := min(left, uint64(len(entries)/8))
		if _, err := file.ReadAt(entries[:8*n], int64(8*first)); err != nil {
			return 0, fmt.Errorf("counting a fork's pages: %w", err)
		}
		for i := range n {
			e := binary.LittleEndian.Uint64(entries[8*i:])
			if e&pageSwapped != 0 || e&(pagePresent|pageOfFile|pageAlone) == pagePresent|pageAlone {
				pages++
			}
		}
		left, first = left-n, first+n
	}
	return pages, nil
}
