package kernel

import "unsafe"

// This file is the kernel's only use of unsafe: a grant's value as bytes, so that it can
// be copied to and from the task's RAM. T has no pointers (tools/capcheck proves it of
// every Grant), so any bytes are a T, if perhaps one with a bool that is neither 0 nor 1;
// and those bytes come from nowhere but an earlier copy of a T or from zeroed memory.

// bytesOf is the memory of *t.
func bytesOf[T any](t *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(t)), unsafe.Sizeof(*t))
}
