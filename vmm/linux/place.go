package linux

import (
	"fmt"

	"kapsel/guest/abi"
)

// Window is what the boot page tables map from physical 0 on, in bytes: the kernel lies below.
const Window = 1 << 30

// Physical addresses of what Place puts below the kernel. The first page stays empty.
const (
	gdtAddress     = 0x1000
	zeroPage       = 0x2000
	cmdlineAddress = 0x3000
	pml4Address    = 0x4000
	pdptAddress    = 0x5000
	pdAddress      = 0x6000
	lowMemoryEnd   = 0x9fc00 // where a PC's firmware has data of its own
	acpiAddress    = 0xe0000 // where Linux would look for the RSDP by itself
	acpiEnd        = 0x100000
)

// Offsets of the zero page's fields that are not of the setup header (Linux,
// Documentation/arch/x86/zero-page.rst).
const (
	offRSDP      = 0x070 // 64 bits
	offE820Count = 0x1e8 // byte
	offE820      = 0x2d0 // entries of address, size (64 bits) and type (32 bits)
	e820Size     = 20
)

// Types of ranges of memory (ACPI 6.5, table 15.4).
const (
	rangeRAM      = 1
	rangeReserved = 2
)

// Selectors that the 64-bit entry wants, and the descriptors behind them: flat, 4 GiB, ring 0 (boot.rst,
// "64-bit Boot Protocol"; Intel SDM vol. 3, section 3.4.5).
const (
	SelectorCode   = 0x10 // __BOOT_CS
	SelectorData   = 0x18 // __BOOT_DS
	gdtEntries     = 4
	codeDescriptor = 0x00af_9b00_0000_ffff
	dataDescriptor = 0x00cf_9300_0000_ffff
)

// Page-table entry bits (Intel SDM vol. 3, section 4.5.4).
const (
	present       = 1 << 0
	writable      = 1 << 1
	largePage     = 1 << 7
	largePageSize = 2 << 20
)

// Params are what a boot needs beside the kernel.
type Params struct {
	RAMHigh uint64 // bytes of RAM from abi.MMIOHoleEnd
	Cmdline string
	Initrd  []byte   // the initial file system; none if empty
	Devices []Device // whom the ACPI tables name, at most MaxDevices
}

// Entry is the state in which the processor enters the kernel, in 64-bit mode with SelectorCode
// and SelectorData and interrupts off.
type Entry struct {
	RIP      uint64
	RSI      uint64 // the zero page
	CR3      uint64
	GDT      uint64
	GDTLimit uint16

	Written uint64 // bytes that Place wrote
}

// Place lays the kernel out in ram, the guest's memory from physical 0 up to abi.MMIOHole at most:
// the kernel where it prefers to be, the initial file system as high as possible, the rest below 1 MiB. ram
// is zero. Only pages that get content are written.
func (k *Kernel) Place(ram []byte, p Params) (Entry, error) {
	initrd, err := k.fit(uint64(len(ram)), p)
	if err != nil {
		return Entry{}, err
	}
	written := copy(ram[k.address:], k.code)
	written += copy(ram[initrd:], p.Initrd)
	written += copy(ram[cmdlineAddress:], p.Cmdline)
	written += placeACPI(ram[acpiAddress:acpiEnd], p.Devices)
	written += k.placeZeroPage(ram, initrd, p)
	written += placeTables(ram)
	return Entry{
		RIP:      k.address + entryOffset,
		RSI:      zeroPage,
		CR3:      pml4Address,
		GDT:      gdtAddress,
		GDTLimit: gdtEntries*8 - 1,
		Written:  uint64(written),
	}, nil
}

// Fits says in words why the kernel, with what p adds, does not fit into ramLow bytes of RAM from
// physical 0 up to abi.MMIOHole at most; nil if it does.
func (k *Kernel) Fits(ramLow uint64, p Params) error {
	_, err := k.fit(ramLow, p)
	return err
}

// fit checks as Fits does and returns where the initial file system begins.
func (k *Kernel) fit(ramLow uint64, p Params) (initrd uint64, err error) {
	if most := min(k.cmdlineMax, abi.PageSize-1); uint64(len(p.Cmdline)) > most {
		return 0, fmt.Errorf("a command line of %d bytes, this kernel takes %d", len(p.Cmdline), most)
	}
	if err := checkDevices(p.Devices); err != nil {
		return 0, err
	}
	end := k.address + k.size
	if end > ramLow {
		return 0, fmt.Errorf("the kernel needs at least %d MiB of memory, %d MiB given: pass more, as --mem 256M", (end+1<<20-1)>>20, ramLow>>20)
	}
	size := abi.PageUp(uint64(len(p.Initrd)))
	top := abi.PageDown(min(ramLow, k.initrdEnd))
	if size > 0 && (size > top || top-size < end) {
		return 0, fmt.Errorf("the initial file system of %d KiB does not fit between the kernel, which ends at %d KiB, and %d KiB: pass more memory, as --mem 256M",
			size>>10, (end+1<<10-1)>>10, top>>10)
	}
	return top - min(size, top), nil
}

// placeZeroPage writes what Linux calls boot_params, and returns how many bytes.
func (k *Kernel) placeZeroPage(ram []byte, initrd uint64, p Params) int {
	zero := ram[zeroPage : zeroPage+abi.PageSize]
	copy(zero[offSetupSects:], k.header)
	zero[offLoader] = loaderUndefined
	zero[offLoadFlags] |= loadedHigh
	little.PutUint32(zero[offCmdline:], cmdlineAddress)
	little.PutUint32(zero[offRamdiskImage:], 0)
	little.PutUint32(zero[offRamdiskSize:], uint32(len(p.Initrd)))
	if len(p.Initrd) > 0 {
		little.PutUint32(zero[offRamdiskImage:], uint32(initrd))
	}
	little.PutUint64(zero[offRSDP:], acpiAddress)
	ranges := memoryMap(uint64(len(ram)), p.RAMHigh)
	zero[offE820Count] = byte(len(ranges))
	for i, r := range ranges {
		entry := zero[offE820+i*e820Size:]
		little.PutUint64(entry, r.address)
		little.PutUint64(entry[8:], r.size)
		little.PutUint32(entry[16:], r.kind)
	}
	return len(zero)
}

// memoryRange is a range of physical addresses, as BIOS interrupt 0x15, function 0xe820, tells it.
type memoryRange struct {
	address, size uint64
	kind          uint32
}

// memoryMap tells what is where. The kernel takes all that is not named for free to use by devices.
func memoryMap(ramLow, ramHigh uint64) []memoryRange {
	ranges := []memoryRange{
		{0, lowMemoryEnd, rangeRAM},
		{acpiAddress, acpiEnd - acpiAddress, rangeReserved},
		{acpiEnd, ramLow - acpiEnd, rangeRAM},
	}
	if ramHigh > 0 {
		ranges = append(ranges, memoryRange{abi.MMIOHoleEnd, ramHigh, rangeRAM})
	}
	return ranges
}

// placeTables writes the GDT, and page tables that map Window bytes where they are, and returns how many
// bytes it wrote.
func placeTables(ram []byte) (written int) {
	put := func(address, value uint64) {
		little.PutUint64(ram[address:], value)
		written += 8
	}
	put(gdtAddress+SelectorCode, codeDescriptor)
	put(gdtAddress+SelectorData, dataDescriptor)
	put(pml4Address, pdptAddress|present|writable)
	put(pdptAddress, pdAddress|present|writable)
	for i := range uint64(Window / largePageSize) {
		put(pdAddress+8*i, i*largePageSize|present|writable|largePage)
	}
	return written
}
