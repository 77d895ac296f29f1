package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"

	"kapsel/guest/abi"
)

// The kernel's symbols that mkimage looks for, all but one in its machine layer.
const (
	archPackage = "kapsel/guest/arch/amd64"
	symbolPVH   = archPackage + ".pvhEntry"             // the 32-bit door
	symbolImage = archPackage + ".image"                // an abi.ImageInfo
	symbolBeat  = archPackage + ".heartbeat"            // a counter; not in kernels without tasks
	symbolMade  = "kapsel/guest/kernel/generation.word" // only where a driver looks at it
	noteXen     = 18                                    // XEN_ELFNOTE_PHYS32_ENTRY (Xen public/elfnote.h)
)

// maxImage is the size in bytes that no image may exceed: the monitor opens no larger file
// (vmm/image, MaxFileSize).
const maxImage = 256 << 20

// A segment is a piece of the image in memory.
type segment struct {
	flags elf.ProgFlag
	addr  uint64 // virtual
	data  []byte
	size  uint64 // in memory; what is beyond data is zero
}

func (s segment) end() uint64 { return s.addr + s.size }

// packImage lays the kernel's segments, the task objects and the notes out as one ELF file
// that every door can be entered by (docs/architecture.md, "The image"). The kernel's own
// file cannot serve: Go's linker knows no physical addresses and no PVH note.
func packImage(kernelELF string, tasks []byte) ([]byte, *sizeTable, error) {
	k, err := readProgram(kernelELF, dropTypes)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range []string{symbolPVH, symbolImage} {
		if k.symbols[name] == 0 {
			return nil, nil, fmt.Errorf("%q has no symbol %s: is its main package a board that imports %s?", kernelELF, name, archPackage)
		}
	}
	info := abi.ImageInfo{
		Text: k.text.addr, TextEnd: k.text.end(),
		Rodata: k.rodata.addr / abi.PageSize * abi.PageSize, RodataEnd: k.rodata.end(),
		Data: k.data.addr, DataEnd: k.data.end(),
	}
	if err := checkEnd(info.DataEnd); err != nil {
		return nil, nil, fmt.Errorf("%q: %w", kernelELF, err)
	}
	segments := []segment{k.text, k.rodata, k.data}
	if len(tasks) > 0 {
		segments = append(segments, segment{flags: elf.PF_R, addr: roundUp(k.data.end(), abi.PageSize), data: tasks, size: uint64(len(tasks))})
		info.Tasks, info.TasksEnd = segments[3].addr, segments[3].end()
	}
	if err := patch(k.data, symbolImage, k.symbols, info); err != nil {
		return nil, nil, fmt.Errorf("%q: %w", kernelELF, err)
	}
	door := binary.LittleEndian.AppendUint64(nil, k.symbols[symbolPVH]-abi.KernelBase)
	version := binary.LittleEndian.AppendUint32(nil, abi.BootVersion)
	notes := append(note("Xen", noteXen, door), note(abi.NoteName, abi.NoteBoot, version)...)
	for _, n := range []struct {
		kind   uint32
		symbol string
	}{{abi.NoteHeartbeat, symbolBeat}, {abi.NoteGeneration, symbolMade}} {
		if address := k.symbols[n.symbol]; address != 0 {
			notes = append(notes, note(abi.NoteName, n.kind, binary.LittleEndian.AppendUint64(nil, address))...)
		}
	}
	return encodeELF(k.entry, segments, notes), k.measure(tasks), nil
}

// checkEnd wants the kernel to end where other addresses of its begin.
func checkEnd(end uint64) error {
	if end > abi.KernelEnd {
		return fmt.Errorf("the kernel's variables end at %#x, want at most %#x: make its code, constants or variables smaller", end, uint64(abi.KernelEnd))
	}
	return nil
}

// symbolTable maps the names of a file's symbols to their addresses.
func symbolTable(f *elf.File) (map[string]uint64, error) {
	symbols, err := f.Symbols()
	if err != nil {
		return nil, err
	}
	table := make(map[string]uint64, len(symbols))
	for _, s := range symbols {
		table[s.Name] = s.Value
	}
	return table, nil
}

