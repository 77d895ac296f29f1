package main

import (
	"debug/elf"
	"encoding/binary"
	"fmt"

	"kapsel/guest/abi"
)

// A linked program is what of its file is in memory.
type linked struct {
	entry              uint64
	text, rodata, data segment
	functions          uint64 // size of the table of functions in rodata, in bytes
	symbols            map[string]uint64
}

// buildKernel builds the kernel of a board to the file out.
func (tc *toolchain) buildKernel(board, out string) error {
	p := kernelProgram(board)
	if err := tc.build(p, out); err != nil {
		return err
	}
	if err := tc.dropChecks(&p, out); err != nil {
		return err
	}
	_, err := tc.buildPlaced(p, out, dropTypes, func(*linked) uint64 { return p.text })
	return err
}

// buildPlaced builds p to the file out: its code where place wants it, which may depend on sizes that
// only the linker knows, and its data on the page behind its constants. reduce says what
// these can do without.
func (tc *toolchain) buildPlaced(p program, out string, reduce reduction, place func(*linked) (text uint64)) (*linked, error) {
	for range 3 {
		if err := tc.build(p, out); err != nil {
			return nil, err
		}
		l, err := readProgram(out, reduce)
		if err != nil {
			return nil, err
		}
		if p.text = place(l); p.text == l.text.addr {
			if err := tc.moveData(p, out, l.data.addr, roundUp(l.rodata.end(), abi.PageSize)); err != nil {
				return nil, err
			}
			return readProgram(out, reduce)
		}
	}
	return nil, fmt.Errorf("%q: the size of its data depends on where its code is", p.pkg)
}

// A reduction takes from the start of a program's constants what is not read.
type reduction func(f *elf.File, constants segment) (segment, error)

func nothing(_ *elf.File, constants segment) (segment, error) { return constants, nil }

// readProgram takes a linked program apart, and puts its table of functions in.
func readProgram(path string, reduce reduction) (*linked, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	l, err := newLinked(f, reduce)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", path, err)
	}
	return l, nil
}

func newLinked(f *elf.File, reduce reduction) (*linked, error) {
	symbols, err := symbolTable(f)
	if err != nil {
		return nil, err
	}
	segments, err := loadSegments(f)
	if err != nil {
		return nil, err
	}
	l := &linked{entry: f.Entry, text: segments[0], data: segments[2], symbols: symbols}
	l.data.data = append(l.data.data, make([]byte, -len(l.data.data)&7)...) // whole words, for who copies it
	if l.rodata, err = reduce(f, segments[1]); err != nil {
		return nil, err
	}
	table, err := functionTable(f)
	if err != nil {
		return nil, err
	}
	all, err := binary.Append(nil, binary.LittleEndian, table.Functions)
	if err != nil {
		return nil, err
	}
	all = append(all, table.Prefixes+table.Names+table.Rests...)
	l.functions = uint64(len(all))
	at := uint64(0)
	l.rodata, at = addFunctions(l.rodata, l.rodata.addr-segments[1].addr, all)
	count := uint64(len(table.Functions))
	words := []uint64{l.text.addr, at, count, count} // a functab.Program, as it is in memory
	at += 8 * count
	for _, list := range []string{table.Prefixes, table.Names, table.Rests} {
		words = append(words, at, uint64(len(list)))
		at += uint64(len(list))
	}
	return l, patch(l.data, symbolFunctions, symbols, words)
}
