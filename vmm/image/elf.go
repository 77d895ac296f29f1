package image

import (
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"kapsel/guest/abi"
)

// Sizes of ELF64 structures (System V ABI, chapters 4 and 5).
const (
	headerSize        = 64
	programHeaderSize = 56
	maxProgramHeaders = 64
)

// Notes: names as they stand in the file, the type of the PVH door's (Xen public/elfnote.h,
// XEN_ELFNOTE_PHYS32_ENTRY), and what name and descriptor are padded to.
const (
	noteName     = abi.NoteName + "\x00"
	xenName      = "Xen\x00"
	noteXenEntry = 18
	noteAlign    = 4
)

// maxNotes is the largest segment of notes that Is reads, in bytes.
const maxNotes = 64 << 10

// whatIsOne is for who gives another file for an image.
const whatIsOne = "mkimage makes Kapsel images; a task goes behind the image"

var little = binary.LittleEndian

// Parse checks the image in data and keeps data: an ELF64 executable for x86-64 with the
// boot note, with physical addresses between abi.LowMemoryEnd and BootWindow, and linked at
// those plus abi.KernelBase.
func Parse(data []byte) (*Image, error) {
	header, err := parseHeader(data)
	if err != nil {
		return nil, err
	}
	programs, err := parsePrograms(data, header)
	if err != nil {
		return nil, err
	}
	if err := checkNotes(data, programs); err != nil {
		return nil, err
	}
	img := &Image{file: data, entry: header.Entry}
	if err := img.addSegments(data, programs); err != nil {
		return nil, err
	}
	if err := checkDoors(header.Entry, data, programs); err != nil {
		return nil, err
	}
	if err := img.readWords(data, programs); err != nil {
		return nil, err
	}
	return img, nil
}

// Is reports whether a file has the note that makes it an image, whether or not it is a sound one of this version of the boot contract. It reads little more than the note.
func Is(file io.ReaderAt) bool {
	programs, err := readPrograms(file)
	return err == nil && slices.ContainsFunc(programs, func(p elf.Prog64) bool {
		if elf.ProgType(p.Type) != elf.PT_NOTE || p.Filesz > maxNotes || p.Off > MaxFileSize {
			return false
		}
		notes := make([]byte, p.Filesz)
		if _, err := file.ReadAt(notes, int64(p.Off)); err != nil {
			return false
		}
		_, ok := findNoteIn(notes, noteName, abi.NoteBoot, 4)
		return ok
	})
}

// readPrograms reads the program headers of a file.
func readPrograms(file io.ReaderAt) ([]elf.Prog64, error) {
	header := make([]byte, headerSize)
	if _, err := file.ReadAt(header, 0); err != nil {
		return nil, err
	}
	h, err := parseHeader(header)
	if err != nil {
		return nil, err
	}
	programs := make([]elf.Prog64, h.Phnum)
	return programs, binary.Read(io.NewSectionReader(file, int64(h.Phoff), int64(h.Phnum)*programHeaderSize), little, programs)
}

func parseHeader(data []byte) (elf.Header64, error) {
	var h elf.Header64
	switch {
	case len(data) == 0:
		return h, errors.New("the file is empty: " + whatIsOne)
	case !bytes.HasPrefix(data, []byte(elf.ELFMAG)):
		return h, errors.New("not an ELF file: " + whatIsOne)
	}
	if _, err := binary.Decode(data, little, &h); err != nil {
		return h, fmt.Errorf("truncated: the ELF header has %d bytes, the file %d", headerSize, len(data))
	}
	switch {
	case h.Ident[elf.EI_CLASS] != byte(elf.ELFCLASS64) || h.Ident[elf.EI_DATA] != byte(elf.ELFDATA2LSB):
		return h, errors.New("not a little-endian 64-bit ELF file")
	case elf.Machine(h.Machine) != elf.EM_X86_64:
		return h, fmt.Errorf("an ELF file for %v, not for x86-64", elf.Machine(h.Machine))
	case elf.Type(h.Type) != elf.ET_EXEC:
		return h, fmt.Errorf("an ELF file of type %v, not an executable with fixed addresses (ET_EXEC)", elf.Type(h.Type))
	case h.Flags != 0:
		return h, fmt.Errorf("ELF flags %#x, x86-64 has none", h.Flags)
	case h.Phentsize != programHeaderSize:
		return h, fmt.Errorf("ELF program headers of %d bytes, %d are the standard", h.Phentsize, programHeaderSize)
	case h.Phnum == 0 || h.Phnum > maxProgramHeaders:
		return h, fmt.Errorf("%d ELF program headers, 1 to %d are possible", h.Phnum, maxProgramHeaders)
	}
	return h, nil
}

