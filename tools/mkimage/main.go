// Command mkimage builds the kernel and its tasks and packs them into one bootable image.
//
//	mkimage -o build/kapsel.elf [-kernel PKG] [-tags TAG,TAG] [-sha256] TASK...
//	mkimage -o build/kapsel.elf [-kernel PKG] [-tags TAG,TAG] -no-tasks
//
// A TASK is a Go package (./guest/tasks/hello), a file that ends in .tbf, one that ends in .tab, of
// which the object for x86 is taken, or one that ends in .bin: a flat 32-bit program (task32.go).
// The kernel is the board's main package. The tags are further build tags for the kernel and the Go
// tasks. Beside the image it writes kernel.elf, the kernel with its symbols and DWARF for gdb, and
// for each task that it builds NAME.elf and NAME.tbf. With -sha256 these objects have a credential:
// the digest of header and binary; ready-made ones stay as they are. The tag kapsel_debug makes a
// kernel that holds the rules of memory against the page tables after each change, kapsel_benchmark
// one with the benchmark driver.
// The same sources give the same bytes.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"kapsel/files"
)

const usage = `usage: mkimage [-o IMAGE] [-kernel PKG] [-tags TAG,TAG] [-sha256] TASK...
       mkimage [-o IMAGE] [-kernel PKG] [-tags TAG,TAG] -no-tasks
A TASK is a Go package, a .tbf file, a .tab file with an object for x86, or a flat 32-bit program in a .bin file.

`

// statusUsage is the exit status for a command line that cannot be used, package flag's too.
const statusUsage = 2

func main() {
	out := flag.String("o", "build/kapsel.elf", "the `IMAGE` to write; other outputs go to the same folder")
	kernel := flag.String("kernel", "kapsel/guest/board/kvm", "main package of the kernel, `PKG`")
	tags := flag.String("tags", "", "further build tags for kernel and tasks: `TAG,TAG`")
	digests := flag.Bool("sha256", false, "give each task that is built, from a package or a .bin file, a SHA-256 credential")
	noTasks := flag.Bool("no-tasks", false, "make an image of the kernel alone, which gets its tasks from the monitor")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	if *noTasks != (flag.NArg() == 0) {
		fmt.Fprintln(os.Stderr, "mkimage: want at least one TASK, or -no-tasks and none")
		flag.Usage()
		os.Exit(statusUsage)
	}
	if err := run(*out, *kernel, *tags, *digests, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "mkimage:", files.Words(err))
		os.Exit(1)
	}
}

// run builds everything and writes the image last.
func run(out, kernel, tags string, digests bool, tasks []string) error {
	tc, sources, err := prepare(out, tags, tasks)
	if err != nil {
		return err
	}
	dir := filepath.Dir(out)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if _, err := tc.mainPackage("kernel", kernel, kernelTags, inKernel); err != nil {
		return err
	}
	var objects []byte
	for _, s := range sources {
		object, err := taskObject(tc, s, dir, digests)
		if err != nil {
			return err
		}
		if note := unwriteable(object); note != "" {
			fmt.Fprintf(os.Stderr, "mkimage: %q: %s\n", s.task, note)
		}
		objects = append(objects, object...)
	}
	kernelELF := filepath.Join(dir, "kernel.elf")
	if err := tc.buildKernel(kernel, kernelELF); err != nil {
		return err
	}
	image, sizes, err := packImage(kernelELF, objects)
	if err != nil {
		return err
	}
	if err := checkSize(out, len(image), len(objects)); err != nil {
		return err
	}
	if err := os.WriteFile(out, image, 0o644); err != nil {
		return err
	}
	fmt.Printf("%s: %s\n", out, sizes)
	return nil
}

// prepare finds what the tasks are made of, and removes an earlier image, so that a failed
// build leaves none that does not belong to its sources. What it refuses of the outputs it
// refuses before.
func prepare(out, tags string, tasks []string) (*toolchain, []source, error) {
	if err := errors.Join(checkArguments(out, tasks), checkTags(tags)); err != nil {
		return nil, nil, err
	}
	var sources []source
	tc, failed := findToolchain()
	if failed == nil {
		tc.tags = tags
		sources, failed = tc.findSources(tasks)
	}
	if err := checkOutputs(out, sources); err != nil {
		return nil, nil, err
	}
	if err := os.Remove(out); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, err
	}
	return tc, sources, failed
}

// checkSize refuses an image that no monitor opens.
func checkSize(out string, image, objects int) error {
	if image <= maxImage {
		return nil
	}
	return fmt.Errorf("%q would be %d bytes long, want at most %d: its tasks take %d, put fewer or smaller ones in, or less //kapsel:flash",
		out, image, maxImage, objects)
}

// taskObject returns the TBF object of a task, which fills whole pages.
func taskObject(tc *toolchain, s source, dir string, digest bool) ([]byte, error) {
	switch filepath.Ext(s.task) {
	case ".tbf":
		return readObject(s.task)
	case ".tab":
		return readTab(s.task)
	case ".bin":
		return flatTask(s.task, dir, digest)
	}
	return tc.buildTask(s, dir, digest)
}
