package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
)

// bindG makes a freestanding program independent of the FS segment. After each call of an
// assembly function, compiled code loads the current g from thread-local storage:
//
//	MOVQ FS:-8, reg          64 REX 8b modrm 25 f8 ff ff ff
//
// Here there is one g for ever, and FS belongs to the tasks, so each of these becomes
//
//	LEAQ kapsel.g0(SB), reg 3e 3e REX 8d modrm rel32
//
// of the same length, with two DS prefixes, which mean nothing in 64-bit mode (Intel SDM
// vol. 1, 3.4.2.1). The file is changed in place. A program without any such load, or with
// another use of FS:-8, was made by a compiler that this does not know, and is refused.
func bindG(path string) error {
	file, f, err := readELF(path)
	if err != nil {
		return err
	}
	symbols, err := symbolTable(f)
	if err != nil {
		return fmt.Errorf("%q: %w", path, err)
	}
	g, text := symbols["kapsel.g0"], f.Section(".text")
	if g == 0 || text == nil {
		return fmt.Errorf("%q has no .text or no symbol kapsel.g0: was it built with guest/runtime?", path)
	}
	code := file[text.Offset : text.Offset+text.Size]
	if bindLoads(code, text.Addr, g) == 0 {
		return fmt.Errorf("%q has no load of g from FS:-8: %s", path, otherCompiler)
	}
	if i := findG(code); i >= 0 {
		return fmt.Errorf("%q uses FS:-8 at %#x, in an instruction that is no load of g: %s", path, text.Addr+uint64(i), otherCompiler)
	}
	return os.WriteFile(path, file, 0o755)
}

// readELF reads an ELF file that is to be changed.
func readELF(path string) ([]byte, *elf.File, error) {
	file, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	f, err := elf.NewFile(bytes.NewReader(file))
	if err != nil {
		return nil, nil, fmt.Errorf("%q: %w", path, err)
	}
	return file, f, nil
}

const otherCompiler = "does this Go compile otherwise (docs/HACKING.md, Changing the Go version), or is it assembly that belongs to FS:0 and above?"

// slotG is the end of an instruction's address that is g's place, FS:-8: a SIB byte for neither
// base nor index, and the displacement (Intel SDM vol. 2, 2.1.5).
var slotG = []byte{0x25, 0xf8, 0xff, 0xff, 0xff}

// addressesSlot reports whether modrm says that a SIB byte without a base follows.
func addressesSlot(modrm byte) bool { return modrm&0xc7 == 0x04 }

// findG returns where an instruction stands in code that refers to g's place, or -1. In front
// of its address are the prefix, perhaps REX, and one or two bytes of opcode.
func findG(code []byte) int {
	for i := range code {
		rest := code[i:]
		if rest[0] != prefixFS {
			continue
		}
		for at := 3; at <= 5 && at+len(slotG) <= len(rest); at++ {
			if addressesSlot(rest[at-1]) && bytes.HasPrefix(rest[at:], slotG) {
				return i
			}
		}
	}
	return -1
}

const prefixFS = 0x64

// bindLoads rewrites the loads in code, which begins at addr, to yield g. It returns how many there were.
func bindLoads(code []byte, addr, g uint64) int {
	const length = 9
	n := 0
	for i := 0; i+length <= len(code); i++ {
		in := code[i : i+length]
		rex, modrm := in[1], in[3]
		if in[0] != prefixFS || rex&^4 != 0x48 || in[2] != 0x8b || !addressesSlot(modrm) || !bytes.Equal(in[4:], slotG) {
			continue
		}
		const ds = 0x3e
		in[0], in[1], in[2], in[3], in[4] = ds, ds, rex, 0x8d, modrm&^7|5 // RIP-relative
		binary.LittleEndian.PutUint32(in[5:], uint32(g-(addr+uint64(i)+length)))
		n++
		i += length - 1
	}
	return n
}
