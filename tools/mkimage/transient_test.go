package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/arch/x86/x86asm"
)

// What docs/security.md says that the kernel's code has against transient execution, read in the
// code that was built: by mnemonic, function by function.

const arch = "kapsel/guest/arch/amd64."

// A disassembly is the kernel's code, and its symbols.
type disassembly struct {
	functions map[string][]instruction
	symbols   map[uint64]string
}

type instruction struct {
	x86asm.Inst
	at uint64
}

// next is the address behind an instruction.
func (i instruction) next() uint64 { return i.at + uint64(i.Len) }

// target is where a relative jump or call goes, or 0.
func (i instruction) target() uint64 {
	if rel, ok := i.Args[0].(x86asm.Rel); ok {
		return i.next() + uint64(int64(rel))
	}
	return 0
}

// disassemble decodes all of the kernel's text.
func disassemble(t *testing.T) *disassembly {
	t.Helper()
	f := open(t, "kernel.elf")
	text := f.Section(".text")
	code, err := text.Data()
	require.NoError(t, err)
	symbols, err := f.Symbols()
	require.NoError(t, err)
	l := &disassembly{map[string][]instruction{}, map[uint64]string{}}
	var bodies [][]byte
	for _, s := range symbols {
		if s.Size > 0 {
			l.symbols[s.Value] = s.Name
		}
		if elf.ST_TYPE(s.Info) != elf.STT_FUNC {
			continue
		}
		name := strings.TrimPrefix(s.Name, arch)
		body := code[s.Value-text.Addr:][:s.Size]
		for at := uint64(0); at < s.Size; {
			in, err := x86asm.Decode(body[at:], 64)
			require.NoError(t, err, "%s+%#x", s.Name, at)
			l.functions[name] = append(l.functions[name], instruction{in, s.Value + at})
			at += uint64(in.Len)
		}
		bodies = append(bodies, body)
	}
	for _, body := range bodies { // functions may share one
		copy(body, bytes.Repeat([]byte{0xcc}, len(body)))
	}
	assert.Empty(t, bytes.Trim(code, "\xcc"), "between functions stands INT3")
	return l
}

// names returns the functions in which an instruction stands, once for each time.
func (l *disassembly) names(is func(instruction) bool) []string {
	found := []string{}
	for name, code := range l.functions {
		for _, in := range code {
			if is(in) {
				found = append(found, name)
			}
		}
	}
	sort.Strings(found)
	return found
}

func (l *disassembly) withOp(ops ...x86asm.Op) []string {
	return l.names(func(in instruction) bool {
		for _, op := range ops {
			if in.Op == op {
				return true
			}
		}
		return false
	})
}

// words writes instructions as their mnemonics, with the register or the symbol of those that
// matter: "MOV RSP kernelSP".
func (l *disassembly) words(code []instruction) []string {
	var out []string
	for _, in := range code {
		word := in.Op.String()
		for _, arg := range in.Args {
			switch arg := arg.(type) {
			case x86asm.Reg:
				word += " " + arg.String()
			case x86asm.Mem:
				if name := l.symbols[in.next()+uint64(arg.Disp)]; arg.Base == x86asm.RIP && name != "" {
					word += " " + strings.TrimPrefix(name, arch)
				}
			}
		}
		out = append(out, word)
	}
	return out
}

// No call and no jump takes its target from a register or from memory: all go through the thunks.
// The one exception is the PVH door's far jump into 64-bit mode, long before any task.
func TestNoIndirectBranchButThunks(t *testing.T) {
	l := disassemble(t)
	indirect := l.names(func(in instruction) bool {
		switch in.Op {
		case x86asm.CALL, x86asm.JMP, x86asm.LCALL, x86asm.LJMP:
			return in.target() == 0
		}
		return false
	})
	assert.Equal(t, []string{"pvhEntry"}, indirect)

	assert.Empty(t, l.withOp(x86asm.SWAPGS), "so none can be left out by a wrong prediction")
	calls := 0
	for name, code := range l.functions {
		if register, ok := strings.CutPrefix(name, "runtime.retpoline"); ok {
			checkThunk(t, name, register, code)
		}
		for _, in := range code {
			if strings.HasPrefix(l.symbols[in.target()], "runtime.retpoline") {
				calls++
			}
		}
	}
	assert.Greater(t, calls, 100, "interfaces and function values are called through thunks")
}

// checkThunk checks a thunk: a call over a loop that holds speculation, then a return to the register.
func checkThunk(t *testing.T, name, register string, code []instruction) {
	t.Helper()
	require.Len(t, code, 6, name)
	var ops []x86asm.Op
	for _, in := range code {
		ops = append(ops, in.Op)
	}
	assert.Equal(t, []x86asm.Op{x86asm.CALL, x86asm.PAUSE, x86asm.LFENCE, x86asm.JMP, x86asm.MOV, x86asm.RET}, ops, name)
	assert.Equal(t, code[4].at, code[0].target(), "%s: the call goes over the loop", name)
	assert.Equal(t, code[1].at, code[3].target(), "%s: the loop has no end", name)
	assert.Equal(t, x86asm.Mem{Base: x86asm.RSP, Scale: code[4].Args[0].(x86asm.Mem).Scale}, code[4].Args[0], name)
	want := register
	if len(register) == 2 && register[0] != 'R' {
		want = "R" + register
	}
	assert.Equal(t, want, code[4].Args[1].(x86asm.Reg).String(), name)
}

