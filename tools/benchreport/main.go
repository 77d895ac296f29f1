// Command peertable sets the results of peers beside ours:
//
//	peertable [-icount] [-ours FILE] FILE...
//
// Each file has lines in Go's benchmark format; other lines are passed over. FILE after
// -ours is what kapsel bench printed, with -json or without. With -icount the files come from a machine where
// a nanosecond is an instruction (vmexec -icount), and the table says so.
//
// A row whose peer was not measured is left out. Where we were not, the row has no ratio.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	icount := flag.Bool("icount", false, "a nanosecond is an instruction")
	ours := flag.String("ours", "", "`file` with what kapsel bench printed")
	flag.Parse()
	if err := run(os.Stdout, flag.Args(), *ours, *icount); err != nil {
		fmt.Fprintln(os.Stderr, "peertable:", err)
		os.Exit(1)
	}
}

// run reads the files and writes the table.
func run(w io.Writer, files []string, ours string, icount bool) error {
	if len(files) == 0 {
		return fmt.Errorf("no file of results given: peertable [-icount] [-ours FILE] FILE")
	}
	found := results{}
	if ours != "" {
		files = append(files, ours)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := found.read(text); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	lines := table(found, icount)
	if len(lines) == 0 {
		return fmt.Errorf("no result of a peer in %v", files)
	}
	writeTable(w, lines)
	return nil
}
