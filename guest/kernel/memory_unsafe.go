package kernel

import "unsafe"

// This file is the kernel's only use of unsafe: a grant's value is copied to and from bytes
// of the task's RAM. T has no pointers (tools/capcheck proves it of every Grant), so any
// bytes are a T, if perhaps one with a bool that is neither 0 nor 1; and those bytes come
// from nowhere but an earlier copy of a T or from zeroed memory. Memory.Words has words of a 32-bit
// task's stack in the same way, which may be any. x86 has no alignment to keep.

// sizeOf is the size of a T in bytes.
func sizeOf[T any](*T) int {
	var t T
	return int(unsafe.Sizeof(t))
}

// valueIn is the T in b from at on.
func valueIn[T any](b []byte, at uint64) *T {
	var t T
	return (*T)(unsafe.Pointer(unsafe.SliceData(b[at : at+uint64(unsafe.Sizeof(t))])))
}

// words are little-endian words of 32 bits, as the processor has them.
func words(b *[16]byte) *[4]uint32 { return (*[4]uint32)(unsafe.Pointer(b)) }
