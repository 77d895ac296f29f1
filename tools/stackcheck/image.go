package main

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"sort"
	"strings"

	"golang.org/x/arch/x86/x86asm"

	"kapsel/tools/pclntab"
)

// A function is one of the image, as the linker's table of functions has it.
type function = pclntab.Function

// An image is a built kernel: its functions, symbols and constants.
type image struct {
	functions []*function // by address
	byName    map[string][]*function
	symbols   map[string]elf.Symbol
	code      []byte
	text      uint64
	rodata    []byte
	constants uint64 // address of rodata
}

// A call is an instruction that enters another function.
type call struct {
	at     uint64
	depth  int       // of SP below the caller's return address, before the call
	pushes int       // 8 for the return address, 0 for a jump
	target *function // nil if the address is in a register or in memory
}

// openImage reads the ELF file that mkimage leaves beside the image.
func openImage(path string) (*image, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	img := &image{byName: map[string][]*function{}, symbols: map[string]elf.Symbol{}}
	if img.code, img.text, err = section(f, ".text"); err != nil {
		return nil, err
	}
	if img.rodata, img.constants, err = section(f, ".rodata"); err != nil {
		return nil, err
	}
	table, _, err := section(f, ".gopclntab")
	if err != nil {
		return nil, err
	}
	symbols, err := f.Symbols()
	if err != nil {
		return nil, err
	}
	for _, s := range symbols {
		img.symbols[s.Name] = s
	}
	if img.functions, err = pclntab.Parse(table, img.text); err != nil {
		return nil, err
	}
	for _, fn := range img.functions {
		img.byName[fn.Name] = append(img.byName[fn.Name], fn)
	}
	return img, nil
}

func section(f *elf.File, name string) (data []byte, addr uint64, err error) {
	s := f.Section(name)
	if s == nil {
		return nil, 0, fmt.Errorf("it has no section %s: was it built by mkimage?", name)
	}
	data, err = s.Data()
	return data, s.Addr, err
}

// holding returns the function with the instruction at addr, or nil.
func (img *image) holding(addr uint64) *function {
	i := sort.Search(len(img.functions), func(i int) bool { return img.functions[i].Addr > addr })
	if i == 0 || addr >= img.functions[i-1].End {
		return nil
	}
	return img.functions[i-1]
}

// word reads a word of the constants.
func (img *image) word(addr uint64) (uint64, bool) {
	if addr < img.constants || addr-img.constants > uint64(len(img.rodata))-8 {
		return 0, false
	}
	return binary.LittleEndian.Uint64(img.rodata[addr-img.constants:]), true
}

// errUnknown is an instruction that the decoder does not know.
var errUnknown = errors.New("an instruction that is not known")

// scan finds the calls of a function, and checks that the linker's table of SP tells the
// truth about each instruction that moves SP.
func (img *image) scan(f *function) (calls []call, err error) {
	_, reviewed := stackSwitches[f.Name]
	for at := f.Addr; at < f.End; {
		in, err := decode(img.code[at-img.text : f.End-img.text])
		if err != nil {
			return nil, fmt.Errorf("%s+%#x: %w", f.Name, at-f.Addr, err)
		}
		next := at + uint64(in.Len)
		depth := int(f.SP.At(at))
		if moved, ok := movesSP(in); (!ok || moved != 0 && moved != int(f.SP.At(next))-depth) && !reviewed {
			return nil, fmt.Errorf("%s+%#x: %v moves SP in a way that is not followed: "+
				"review it and list the function in tools/stackcheck/reviewed.go", f.Name, at-f.Addr, in)
		}
		if c, ok := img.call(f, in, at, next); ok {
			c.depth = depth
			calls = append(calls, c)
		} else if in.Op == x86asm.CALL && !reviewed {
			return nil, fmt.Errorf("%s+%#x: a call into the middle of its own function is a push: "+
				"review it and list the function in tools/stackcheck/reviewed.go", f.Name, at-f.Addr)
		}
		at = next
	}
	return calls, nil
}

// decode decodes an instruction. Those that the decoder does not know have no effect on SP.
func decode(b []byte) (x86asm.Inst, error) {
	in, err := x86asm.Decode(b, 64)
	if err == nil && in.Len > 0 {
		return in, nil
	}
	for opcode, length := range unknownInstructions {
		if strings.HasPrefix(string(b), opcode) && len(b) >= length {
			return x86asm.Inst{Op: x86asm.NOP, Len: length}, nil
		}
	}
	return in, fmt.Errorf("%w: % x", errUnknown, b[:min(len(b), 8)])
}

// movesSP tells how many bytes an instruction lowers SP by, calls and returns aside. It
// reports false for what sets SP.
func movesSP(in x86asm.Inst) (int, bool) {
	switch in.Op {
	case x86asm.PUSH, x86asm.PUSHFQ, x86asm.PUSHF:
		return 8, true
	case x86asm.POP, x86asm.POPFQ, x86asm.POPF:
		return -8, in.Args[0] != x86asm.RSP
	case x86asm.CMP, x86asm.TEST:
		return 0, true
	}
	if in.Args[0] != x86asm.RSP {
		return 0, true
	}
	n, immediate := in.Args[1].(x86asm.Imm)
	switch {
	case in.Op == x86asm.SUB && immediate:
		return int(n), true
	case in.Op == x86asm.ADD && immediate:
		return -int(n), true
	}
	if m, ok := in.Args[1].(x86asm.Mem); ok && in.Op == x86asm.LEA && m.Base == x86asm.RSP && m.Index == 0 {
		return -int(m.Disp), true
	}
	return 0, false
}

// call recognises an instruction that leaves f for another function.
func (img *image) call(f *function, in x86asm.Inst, at, next uint64) (call, bool) {
	c := call{at: at}
	switch in.Op {
	case x86asm.CALL:
		c.pushes = 8
	case x86asm.JMP:
	default:
		return c, isConditional(in) && img.leaves(f, in, next, &c)
	}
	if rel, relative := in.Args[0].(x86asm.Rel); relative {
		itself := next+uint64(int64(rel)) == f.Addr
		return c, img.leaves(f, in, next, &c) || c.pushes != 0 && itself
	}
	if m, ok := in.Args[0].(x86asm.Mem); ok && in.Op == x86asm.JMP && m.Index != 0 {
		return c, false // the table of a switch
	}
	return c, true
}

// leaves sets the target of a relative jump or call, and reports whether it is another function.
func (img *image) leaves(f *function, in x86asm.Inst, next uint64, c *call) bool {
	c.target = img.holding(next + uint64(int64(in.Args[0].(x86asm.Rel))))
	return c.target != f
}

func isConditional(in x86asm.Inst) bool {
	_, relative := in.Args[0].(x86asm.Rel)
	return relative && strings.HasPrefix(in.Op.String(), "J")
}
