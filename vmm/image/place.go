package image

import (
	"encoding/binary"
	"fmt"

	"kapsel/guest/abi"
)

// BootWindow is how much physical memory the boot page tables map at abi.KernelBase, in
// bytes: an image lies within it.
const BootWindow = 1 << 30

// Physical addresses of what the monitor itself puts into the guest's memory, all below
// abi.LowMemoryEnd. The first page stays empty.
const (
	pml4Address    = 0x1000
	pdptAddress    = 0x2000
	pdAddress      = 0x3000
	infoAddress    = 0x4000
	cmdlineAddress = 0x5000
)

// Page-table entry bits (Intel SDM vol. 3, section 5.5.4).
const (
	present   = 1 << 0
	writable  = 1 << 1
	largePage = 1 << 7

	entriesPerTable = 512
	largePageSize   = 2 << 20
)

// Params are what a boot needs beside the image.
type Params struct {
	RAMHigh uint64   // bytes of RAM from abi.MMIOHoleEnd
	Cmdline string   // at most abi.CmdlineMax bytes
	Modules [][]byte // placed behind the image, each padded to abi.PageSize
	TSCHz   uint64   // 0 if unknown
	LAPICHz uint64   // 0 if unknown
}

// Entry is the state in which the processor enters the image.
type Entry struct {
	RIP uint64 // virtual
	CR3 uint64 // physical address of the boot page tables
	RDI uint64 // physical address of the abi.BootInfo

	Written uint64 // bytes that Place wrote
}

// Place lays the image out in ram, the guest's memory from physical 0 up to
// abi.MMIOHole at most, with boot page tables, boot information, command line and modules.
// ram is zero. Only pages that get content are written.
func (img *Image) Place(ram []byte, p Params) (Entry, error) {
	modulesSize, err := img.fit(uint64(len(ram)), p)
	if err != nil {
		return Entry{}, err
	}
	free := img.end + modulesSize // both below 2^40

	written := 0
	for _, s := range img.segments {
		written += copy(ram[s.address:], s.data)
	}
	written += placeModules(ram[img.end:free], p.Modules)
	written += copy(ram[cmdlineAddress:], p.Cmdline)
	written += placePageTables(ram)
	info := abi.BootInfo{
		Magic:       abi.BootMagic,
		Size:        uint64(binary.Size(abi.BootInfo{})),
		RAMLow:      uint64(len(ram)),
		RAMHigh:     p.RAMHigh,
		Free:        free,
		ModulesSize: modulesSize,
		Cmdline:     cmdlineAddress,
		CmdlineSize: uint64(len(p.Cmdline)),
		TSCHz:       p.TSCHz,
		LAPICHz:     p.LAPICHz,
	}
	if modulesSize > 0 {
		info.Modules = img.end
	}
	n, err := binary.Encode(ram[infoAddress:], little, &info)
	if err != nil {
		return Entry{}, fmt.Errorf("writing the boot information: %w", err)
	}
	written += n
	return Entry{RIP: img.entry, CR3: pml4Address, RDI: infoAddress, Written: uint64(written)}, nil
}

// Fits says in words why the image, with what p adds, does not fit into ramLow bytes of RAM
// from physical 0 up to abi.MMIOHole at most; nil if it does.
func (img *Image) Fits(ramLow uint64, p Params) error {
	_, err := img.fit(ramLow, p)
	return err
}

// fit checks as Fits does and returns the bytes that the modules take.
func (img *Image) fit(ramLow uint64, p Params) (uint64, error) {
	if len(p.Cmdline) > abi.CmdlineMax {
		return 0, fmt.Errorf("a command line of %d bytes, %d are possible", len(p.Cmdline), abi.CmdlineMax)
	}
	modulesSize, err := sizeOf(p.Modules)
	if err != nil {
		return 0, err
	}
	if need := img.end + modulesSize; need > ramLow {
		return 0, tooSmall(need, ramLow)
	}
	return modulesSize, nil
}

// sizeOf returns the bytes that the padded modules take.
func sizeOf(modules [][]byte) (uint64, error) {
	var size uint64
	for i, m := range modules {
		if len(m) == 0 {
			return 0, fmt.Errorf("module %d is empty", i+1)
		}
		size += pageUp(uint64(len(m)))
		if size > abi.MMIOHole {
			return 0, fmt.Errorf("the modules take more than %d MiB", abi.MMIOHole>>20)
		}
	}
	return size, nil
}

// tooSmall says how much memory is missing, in whole MiB, and the power of two to ask for.
func tooSmall(need, have uint64) error {
	needMiB := (need + 1<<20 - 1) >> 20
	if need > abi.MMIOHole {
		return fmt.Errorf("needs %d MiB of memory below 4 GiB, a machine has at most %d MiB there", needMiB, abi.MMIOHole>>20)
	}
	ask := uint64(1)
	for ask < needMiB {
		ask *= 2
	}
	return fmt.Errorf("needs at least %d MiB of memory, %s given: pass --mem %dM or more", needMiB, inMiB(have), ask)
}

// inMiB returns a number of bytes for a person.
func inMiB(n uint64) string {
	if n%(1<<20) == 0 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d KiB", n>>10)
}

// placeModules returns the bytes it wrote.
func placeModules(ram []byte, modules [][]byte) (written int) {
	for _, m := range modules {
		written += copy(ram, m)
		ram = ram[pageUp(uint64(len(m))):]
	}
	return written
}

// placePageTables maps abi.KernelBase+x to physical x in 2 MiB pages, for the boot window or
// all of RAM if there is less, writable and executable; the kernel replaces them at once.
// It returns the bytes it wrote.
func placePageTables(ram []byte) (written int) {
	const (
		pml4Index = abi.KernelBase >> 39 % entriesPerTable
		pdptIndex = abi.KernelBase >> 30 % entriesPerTable
	)
	little.PutUint64(ram[pml4Address+8*pml4Index:], pdptAddress|present|writable)
	little.PutUint64(ram[pdptAddress+8*pdptIndex:], pdAddress|present|writable)
	written = 2 * 8
	size := min(uint64(len(ram)), BootWindow)
	for address := uint64(0); address < size; address += largePageSize {
		entry := address | present | writable | largePage
		little.PutUint64(ram[pdAddress+8*(address/largePageSize):], entry)
		written += 8
	}
	return written
}
