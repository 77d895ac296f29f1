package bench

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
)

// KernelSizeNames are the results of KernelSizes, in their order.
var KernelSizeNames = []string{"KernelText", "KernelRodata", "KernelTextRodata", "KernelPclntab", "KernelData", "KernelBSS"}

// KernelSizes returns what the kernel of an image takes in memory, in bytes. image is a
// file that mkimage wrote, kernel its kernel with symbols, kernel.elf: the image itself does
// not tell the table of functions (pclntab) from the other constants.
func KernelSizes(image, kernel string) ([]Result, error) {
	s, err := imageSegments(image)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", image, err)
	}
	pclntab, err := functionTable(kernel, s.code)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", kernel, err)
	}
	if pclntab > s.rodata {
		return nil, fmt.Errorf("%q has a table of functions of %d bytes, %s constants of %d: build both again", kernel, pclntab, image, s.rodata)
	}
	text, rodata := uint64(len(s.code)), s.rodata-pclntab
	var results []Result
	for i, n := range []uint64{text, rodata, text + rodata, pclntab, s.data, s.bss} {
		results = append(results, Result{Name: KernelSizeNames[i], Ops: 1, Metrics: []Metric{{"bytes", float64(n)}}})
	}
	return results, nil
}

// segments are those of an image's kernel.
type segments struct {
	code              []byte
	rodata, data, bss uint64
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
			s.code = make([]byte, p.Filesz)
			if _, err := p.ReadAt(s.code, 0); err != nil {
				return nil, err
			}
		case p.Flags&elf.PF_W != 0:
			s.data, s.bss = p.Filesz, p.Memsz-p.Filesz
			return s, nil
		default:
			s.rodata += p.Memsz
		}
	}
	return nil, errors.New("no segment of data: want an image that mkimage made")
}

// functionTable returns the size of the table of functions in a kernel with this code.
func functionTable(path string, code []byte) (uint64, error) {
	f, err := elf.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	text, table := f.Section(".text"), f.Section(".gopclntab")
	if text == nil || table == nil {
		return 0, errors.New("no sections .text and .gopclntab: want kernel.elf, which mkimage writes beside an image")
	}
	own, err := text.Data()
	if err != nil {
		return 0, err
	}
	if !bytes.Equal(own, code) {
		return 0, errors.New("its code is not that of the image: it belongs to another one, build both again")
	}
	return table.Size, nil
}
