package image

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"slices"
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

// editTwo is edit with a second segment to load, which is as the first.
func editTwo(change func(second *elf.Prog64)) []byte {
	file := Flat(code, 0)
	var h elf.Header64
	programs := make([]elf.Prog64, 3)
	binary.Decode(file, little, &h)
	binary.Decode(file[headerSize:], little, programs[:2])
	programs[2] = programs[0]
	change(&programs[2])
	h.Phoff, h.Phnum = uint64(len(file)), 3 // there is room behind
	binary.Encode(file, little, &h)
	file, _ = binary.Append(file, little, programs)
	return file
}

// flat0 is a flat image with other notes.
func flat0(notes []byte) []byte { return flat(code, 0, notes) }

// linkedElsewhere has no note and is linked where neither an image nor its tasks would be
// loaded, as kernel.elf and a task's ELF file are.
func linkedElsewhere(h *elf.Header64, p, note *elf.Prog64) {
	p.Vaddr, p.Paddr, h.Entry = 0x40000000, 0x40000000, 0x40000000
	note.Type = uint32(elf.PT_NULL)
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
		{"an empty file", nil, "the file is empty: mkimage makes Kapsel images"},
		{"a text file", []byte("#!/bin/sh\necho hello\n"), "not an ELF file: mkimage makes Kapsel images; a task goes behind the image"},
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
		{"the firmware's memory", edit(func(_ *header, p, _ *program) { p.Paddr = abi.LowMemoryEnd - 1 }), "memory below 0x100000 is the firmware's"},
		{"a bss of 4 GiB", Flat(code, 4<<30), "end above 1024 MiB"},
		{"a bss that wraps", Flat(code, ^uint64(0)-8), "end above 1024 MiB"},
		{"an address beyond the boot window", edit(func(_ *header, p, _ *program) { p.Paddr = BootWindow + 1 }), "end above 1024 MiB"},
		{"another virtual address", edit(func(_ *header, p, _ *program) { p.Vaddr += 4096 }), "linked at 0xffffffff80201000"},
		{"an entry in no segment", edit(func(h *header, _, _ *program) { h.Entry = abi.KernelBase }), "lies in no executable segment"},
		{"an entry behind the code", edit(func(h *header, p, _ *program) { h.Entry += 3; p.Memsz = 4096 }), "lies in no executable segment"},
		{"an entry in data", edit(func(_ *header, p, _ *program) { p.Flags = uint32(elf.PF_R | elf.PF_W) }), "lies in no executable segment"},
		{"no note", edit(func(_ *header, _, n *program) { n.Type = uint32(elf.PT_NULL) }), "no Kapsel boot note"},
		{"a task's ELF file", edit(linkedElsewhere), "no Kapsel boot note, so this is no Kapsel image: mkimage makes Kapsel images; a task goes behind the image"},
		{"a note cut short", edit(func(_ *header, _, n *program) { n.Filesz-- }), "no Kapsel boot note"},
		{"ELF flags", edit(func(h *header, _, _ *program) { h.Flags = 0x10000 }), "ELF flags 0x10000, x86-64 has none"},
		{"notes aligned to 8 bytes", edit(func(_ *header, _, n *program) { n.Align = 8 }), "segment 1: notes aligned to 8 bytes, want 4"},
		{"notes not aligned", edit(func(_ *header, _, n *program) { n.Align = 0 }), "segment 1: notes aligned to 0 bytes, want 4"},
		{"no PVH note", flat0(bootNote()), "no PVH note (name Xen, type 18, 4 or 8 bytes), by which QEMU boots an image"},
		{"a PVH note of another name", flat0(append(note("Zen\x00", 18, []byte{0, 0, 0x20, 0}), bootNote()...)), "no PVH note"},
		{"a PVH note with no room for an address", flat0(append(note("Xen\x00", 18, nil), bootNote()...)), "no PVH note"},
		{"a PVH entry behind the code", flat0(append(pvhNote(FlatAddress+3), bootNote()...)), "the PVH note's entry 0x200003 lies in no executable segment"},
		{"a PVH entry beyond 32 bits", flat0(append(note("Xen\x00", 18, []byte{0, 0, 0x20, 0, 1, 0, 0, 0}), bootNote()...)), "the PVH note's entry 0x100200000 lies in no executable segment"},
		{"a PVH entry of the kernel's addresses", flat0(append(note("Xen\x00", 18, little.AppendUint64(nil, abi.KernelBase+FlatAddress)), bootNote()...)), "the PVH note's entry 0xffffffff80200000 lies in"},
		{"a PVH entry of 0", flat0(append(pvhNote(0), bootNote()...)), "the PVH note's entry 0x0 lies in no executable segment"},
		{"overlapping segments", editTwo(func(p *program) { p.Paddr++; p.Vaddr++ }), "segments overlap: 0x200000 to 0x200003 and 0x200001 to 0x200004"},
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
	little.PutUint32(file[len(file)-len(code)-4:], 3) // the boot note is the last one
	_, err := Parse(file)
	assert.ErrorContains(t, err, "wants version 3 of the boot contract, this monitor has version 2")
}

