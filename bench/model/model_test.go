package model

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// recorded is a log of QEMU 7.2.22: between two marks one null Command.
func recorded(t *testing.T) *Trace {
	t.Helper()
	f, err := os.Open("testdata/nullcommand.log")
	require.NoError(t, err)
	defer f.Close()
	trace, err := Read(f)
	require.NoError(t, err)
	require.Len(t, trace.Paths, 1)
	return trace
}

func TestReadRecordedLog(t *testing.T) {
	path := Path{Name: "NullCommand", Ticks: 114 + 12, Calls: true}
	operation, err := path.Find(recorded(t).Paths[0])
	require.NoError(t, err)
	assert.Equal(t, 1, operation.Samples)
	require.Len(t, operation.Instructions, 114, "as many as were counted")
	assert.Equal(t, codeSyscall, operation.Instructions[0].Code)
	assert.Equal(t, "\x48\x0f\x07", operation.Instructions[113].Code, "SYSRET")

	path.Ticks++
	operation, err = path.Find(recorded(t).Paths[0])
	require.NoError(t, err, "an interrupt may lie between")
	assert.Len(t, operation.Instructions, 114)
	path.Ticks += slack
	_, err = path.Find(recorded(t).Paths[0])
	assert.ErrorContains(t, err, "NullCommand: no operation of 129 instructions among ")
}

// Lines as QEMU writes them.
const (
	begins = "memory_region_ops_write cpu 0 mr 0x55 addr 0xe0 value 0x1 size 4 name 'io'\n"
	ends   = "memory_region_ops_write cpu 0 mr 0x55 addr 0xe0 value 0x2 size 4 name 'io'\n"
	output = "memory_region_ops_write cpu 0 mr 0x66 addr 0x3f8 value 0x62 size 1 name 'serial'\n"
)

// translation is what QEMU shows of an instruction, by name.
func translation(at uint64, code, name string) string {
	return fmt.Sprintf("----------------\nIN: \n0x%08x:  %-24s %s\n\n", at, code, name)
}

func execution(block, at uint64) string {
	return fmt.Sprintf("Trace 0: 0x%x [0000000000000000/%016x/08c0c2b0/ff020201] name\n", block, at)
}

