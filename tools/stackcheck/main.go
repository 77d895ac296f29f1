// Command stackcheck finds how deep the kernel's stack can get.
//
//	stackcheck [-markdown] [-board DIR] [KERNEL]
//
// KERNEL is the kernel with its symbols, build/kernel.elf if it is not given, built from the
// sources in the current directory; PKG is its main package. The frames and the calls are those of
// the machine code. Where a call goes through an interface or a function value, the sources tell
// what can be in it (flow.go). It prints the deepest chain of calls for each way into the
// kernel, and what is left of the stack.
//
// The exit status is 1 if a chain may recurse, if it cannot be told where a call goes, if
// a function of the image is in no chain, or if the stack is too small; 2 if the kernel cannot be read.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	markdown := flag.Bool("markdown", false, "print docs/stack.md")
	board := flag.String("board", "guest/board/kvm", "folder of the kernel's main package")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: stackcheck [-markdown] [-board DIR] [KERNEL]")
		flag.PrintDefaults()
	}
	flag.Parse()
	kernel := "build/kernel.elf"
	switch flag.NArg() {
	case 0:
	case 1:
		kernel = flag.Arg(0)
	default:
		flag.Usage()
		os.Exit(2)
	}
	os.Exit(run(".", *board, kernel, *markdown, os.Stdout, os.Stderr))
}

// run checks a kernel that was built from the module in root, and returns the exit status.
func run(root, board, kernel string, markdown bool, out, errs io.Writer) int {
	r, problems, err := check(root, board, kernel)
	if err != nil {
		fmt.Fprintln(errs, "stackcheck:", err)
		return 2
	}
	for _, p := range problems {
		fmt.Fprintln(errs, p)
	}
	if len(problems) > 0 {
		fmt.Fprintf(errs, "stackcheck: problems: %d\n", len(problems))
		return 1
	}
	if markdown {
		r.printMarkdown(out)
	} else {
		r.print(out)
	}
	if r.margin() < 0 {
		fmt.Fprintf(errs, "stackcheck: the stack is %d bytes too small: raise stackSize in %s/boot.go\n", -r.margin(), archDir)
		return 1
	}
	return 0
}

// check reads sources and kernel, and measures. The problems are lines for people; there is
// a report only if there are none.
func check(root, board, kernel string) (*report, []string, error) {
	img, err := openImage(kernel)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", kernel, err)
	}
	src, err := loadSources(root, board)
	if err != nil {
		return nil, nil, err
	}
	g := &graph{image: img, resolver: newResolver(img, src)}
	r, err := measure(g)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", kernel, err)
	}
	return r, g.problems, nil
}