// loadSegments returns the code, constants and data that Go's linker made. Go's linker puts the file's
// headers in front of the code, in the same segment: they are left out.
func loadSegments(f *elf.File) ([]segment, error) {
	text := f.Section(".text")
	if text == nil {
		return nil, fmt.Errorf("no .text section")
	}
	var segments []segment
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD {
			continue
		}
		skip := uint64(0)
		if p.Flags&elf.PF_X != 0 {
			skip = text.Addr - p.Vaddr
		}
		data := make([]byte, p.Filesz-skip)
		if _, err := p.ReadAt(data, int64(skip)); err != nil {
			return nil, err
		}
		segments = append(segments, segment{flags: p.Flags, addr: p.Vaddr + skip, data: data, size: p.Memsz - skip})
	}
	if len(segments) != 3 || segments[2].flags&elf.PF_W == 0 {
		return nil, fmt.Errorf("%d loadable segments, want code, constants and data", len(segments))
	}
	return segments, nil
}

// patch writes a value over a variable's in a segment's initial data.
func patch(data segment, name string, symbols map[string]uint64, value any) error {
	addr := symbols[name]
	off := addr - data.addr
	if addr < data.addr || addr >= data.end() || off+uint64(binary.Size(value)) > uint64(len(data.data)) {
		return fmt.Errorf("%s at %#x is not in the initialised data", name, addr)
	}
	_, err := binary.Encode(data.data[off:], binary.LittleEndian, value)
	return err
}

// note encodes an ELF note (gABI, "Note Section"): names and descriptors fill whole words.
func note(name string, kind uint32, desc []byte) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, uint32(len(name)+1))
	b = le.AppendUint32(b, uint32(len(desc)))
	b = le.AppendUint32(b, kind)
	b = append(b, make([]byte, roundUp(uint64(len(name)+1), 4))...)
	copy(b[12:], name)
	return append(b, desc...)
}

// encodeELF writes an executable of these segments. Each lies in the file at an offset
// congruent to its address, so that a monitor may map it.
func encodeELF(entry uint64, segments []segment, notes []byte) []byte {
	const ehdr, phdr = 64, 56
	header := elf.Header64{
		Ident:   [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:    uint16(elf.ET_EXEC),
		Machine: uint16(elf.EM_X86_64),
		Version: uint32(elf.EV_CURRENT),
		Entry:   entry,
		Phoff:   ehdr,
		Ehsize:  ehdr, Phentsize: phdr, Phnum: uint16(len(segments) + 1),
	}
	at := uint64(ehdr + phdr*(len(segments)+1))
	progs := []elf.Prog64{{Type: uint32(elf.PT_NOTE), Flags: uint32(elf.PF_R), Off: at,
		Filesz: uint64(len(notes)), Memsz: uint64(len(notes)), Align: 4}}
	body := bytes.NewBuffer(notes)
	start := at
	for _, s := range segments {
		at = roundUp(start+uint64(body.Len()), abi.PageSize) + s.addr%abi.PageSize
		body.Write(make([]byte, at-start-uint64(body.Len())))
		body.Write(s.data)
		progs = append(progs, elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(s.flags), Off: at,
			Vaddr: s.addr, Paddr: s.addr - abi.KernelBase, Filesz: uint64(len(s.data)), Memsz: s.size, Align: abi.PageSize})
	}
	var file bytes.Buffer
	binary.Write(&file, binary.LittleEndian, header)
	binary.Write(&file, binary.LittleEndian, progs)
	file.Write(body.Bytes())
	return file.Bytes()
}

func roundUp(n, unit uint64) uint64 { return (n + unit - 1) / unit * unit }

// A sizeTable says what an image is made of, in bytes.
type sizeTable struct{ text, rodata, pclntab, data, bss, tasks uint64 }

// measure sizes a kernel as it is in the image, with the task objects.
func (k *linked) measure(tasks []byte) *sizeTable {
	initial := uint64(len(k.data.data))
	return &sizeTable{text: k.text.size, rodata: k.rodata.size - k.functions, pclntab: k.functions,
		data: initial, bss: k.data.size - initial, tasks: uint64(len(tasks))}
}

func (t *sizeTable) String() string {
	return fmt.Sprintf("text %d + rodata %d = %d bytes; pclntab %d, data %d, bss %d, tasks %d",
		t.text, t.rodata, t.text+t.rodata, t.pclntab, t.data, t.bss, t.tasks)
}