func TestRead(t *testing.T) {
	const at, kernel = 0x40001000, 0xffffffff80200000
	nop := translation(at, "90", "nop")
	for _, tt := range []struct {
		name string
		log  string
		want []string // of each path the codes
	}{
		{"nothing", "", nil},
		{"nothing between marks", begins + ends + begins + output + ends, []string{"", ""}},
		{"outside of marks", nop + execution(1, at) + begins + ends + execution(1, at), []string{""}},
		{"a task and the kernel", nop + begins + execution(1, at) + translation(kernel, "0f 31", "rdtsc") + execution(2, kernel) + execution(1, at) + ends, []string{"90 0f31 90"}},
		{"a code of two lines", translation(at, "3e 3e 4c 8d 35 3a ff 04", "leaq") + fmt.Sprintf("0x%08x:  00\n", at+8) + begins + execution(1, at) + ends, []string{"3e3e4c8d353aff0400"}},
		{"two tasks at one address", nop + begins + execution(1, at) + translation(at, "0f 31", "rdtsc") + execution(2, at) + ends + begins + execution(1, at) + ends, []string{"90 0f31", "90"}},
		{"one that begins anew at a device", translation(at, "89 07", "movl") + begins + execution(1, at) + translation(at, "89 07", "movl") + execution(2, at) + ends, []string{"8907"}},
		{"one that is repeated", translation(at, "f3 a4", "rep movsb") + begins + execution(1, at) + execution(1, at) + ends, []string{"f3a4 f3a4"}},
		{"an interrupt before one", nop + begins + execution(1, at) + "Stopped execution of TB chain before 0x1 [0000000040001000] name\n" + ends, []string{""}},
		{"a log that is cut off", begins + ends + begins + "Trace 0: 0x1 [00", []string{""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			trace, err := Read(strings.NewReader(tt.log))
			require.NoError(t, err)
			var got []string
			for _, path := range trace.Paths {
				var codes []string
				for _, x := range path {
					codes = append(codes, fmt.Sprintf("%x", x.Code))
				}
				got = append(got, strings.Join(codes, " "))
			}
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestReadRefuses(t *testing.T) {
	for _, tt := range []struct{ name, log, want string }{
		{"an instruction that was not shown", begins + execution(1, 0x1000), "line 2 of QEMU's log, \"Trace 0: 0x1 ["},
		{"no address", "Trace 0: 0x1\n", "want [base/address/flags"},
		{"an address that is none", "Trace 0: 0x1 [0/x/0/0]\n", "invalid syntax"},
		{"a translation without one", "0xnop\n", "want an address and a colon"},
		{"an end without a begin", ends, "a mark that is out of turn"},
		{"two begins", begins + begins, "a mark that is out of turn"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Read(strings.NewReader(tt.log))
			assert.ErrorContains(t, err, tt.want)
		})
	}
}

// FuzzRead: no log makes the reader panic.
func FuzzRead(f *testing.F) {
	log, err := os.ReadFile("testdata/nullcommand.log")
	require.NoError(f, err)
	f.Add(string(log[:2000]))
	f.Add(begins + ends + "memory_region_ops_write\n")
	f.Fuzz(func(t *testing.T, log string) {
		trace, err := Read(strings.NewReader(log))
		if err != nil {
			return
		}
		for _, span := range trace.Paths {
			Path{Name: "AlarmLatency", Ticks: 10}.Find(span)
			Path{Name: "IPCBuffer", Ticks: 10, Calls: true}.Find(span)
		}
	})
}

// steps are instructions by letters: t and k read the counter in a task and in the kernel, h is HLT, a
// point any other of the kernel's.
func steps(letters string) []*Instruction {
	var list []*Instruction
	for _, c := range letters {
		switch c {
		case 't':
			list = append(list, &Instruction{0x40001000, codeRDTSC})
		case 'k':
			list = append(list, &Instruction{1<<64 - 1, codeRDTSC})
		case 'h':
			list = append(list, &Instruction{1<<64 - 1, codeHLT})
		default:
			list = append(list, &Instruction{1<<64 - 1, "\x90"})
		}
	}
	return list
}

func TestFind(t *testing.T) {
	for _, tt := range []struct {
		path     string
		ticks    int
		span     string
		from, to int // of the instructions found
		samples  int
	}{
		{"Memop", 5, "..t..t....t..t", 6, 11, 1},
		{"Memop", 5, "t...t.....tt....t", 12, 17, 1},
		{"Memop", 5, "t..k.t", 1, 6, 1},
		{"TaskSwitch", 2, "t.t...t", 3, 7, 2},
		{"IPCBuffer", 6, "t..t..t", 1, 7, 1},
		{"InterruptToTask", 9, "tt....t.t.t", 2, 11, 1},
		{"InterruptToCapsule", 3, "t...t..k", 5, 8, 1},
		{"AlarmLatency", 9, "t...h...k.t", 5, 11, 1},
	} {
		t.Run(tt.path+" "+tt.span, func(t *testing.T) {
			span := steps(tt.span)
			operation, err := Path{Name: tt.path, Ticks: tt.ticks}.Find(span)
			require.NoError(t, err)
			assert.Equal(t, tt.samples, operation.Samples)
			assert.Equal(t, tt.to-tt.from, len(operation.Instructions))
			assert.Same(t, span[tt.from], operation.Instructions[0])
		})
	}
	_, err := Path{Name: "AlarmLatency", Ticks: 3}.Find(steps("h.t..t"))
	assert.NoError(t, err)
	_, err = Path{Name: "AlarmLatency", Ticks: 3}.Find(steps("...t"))
	assert.ErrorContains(t, err, "no operation of 3 instructions among 4")
}

// stub puts a program by that name first in the path. What it reads is in the file beside it.
func stub(t *testing.T, dir, name, script string) {
	t.Helper()
	text := "#!/bin/sh\nset -e\necho \"$*\" >>" + dir + "/" + name + ".args\ncat >>" + dir + "/" + name + ".in\n" + script
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700))
}

// TestCycles has what the programs of LLVM 14 print of some instructions: first of each alone.
func TestCycles(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	stub(t, dir, disassembler, `printf '\t.text\n\tsyscall\n\tmovq\t%%rcx, %%rax\n\tcallq\t24\n\toutl\t%%eax, %%dx\n'`)
	answers := `
regions() { for n; do list="$list,{\"Name\":\"x\",\"SummaryView\":{\"IPC\":0.5,\"TotalCycles\":$n}}"; done; echo "{\"CodeRegions\":[${list#,}]}"; }
case $(wc -l <` + dir + `/llvm-mca.args) in
1) regions 4 38 5 4;; # movq, outl, pushq, syscall
2) regions 4 103 5 103;;
3) regions 9 9;;
4) regions 7 7;;
esac`
	stub(t, dir, analyzer, answers)
	syscall, mov, call, out := &Instruction{1, "\x0f\x05"}, &Instruction{3, "\x48\x89\xc8"}, &Instruction{6, "\xe8\x18\x00\x00\x00"}, &Instruction{11, "\xef"}
	path := []*Instruction{syscall, mov, call, mov, out}
	figures, err := Cycles(t.Context(), []Operation{{path, 1}, {path, 2}})
	require.NoError(t, err)
	assert.Equal(t, []Figure{{5, 2, []float64{9, 7}}, {2.5, 1, []float64{4.5, 3.5}}}, figures,
		"a change of privilege level, and what one of the processors has no figure of, are left out")

	given := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		return string(text)
	}
	assert.Equal(t, "[0x0f 0x05]\n[0x48 0x89 0xc8]\n[0xe8 0x18 0x00 0x00 0x00]\n[0xef]\n", given("llvm-mc.in"), "each once")
	region := "# LLVM-MCA-BEGIN %d\nmovq %%rcx, %%rax\npushq %%rax\nmovq %%rcx, %%rax\n# LLVM-MCA-END\n"
	assert.True(t, strings.HasSuffix(given("llvm-mca.in"), fmt.Sprintf(region+region, 0, 1)))
	assert.Contains(t, given("llvm-mca.args"), "-mcpu=znver3 -iterations=1 --json")
}

