//go:build kapsel_task

// Command hoarder takes as much memory as there is room for below the addresses of loans, twice,
// and uses all of it.
package main

//kapsel:heap 1063256064

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
)

const (
	heap = 1014 << 20
	page = 4096
)

func main() {
	task.Print("hoarder: wants " + task.Decimal(heap>>20) + " MiB\n")
	for range 2 { // what was used and given back comes back zero
		if _, err := task.Memop(abi.MemopSbrk, heap/2); err != nil {
			panic("no memory")
		}
		if _, err := task.Memop(abi.MemopSbrk, -heap/2&(1<<64-1)); err != nil {
			panic("memory cannot be given back")
		}
	}
	hoard := make([]byte, heap-16<<10) // what was printed is on the heap too
	task.Print("hoarder: has it\n")
	for at := 0; at < len(hoard); at += page {
		for _, i := range [...]int{at, at + page - 1} {
			if i < len(hoard) && hoard[i] != 0 {
				panic("memory that is not zero")
			}
		}
		hoard[at] = mark(at)
	}
	for at := 0; at < len(hoard); at += page {
		if hoard[at] != mark(at) {
			panic("memory that has changed")
		}
	}
	task.Print("hoarder: used all of it\n")
	task.Exit(0)
}

// mark is what is written to a page: other bytes in pages that could be taken for one another.
func mark(at int) byte { return byte(at/page*37 + at>>20 + 1) }
