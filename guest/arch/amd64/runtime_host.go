//go:build !kapsel

package amd64

import (
	"runtime"
	_ "unsafe" // for linkname
)

// g0 stands in for guest/runtime's, which trap_amd64.s refers to. Nothing runs it here.
//
//go:linkname g0 kapsel.g0
var g0 [8]uint64

// frame names the function, file and line of an instruction: on the host, where tests run.
func frame(pc uintptr) (name, file string, line int, ok bool) {
	f := runtime.FuncForPC(pc)
	if f == nil {
		return "", "", 0, false
	}
	file, line = f.FileLine(pc)
	return f.Name(), file, line, true
}