func TestCyclesThatLLVMDoesNotTell(t *testing.T) {
	for _, tt := range []struct{ name, disassembler, analyzer, want string }{
		{"no line for an instruction", `echo '	.text'`, "", "llvm-mc: want a line for each of 1 instructions, found 0"},
		{"it fails", `echo 'error: no such thing' >&2; exit 1`, "", "llvm-mc: exit status 1: error: no such thing"},
		{"no JSON", `printf '\t.text\n\tnop\n'`, "echo hello", "llvm-mca -mcpu=skylake: invalid character"},
		{"no region", `printf '\t.text\n\tnop\n'`, "echo '{}'", "llvm-mca -mcpu=skylake: want 1 regions, found 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
			stub(t, dir, disassembler, tt.disassembler)
			stub(t, dir, analyzer, tt.analyzer)
			_, err := Cycles(t.Context(), []Operation{{[]*Instruction{{1, "\x90"}}, 1}})
			assert.ErrorContains(t, err, tt.want)
		})
	}
}

// TestCyclesByLLVM asks the real programs.
func TestCyclesByLLVM(t *testing.T) {
	if _, err := exec.LookPath(analyzer); err != nil {
		t.Skip("no llvm-mca here: in Debian it is in the package llvm")
	}
	operation, err := Path{Name: "NullCommand", Ticks: 126, Calls: true}.Find(recorded(t).Paths[0])
	require.NoError(t, err)
	twice := Operation{append(operation.Instructions[:114:114], operation.Instructions...), 2}
	figures, err := Cycles(t.Context(), []Operation{operation, twice})
	require.NoError(t, err)
	require.Len(t, figures, 2)
	for i := range Processors {
		assert.InDelta(t, 60, figures[0].Cycles[i], 40, Processors[i])
		assert.Less(t, figures[1].Cycles[i], figures[0].Cycles[i]+10, "half of two")
	}
	assert.Equal(t, 114.0, figures[0].Instructions)
	assert.Equal(t, 2.0, figures[0].LeftOut, "SYSCALL and SYSRET")
}

func TestLLVMIsMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Version(t.Context())
	assert.ErrorContains(t, err, "install LLVM, in Debian the package llvm")
}
