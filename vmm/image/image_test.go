package image

import (
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
)

var code = []byte{0xf4, 0xeb, 0xfd} // 1: hlt; jmp 1b

// edit changes the headers of a flat image.
func edit(change func(h *elf.Header64, load, note *elf.Prog64)) []byte {
	file := Flat(code, 0)
	var h elf.Header64
	programs := make([]elf.Prog64, 2)
	binary.Decode(file, little, &h)
	binary.Decode(file[headerSize:], little, programs)
	change(&h, &programs[0], &programs[1])
	binary.Encode(file, little, &h)
	binary.Encode(file[headerSize:], little, programs)
	return file
}

func TestParseRefuses(t *testing.T) {
	type header = elf.Header64
	type program = elf.Prog64
	flat := Flat(code, 0)
	for _, tt := range []struct {
		name string
		file []byte
		err  string
	}{
		{"an empty file", nil, "not an ELF file"},
		{"a text file", []byte("#!/bin/sh\necho hello\n"), "not an ELF file"},
		{"a header cut short", flat[:40], "truncated: the ELF header has 64 bytes, the file 40"},
		{"program headers cut short", flat[:100], "truncated: the program headers lie at 0x40, the file ends at 0x64"},
		{"a segment cut short", flat[:len(flat)-1], "truncated: segment 0 has 0x3 bytes"},
		{"a 32-bit file", edit(func(h *header, _, _ *program) { h.Ident[elf.EI_CLASS] = byte(elf.ELFCLASS32) }), "not a little-endian 64-bit ELF file"},
		{"a big-endian file", edit(func(h *header, _, _ *program) { h.Ident[elf.EI_DATA] = byte(elf.ELFDATA2MSB) }), "not a little-endian 64-bit ELF file"},
		{"another processor", edit(func(h *header, _, _ *program) { h.Machine = uint16(elf.EM_AARCH64) }), "for EM_AARCH64, not for x86-64"},
		{"a shared object", edit(func(h *header, _, _ *program) { h.Type = uint16(elf.ET_DYN) }), "of type ET_DYN, not an executable"},
		{"odd program headers", edit(func(h *header, _, _ *program) { h.Phentsize = 57 }), "program headers of 57 bytes"},
		{"no program headers", edit(func(h *header, _, _ *program) { h.Phnum = 0 }), "0 ELF program headers"},
		{"too many program headers", edit(func(h *header, _, _ *program) { h.Phnum = 65 }), "65 ELF program headers"},
		{"program headers at the end of the address space", edit(func(h *header, _, _ *program) { h.Phoff = ^uint64(0) - 8 }), "truncated: the program headers"},
		{"a segment at the end of the address space", edit(func(_ *header, p, _ *program) { p.Off = ^uint64(0) }), "truncated: segment 0"},
		{"nothing to load", edit(func(_ *header, p, _ *program) { p.Type = uint32(elf.PT_NULL) }), "nothing to load"},
		{"more in the file than in memory", edit(func(_ *header, p, _ *program) { p.Memsz = 1 }), "segment 0: 0x3 bytes in the file, only 0x1 in memory"},
		{"the monitor's memory", edit(func(_ *header, p, _ *program) { p.Paddr = abi.LowMemoryEnd - 1 }), "memory below 0x100000 is the monitor's"},
		{"a bss of 4 GiB", Flat(code, 4<<30), "end above 1024 MiB"},
		{"a bss that wraps", Flat(code, ^uint64(0)-8), "end above 1024 MiB"},
		{"an address beyond the boot window", edit(func(_ *header, p, _ *program) { p.Paddr = BootWindow + 1 }), "end above 1024 MiB"},
		{"another virtual address", edit(func(_ *header, p, _ *program) { p.Vaddr += 4096 }), "linked at 0xffffffff80201000"},
		{"an entry in no segment", edit(func(h *header, _, _ *program) { h.Entry = abi.KernelBase }), "lies in no executable segment"},
		{"an entry behind the code", edit(func(h *header, p, _ *program) { h.Entry += 3; p.Memsz = 4096 }), "lies in no executable segment"},
		{"an entry in data", edit(func(_ *header, p, _ *program) { p.Flags = uint32(elf.PF_R | elf.PF_W) }), "lies in no executable segment"},
		{"no note", edit(func(_ *header, _, n *program) { n.Type = uint32(elf.PT_NULL) }), "no Kapsel boot note"},
		{"a note cut short", edit(func(_ *header, _, n *program) { n.Filesz-- }), "no Kapsel boot note"},
		{"overlapping segments", edit(func(_ *header, p, n *program) { *n = *p; n.Paddr++; n.Vaddr++ }), "segments overlap: 0x200000 to 0x200003 and 0x200001 to 0x200004"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse(tt.file)
			assert.ErrorContains(t, err, tt.err)
			assert.NotContains(t, err.Error(), "\n")
		})
	}
}

