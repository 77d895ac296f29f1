//go:build kapsel

package amd64

import "unsafe" // also for linkname

// What guest/runtime and the machine layer ask of each other, by link name.

//go:linkname runtimeDie kapsel.die
func runtimeDie(message string, pc, fp uintptr) { die(message, pc, fp) }

// frame names the function, file and line of an instruction.
//
//go:linkname frame kapsel.frame
func frame(pc uintptr) (name, file string, line int, ok bool)

// frameSize is how far the stack pointer is below the return address at an instruction.
//
//go:linkname frameSize kapsel.frameSize
func frameSize(pc uintptr) int

// newRecord makes a record of a page that is zero and nobody else's.
func newRecord(page []byte) *record { return (*record)(unsafe.Pointer(unsafe.SliceData(page))) }
