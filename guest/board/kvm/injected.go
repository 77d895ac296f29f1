//go:build kapsel_kernel && kapsel_inject

package main

import (
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/format"
	"kapsel/guest/kernel/inject"
)

// injection makes a capsule fail as the command line says: inject=POINT:KIND:HIT. With point 0 none does, and at the end
// comes how often each point was come to. The end is when no task is left, also of a machine that else waits for what is typed or loaded.
type injection struct{ given, counts bool }

// obey takes a word of the command line. It reports false if it is not an injection.
func (i *injection) obey(text []byte) bool {
	const word = "inject="
	if len(text) < len(word) || string(text[:len(word)]) != word {
		return false
	}
	fault, ok := inject.Parse(text[len(word):])
	inject.Choose(fault)
	i.given = ok
	i.counts = ok && fault.Point == 0
	return ok
}

// asked reports whether the command line has an injection.
func (i *injection) asked() bool { return i.given }

// start is called when capsules are wired.
func (*injection) start() { inject.Start() }

// print writes whether the fault happened, and how often points were come to.
func (i *injection) print(w kernel.Writer) {
	if inject.Happened() {
		w.WriteString("inject: it happened\n")
	}
	if !i.counts {
		return
	}
	for point := range uint32(inject.MaxPoints) {
		if hits := inject.Hits(point); hits != 0 {
			format.Print(w, "inject: point %d %d\n", uint64(point), uint64(hits))
		}
	}
}
