package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"kapsel/guest/abi"
)

// A program is a freestanding Go program and where it is linked.
type program struct {
	pkg   string
	tags  string
	entry string // symbol
	text  uint64 // address of its first instruction
	data  uint64 // address of its first variable, on a page; 0: where the linker puts it
	safe  bool   // hardened against transient execution (docs/security.md)

	replace map[string][]byte // source files, by path, and what stands in for each
}

// kernelText is the kernel's physical address. Its virtual one is KernelBase higher: the
// top 2 GiB, where 32-bit relative and sign-extended addresses reach, as in Linux.
const kernelText = 2 << 20

const kernelTags = "kapsel,kapsel_kernel"

func kernelProgram(pkg string) program {
	return program{pkg: pkg, tags: kernelTags, entry: archPackage + ".entry", text: abi.KernelBase + kernelText, safe: true}
}

const taskTags = "kapsel,kapsel_task"

func taskProgram(pkg, entry string, text uint64) program {
	return program{pkg: pkg, tags: taskTags, entry: entry, text: text}
}

// withTags adds the toolchain's tags to others.
func (tc *toolchain) withTags(tags string) string {
	if tc.tags == "" {
		return tags
	}
	return tags + "," + tc.tags
}

// build compiles and links p to the ELF file out.
func (tc *toolchain) build(p program, out string) error {
	dir, err := os.MkdirTemp("", "kapsel-overlay-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	overlay, err := tc.writeOverlay(dir, p.replace)
	if err != nil {
		return err
	}
	// -wb=false: no write barriers, as nothing collects.
	compiler := "all=-wb=false"
	// The linker takes -T and -D as signed numbers.
	flags := []string{"-trimpath", "-buildvcs=false", "-overlay", overlay, "-tags", tc.withTags(p.tags)}
	if p.safe {
		compiler += " -spectre=index,ret"
		flags = append(flags, "-asmflags=all=-spectre=ret")
	}
	// -funcalign: functions lie back to back. -compressdwarf: moveData finds addresses in it.
	link := fmt.Sprintf("-buildid= -funcalign 1 -compressdwarf=false -E %s -T %d", p.entry, int64(p.text))
	if p.data != 0 {
		link += fmt.Sprintf(" -D %d", int64(p.data))
	}
	abs, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	args := append([]string{"build", "-gcflags=" + compiler, "-ldflags", link, "-o", abs}, flags...)
	said, err := combinedOutput(tc.command(append(args, p.pkg)...))
	if err == nil {
		if err := bindG(out); err != nil {
			return err
		}
		return unload(out)
	}
	if strings.Contains(said, "kapsel.die not defined") {
		return fmt.Errorf("building %q failed: nothing takes its panics: a task imports kapsel/guest/task, a board kapsel/guest/arch/amd64", p.pkg)
	}
	missing := missingRuntime(said)
	if len(missing) == 0 {
		return fmt.Errorf("building %q failed:\n%s", p.pkg, said)
	}
	return explain(p.pkg, missing, tc.listing(p.pkg, compiler, flags, hasDefer(missing)), said)
}

// listing returns the compiler's listing, which tells the line of each call; with defers a second
// one behind it, without optimisation, where each defer stands at its own line.
func (tc *toolchain) listing(pkg, compiler string, flags []string, defers bool) string {
	list := func(more string) string {
		args := append([]string{"build", "-gcflags=" + compiler + " " + more, "-o", os.DevNull}, flags...)
		text, _ := combinedOutput(tc.command(append(args, pkg)...))
		return text + "\n"
	}
	text := list("-S")
	if defers {
		text += list("-S -N")
	}
	return text
}

// combinedOutput runs a command and returns all it said.
func combinedOutput(cmd *exec.Cmd) (string, error) {
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	return strings.TrimSpace(said.String()), err
}