// parsePrograms reads the program headers and checks that each lies within the file.
func parsePrograms(data []byte, h elf.Header64) ([]elf.Prog64, error) {
	programs := make([]elf.Prog64, h.Phnum)
	table, ok := cut(data, h.Phoff, uint64(h.Phnum)*programHeaderSize)
	if _, err := binary.Decode(table, little, programs); err != nil || !ok {
		return nil, fmt.Errorf("truncated: the program headers lie at %#x, the file ends at %#x", h.Phoff, len(data))
	}
	for i, p := range programs {
		if _, ok := cut(data, p.Off, p.Filesz); !ok {
			return nil, fmt.Errorf("truncated: segment %d has %#x bytes at %#x, the file ends at %#x", i, p.Filesz, p.Off, len(data))
		}
	}
	return programs, nil
}

// cut returns the size bytes of data at offset, or false if they are not all there.
func cut(data []byte, offset, size uint64) ([]byte, bool) {
	length := uint64(len(data))
	if offset > length || size > length-offset {
		return nil, false
	}
	return data[offset : offset+size : offset+size], true
}

func (img *Image) addSegments(data []byte, programs []elf.Prog64) error {
	for i, p := range programs {
		if elf.ProgType(p.Type) != elf.PT_LOAD || p.Memsz == 0 {
			continue
		}
		if err := checkSegment(p); err != nil {
			return fmt.Errorf("segment %d: %w", i, err)
		}
		bytes, _ := cut(data, p.Off, p.Filesz) // parsePrograms checked it
		img.segments = append(img.segments, segment{p.Paddr, p.Memsz, bytes})
	}
	if len(img.segments) == 0 {
		return errors.New("nothing to load: the ELF file has no PT_LOAD segment")
	}
	slices.SortFunc(img.segments, func(a, b segment) int { return cmp.Compare(a.address, b.address) })
	for i, s := range img.segments[1:] {
		if before := img.segments[i]; before.address+before.size > s.address {
			return fmt.Errorf("segments overlap: %#x to %#x and %#x to %#x",
				before.address, before.address+before.size, s.address, s.address+s.size)
		}
	}
	last := img.segments[len(img.segments)-1]
	img.start = abi.PageDown(img.segments[0].address)
	img.end = abi.PageUp(last.address + last.size)
	return nil
}

func checkSegment(p elf.Prog64) error {
	switch {
	case p.Filesz > p.Memsz:
		return fmt.Errorf("%#x bytes in the file, only %#x in memory", p.Filesz, p.Memsz)
	case p.Paddr < abi.LowMemoryEnd:
		return fmt.Errorf("loaded at %#x: memory below %#x is the firmware's", p.Paddr, uint64(abi.LowMemoryEnd))
	case p.Paddr > BootWindow || p.Memsz > BootWindow-p.Paddr:
		return fmt.Errorf("%#x bytes at %#x end above %d MiB, beyond what is mapped at boot", p.Memsz, p.Paddr, BootWindow>>20)
	case p.Vaddr != abi.KernelBase+p.Paddr:
		return fmt.Errorf("linked at %#x: physical address %#x is mapped at %#x", p.Vaddr, p.Paddr, abi.KernelBase+p.Paddr)
	}
	return nil
}

// checkDoors checks that both doors lead into code: the entry, and what the PVH note names.
func checkDoors(entry uint64, data []byte, programs []elf.Prog64) error {
	if !inCode(entry, programs) {
		return fmt.Errorf("the entry %#x lies in no executable segment", entry)
	}
	physical, ok := pvhEntry(data, programs)
	if !ok {
		return errors.New("no PVH note (name Xen, type 18, 4 or 8 bytes), by which QEMU boots an image: " + whatIsOne)
	}
	if physical >= BootWindow || !inCode(abi.KernelBase+physical, programs) {
		return fmt.Errorf("the PVH note's entry %#x lies in no executable segment", physical)
	}
	return nil
}

