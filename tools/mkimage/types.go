package main

import (
	"debug/elf"
	"encoding/binary"
	"slices"
	"strings"
)

// Go's linker puts the descriptors of all types that are ever in an interface at the start of
// the constants: a third of them. Only reflection and the comparison of interface values read
// them, and the kernel does neither, so the image leaves them out. Their addresses still tell
// types apart. (Compiled code reads them by itself in a type switch alone, which
// tools/capcheck forbids in ring 0; an assertion to one type compares addresses.)

// typeReaders are the functions of guest/runtime that read type descriptors.
var typeReaders = []string{
	"runtime.interequal", "runtime.nilinterequal", "runtime.ifaceeq", "runtime.efaceeq",
	"runtime.typedmemmove", "runtime.typedmemclr", "runtime.typedslicecopy",
}

// dropTypes takes the type descriptors from the start of the constants,
// unless code of the kernel reads them.
func dropTypes(f *elf.File, rodata segment) (segment, error) {
	symbols, err := f.Symbols()
	if err != nil {
		return rodata, err
	}
	var types, behind uint64 // what follows the descriptors
	var readers []uint64
	for _, s := range symbols {
		switch {
		case s.Name == "runtime.types":
			types = s.Value
		case s.Name == "go:string.*":
			behind = s.Value
		case slices.Contains(typeReaders, s.Name):
			readers = append(readers, s.Value)
		}
	}
	text := f.Section(".text")
	code, err := text.Data()
	if err != nil {
		return rodata, err
	}
	if types != rodata.addr || behind < types || behind > rodata.end() || readsTypes(code, text.Addr, symbols, readers) {
		return rodata, nil
	}
	cut := behind - rodata.addr
	return segment{flags: rodata.flags, addr: rodata.addr + cut, data: rodata.data[cut:], size: rodata.size - cut}, nil
}

// readsTypes reports whether a function in code, which begins at addr, calls one of the
// readers, or a comparison that belongs to a type and comes to one: of structures with a field
// of an interface type, for example. Readers and comparisons that call each other do not count:
// the descriptors alone name them. What looks like a call and is none errs on the side of
// keeping the types.
func readsTypes(code []byte, addr uint64, symbols []elf.Symbol, readers []uint64) bool {
	var comparisons, others [][]uint64 // what each calls, itself first
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) != elf.STT_FUNC || s.Value < addr || s.Value+s.Size > addr+uint64(len(code)) ||
			slices.Contains(typeReaders, s.Name) {
			continue
		}
		calls := []uint64{s.Value}
		for _, b := range branches(code[s.Value-addr:][:s.Size], s.Value) {
			calls = append(calls, b.to)
		}
		if strings.HasPrefix(s.Name, "type:.eq.") {
			comparisons = append(comparisons, calls)
		} else {
			others = append(others, calls)
		}
	}
	reads := func(calls []uint64) bool {
		return slices.ContainsFunc(calls[1:], func(f uint64) bool { return slices.Contains(readers, f) })
	}
	for known := -1; known < len(readers); {
		known = len(readers)
		for _, c := range comparisons {
			if reads(c) && !slices.Contains(readers, c[0]) {
				readers = append(readers, c[0])
			}
		}
	}
	return slices.ContainsFunc(others, reads)
}

// A branch is a call of, or a jump to, an address that stands in the instruction.
type branch struct {
	at, to uint64
	call   bool
}

// branches returns what may be branches in a function's code, which begins at addr: bytes of
// other instructions can look like one.
func branches(code []byte, addr uint64) []branch {
	const call, jump = 0xe8, 0xe9
	var found []branch
	for i := 0; i+5 <= len(code); i++ {
		if code[i] == call || code[i] == jump {
			relative := int32(binary.LittleEndian.Uint32(code[i+1:]))
			at := addr + uint64(i)
			found = append(found, branch{at, at + 5 + uint64(int64(relative)), code[i] == call})
		}
	}
	return found
}
