//go:build kapsel

package amd64

import (
	"unsafe" // also for linkname

	"kapsel/guest/functab"
)

// What guest/runtime and the machine layer ask of each other, by link name.

//go:linkname runtimeDie kapsel.die
func runtimeDie(message string, pc, fp uintptr) { die(message, pc, fp) }

//go:linkname runtimeBoundsCode kapsel.boundsCode
func runtimeBoundsCode(pc uintptr) int {
	var p functab.Place
	functab.Here(uint64(pc), &p)
	return p.Bounds
}

// rdtsc reads the time-stamp counter.
//
//go:linkname rdtsc kapsel.rdtsc
func rdtsc() uint64

// place sets p to where an instruction of the kernel comes from, or reports false.
func place(pc uint64, p *functab.Place) bool { return functab.Here(pc, p) }

// newRecord makes a record of a page that is zero and nobody else's.
func newRecord(page []byte) *record { return (*record)(unsafe.Pointer(unsafe.SliceData(page))) }