func TestNoteIsFoundBehindOthers(t *testing.T) {
	xen := little.AppendUint32(nil, 4)
	xen = little.AppendUint32(xen, 8)
	xen = little.AppendUint32(xen, 18)
	xen = append(xen, "Xen\x00\x00\x00\x20\x00\x00\x00\x00\x00"...)
	version, ok := findNoteIn(append(xen, bootNote()...), noteName, abi.NoteBoot, 4)
	assert.True(t, ok)
	assert.EqualValues(t, abi.BootVersion, little.Uint32(version))

	_, ok = findNoteIn(xen, noteName, abi.NoteBoot, 4)
	assert.False(t, ok)
	_, ok = findNoteIn(bootNote(), noteName, abi.NoteBoot, 8)
	assert.False(t, ok, "of another size")
}

func TestHeartbeat(t *testing.T) {
	img, err := Parse(Flat(code, 16))
	require.NoError(t, err)
	_, ok := img.Heartbeat(Direct)
	assert.False(t, ok)
	const (
		bss   = 13 // with the 3 bytes of code, two words
		first = abi.KernelBase + FlatAddress
	)
	for _, tt := range []struct {
		name    string
		virtual uint64
		offset  uint64 // from the image's first byte
		ok      bool
	}{
		{"the image's first word", first, 0, true},
		{"its last word", first + 8, 8, true},
		{"not aligned", first + 4, 0, false},
		{"behind it", first + 16, 0, false},
		{"in front of it", first - 8, 0, false},
		{"address 0", 0, 0, false},
		{"a physical address", FlatAddress, 0, false},
		{"the end of the address space", ^uint64(7), 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img, err := Parse(FlatWatched(code, bss, tt.virtual))
			if !tt.ok {
				assert.ErrorContains(t, err, "the heartbeat note names 0x")
				return
			}
			require.NoError(t, err)
			for door, at := range map[Door]uint64{Direct: flatDirect, PVH: FlatAddress} {
				address, ok := img.Heartbeat(door)
				assert.True(t, ok)
				assert.Equal(t, at+tt.offset, address)
			}
		})
	}
}

func TestGeneration(t *testing.T) {
	img, err := Parse(Flat(code, 16))
	require.NoError(t, err)
	_, ok := img.Generation(Direct)
	assert.False(t, ok)
	named := func(virtual uint64) (*Image, error) {
		return Parse(flat(code, 13, slices.Concat(pvhNote(FlatAddress), bootNote(), note(noteName, abi.NoteGeneration, little.AppendUint64(nil, virtual)))))
	}
	_, err = named(abi.KernelBase + FlatAddress + 16)
	assert.ErrorContains(t, err, "the generation note names 0x")
	img, err = named(abi.KernelBase + FlatAddress + 8)
	require.NoError(t, err)
	address, ok := img.Generation(Direct)
	assert.True(t, ok)
	assert.EqualValues(t, flatDirect+8, address)
	_, ok = img.Heartbeat(Direct)
	assert.False(t, ok)
}