func TestParseRefusesAnotherContract(t *testing.T) {
	file := Flat(code, 0)
	little.PutUint32(file[len(file)-len(code)-4:], 2) // the boot note is the last one
	_, err := Parse(file)
	assert.ErrorContains(t, err, "wants version 2 of the boot contract")
}

func TestNoteIsFoundBehindOthers(t *testing.T) {
	xen := little.AppendUint32(nil, 4)
	xen = little.AppendUint32(xen, 8)
	xen = little.AppendUint32(xen, 18)
	xen = append(xen, "Xen\x00\x00\x00\x20\x00\x00\x00\x00\x00"...)
	version, ok := findNoteIn(append(xen, bootNote()...), abi.NoteBoot, 4)
	assert.True(t, ok)
	assert.EqualValues(t, abi.BootVersion, little.Uint32(version))

	_, ok = findNoteIn(xen, abi.NoteBoot, 4)
	assert.False(t, ok)
	_, ok = findNoteIn(bootNote(), abi.NoteBoot, 8)
	assert.False(t, ok, "of another size")
}

func TestHeartbeat(t *testing.T) {
	img, err := Parse(Flat(code, 16))
	require.NoError(t, err)
	_, ok := img.Heartbeat()
	assert.False(t, ok)
	const bss = 13 // with the 3 bytes of code, two words
	for _, tt := range []struct {
		name    string
		address uint64
		ok      bool
	}{
		{"the image's first word", FlatAddress, true},
		{"its last word", FlatAddress + 8, true},
		{"not aligned", FlatAddress + 4, false},
		{"behind it", FlatAddress + 16, false},
		{"in front of it", FlatAddress - 8, false},
		{"address 0", 0, false},
		{"the end of the address space", ^uint64(7), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img, err := Parse(FlatWatched(code, bss, tt.address))
			if !tt.ok {
				assert.ErrorContains(t, err, "the heartbeat note names 0x")
				return
			}
			require.NoError(t, err)
			address, ok := img.Heartbeat()
			assert.True(t, ok)
			assert.Equal(t, tt.address, address)
		})
	}
}

func TestOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flat.elf")
	require.NoError(t, os.WriteFile(path, Flat(code, 0), 0o600))
	_, err := Open(path)
	require.NoError(t, err)

	require.NoError(t, os.WriteFile(path, []byte("text"), 0o600))
	_, err = Open(path)
	assert.EqualError(t, err, path+": not an ELF file")

	_, err = Open(path + ".missing")
	assert.ErrorIs(t, err, os.ErrNotExist)
	_, err = Open(t.TempDir())
	assert.Error(t, err)
}

func TestPlace(t *testing.T) {
	img, err := Parse(Flat(code, 5000))
	require.NoError(t, err)
	ram := make([]byte, 4<<20)
	modules := [][]byte{[]byte("first"), make([]byte, abi.PageSize+1), []byte("third")}
	modules[1][abi.PageSize] = 7
	entry, err := img.Place(ram, Params{
		RAMHigh: 1 << 30, Cmdline: "a=b c", Modules: modules, TSCHz: 2_600_000_000, LAPICHz: 1_000_000_000,
	})
	require.NoError(t, err)

	assert.Equal(t, uint64(abi.KernelBase+FlatAddress), entry.RIP)
	assert.Equal(t, code, ram[FlatAddress:FlatAddress+len(code)])

	assert.Less(t, entry.RDI, uint64(abi.LowMemoryEnd))
	assert.Zero(t, entry.RDI%8)
	var info abi.BootInfo
	_, err = binary.Decode(ram[entry.RDI:], little, &info)
	require.NoError(t, err)
	const end = FlatAddress + 2*abi.PageSize // code and bss, rounded up
	assert.Equal(t, abi.BootInfo{
		Magic: abi.BootMagic, Size: 11 * 8,
		RAMLow: 4 << 20, RAMHigh: 1 << 30, Free: end + 4*abi.PageSize,
		Modules: end, ModulesSize: 4 * abi.PageSize,
		Cmdline: cmdlineAddress, CmdlineSize: 5,
		TSCHz: 2_600_000_000, LAPICHz: 1_000_000_000,
	}, info)
	assert.Equal(t, "KAPSEL01", string(ram[entry.RDI:entry.RDI+8]))
	assert.Equal(t, "a=b c", string(ram[info.Cmdline:info.Cmdline+info.CmdlineSize]))
	assert.Equal(t, "first", string(ram[end:end+5]))
	assert.EqualValues(t, 7, ram[end+2*abi.PageSize])
	assert.Equal(t, "third", string(ram[end+3*abi.PageSize:][:5]))
}

