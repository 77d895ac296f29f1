package bench

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// KernelSizeNames are the results of KernelSizes, in their order.
var KernelSizeNames = []string{"KernelText", "KernelRodata", "KernelTextRodata", "KernelPclntab", "KernelData", "KernelBSS"}

// KernelSizes returns what the kernel of an image takes in memory, in bytes. image is a
// file that mkimage wrote, kernel its kernel with symbols, kernel.elf: the image itself does
// not tell its table of functions (pclntab) from the other constants.
func KernelSizes(image, kernel string) ([]Result, error) {
	s, err := imageSegments(image)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", image, err)
	}
	pclntab, err := functionTable(kernel, s)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", kernel, err)
	}
	text, rodata := uint64(len(s.code)), s.rodata-pclntab
	var results []Result
	for i, n := range []uint64{text, rodata, text + rodata, pclntab, uint64(len(s.data)), s.bss} {
		results = append(results, Result{Name: KernelSizeNames[i], Ops: 1, Metrics: []Metric{{"bytes", float64(n)}}})
	}
	return results, nil
}

// segments are those of an image's kernel.
type segments struct {
	code, data          []byte // as they are in the file
	rodata, bss, dataAt uint64 // sizes, an address
}

// imageSegments tells the segments apart by their rights: tasks lie behind what can be
// written.
func imageSegments(path string) (*segments, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := new(segments)
	for _, p := range f.Progs {
		switch {
		case p.Type != elf.PT_LOAD:
		case p.Flags&elf.PF_X != 0 && s.code == nil:
			if s.code, err = io.ReadAll(p.Open()); err != nil {
				return nil, err
			}
		case p.Flags&elf.PF_W != 0:
			s.bss, s.dataAt = p.Memsz-p.Filesz, p.Vaddr
			s.data, err = io.ReadAll(p.Open())
			return s, err
		default:
			s.rodata += p.Memsz
		}
	}
	return nil, errors.New("no segment of data: want an image that mkimage made")
}

// functionTable returns the size of the table of functions of an image, by the variable in which
// mkimage says where it is (guest/functab).
func functionTable(kernel string, s *segments) (uint64, error) {
	f, err := elf.Open(kernel)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	text := f.Section(".text")
	if text == nil {
		return 0, errors.New("no section .text: want kernel.elf, which mkimage writes beside an image")
	}
	own, err := text.Data()
	if err != nil {
		return 0, err
	}
	if !bytes.Equal(own, s.code) {
		return 0, errors.New("its code is not that of the image: it belongs to another one, build both again")
	}
	symbols, err := f.Symbols()
	if err != nil {
		return 0, err
	}
	i := slices.IndexFunc(symbols, func(s elf.Symbol) bool { return s.Name == "kapsel/guest/functab.program" })
	if i < 0 {
		return 0, errors.New("no symbol kapsel/guest/functab.program: was it built by another mkimage?")
	}
	var program struct { // a functab.Program: of Functions address, words and capacity, of each list of names address and size
		Text      uint64
		Functions [3]uint64
		Names     [3][2]uint64
	}
	at := symbols[i].Value - s.dataAt
	if at > uint64(len(s.data)) {
		return 0, errors.New("its variables are not those of the image: it belongs to another one, build both again")
	}
	if _, err := binary.Decode(s.data[at:], binary.LittleEndian, &program); err != nil {
		return 0, errors.New("its table of functions is not in the image's variables: build both again")
	}
	size := uint64(0)
	for _, n := range []uint64{8 * program.Functions[1], program.Names[0][1], program.Names[1][1], program.Names[2][1]} {
		if size += min(n, s.rodata+1); size > s.rodata {
			return 0, fmt.Errorf("a table of functions of %d bytes or more, and constants of %d in the image: build both again", size, s.rodata)
		}
	}
	return size, nil
}