func TestPVHNoteOf8Bytes(t *testing.T) {
	_, err := Parse(flat0(append(note("Xen\x00", 18, little.AppendUint64(nil, FlatAddress)), bootNote()...)))
	assert.NoError(t, err)
}

func TestHolds(t *testing.T) {
	img, err := Parse(Flat(code, 4096))
	require.NoError(t, err)
	for address, want := range map[uint64]bool{
		FlatAddress - 1: false, FlatAddress: true, FlatAddress + 8191: true, FlatAddress + 8192: false,
		abi.KernelBase + FlatAddress - 1: false, abi.KernelBase + FlatAddress: true, abi.KernelBase + FlatAddress + 8192: false,
		0: false, 0xfffffff0: false, ^uint64(0): false,
	} {
		assert.Equal(t, want, img.Holds(address), "%#x", address)
	}
}

// flatDirect is where Place puts the code of a flat image: behind an empty page, five page
// tables, and boot information with the command line.
const flatDirect = 7 * abi.PageSize

func TestPlace(t *testing.T) {
	img, err := Parse(Flat(code, 5000))
	require.NoError(t, err)
	ram := make([]byte, 1<<20)
	modules := [][]byte{[]byte("first"), make([]byte, abi.PageSize+1), []byte("third")}
	modules[1][abi.PageSize] = 7
	cmdline := "a=b c" + string(make([]byte, abi.CmdlineMax-6)) + "z"
	entry, err := img.Place(ram, Params{
		RAMHigh: 1 << 30, Cmdline: cmdline, Modules: modules, TSCHz: 2_600_000_000, LAPICHz: 1_000_000_000,
	})
	require.NoError(t, err)

	assert.Equal(t, uint64(abi.KernelBase+FlatAddress), entry.RIP)
	assert.Equal(t, code, ram[flatDirect:flatDirect+len(code)])

	assert.Zero(t, entry.RDI%8)
	var info abi.BootInfo
	_, err = binary.Decode(ram[entry.RDI:], little, &info)
	require.NoError(t, err)
	const end = flatDirect + 2*abi.PageSize // code and bss, rounded up
	assert.Equal(t, abi.BootInfo{
		Magic: abi.BootMagic, Size: 12 * 8,
		RAMLow: 1 << 20, RAMHigh: 1 << 30, Free: end + 4*abi.PageSize,
		Modules: end, ModulesSize: 4 * abi.PageSize,
		Cmdline: cmdlineAddress, CmdlineSize: abi.CmdlineMax,
		TSCHz: 2_600_000_000, LAPICHz: 1_000_000_000,
		Image: flatDirect,
	}, info)
	assert.Equal(t, "KAPSEL02", string(ram[entry.RDI:entry.RDI+8]))
	assert.Equal(t, cmdline, string(ram[info.Cmdline:info.Cmdline+info.CmdlineSize]))
	assert.Equal(t, "first", string(ram[end:end+5]))
	assert.EqualValues(t, 7, ram[end+2*abi.PageSize])
	assert.Equal(t, "third", string(ram[end+3*abi.PageSize:][:5]))
	assert.Equal(t, make([]byte, abi.PageSize), ram[:abi.PageSize], "the first page stays empty")
}

// walk translates a virtual address through the boot page tables, as the processor does; false
// if nothing is mapped there.
func walk(ram []byte, cr3, virtual uint64) (physical uint64, ok bool) {
	at := cr3
	for _, shift := range []uint{39, 30, 21, 12} {
		entry := little.Uint64(ram[at+8*(virtual>>shift%512):])
		if entry&(present|writable) != present|writable {
			return 0, false
		}
		at = entry &^ 0xfff
		if entry&largePage != 0 || shift == 12 {
			return at + virtual%(1<<shift), true
		}
	}
	panic("not reached")
}

// segments makes an image of these segments' addresses and sizes, entered at the first.
func segments(t *testing.T, pieces ...segment) *Image {
	t.Helper()
	img, err := Parse(Flat(code, 0))
	require.NoError(t, err)
	img.segments = pieces
	last := pieces[len(pieces)-1]
	img.start, img.end = abi.PageDown(pieces[0].address), abi.PageUp(last.address+last.size)
	return img
}

