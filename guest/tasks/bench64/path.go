//go:build kapsel_task

package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
)

// many is how often what is cheap is done.
const many = 1000

// A path is something to measure.
type path struct {
	name   string
	n      int  // operations
	base   base // what is to be taken off
	needs  need
	prints bool // the operation itself prints, from text
	median bool // of the samples only their median is told

	// op does it, and records a sample for each operation. It returns false if that failed or
	// cannot be used; then it is done again.
	op func() bool
}

type base int

const (
	empty base = iota // the sample of Empty
	none              // nothing
)

type need int

const (
	nothing need = iota
	capsule      // the benchmark capsule
	other        // benchpeer
)

// samples are the path's, the first count of them.
var (
	samples [2 * many]uint64
	count   int
)

// record keeps a sample.
func record(ticks uint64) bool {
	if count < len(samples) {
		samples[count] = ticks
		count++
	}
	return true
}

// run measures and prints.
func (p path) run() {
	switch {
	case p.needs == capsule && !instrumented:
		skip(p.name, "the kernel has no benchmark capsule")
		return
	case p.needs == other && !peered:
		skip(p.name, "there is no task benchpeer")
		return
	}
	p.n = min(p.n, most)
	if p.prints {
		task.AllowReadOnly(abi.DriverConsole, consoleWrite, text[:])
	}
	task.Sleep(2) // and so a time slice begins
	for range min(p.n/20, 16) + 1 {
		p.op() // caches are warm, grants are allocated
	}
	count = 0
	failures := 0
	mark(abi.MarkBegin)
	for count < p.n && failures < 4*p.n+20 {
		if !p.op() {
			failures++
		}
	}
	mark(abi.MarkEnd)
	if p.prints {
		task.Print("\n")
	}
	if count < p.n {
		skip(p.name, "it failed "+task.Decimal(uint64(failures))+" times")
		return
	}
	p.report()
}

// mark tells the monitor.
func mark(which uint32) {
	if instrumented {
		task.Command(abi.DriverBenchmark, abi.BenchmarkMark, which, 0)
	}
}

// skip says that a path was not measured.
func skip(name, why string) { task.Print("bench " + name + " skipped: " + why + "\n") }

// lineSize is how much the console sends without anything of others between, in bytes.
const lineSize = 256

// line is what is printed next.
var line [lineSize]byte

// report prints the samples.
func (p path) report() {
	head := "bench " + p.name + " " + task.Decimal(uint64(p.n)) + " unit=ticks"
	if p.base == none {
		head += " base=none"
	}
	const longest = 1 + 20 + 1 + 4 + 1 // of a value with its count and the line's end
	s := samples[:count]
	sort(s)
	if p.median {
		s = s[(count-1)/2:][:1]
	}
	out := append(line[:0], head...)
	for i := 0; i < len(s); {
		same := 1
		for i+same < len(s) && s[i+same] == s[i] {
			same++
		}
		if len(out)+longest > lineSize {
			task.Write(append(out, '\n'))
			out = append(line[:0], head...)
		}
		out = decimal(append(out, ' '), s[i])
		out = decimal(append(out, '*'), uint64(same))
		i += same
	}
	task.Write(append(out, '\n'))
}

// sort sorts by Shell's method; package slices needs more of a runtime than tasks have.
func sort(s []uint64) {
	for gap := len(s) / 2; gap > 0; gap /= 2 {
		for i := gap; i < len(s); i++ {
			for j := i; j >= gap && s[j-gap] > s[j]; j -= gap {
				s[j-gap], s[j] = s[j], s[j-gap]
			}
		}
	}
}

// decimal appends v in decimal.
func decimal(b []byte, v uint64) []byte {
	var digits [20]byte
	i := len(digits)
	for {
		i--
		digits[i] = byte('0' + v%10)
		if v /= 10; v == 0 {
			return append(b, digits[i:]...)
		}
	}
}
