package main

import (
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/arch/x86/x86asm"
)

func TestBindLoads(t *testing.T) {
	const addr, g = 0xffffffff80200000, 0xffffffff80234568
	for _, tt := range []struct {
		name string
		code []byte
		want []byte // nil: as it was
	}{
		{"into R14", []byte{0x64, 0x4c, 0x8b, 0x34, 0x25, 0xf8, 0xff, 0xff, 0xff},
			[]byte{0x3e, 0x3e, 0x4c, 0x8d, 0x35, 0x5f, 0x45, 0x03, 0x00}},
		{"into RAX", []byte{0x64, 0x48, 0x8b, 0x04, 0x25, 0xf8, 0xff, 0xff, 0xff},
			[]byte{0x3e, 0x3e, 0x48, 0x8d, 0x05, 0x5f, 0x45, 0x03, 0x00}},
		{"behind another instruction", []byte{0x90, 0x64, 0x48, 0x8b, 0x0c, 0x25, 0xf8, 0xff, 0xff, 0xff, 0xc3},
			[]byte{0x90, 0x3e, 0x3e, 0x48, 0x8d, 0x0d, 0x5e, 0x45, 0x03, 0x00, 0xc3}},
		{"two in a row", []byte{0x64, 0x48, 0x8b, 0x04, 0x25, 0xf8, 0xff, 0xff, 0xff, 0x64, 0x48, 0x8b, 0x04, 0x25, 0xf8, 0xff, 0xff, 0xff},
			[]byte{0x3e, 0x3e, 0x48, 0x8d, 0x05, 0x5f, 0x45, 0x03, 0x00, 0x3e, 0x3e, 0x48, 0x8d, 0x05, 0x56, 0x45, 0x03, 0x00}},
		{"cut off", []byte{0x64, 0x48, 0x8b, 0x04, 0x25, 0xf8, 0xff, 0xff}, nil},
		{"another place", []byte{0x64, 0x48, 0x8b, 0x04, 0x25, 0xf0, 0xff, 0xff, 0xff}, nil},
		{"another segment", []byte{0x65, 0x48, 0x8b, 0x04, 0x25, 0xf8, 0xff, 0xff, 0xff}, nil},
		{"a store", []byte{0x64, 0x48, 0x89, 0x04, 0x25, 0xf8, 0xff, 0xff, 0xff}, nil},
		{"with a base register", []byte{0x64, 0x48, 0x8b, 0x43, 0x25, 0xf8, 0xff, 0xff, 0xff}, nil},
		{"nothing", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code := append([]byte(nil), tt.code...)
			want, n := tt.want, 0
			if want == nil {
				want = append([]byte(nil), tt.code...)
			} else {
				n = len(tt.want) / 9
			}
			assert.Equal(t, n, bindLoads(code, addr, g))
			assert.Equal(t, want, code)
		})
	}
}

// instructions calls f with each instruction of a function of a built file.
func instructions(t *testing.T, f *elf.File, each func(function string, addr uint64, in x86asm.Inst)) {
	t.Helper()
	text := f.Section(".text")
	code, err := text.Data()
	require.NoError(t, err)
	symbols, err := f.Symbols()
	require.NoError(t, err)
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) != elf.STT_FUNC || s.Value < text.Addr || s.Value+s.Size > text.Addr+text.Size {
			continue
		}
		for at := s.Value; at < s.Value+s.Size; {
			in, err := x86asm.Decode(code[at-text.Addr:], 64)
			if err != nil { // the decoder does not know every instruction
				at++
				continue
			}
			each(s.Name, at, in)
			at += uint64(in.Len)
		}
	}
}

// FS belongs to the tasks: compiled code of the kernel must not read through it. In a task
// the kernel gives no thread-local storage, so the same holds.
func TestNoLoadThroughFSIsLeft(t *testing.T) {
	for _, name := range []string{"kernel.elf", "hello.elf"} {
		n := 0
		instructions(t, open(t, name), func(function string, addr uint64, in x86asm.Inst) {
			n++
			for _, arg := range in.Args {
				if m, ok := arg.(x86asm.Mem); ok {
					assert.NotEqual(t, x86asm.FS, m.Segment, "%s: %s at %#x: %v", name, function, addr, in)
				}
			}
		})
		assert.Greater(t, n, 1000, "%s: instructions looked at", name)
	}
}

// Where a load was, the address of g stands.
func TestLoadsYieldG(t *testing.T) {
	f := open(t, "kernel.elf")
	symbols, err := symbolTable(f)
	require.NoError(t, err)
	g, n := symbols["kapsel.g0"], 0
	require.NotZero(t, g)
	instructions(t, f, func(function string, addr uint64, in x86asm.Inst) {
		if m, ok := in.Args[1].(x86asm.Mem); ok && in.Op == x86asm.LEA && m.Base == x86asm.RIP &&
			addr+uint64(in.Len)+uint64(m.Disp) == g {
			n++
		}
	})
	assert.NotZero(t, n)
}

func TestBindGRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "text")
	require.NoError(t, os.WriteFile(path, []byte("This is no ELF file."), 0o644))
	assert.ErrorContains(t, bindG(path), strconv.Quote(path)+": bad magic number")
	self, err := os.Executable()
	require.NoError(t, err)
	program, err := os.ReadFile(self)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, program, 0o755))
	if err := bindG(path); assert.Error(t, err) {
		assert.Regexp(t, "no symbol", err.Error())
	}
}

// A compiler that loads g otherwise, or not at all, does not go unnoticed.
func TestBindGCountsTheLoads(t *testing.T) {
	bound, err := os.ReadFile(filepath.Join(build(t), "hello.elf"))
	require.NoError(t, err)
	text := open(t, "hello.elf").Section(".text")
	load := []byte{0x64, 0x48, 0x8b, 0x04, 0x25, 0xf8, 0xff, 0xff, 0xff}  // MOVQ FS:-8, AX
	other := []byte{0x64, 0x48, 0x3b, 0x24, 0x25, 0xf8, 0xff, 0xff, 0xff} // CMPQ SP, FS:-8
	for _, tt := range []struct {
		name string
		code []byte // at the start of the program
		want string
	}{
		{"one", load, ""},
		{"none", nil, "has no load of g from FS:-8"},
		{"one, and another instruction left over", append(append([]byte(nil), load...), other...),
			fmt.Sprintf("uses FS:-8 at %#x, in an instruction that is no load of g", text.Addr+9)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := append([]byte(nil), bound...)
			copy(file[text.Offset:], tt.code)
			path := filepath.Join(t.TempDir(), "program")
			require.NoError(t, os.WriteFile(path, file, 0o755))
			err := bindG(path)
			after, readErr := os.ReadFile(path)
			require.NoError(t, readErr)
			if tt.want == "" {
				require.NoError(t, err)
				assert.Equal(t, []byte{0x3e, 0x3e}, after[text.Offset:][:2], "the load is rewritten")
				return
			}
			assert.ErrorContains(t, err, strconv.Quote(path)+" "+tt.want)
			assert.Equal(t, file, after)
		})
	}
}

func TestFindG(t *testing.T) {
	for _, tt := range []struct {
		name string
		code []byte
		want int
	}{
		{"nothing", nil, -1},
		{"a load", []byte{0x90, 0x64, 0x48, 0x8b, 0x04, 0x25, 0xf8, 0xff, 0xff, 0xff}, 1},
		{"a comparison", []byte{0x64, 0x48, 0x3b, 0x24, 0x25, 0xf8, 0xff, 0xff, 0xff}, 0},
		{"of 32 bits, without REX", []byte{0x64, 0x8b, 0x04, 0x25, 0xf8, 0xff, 0xff, 0xff}, 0},
		{"with an opcode of two bytes", []byte{0x64, 0x48, 0x0f, 0xb6, 0x04, 0x25, 0xf8, 0xff, 0xff, 0xff}, 0},
		{"FS:0, which is the task's", []byte{0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0}, -1},
		{"GS", []byte{0x65, 0x48, 0x8b, 0x04, 0x25, 0xf8, 0xff, 0xff, 0xff}, -1},
		{"cut off", []byte{0x64, 0x48, 0x8b, 0x04, 0x25, 0xf8, 0xff, 0xff}, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, findG(tt.code))
		})
	}
}

// The processor pushes an error code for some exceptions (SDM vol. 3, 6.13); the entry code
// makes up for the others, in stubs of 8 bytes each.
func TestTrapStubs(t *testing.T) {
	f := open(t, "kernel.elf")
	symbols, err := symbolTable(f)
	require.NoError(t, err)
	const arch = "kapsel/guest/arch/amd64."
	stubs := symbols[arch+"trapStubs"]
	text := f.Section(".text")
	code, err := text.Data()
	require.NoError(t, err)
	withCode := map[int]bool{8: true, 10: true, 11: true, 12: true, 13: true, 14: true, 17: true, 21: true, 29: true, 30: true}
	handlers := map[int]string{1: "trapOnIST", 2: "trapOnIST", 8: "kernelTrap", 18: "kernelTrap"}
	for vector := range 64 {
		t.Run(fmt.Sprint(vector), func(t *testing.T) {
			addr := stubs + uint64(8*vector)
			stub := code[addr-text.Addr:][:8]
			first, err := x86asm.Decode(stub, 64)
			require.NoError(t, err)
			assert.Equal(t, 2, first.Len)
			if withCode[vector] {
				assert.Equal(t, []byte{0x66, 0x90}, stub[:2], "the processor pushed a code; a no-op")
			} else {
				assert.Equal(t, []byte{0x6a, 0x00}, stub[:2], "push 0 in its place")
			}
			call, err := x86asm.Decode(stub[2:], 64)
			require.NoError(t, err)
			assert.Equal(t, x86asm.CALL, call.Op)
			handler := handlers[vector]
			if handler == "" {
				handler = "trap"
			}
			target := addr + 7 + uint64(call.Args[0].(x86asm.Rel))
			assert.Equal(t, symbols[arch+handler], target, "calls %s", handler)
			assert.EqualValues(t, vector, (addr+7-stubs)>>3, "the address that is pushed tells the vector")
		})
	}
}
