//go:build !kapsel

package amd64

import (
	"runtime"

	"kapsel/guest/functab"
)

// place sets p to where an instruction comes from, or reports false: on the host, where tests run.
func place(pc uint64, p *functab.Place) bool {
	f := runtime.FuncForPC(uintptr(pc))
	if f == nil {
		return false
	}
	p.Function.Rest = f.Name()
	p.File.Rest, p.Line = f.FileLine(uintptr(pc))
	return true
}

// newRecord makes a record: on the host not in the page, which Go's garbage collector does not
// search for pointers.
func newRecord([]byte) *record { return new(record) }