// The ways to ring 3, and to sleep, have VERW last, or a test that says that none is needed.
func TestBuffersAreClearedOnEachWayOut(t *testing.T) {
	l := disassemble(t)
	assert.Equal(t, []string{"switchTo.abi0", "switchTo.abi0", "syscallEntry", "syscallEntry"}, l.withOp(x86asm.SYSRET))
	assert.Equal(t, []string{"int40", "kernelTrap", "kernelTrap", "resume.abi0", "switchTo.abi0"}, l.withOp(x86asm.IRETQ),
		"those of kernelTrap and resume go back to ring 0")
	assert.Equal(t, []string{"loadSegments.abi0"}, l.withOp(x86asm.LRET), "to ring 0")
	assert.Empty(t, l.withOp(x86asm.SYSEXIT, x86asm.IRET, x86asm.IRETD))
	assert.Equal(t, []string{"halt.abi0", "idle.abi0"}, l.withOp(x86asm.HLT), "halt is the end")

	const asked, clear = "CMP uncleared", "VERW writeableSegment"
	leave := []string{asked, "JE", "AND RCX uncleared", "MOV RSP", "SYSRET", "MOV RSP", clear, "SYSRET"}
	for _, tt := range []struct {
		function string
		code     []string
		branch   int // the index of the branch that VERW depends on
		to       int // and of its target
	}{
		// SYSRET may begin before the branch is right: by the mask it then goes to 0.
		{"switchTo.abi0", leave, 1, 5},
		{"syscallEntry", leave, 1, 5},
		{"switchTo.abi0", []string{asked, "JNE", clear, "IRETQ"}, 1, 3},
		{"int40", []string{asked, "JNE", clear, "IRETQ"}, 1, 3},
		{"idle.abi0", []string{asked, "JNE", clear, "STI", "HLT"}, 1, 3},
	} {
		code := l.functions[tt.function]
		at := indexOf(l.words(code), tt.code)
		require.GreaterOrEqual(t, at, 0, "%s has to have %q", tt.function, tt.code)
		assert.Equal(t, code[at+tt.to].at, code[at+tt.branch].target(), "%s: %q", tt.function, tt.code)
	}
}

// Interrupts are let in by idle and poll alone. STI takes effect behind the next instruction (SDM vol. 2,
// STI), which must not be the CLI.
func TestInterruptsAreLetIn(t *testing.T) {
	l := disassemble(t)
	for function, code := range map[string][]string{
		"idle.abi0": {"STI", "HLT", "CLI"},
		"poll.abi0": {"STI", "NOP", "CLI"},
	} {
		assert.GreaterOrEqual(t, indexOf(l.words(l.functions[function]), code), 0, "%s has to have %q", function, code)
	}
	assert.Equal(t, []string{"idle.abi0", "poll.abi0"}, l.withOp(x86asm.STI))
}

// The assembler makes no instruction of NOP. One that is needed is written as its byte.
func TestNoNOPInAssembly(t *testing.T) {
	nop := regexp.MustCompile(`(?m)^[^\n/]*\bNOP\b`)
	files := 0
	require.NoError(t, filepath.WalkDir("../../guest", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".s" {
			return err
		}
		files++
		text, err := os.ReadFile(path)
		assert.Empty(t, nop.FindAllString(string(text), -1), path)
		return err
	}))
	assert.Greater(t, files, 5)
}

// indexOf returns where the words stand in a row, or -1.
func indexOf(all, words []string) int {
	for i := range len(all) - len(words) + 1 {
		if slices.Equal(all[i:i+len(words)], words) {
			return i
		}
	}
	return -1
}

// VERW's operand has to be the selector of a segment that can be written to, else it clears nothing.
func TestVERWOperand(t *testing.T) {
	f := open(t, "kernel.elf")
	symbols, err := symbolTable(f)
	require.NoError(t, err)
	at := symbols[arch+"writeableSegment"]
	for _, p := range loads(f) {
		if at >= p.Vaddr && at-p.Vaddr < p.Filesz {
			var word [2]byte
			_, err := p.ReadAt(word[:], int64(at-p.Vaddr))
			require.NoError(t, err)
			assert.EqualValues(t, 0x10, binary.LittleEndian.Uint16(word[:]), "kernelData")
			return
		}
	}
	t.Fatal("the operand is not in initialised data")
}

// fills counts the calls over an INT3 in a row, from code[i] on.
func fills(code []instruction, i int) int {
	n := 0
	for ; i+2 < len(code) && code[i].Op == x86asm.CALL && code[i+1].Op == x86asm.INT && code[i].target() == code[i+2].at; i += 2 {
		n++
	}
	return n
}

