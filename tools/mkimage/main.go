// Command mkimage builds the kernel and its tasks and packs them into one bootable image.
//
//	mkimage -o build/kapsel.elf [-kernel PKG] [-debug] [-sha256] TASK...
//
// A TASK is a Go package (./guest/tasks/hello) or a file that ends in .tbf. The kernel
// is the board's main package. Beside the image it writes kernel.elf, the kernel with its
// symbols and DWARF for gdb, and for each task that it builds NAME.elf and NAME.tbf. With
// -sha256 the objects of those tasks have a credential: the digest of header and binary.
// The same sources give the same bytes.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	out := flag.String("o", "build/kapsel.elf", "the image to write; other outputs go to the same folder")
	kernel := flag.String("kernel", "kapsel/guest/board/kvm", "main package of the kernel")
	debug := flag.Bool("debug", false, "a kernel that holds the rules of memory against the page tables after each change")
	digests := flag.Bool("sha256", false, "add SHA-256 credentials to the tasks that are built")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), "usage: mkimage [-o IMAGE] [-kernel PKG] [-debug] [-sha256] TASK...\n"+
			"A TASK is a Go package or a .tbf file.\n\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	if err := run(*out, kernelProgram(*kernel, *debug), *digests, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "mkimage:", err)
		os.Exit(1)
	}
}

// run builds everything and writes the image last, so that a failed build leaves no image
// that does not belong to its sources.
func run(out string, kernel program, digests bool, tasks []string) error {
	if err := os.Remove(out); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	dir := filepath.Dir(out)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tc, err := findToolchain()
	if err != nil {
		return err
	}
	var objects []byte
	for _, task := range tasks {
		object, err := taskObject(tc, task, dir, digests)
		if err != nil {
			return err
		}
		objects = append(objects, object...)
	}
	kernelELF := filepath.Join(dir, "kernel.elf")
	if err := tc.build(kernel, kernelELF); err != nil {
		return err
	}
	image, sizes, err := packImage(kernelELF, objects)
	if err != nil {
		return err
	}
	if err := os.WriteFile(out, image, 0o644); err != nil {
		return err
	}
	fmt.Printf("%s: %s\n", out, sizes)
	return nil
}

// taskObject returns the TBF object of a task, which fills whole pages.
func taskObject(tc *toolchain, task, dir string, digest bool) ([]byte, error) {
	if strings.HasSuffix(task, ".tbf") {
		return readObject(task)
	}
	return tc.buildTask(task, dir, digest)
}
