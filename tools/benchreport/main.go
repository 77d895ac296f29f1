// Command benchreport makes tables and plots of what scripts/bench measured:
//
//	benchreport FOLDER             the table of paths
//	benchreport -doc FILE FOLDER   all tables, into FILE between its two marks, and the plots,
//	                               into the folder benchmarks beside it
//
// The folder has what kapsel bench and Go's benchmarks printed:
//
//	facts.txt        on what, lines of a key, a colon and a value
//	counts.json      kapsel bench under QEMU, one instruction a tick
//	kvm.json         kapsel bench under KVM
//	model.json       kapsel bench --model
//	growth/*.json    the same as counts.json in other machines: KIND-NUMBER.json
//	host.txt         package vmm's benchmarks
//	peers/*.txt      peers, the monitor and the sandbox, where a nanosecond is an instruction
//	timed/*.txt      the same on this host's KVM
//
// All but counts.json may be missing; so may be single results in them. If a path of counts.json
// was skipped, or lacks a count for which there is a goal, the end is an error.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	doc := flag.String("doc", "", "write all tables into this `file`, and plots beside it")
	flag.Parse()
	if err := run(os.Stdout, flag.Args(), *doc); err != nil {
		fmt.Fprintln(os.Stderr, "benchreport:", err)
		os.Exit(1)
	}
}

// run reads the folder and writes what is asked for.
func run(w io.Writer, args []string, doc string) error {
	if len(args) != 1 {
		return errors.New("want one folder of results: benchreport [-doc FILE] FOLDER")
	}
	m, err := readFolder(args[0])
	if err != nil {
		return err
	}
	if doc != "" {
		err = m.document(doc)
	} else {
		m.writePaths(w)
	}
	if lacks := m.counts.Lacks(); err == nil && len(lacks) > 0 {
		err = fmt.Errorf("not measured: %s", strings.Join(lacks, ", "))
	}
	return err
}
