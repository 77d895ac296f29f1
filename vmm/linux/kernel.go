// Package linux reads a Linux kernel for x86-64 and lays it out in guest memory, with the zero
// page, command line, initial file system and ACPI tables that it wants, ready for the kernel's 64-bit entry
// (Linux, Documentation/arch/x86/boot.rst, "64-bit Boot Protocol"). It trusts neither: a file that is no
// kernel, or does not fit into the memory, is refused in one clear line.
package linux

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"kapsel/vmm/image"
)

// Kernel is a checked bzImage.
type Kernel struct {
	header  []byte // the setup header, from offSetupSects on
	code    []byte // what is loaded
	address uint64 // where it is loaded
	size    uint64 // bytes from there that it needs before it knows of memory, at least len(code)

	cmdlineMax uint64 // bytes, without the 0 behind it
	initrdEnd  uint64 // what is handed over ends here at the latest
}

// Cmdline is what the command line of a Linux in this machine begins with: the console, a reboot by triple fault
// that a panic leads to at once, and no search for hardware that is not there.
const Cmdline = "console=ttyS0 reboot=t panic=-1 pci=off i8042.noaux i8042.nomux i8042.dumbkbd i8042.nopnp " +
	"tsc=reliable random.trust_cpu=on"

// Offsets of the setup header's fields, in a bzImage and in the zero page (boot.rst, "The Real-Mode Kernel
// Header").
const (
	offSetupSects    = 0x1f1 // byte: sectors of real-mode code behind the first
	offSysSize       = 0x1f4 // 32 bits: the loaded part, in units of 16 bytes
	offBootFlag      = 0x1fe // 16 bits: bootFlag
	offHeaderLength  = 0x201 // byte: the header ends so far behind offMagic
	offMagic         = 0x202 // "HdrS"
	offVersion       = 0x206 // 16 bits
	offLoader        = 0x210 // byte
	offLoadFlags     = 0x211 // byte
	offRamdiskImage  = 0x218 // 32 bits
	offRamdiskSize   = 0x21c // 32 bits
	offCmdline       = 0x228 // 32 bits: its address
	offInitrdMax     = 0x22c // 32 bits: the last byte that an initial file system may have
	offXLoadFlags    = 0x236 // 16 bits
	offCmdlineSize   = 0x238 // 32 bits: without the 0 behind it
	offPrefAddress   = 0x258 // 64 bits
	offInitSize      = 0x260 // 32 bits
	leastHeaderEnd   = 0x264
	mostHeaderEnd    = 0x290 // where the zero page has something else
	sectorSize       = 512
	sysSizeUnit      = 16
	defaultSects     = 4 // what 0 in offSetupSects stands for
	entryOffset      = 0x200
	bootFlag         = 0xaa55
	leastVersion     = 0x020c // 2.12, which has offXLoadFlags
	loaderUndefined  = 0xff
	loadedHigh       = 1 << 0 // of offLoadFlags
	kernel64         = 1 << 0 // of offXLoadFlags: there is a 64-bit entry
	magic            = "HdrS"
	whatIsOne        = "want a Linux kernel for x86-64: a bzImage, as Debian's packages have it"
	leastLoadAddress = 1 << 20
)

var little = binary.LittleEndian

// Open reads and checks the kernel in the file at path, as image.ReadFile does.
func Open(ctx context.Context, path string) (*Kernel, error) {
	data, err := image.ReadFile(ctx, path)
	if err != nil {
		return nil, err
	}
	k, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", path, err)
	}
	return k, nil
}

// Parse checks the bzImage in data and keeps data: version 2.12 or later of the boot protocol,
// with a 64-bit entry, to be loaded from 1 MiB on and below Window.
func Parse(data []byte) (*Kernel, error) {
	header, err := parseHeader(data)
	if err != nil {
		return nil, err
	}
	code, err := findCode(data)
	if err != nil {
		return nil, err
	}
	k := &Kernel{
		header:     header,
		code:       code,
		address:    little.Uint64(data[offPrefAddress:]),
		size:       max(uint64(little.Uint32(data[offInitSize:])), uint64(len(code))),
		cmdlineMax: uint64(little.Uint32(data[offCmdlineSize:])),
		initrdEnd:  uint64(little.Uint32(data[offInitrdMax:])) + 1,
	}
	switch {
	case k.address < leastLoadAddress:
		return nil, fmt.Errorf("the kernel wants to be loaded at %#x: memory below %#x is not free", k.address, leastLoadAddress)
	case k.address > Window || k.size > Window-k.address:
		return nil, fmt.Errorf("the kernel wants %#x bytes at %#x, beyond the %d MiB that are mapped at boot", k.size, k.address, Window>>20)
	}
	return k, nil
}

// parseHeader checks what says that the file is a kernel with a 64-bit entry, and returns its setup
// header.
func parseHeader(data []byte) ([]byte, error) {
	switch {
	case len(data) == 0:
		return nil, errors.New("the file is empty: " + whatIsOne)
	case bytes.HasPrefix(data, []byte("\x7fELF")):
		return nil, errors.New("an ELF file, not a bzImage: " + whatIsOne)
	case len(data) < leastHeaderEnd || little.Uint16(data[offBootFlag:]) != bootFlag || string(data[offMagic:offMagic+4]) != magic:
		return nil, errors.New("not a bzImage: " + whatIsOne)
	}
	if version := little.Uint16(data[offVersion:]); version < leastVersion {
		return nil, fmt.Errorf("version %d.%02d of Linux's boot protocol, 2.12 (Linux 3.8) is the least", version>>8, version&0xff)
	}
	if little.Uint16(data[offXLoadFlags:])&kernel64 == 0 {
		return nil, errors.New("a Linux kernel without a 64-bit entry: " + whatIsOne)
	}
	end := offMagic + int(data[offHeaderLength])
	if end < leastHeaderEnd || end > mostHeaderEnd || end > len(data) {
		return nil, fmt.Errorf("the setup header ends at %#x, want %#x to %#x and within the file's %d bytes", end, leastHeaderEnd, mostHeaderEnd, len(data))
	}
	return data[offSetupSects:end:end], nil
}

// findCode returns what is to be loaded: all behind the real-mode code.
func findCode(data []byte) ([]byte, error) {
	sects := int(data[offSetupSects])
	if sects == 0 {
		sects = defaultSects
	}
	start := (sects + 1) * sectorSize
	size := uint64(little.Uint32(data[offSysSize:])) * sysSizeUnit
	if have := uint64(max(len(data)-start, 0)); size <= entryOffset || have+sysSizeUnit <= size {
		return nil, fmt.Errorf("truncated: the header tells of %d bytes of kernel behind %d, the file has %d in all", size, start, len(data))
	}
	return data[start:len(data):len(data)], nil
}
