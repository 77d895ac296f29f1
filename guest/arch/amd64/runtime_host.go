//go:build !kapsel

package amd64

import "runtime"

// frame names the function, file and line of an instruction: on the host, where tests run.
func frame(pc uintptr) (name, file string, line int, ok bool) {
	f := runtime.FuncForPC(pc)
	if f == nil {
		return "", "", 0, false
	}
	file, line = f.FileLine(pc)
	return f.Name(), file, line, true
}

// frameSize is not known on the host.
func frameSize(pc uintptr) int { return -1 }

// newRecord makes a record: on the host not in the page, which Go's garbage collector does not
// search for pointers.
func newRecord([]byte) *record { return new(record) }