// The return stack is refilled where the kernel returns from what it called before the task ran, and
// between tasks. No return leads out of switchTo but those.
func TestReturnStackIsRefilled(t *testing.T) {
	l := disassemble(t)
	const load = "MOV RSP kernelSP"
	back := []string{load, "MOV", "ADD RSP", "POP RBP", "RET"}
	for _, tt := range []struct {
		function string
		times    int
		behind   []string // from the fill to the return
	}{
		{"syscallEntry", 2, back},
		{"int40", 1, back},
		{"trap", 1, append([]string{load, "PUSH", "POPFQ"}, back...)},
	} {
		code := l.functions[tt.function]
		words := l.words(code)
		returns := 0
		for i, in := range code {
			if in.Op != x86asm.RET {
				continue
			}
			returns++
			at := i + 1 - len(tt.behind) - 16
			require.Greater(t, at, 0, tt.function)
			assert.Equal(t, load, words[at-1], "%s: on the kernel's stack", tt.function)
			assert.Equal(t, 8, fills(code, at), tt.function)
			assert.Equal(t, tt.behind, words[at+16:i+1], tt.function)
		}
		assert.Equal(t, tt.times, returns, tt.function)
	}
	assert.NotContains(t, l.withOp(x86asm.RET), "switchTo.abi0")
	code := l.functions["exchange.abi0"]
	require.Greater(t, len(code), 66)
	assert.Equal(t, 32, fills(code, len(code)-66), "between tasks")
	assert.Equal(t, []string{"ADD RSP", "RET"}, l.words(code[len(code)-2:]))
}

// The kernel's code uses three vector registers, XMM13 to XMM15, and the x87 where tasks are exchanged
// alone. So all others are a task's own while the kernel works, and 32-bit code, which has XMM0 to XMM7,
// sees no change at all.
func TestVectorRegistersOfTasksAreLeftAlone(t *testing.T) {
	l := disassemble(t)
	booting := []string{ // before there is a task
		"(*Machine).Mitigate", "kapsel/guest/arch/amd64/mitigation.(*Processor).Plan", "kapsel/guest/arch/amd64/mitigation.ReadProcessor",
	}
	cleared := 0
	for name, code := range l.functions {
		for _, in := range code {
			for _, arg := range in.Args {
				r, ok := arg.(x86asm.Reg)
				if !ok || r < x86asm.M0 || r > x86asm.X15 || slices.Contains(booting, name) {
					continue
				}
				assert.GreaterOrEqual(t, r, x86asm.X13, "%s uses %v at %#x: does it copy a structure or an array of 16 bytes? Copy its fields.", name, r, in.at)
				if r == x86asm.X15 {
					cleared++
				}
			}
		}
	}
	assert.Greater(t, cleared, 100, "what compiled code clears memory with")

	whole := l.withOp(x86asm.FXSAVE64, x86asm.FXRSTOR64, x86asm.FXSAVE, x86asm.FXRSTOR, x86asm.EMMS, x86asm.FNCLEX)
	assert.Equal(t, []string{"exchange.abi0", "exchange.abi0", "exchange.abi0", "exchange.abi0", "switchTo.abi0", "trap"}, whole)
	x87 := l.names(func(in instruction) bool {
		for _, arg := range in.Args {
			if r, ok := arg.(x86asm.Reg); ok && r >= x86asm.F0 && r <= x86asm.F7 {
				return true
			}
		}
		return strings.HasPrefix(in.Op.String(), "F") && !strings.HasPrefix(in.Op.String(), "FX") && in.Op != x86asm.FNCLEX
	})
	assert.Equal(t, []string{"exchange.abi0"}, x87, "an integer onto its stack")
}

// Behind the branch of a bounds check the index is made 0 if the check has failed, so that a
// branch that was predicted wrong reads nothing out of bounds. Where the compiler has proved that the
// index is within bounds there is no branch, and where the result does not depend on it there is no mask.
func TestIndexesAreMasked(t *testing.T) {
	l := disassemble(t)
	masked, bare := 0, 0
	for _, code := range l.functions {
		at := map[uint64]int{}
		for i, in := range code {
			at[in.at] = i
		}
		for i, in := range code {
			to, ok := at[in.target()]
			if in.Op == x86asm.JMP || !ok || l.symbols[code[to].target()] != "runtime.panicBounds" {
				continue
			}
			if hasMask(code[i+1:]) {
				masked++
			} else {
				bare++
			}
		}
	}
	assert.Greater(t, masked, 100)
	assert.Greater(t, masked, 4*bare)
}

// hasMask looks for a conditional move up to the next branch or call.
func hasMask(code []instruction) bool {
	for _, in := range code {
		switch in.Op {
		case x86asm.CMOVA, x86asm.CMOVAE, x86asm.CMOVB, x86asm.CMOVBE:
			return true
		}
		if in.target() != 0 {
			return false
		}
	}
	return false
}
