package mmio

import (
	"debug/elf"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/arch/x86/x86asm"
)

// TestCompilerNeitherMergesNorDropsAccesses: each access in the source is one call by way of the bus in the machine code, and
// nothing else is called: no layer between driver and bus is left.
func TestCompilerNeitherMergesNorDropsAccesses(t *testing.T) {
	listing := output(t, "go", "build", "-gcflags=-S", "./testdata/accesses")
	six := regexp.MustCompile(`(?s)accesses\.Six STEXT .*?\n\t0x[0-9a-f]+ [0-9a-f]{2} `).FindString(listing)
	require.NotEmpty(t, six, listing)
	var calls, bus []string
	for _, call := range regexp.MustCompile(`\tCALL\t(\S+)`).FindAllStringSubmatch(six, -1) {
		switch {
		case regexp.MustCompile(`^[A-Z]+[0-9]*$`).MatchString(call[1]):
			bus = append(bus, call[1])
		case call[1] != "runtime.morestack_noctxt(SB)" && call[1] != "runtime.panicwrap(SB)":
			calls = append(calls, call[1])
		}
	}
	assert.Len(t, bus, 6, six)
	assert.Empty(t, calls, six)
}

// TestAccessIsOneInstruction: behind the bus each access is one instruction, of its width.
func TestAccessIsOneInstruction(t *testing.T) {
	program := filepath.Join(t.TempDir(), "mmio.test")
	output(t, "go", "test", "-c", "-o", program, ".")
	file, err := elf.Open(program)
	require.NoError(t, err)
	defer file.Close()
	symbols, err := file.Symbols()
	require.NoError(t, err)
	text := file.Section(".text")
	code, err := text.Data()
	require.NoError(t, err)
	accesses := map[string][]string{} // by function
	for _, s := range symbols {
		function := ofAccess.FindStringSubmatch(s.Name)
		if function == nil {
			continue
		}
		name := function[1] + function[2]
		for rest := code[s.Value-text.Addr:][:s.Size]; len(rest) > 0; {
			instruction, err := x86asm.Decode(rest, 64)
			require.NoError(t, err, "%s: % x", s.Name, rest)
			if access := accessed.FindString(x86asm.GoSyntax(instruction, 0, nil)); access != "" {
				accesses[name] = append(accesses[name], access)
			}
			rest = rest[instruction.Len:]
		}
	}
	assert.Equal(t, map[string][]string{
		"load8": {"MOVZX 0(AX), AX"}, "load16": {"MOVZX 0(AX), AX"}, "load32": {"MOVL 0(AX), AX"},
		"store8": {"MOVB BL, 0(AX)"}, "store16": {"MOVW BX, 0(AX)"}, "store32": {"MOVL BX, 0(AX)"},
		"in8": {"INL DX, AL"}, "in16": {"INW DX, AX"}, "in32": {"INL DX, AX"}, // the register says the width
		"out8": {"OUTL AL, DX"}, "out16": {"OUTW AX, DX"}, "out32": {"OUTL AX, DX"}, "outs8": {"OUTSB DS:0(SI), DX"},
	}, accesses)
}

// ofAccess is the symbol of a function that accesses a device; those of ports are in assembly.
var ofAccess = regexp.MustCompile(`^kapsel/guest/mmio\.(?:((?:load|store)[0-9]+)|((?:in|out).*)\.abi0)$`)

// accessed is an instruction that reaches a device: by a port, or by an address that is in AX.
var accessed = regexp.MustCompile(`\b(IN|OUT)[A-Z]*\b.*\S|\b\w+ .*0\(AX\)(, \w+)?`)

// output is what a command prints.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}