func TestBootPageTables(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct {
		name        string
		start, size uint64 // of the image, as linked
		ram         uint64
		tables      uint64 // page tables for the image
	}{
		{"a page", 2 * mib, 4096, mib, 1},
		{"as much as a table maps", 2 * mib, 2 * mib, 4 * mib, 1},
		{"a page more", 2 * mib, 2*mib + 4096, 4 * mib, 2},
		{"across two tables", 4*mib - 4096, 8192, mib, 2},
		{"not from a page's start on", 2*mib + 4095, 2, mib, 1},
		{"the lowest there can be", mib, 4096, mib, 1},
		{"up to the boot window's end", BootWindow - 4096, 4096, mib, 1},
		{"all of the RAM", 2 * mib, mib - flatDirect, mib, 1},
		{"RAM of no whole large page", 2 * mib, 4096, 5*mib + 4096, 1},
		{"more RAM than the boot window", 2 * mib, 4096, BootWindow + 2*mib, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img := segments(t, segment{address: tt.start, size: tt.size})
			ram := make([]byte, tt.ram)
			entry, err := img.Place(ram, Params{})
			require.NoError(t, err)
			at := 6*abi.PageSize + tt.tables*abi.PageSize
			assert.Equal(t, at, img.At(Direct))
			assert.Equal(t, tt.start&^4095, img.At(PVH))

			mapped := func(want, virtual uint64, about string) {
				physical, ok := walk(ram, entry.CR3, virtual)
				assert.True(t, ok, about)
				assert.Equal(t, want, physical, about)
			}
			for _, linked := range []uint64{tt.start, tt.start + tt.size/2, tt.start + tt.size - 1} {
				mapped(at+linked-tt.start&^4095, abi.KernelBase+linked, "the image")
			}
			for _, physical := range []uint64{1, at, min(tt.ram, BootWindow) - 1} {
				mapped(physical, physical, "RAM")
			}
			for name, virtual := range map[string]uint64{
				"in front of the image": abi.KernelBase + tt.start&^4095 - 1,
				"behind the image":      abi.KernelBase + abi.PageUp(tt.start+tt.size),
				"behind RAM":            min((tt.ram+largePageSize-1)&^(largePageSize-1), BootWindow),
				"the last address":      ^uint64(0),
			} {
				_, ok := walk(ram, entry.CR3, virtual)
				assert.False(t, ok, name)
			}
		})
	}
}

// TestSegmentsKeepTheirDistance: an image is moved as a whole.
func TestSegmentsKeepTheirDistance(t *testing.T) {
	img := segments(t,
		segment{0x200000, 0x1001, []byte("code")},
		segment{0x205123, 16, []byte("data")},
		segment{0x600000, 1, []byte("t")})
	ram := make([]byte, 8<<20)
	entry, err := img.Place(ram, Params{Modules: [][]byte{[]byte("module")}})
	require.NoError(t, err)
	at := img.At(Direct)
	assert.EqualValues(t, 9*abi.PageSize, at, "three page tables")
	for offset, want := range map[uint64]string{0: "code", 0x5123: "data", 0x400000: "t", 0x401000: "module"} {
		assert.Equal(t, want, string(ram[at+offset:][:len(want)]))
	}
	physical, _ := walk(ram, entry.CR3, abi.KernelBase+0x205123)
	assert.Equal(t, at+0x5123, physical)
}

