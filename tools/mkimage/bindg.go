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
// vol. 1, 3.4.2.1). The file is changed in place.
func bindG(path string) error {
	file, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	f, err := elf.NewFile(bytes.NewReader(file))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	symbols, err := symbolTable(f)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	g, text := symbols["kapsel.g0"], f.Section(".text")
	if g == 0 || text == nil {
		return fmt.Errorf("%s has no .text or no symbol kapsel.g0: was it built with guest/runtime?", path)
	}
	bindLoads(file[text.Offset:text.Offset+text.Size], text.Addr, g)
	return os.WriteFile(path, file, 0o755)
}

// bindLoads rewrites the loads in code, which begins at addr, to yield g. It returns how many there were.
func bindLoads(code []byte, addr, g uint64) int {
	const length = 9
	displacement := []byte{0x25, 0xf8, 0xff, 0xff, 0xff} // SIB: no base, no index; then -8
	n := 0
	for i := 0; i+length <= len(code); i++ {
		in := code[i : i+length]
		rex, modrm := in[1], in[3]
		if in[0] != 0x64 || rex&^4 != 0x48 || in[2] != 0x8b || modrm&0xc7 != 0x04 || !bytes.Equal(in[4:], displacement) {
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