// pvhEntry is the physical address that the PVH note names, in 4 bytes or in 8.
func pvhEntry(data []byte, programs []elf.Prog64) (physical uint64, ok bool) {
	if door, ok := findNote(data, programs, xenName, noteXenEntry, 8); ok {
		return little.Uint64(door), true
	}
	if door, ok := findNote(data, programs, xenName, noteXenEntry, 4); ok {
		return uint64(little.Uint32(door)), true
	}
	return 0, false
}

// inCode reports whether a virtual address is one of an executable segment's bytes.
func inCode(virtual uint64, programs []elf.Prog64) bool {
	return slices.ContainsFunc(programs, func(p elf.Prog64) bool {
		return elf.ProgType(p.Type) == elf.PT_LOAD && elf.ProgFlag(p.Flags)&elf.PF_X != 0 &&
			virtual >= p.Vaddr && virtual-p.Vaddr < p.Filesz
	})
}

// checkNotes looks for the note that makes an ELF file an image. A kernel without tasks
// and a task by itself, which are not linked as images are, have none. Loaders, of which QEMU
// is one, pad notes as their segment is aligned.
func checkNotes(data []byte, programs []elf.Prog64) error {
	boot, ok := findNote(data, programs, noteName, abi.NoteBoot, 4)
	if !ok {
		return errors.New("no Kapsel boot note, so this is no Kapsel image: " + whatIsOne)
	}
	if version := little.Uint32(boot); version != abi.BootVersion {
		return fmt.Errorf("the image wants version %d of the boot contract, this monitor has version %d", version, abi.BootVersion)
	}
	for i, p := range programs {
		if elf.ProgType(p.Type) == elf.PT_NOTE && p.Align != noteAlign {
			return fmt.Errorf("segment %d: notes aligned to %d bytes, want %d", i, p.Align, noteAlign)
		}
	}
	return nil
}

// readWords takes over where the words are that notes name, those that there are.
func (img *Image) readWords(data []byte, programs []elf.Prog64) error {
	for _, n := range []struct {
		name string
		kind uint32
		word *uint64
	}{{"heartbeat", abi.NoteHeartbeat, &img.heartbeat}, {"generation", abi.NoteGeneration, &img.generation}} {
		address, ok := findNote(data, programs, noteName, n.kind, 8)
		if !ok {
			continue
		}
		*n.word = little.Uint64(address)
		if !img.holdsWord(*n.word) {
			return fmt.Errorf("the %s note names %#x, where the image has no aligned word", n.name, *n.word)
		}
	}
	return nil
}

// holdsWord reports whether an aligned word of 8 bytes at a virtual address lies in a segment.
func (img *Image) holdsWord(virtual uint64) bool {
	address := virtual - abi.KernelBase
	return address%8 == 0 && slices.ContainsFunc(img.segments, func(s segment) bool {
		return address >= s.address && s.size >= 8 && address-s.address <= s.size-8
	})
}

// findNote looks for the note of that name, type and size in all note segments, and returns
// its descriptor.
func findNote(data []byte, programs []elf.Prog64, name string, kind uint32, size uint64) (desc []byte, ok bool) {
	for _, p := range programs {
		if elf.ProgType(p.Type) != elf.PT_NOTE {
			continue
		}
		notes, _ := cut(data, p.Off, p.Filesz) // parsePrograms checked it
		if desc, ok := findNoteIn(notes, name, kind, size); ok {
			return desc, true
		}
	}
	return nil, false
}

// findNoteIn looks for the note among notes. A note is three words (sizes of name and
// descriptor, type), the name and the descriptor, each padded to four bytes (System V ABI,
// "Note Section").
func findNoteIn(notes []byte, name string, kind uint32, size uint64) (desc []byte, ok bool) {
	for len(notes) >= 12 {
		nameSize, descSize := uint64(little.Uint32(notes)), uint64(little.Uint32(notes[4:]))
		found := little.Uint32(notes[8:])
		descStart := 12 + (nameSize+3)&^3
		foundName, nameOK := cut(notes, 12, nameSize)
		desc, descOK := cut(notes, descStart, descSize)
		if !nameOK || !descOK {
			return nil, false
		}
		if string(foundName) == name && found == kind && descSize == size {
			return desc, true
		}
		next := min(descStart+(descSize+3)&^3, uint64(len(notes)))
		notes = notes[next:]
	}
	return nil, false
}
