package image

import (
	"encoding/binary"
	"fmt"

	"kapsel/guest/abi"
)

// BootWindow bounds the addresses of an image, as linked and less abi.KernelBase, and what the
// boot page tables map of RAM, in bytes.
const BootWindow = 1 << 30

// A Door is a way into an image, which decides where in memory it is loaded.
type Door int

// The doors (docs/architecture.md, "The two doors").
const (
	Direct Door = iota // as low as possible: Place
	PVH                // where the ELF file says: any PVH loader
)

// Physical addresses of what Place puts below the image. The first page stays empty.
const (
	pml4Address       = 0x1000
	pdptAddress       = 0x2000
	ramPDAddress      = 0x3000 // maps RAM
	imagePDAddress    = 0x4000 // maps the image
	infoAddress       = 0x5000
	cmdlineAddress    = infoAddress + abi.PageSize - abi.CmdlineMax
	imageTableAddress = 0x6000 // page tables, one for each 2 MiB that the image touches
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

// At returns the physical address of the image's first byte behind a door.
func (img *Image) At(d Door) uint64 {
	if d == PVH {
		return img.start
	}
	return imageTableAddress + img.tables()*abi.PageSize
}

// tables is the number of page tables that map the image where it is linked.
func (img *Image) tables() uint64 {
	return (img.end-1)/largePageSize - img.start/largePageSize + 1
}

// Place lays the image out in ram, the guest's memory from physical 0 up to
// abi.MMIOHole at most, for the direct door: from low addresses upwards boot page tables, boot
// information, command line, image and modules. ram is zero. Only pages that get content are
// written.
func (img *Image) Place(ram []byte, p Params) (Entry, error) {
	modulesSize, err := img.fit(Direct, uint64(len(ram)), p)
	if err != nil {
		return Entry{}, err
	}
	at := img.At(Direct)
	modules := at + img.end - img.start
	free := modules + modulesSize // all below 2^40

	written := 0
	for _, s := range img.segments {
		written += copy(ram[at+s.address-img.start:], s.data)
	}
	written += placeModules(ram[modules:free], p.Modules)
	written += copy(ram[cmdlineAddress:], p.Cmdline)
	written += img.placePageTables(ram)
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
		Image:       at,
	}
	if modulesSize > 0 {
		info.Modules = modules
	}
	n, err := binary.Encode(ram[infoAddress:], little, &info)
	if err != nil {
		return Entry{}, fmt.Errorf("writing the boot information: %w", err)
	}
	written += n
	return Entry{RIP: img.entry, CR3: pml4Address, RDI: infoAddress, Written: uint64(written)}, nil
}

// Fits says in words why the image, with what p adds, does not fit behind a door into ramLow
// bytes of RAM from physical 0 up to abi.MMIOHole at most; nil if it does.
func (img *Image) Fits(d Door, ramLow uint64, p Params) error {
	_, err := img.fit(d, ramLow, p)
	return err
}

// fit checks as Fits does and returns the bytes that the modules take.
func (img *Image) fit(d Door, ramLow uint64, p Params) (uint64, error) {
	if len(p.Cmdline) > abi.CmdlineMax {
		return 0, fmt.Errorf("a command line of %d bytes, %d are possible", len(p.Cmdline), abi.CmdlineMax)
	}
	modulesSize, err := sizeOf(p.Modules)
	if err != nil {
		return 0, err
	}
	if need := img.At(d) + img.end - img.start + modulesSize; need > ramLow {
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
		size += abi.PageUp(uint64(len(m)))
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
		ram = ram[abi.PageUp(uint64(len(m))):]
	}
	return written
}

// placePageTables maps RAM at 0, up to the boot window, in pages of 2 MiB, and the image where
// it is linked in pages of 4 KiB, all of it writable and executable; the kernel replaces the
// tables at once. One PDPT serves both ends of the address space. It returns the bytes it wrote.
func (img *Image) placePageTables(ram []byte) (written int) {
	const (
		pml4Index = abi.KernelBase >> 39 % entriesPerTable
		pdptIndex = abi.KernelBase >> 30 % entriesPerTable
		table     = present | writable
	)
	put := func(address, index, entry uint64) {
		little.PutUint64(ram[address+8*index:], entry)
		written += 8
	}
	put(pml4Address, 0, pdptAddress|table)
	put(pml4Address, pml4Index, pdptAddress|table)
	put(pdptAddress, 0, ramPDAddress|table)
	put(pdptAddress, pdptIndex, imagePDAddress|table)
	for address := uint64(0); address < min(uint64(len(ram)), BootWindow); address += largePageSize {
		put(ramPDAddress, address/largePageSize, address|table|largePage)
	}
	first := img.start / largePageSize
	for i := range img.tables() {
		put(imagePDAddress, first+i, imageTableAddress+i*abi.PageSize|table)
	}
	at := img.At(Direct)
	for linked := img.start; linked < img.end; linked += abi.PageSize { // the tables are one array
		put(imageTableAddress, linked/abi.PageSize-first*entriesPerTable, at+linked-img.start|table)
	}
	return written
}