func TestFits(t *testing.T) {
	modules := func(sizes ...int) (p Params) {
		for _, size := range sizes {
			p.Modules = append(p.Modules, make([]byte, size))
		}
		return p
	}
	const need, needPVH = flatDirect + abi.PageSize, FlatAddress + abi.PageSize
	for _, tt := range []struct {
		name   string
		door   Door
		ram    uint64
		bss    uint64
		params Params
		err    string
	}{
		{"exactly", Direct, need, 0, Params{}, ""},
		{"one page too little", Direct, need - abi.PageSize, 0, Params{}, "needs at least 1 MiB of memory, 28 KiB given: pass --mem 1M or more"},
		{"exactly 1 MiB", Direct, 1 << 20, 1<<20 - flatDirect - 3, Params{}, ""},
		{"one byte more", Direct, 1 << 20, 1<<20 - flatDirect - 2, Params{}, "needs at least 2 MiB of memory, 1 MiB given: pass --mem 2M or more"},
		{"no memory", Direct, 0, 0, Params{}, "0 MiB given"},
		{"a large bss", Direct, 4 << 20, 9 << 20, Params{}, "needs at least 10 MiB of memory, 4 MiB given: pass --mem 16M or more"},
		{"exactly, with modules", Direct, need + 3*abi.PageSize, 0, modules(1, 4097), ""},
		{"modules that do not fit", Direct, need + 2*abi.PageSize, 0, modules(1, 4097), "needs at least 1 MiB of memory, 40 KiB given"},
		{"an empty module", Direct, 3 << 20, 0, modules(1, 0), "module 2 is empty"},
		{"a long command line", Direct, 3 << 20, 0, Params{Cmdline: string(make([]byte, abi.CmdlineMax+1))}, "a command line of 2049 bytes"},

		{"exactly, by PVH", PVH, needPVH, 0, Params{}, ""},
		{"one page too little, by PVH", PVH, needPVH - abi.PageSize, 0, Params{}, "needs at least 3 MiB of memory, 2 MiB given: pass --mem 4M or more"},
		{"modules that do not fit, by PVH", PVH, 3 << 20, 0, modules(1 << 20), "needs at least 4 MiB of memory, 3 MiB given"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img, err := Parse(Flat(code, tt.bss))
			require.NoError(t, err)
			found := []error{img.Fits(tt.door, tt.ram, tt.params)}
			if tt.door == Direct {
				_, err = img.Place(make([]byte, tt.ram), tt.params)
				found = append(found, err)
			}
			for _, err := range found {
				if tt.err == "" {
					assert.NoError(t, err)
				} else {
					assert.ErrorContains(t, err, tt.err)
				}
			}
		})
	}
}

// FuzzParse feeds Parse anything. What it accepts must hold the promises that Place and
// the processor rely on.
func FuzzParse(f *testing.F) {
	f.Add(Flat(code, 0))
	f.Add(Flat(code, 4<<30))
	f.Add(editTwo(func(p *elf.Prog64) { p.Paddr += 4096; p.Vaddr += 4096 }))
	f.Add(edit(linkedElsewhere))
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
		if need := img.At(Direct) + img.end - img.start; need <= 8<<20 {
			_, err := img.Place(make([]byte, need), Params{})
			assert.NoError(t, err)
			_, err = img.Place(make([]byte, need-abi.PageSize), Params{})
			assert.Error(t, err)
		}
	})
}

// TestIs: an image is known by its note, sound or not; what is none is not read as one, whatever it says of itself.
func TestIs(t *testing.T) {
	type header = elf.Header64
	type program = elf.Prog64
	flat := Flat(code, 0)
	another := Flat(code, 0)
	little.PutUint32(another[len(another)-len(code)-4:], 3) // of the boot contract
	for _, tt := range []struct {
		name string
		file []byte
		want bool
	}{
		{"an image", flat, true},
		{"for another boot contract", another, true},
		{"without its code", flat[:len(flat)-len(code)], true},
		{"without its note", flat[:len(flat)-len(code)-4], false},
		{"an empty file", nil, false},
		{"a script", []byte("#!/bin/sh\necho hello, this is longer than the header of an ELF file is\n"), false},
		{"a task's ELF file", edit(linkedElsewhere), false},
		{"a note of more than 64 KiB", edit(func(_ *header, _, n *program) { n.Filesz = maxNotes + 1 }), false},
		{"a note that wraps", edit(func(_ *header, _, n *program) { n.Off = ^uint64(0) - 7 }), false},
		{"headers that wrap", edit(func(h *header, _, _ *program) { h.Phoff = ^uint64(0) - 7 }), false},
		{"headers behind the file", edit(func(h *header, _, _ *program) { h.Phoff = 1 << 40 }), false},
	} {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want, Is(bytes.NewReader(tt.file))) })
	}
}
