package amd64

import "unsafe"

// window is the virtual address of physical 0: 0, where the doors map it, until the final page
// tables are in place, then the direct map. Tests put an array of theirs here.
var window uint64

// at returns the object at a physical address.
// Precondition: a T lies there, in RAM or in a device, within the window.
func at[T any](phys uint64) *T {
	return pointer[T](window + phys)
}

// pointer returns the object at a virtual address.
func pointer[T any](virt uint64) *T {
	return (*T)(unsafe.Add(unsafe.Pointer(nil), uintptr(virt)))
}

// bytesAt returns size bytes at a physical address.
// Precondition: all of them are RAM within the window.
//
//go:noinline
func bytesAt(phys, size uint64) []byte {
	return unsafe.Slice(at[byte](phys), size)
}

// physicalOf returns the physical address of a slice made by bytesAt.
func physicalOf(b []byte) uint64 { return addressOf(unsafe.SliceData(b)) - window }

// addressOf is the virtual address of a variable.
func addressOf[T any](p *T) uint64 { return uint64(uintptr(unsafe.Pointer(p))) }

// physicalOfImage is the physical address of a variable of the kernel.
func physicalOfImage[T any](p *T) uint64 { return machine.boot.physical(addressOf(p)) }
