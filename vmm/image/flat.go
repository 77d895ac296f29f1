package image

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"slices"

	"kapsel/guest/abi"
)

// FlatAddress is the virtual address at which Flat's code is entered, less abi.KernelBase; a
// PVH loader loads it there.
const FlatAddress = 2 << 20

// Flat returns the file of the smallest image there is: code, entered at its first byte in
// one executable segment, followed by bss zero bytes. Probes and one-page guests are made
// so. The PVH door leads to the same byte, in 32-bit mode.
func Flat(code []byte, bss uint64) []byte {
	return flat(code, bss, append(pvhNote(FlatAddress), bootNote()...))
}

// FlatWatched is Flat with a heartbeat at a virtual address.
func FlatWatched(code []byte, bss, heartbeat uint64) []byte {
	word := little.AppendUint64(nil, heartbeat)
	return flat(code, bss, slices.Concat(pvhNote(FlatAddress), bootNote(), note(noteName, abi.NoteHeartbeat, word)))
}

func flat(code []byte, bss uint64, notes []byte) []byte {
	const notesAt = headerSize + 2*programHeaderSize
	codeAt := uint64(notesAt + len(notes))

	header := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Entry: abi.KernelBase + FlatAddress,
		Phoff: headerSize, Ehsize: headerSize, Phentsize: programHeaderSize, Phnum: 2,
	}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS] = byte(elf.ELFCLASS64)
	header.Ident[elf.EI_DATA] = byte(elf.ELFDATA2LSB)
	header.Ident[elf.EI_VERSION] = byte(elf.EV_CURRENT)

	load := elf.Prog64{
		Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_W | elf.PF_X),
		Off: codeAt, Vaddr: abi.KernelBase + FlatAddress, Paddr: FlatAddress,
		Filesz: uint64(len(code)), Memsz: uint64(len(code)) + bss,
	}
	noteHeader := elf.Prog64{
		Type: uint32(elf.PT_NOTE), Flags: uint32(elf.PF_R),
		Off: notesAt, Filesz: uint64(len(notes)), Memsz: uint64(len(notes)), Align: noteAlign,
	}

	var file bytes.Buffer
	for _, part := range []any{header, load, noteHeader, notes, code} {
		binary.Write(&file, little, part) // a bytes.Buffer takes everything
	}
	return file.Bytes()
}

// bootNote returns the note that marks an image.
func bootNote() []byte {
	return note(noteName, abi.NoteBoot, little.AppendUint32(nil, abi.BootVersion))
}

// pvhNote returns the note that names the 32-bit door (Xen's PVH, XEN_ELFNOTE_PHYS32_ENTRY).
func pvhNote(entry uint32) []byte {
	return note(xenName, noteXenEntry, little.AppendUint64(nil, uint64(entry)))
}

// note returns an ELF note whose descriptor has whole words.
func note(name string, kind uint32, desc []byte) []byte {
	n := little.AppendUint32(nil, uint32(len(name)))
	n = little.AppendUint32(n, uint32(len(desc)))
	n = little.AppendUint32(n, kind)
	n = append(n, name...)
	n = append(n, make([]byte, -len(name)&3)...) // padding to four bytes
	return append(n, desc...)
}
