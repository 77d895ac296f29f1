package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/bench"
	"kapsel/guest/abi"
)

// symbolFile writes an ELF file with one symbol.
func symbolFile(t *testing.T, path, name string) {
	t.Helper()
	const header, symbol = 64, 24
	texts := "\x00" + name + "\x00"
	var b bytes.Buffer
	for _, part := range []any{
		elf.Header64{Ident: [16]byte{0x7f, 'E', 'L', 'F', 2, 1, 1}, Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1,
			Shoff: uint64(header + 2*symbol + len(texts)), Ehsize: header, Shentsize: 64, Shnum: 3, Shstrndx: 2},
		elf.Sym64{}, elf.Sym64{Name: 1, Value: 0x4000_1000, Size: 32}, []byte(texts),
		elf.Section64{},
		elf.Section64{Type: uint32(elf.SHT_SYMTAB), Off: header, Size: 2 * symbol, Link: 2, Entsize: symbol},
		elf.Section64{Type: uint32(elf.SHT_STRTAB), Off: header + 2*symbol, Size: uint64(len(texts))},
	} {
		require.NoError(t, binary.Write(&b, binary.LittleEndian, part))
	}
	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o600))
}

// modelImage writes an image that marks two paths: one of six instructions between two reads of the counter, and one whose
// samples are differences, of which nothing is modelled.
func modelImage(t *testing.T) string {
	rdtsc, add, out := []byte{0x0f, 0x31}, []byte{0x01, 0xd0}, []byte{0xe6, 0x80}
	return imageFile(t, codeOut(abi.PortMark, abi.MarkBegin), rdtsc, add, add, out, add, add, rdtsc, codeOut(abi.PortMark, abi.MarkEnd),
		codeOut(abi.PortMark, abi.MarkBegin), add, codeOut(abi.PortMark, abi.MarkEnd),
		codePrint("bench-boot entered 1 main 2 loaded 3\nbench-boot first-task 4\nbench Empty 1 unit=ticks 6*1\nbench PlainGo 1 unit=ticks base=none 6*1\nbench done\n"), codeSpin)
}

// TestBenchModel has a small image traced by QEMU and modelled by llvm-mca.
func TestBenchModel(t *testing.T) {
	if err := qemuMissing(); err != nil {
		t.Skip(err)
	}
	image := modelImage(t)
	_, said := runBench(t, statusUsage, "--model", image)
	assertOneLine(t, said, "bench64.elf\": no such file or directory: want the task with its symbols, which mkimage writes beside an image")
	task := filepath.Join(filepath.Dir(image), "bench64.elf")
	symbolFile(t, task, "main.main")
	_, said = runBench(t, statusUsage, "--model", image)
	assertOneLine(t, said, "bench64.elf\": no symbol kapsel/guest/tasks/measure.Delay.abi0")
	symbolFile(t, task, "kapsel/guest/tasks/measure.Delay.abi0")
	if _, err := exec.LookPath("llvm-mca"); err != nil {
		_, said = runBench(t, statusFailed, "--model", image)
		assertOneLine(t, said, "install LLVM, in Debian the package llvm")
		return
	}
	out, _ := runBench(t, 0, "--model", image)
	run, err := bench.Read([]byte(out))
	require.NoError(t, err)
	assert.Contains(t, run.Fact("model"), "LLVM version ")
	assert.Equal(t, []float64{6}, run.Values("Empty", "traced-instructions/op"))
	left := run.Values("Empty", "left-out/op")
	require.Len(t, left, 1)
	assert.Greater(t, left[0], 0.0, "OUT")
	for _, processor := range []string{"skylake", "znver3"} {
		cycles := run.Values("Empty", processor+"-cycles/op")
		require.Len(t, cycles, 1)
		assert.Greater(t, cycles[0], 3.0, "four instructions, one behind another")
	}
	assert.NotContains(t, run.Names(), "PlainGo", "the difference of two operations")
	assert.Empty(t, run.Values("Empty", "instructions/op"), "nothing for a golden file")
}