// walk translates a virtual address through the boot page tables, as the processor does.
func walk(t *testing.T, ram []byte, cr3, virtual uint64) uint64 {
	t.Helper()
	pml4e := little.Uint64(ram[cr3+8*(virtual>>39%512):])
	require.EqualValues(t, present|writable, pml4e&0xfff, "PML4 entry of %#x", virtual)
	pdpte := little.Uint64(ram[pml4e&^0xfff+8*(virtual>>30%512):])
	require.EqualValues(t, present|writable, pdpte&0xfff, "PDPT entry of %#x", virtual)
	pde := little.Uint64(ram[pdpte&^0xfff+8*(virtual>>21%512):])
	if pde == 0 {
		return 0
	}
	require.EqualValues(t, present|writable|largePage, pde&0xfff, "PD entry of %#x", virtual)
	return pde&^0xfff + virtual%largePageSize
}

func TestBootPageTables(t *testing.T) {
	img, err := Parse(Flat(code, 0))
	require.NoError(t, err)
	ram := make([]byte, 5<<20)
	entry, err := img.Place(ram, Params{})
	require.NoError(t, err)
	for _, physical := range []uint64{1, FlatAddress, FlatAddress + 123, 5<<20 - 1} {
		assert.Equal(t, physical, walk(t, ram, entry.CR3, abi.KernelBase+physical))
	}
	assert.Zero(t, walk(t, ram, entry.CR3, abi.KernelBase+6<<20), "beyond RAM")
}

func TestPlaceRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		ram    int
		bss    uint64
		params Params
		err    string
	}{
		{"too little memory", 1 << 20, 0, Params{}, "needs at least 3 MiB of memory, 1 MiB given: pass --mem 4M or more"},
		{"one page too little", 2<<20 + 4096, 4096, Params{}, "needs at least 3 MiB of memory, 2052 KiB given"},
		{"no memory", 0, 0, Params{}, "0 MiB given"},
		{"a large bss", 4 << 20, 9 << 20, Params{}, "needs at least 12 MiB of memory, 4 MiB given: pass --mem 16M or more"},
		{"modules that do not fit", 3 << 20, 0, Params{Modules: [][]byte{make([]byte, 1<<20)}}, "needs at least 4 MiB of memory, 3 MiB given"},
		{"an empty module", 3 << 20, 0, Params{Modules: [][]byte{{1}, {}}}, "module 2 is empty"},
		{"a long command line", 3 << 20, 0, Params{Cmdline: string(make([]byte, abi.CmdlineMax+1))}, "a command line of 2049 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img, err := Parse(Flat(code, tt.bss))
			require.NoError(t, err)
			_, err = img.Place(make([]byte, tt.ram), tt.params)
			assert.ErrorContains(t, err, tt.err)
		})
	}
}

func TestPlaceFitsExactly(t *testing.T) {
	img, err := Parse(Flat(code, 0))
	require.NoError(t, err)
	_, err = img.Place(make([]byte, FlatAddress+abi.PageSize), Params{})
	assert.NoError(t, err)
}

// FuzzParse feeds Parse anything. What it accepts must hold the promises that Place and
// the processor rely on.
func FuzzParse(f *testing.F) {
	f.Add(Flat(code, 0))
	f.Add(Flat(code, 4<<30))
	f.Add(edit(func(h *elf.Header64, p, n *elf.Prog64) { *n = *p; n.Paddr += 4096; n.Vaddr += 4096 }))
	f.Add([]byte("text"))
	f.Fuzz(func(t *testing.T, file []byte) {
		img, err := Parse(file)
		if err != nil {
			return
		}
		at := uint64(abi.LowMemoryEnd)
		for _, s := range img.segments {
			assert.GreaterOrEqual(t, s.address, at, "sorted, disjoint, above the monitor's memory")
			assert.LessOrEqual(t, uint64(len(s.data)), s.size)
			at = s.address + s.size
		}
		assert.LessOrEqual(t, at, uint64(BootWindow))
		assert.LessOrEqual(t, at, img.end)
		if img.end <= 8<<20 {
			_, err := img.Place(make([]byte, img.end), Params{})
			assert.NoError(t, err)
		}
	})
}
