package amd64

import (
	"kapsel/guest/functab"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/format"
)

// printPlace writes a function, and below it file and line.
func printPlace(w kernel.Writer, p *functab.Place) {
	printName(w, "  ", &p.Function)
	printName(w, "\n      ", &p.File)
	format.Print(w, ":%d\n", uint64(p.Line))
}

func printName(w kernel.Writer, before string, n *functab.Name) {
	w.WriteString(before)
	w.WriteString(n.Prefix)
	w.WriteString(n.Type)
	w.WriteString(n.Rest)
}

// printAgain writes how often a frame comes again, if it does.
func printAgain(w kernel.Writer, n uint64) {
	if n > 0 {
		format.Print(w, "      ... and %d times more\n", n)
	}
}
