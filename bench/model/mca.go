package model

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
)

// Processors are those whose cycles are modelled, by LLVM's names.
var Processors = []string{"skylake", "znver3"}

// The programs, of one Debian package.
const (
	disassembler = "llvm-mc"
	analyzer     = "llvm-mca"
	triple       = "x86_64"
)

// guess is what LLVM's models say at the least, in cycles, of an instruction that they have no figure of.
const guess = 100

// rings are the instructions that change the privilege level, by the beginnings of their names.
// The models have small figures of some.
var rings = []string{"syscall", "sysret", "iret", "int"}

// A Figure is what is modelled of a path, for one sample.
type Figure struct {
	Instructions float64
	LeftOut      float64   // of the instructions those that are not modelled
	Cycles       []float64 // by Processors
}

// Version returns which llvm-mca there is: "Debian LLVM version 14.0.6".
func Version(ctx context.Context) (string, error) {
	out, err := run(ctx, "", analyzer, "--version")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "LLVM version") {
			return strings.TrimSpace(line), nil
		}
	}
	return "", fmt.Errorf("%s --version: want a version, found %.80q", analyzer, out)
}

// Cycles has the instructions of each operation modelled, once, from an empty pipeline on.
func Cycles(ctx context.Context, operations []Operation) ([]Figure, error) {
	names, err := assembly(ctx, operations)
	if err != nil {
		return nil, err
	}
	known, err := modelled(ctx, names)
	if err != nil {
		return nil, err
	}
	figures := make([]Figure, len(operations))
	regions := make([][]string, len(operations))
	for i, o := range operations {
		for _, x := range o.Instructions {
			if name := names[x.Code]; known[name] {
				regions[i] = append(regions[i], name)
			}
		}
		samples := float64(o.Samples)
		figures[i].Instructions = float64(len(o.Instructions)) / samples
		figures[i].LeftOut = float64(len(o.Instructions)-len(regions[i])) / samples
	}
	for _, processor := range Processors {
		cycles, err := analyze(ctx, processor, regions)
		if err != nil {
			return nil, err
		}
		for i, o := range operations {
			figures[i].Cycles = append(figures[i].Cycles, cycles[i]/float64(o.Samples))
		}
	}
	return figures, nil
}

// assembly returns what the analyzer is given for each code: the disassembler's text, but of a
// call the PUSH that is in it, because the analyzer takes 100 cycles for the function called. All is
// taken for 64-bit code: what a 32-bit task executes within a path means the same there.
func assembly(ctx context.Context, operations []Operation) (map[string]string, error) {
	var codes []string
	names := map[string]string{}
	var input strings.Builder
	for _, o := range operations {
		for _, x := range o.Instructions {
			if _, seen := names[x.Code]; seen {
				continue
			}
			names[x.Code] = ""
			codes = append(codes, x.Code)
			fmt.Fprintf(&input, "[% #x]\n", x.Code)
		}
	}
	out, err := run(ctx, input.String(), disassembler, "--disassemble", "-triple="+triple)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")[1:] // ".text" comes first
	if len(lines) != len(codes) {
		return nil, fmt.Errorf("%s: want a line for each of %d instructions, found %d", disassembler, len(codes), len(lines))
	}
	for i, line := range lines {
		name := strings.Join(strings.Fields(line), " ")
		if strings.HasPrefix(name, "call") {
			name = "pushq %rax"
		}
		names[codes[i]] = name
	}
	return names, nil
}

// modelled returns the instructions that all models have a figure of and that change no privilege level.
func modelled(ctx context.Context, names map[string]string) (map[string]bool, error) {
	known := map[string]bool{}
	for _, name := range names {
		known[name] = true
	}
	var regions [][]string
	for _, name := range slices.Sorted(maps.Keys(known)) {
		regions = append(regions, []string{name})
	}
	for _, processor := range Processors {
		cycles, err := analyze(ctx, processor, regions)
		if err != nil {
			return nil, err
		}
		for i, r := range regions {
			if cycles[i] >= guess {
				known[r[0]] = false
			}
		}
	}
	for name := range known {
		for _, prefix := range rings {
			if strings.HasPrefix(name, prefix) {
				known[name] = false
			}
		}
	}
	return known, nil
}

// analyze returns the cycles of each region on a processor.
func analyze(ctx context.Context, processor string, regions [][]string) ([]float64, error) {
	var input strings.Builder
	for i, r := range regions {
		fmt.Fprintf(&input, "# LLVM-MCA-BEGIN %d\n%s\n# LLVM-MCA-END\n", i, strings.Join(r, "\n"))
	}
	out, err := run(ctx, input.String(), analyzer, "-mtriple="+triple, "-mcpu="+processor, "-iterations=1",
		"--json", "-instruction-info=false", "-resource-pressure=false")
	if err != nil {
		return nil, err
	}
	var answer struct {
		CodeRegions []struct{ SummaryView struct{ TotalCycles float64 } }
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		return nil, fmt.Errorf("%s -mcpu=%s: %w", analyzer, processor, err)
	}
	if len(answer.CodeRegions) != len(regions) {
		return nil, fmt.Errorf("%s -mcpu=%s: want %d regions, found %d", analyzer, processor, len(regions), len(answer.CodeRegions))
	}
	var cycles []float64
	for _, r := range answer.CodeRegions {
		cycles = append(cycles, r.SummaryView.TotalCycles)
	}
	return cycles, nil
}

// run returns what a program prints.
func run(ctx context.Context, input, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var said bytes.Buffer
	cmd.Stdin, cmd.Stderr = strings.NewReader(input), &said
	out, err := cmd.Output()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return nil, fmt.Errorf("%w: install LLVM, in Debian the package llvm", err)
	case err != nil:
		first, _, _ := strings.Cut(said.String(), "\n")
		return nil, fmt.Errorf("%s: %w: %s", name, err, first)
	}
	return out, nil
}
