// Command capcheck proves what the compiler does not: that imports point down, that
// unsafe code and assembly stay in the packages that are trusted with them, and that
// capsules contain nothing that could get around their types. It then prints how large
// the trusted part is, of the kernel that ships. What is checked is that kernel and the one
// for benchmarks.
//
//	capcheck [-markdown] [-update] [DIR]
//
// DIR is the root of the module, the current directory if it is not given. Every breach
// of a rule is printed with its file and line. The exit status is 0 if there is none, 1
// if there are some, 2 if the module cannot be read. With -update the table of trusted code in
// docs/trusted.md is made anew; without, it has to be right.
//
// The rules stand in layers.go, as tables.
package main

import (
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

func main() {
	markdown := flag.Bool("markdown", false, "print the table in Markdown")
	update := flag.Bool("update", false, "make the table in "+trustedDoc+" anew")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: capcheck [-markdown] [-update] [DIR]")
		flag.PrintDefaults()
	}
	flag.Parse()
	dir := "."
	switch flag.NArg() {
	case 0:
	case 1:
		dir = flag.Arg(0)
	default:
		flag.Usage()
		os.Exit(2)
	}
	var write func([]byte) error
	if *update {
		write = func(text []byte) error { return os.WriteFile(filepath.Join(dir, trustedDoc), text, 0o666) }
	}
	os.Exit(run(os.DirFS(dir), *markdown, write, os.Stdout, os.Stderr))
}

// run checks the module whose root is root and returns the exit status. It gives the document of what is trusted to update, if
// that is not nil.
func run(root fs.FS, markdown bool, update func([]byte) error, out, errs io.Writer) int {
	var shipped *module
	var breaches []breach
	for _, tags := range kernels {
		m, err := load(root, tags)
		if err != nil {
			fmt.Fprintln(errs, "capcheck:", err)
			return 2
		}
		found, err := check(m)
		if err != nil {
			fmt.Fprintln(errs, "capcheck:", err)
			return 2
		}
		if shipped == nil {
			shipped = m
		}
		breaches = append(breaches, found...)
	}
	breaches = sorted(breaches)
	for _, b := range breaches {
		fmt.Fprintln(errs, b)
	}
	if len(breaches) > 0 {
		fmt.Fprintf(errs, "capcheck: rules broken: %d\n", len(breaches))
		return 1
	}
	t := measure(shipped)
	if n := t.unsafeIn(capsule); n != 0 {
		fmt.Fprintf(errs, "capcheck: %d lines of capsules touch unsafe, want 0: the rules have a hole\n", n)
		return 1
	}
	problems, err := shipped.checkTrusted(root, update)
	if err != nil {
		fmt.Fprintln(errs, "capcheck:", err)
		return 2
	}
	for _, p := range problems {
		fmt.Fprintln(errs, "capcheck:", p)
	}
	if len(problems) > 0 {
		return 1
	}
	if markdown {
		t.printMarkdown(out)
	} else {
		t.print(out)
	}
	return 0
}
