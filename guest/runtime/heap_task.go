//go:build kapsel_task

package runtime

import (
	"internal/abi"
	"unsafe"
)

// A task's heap is a bump allocator: memory is given out upwards and never taken back.
// The kernel has no such file, so there nothing that allocates links.
var heapNext, heapEnd uintptr

const heapStep = 16 << 10 // bytes that the break is moved by at the least

// sbrk moves the break up by delta bytes (Memop 1).
func sbrk(delta uintptr) bool

//go:noinline
func mallocgc(size uintptr, typ *abi.Type, needzero bool) unsafe.Pointer {
	if size == 0 {
		return unsafe.Pointer(&zerobase)
	}
	size = (size + 15) &^ 15
	if size == 0 || size > 1<<40 {
		fatal("allocation too large")
	}
	for heapEnd-heapNext < size {
		step := max((size+abiPage-1)&^(abiPage-1), heapStep)
		if !sbrk(step) {
			if step = (size + abiPage - 1) &^ (abiPage - 1); !sbrk(step) {
				fatal("out of memory: //kapsel:heap BYTES in the task's sources asks for more")
			}
		}
		heapEnd += step
	}
	p := unsafe.Pointer(heapNext) // fresh from the kernel: zero
	heapNext += size
	return p
}

// abiPage is the unit of the break.
const abiPage = 4096

func newobject(t *abi.Type) unsafe.Pointer { return mallocgc(t.Size_, t, true) }

func makeslice(t *abi.Type, length, capacity int) unsafe.Pointer {
	if length < 0 || length > capacity {
		fatal("makeslice: len out of range")
	}
	return mallocgc(product(t.Size_, capacity), t, true)
}

func makeslice64(t *abi.Type, length, capacity int64) unsafe.Pointer {
	return makeslice(t, int(length), int(capacity))
}

func makeslicecopy(t *abi.Type, toLen, fromLen int, from unsafe.Pointer) unsafe.Pointer {
	p := makeslice(t, toLen, toLen)
	memmove(p, from, t.Size_*uintptr(min(toLen, fromLen)))
	return p
}

// product is size times n, or a death.
func product(size uintptr, n int) uintptr {
	if n < 0 || size != 0 && uintptr(n) > (1<<40)/size {
		fatal("allocation too large")
	}
	return size * uintptr(n)
}

// growslice gives append a larger array: newLen is the length after num elements were added.
func growslice(old unsafe.Pointer, newLen, oldCap, num int, t *abi.Type) slice {
	if newLen < 0 {
		fatal("growslice: len out of range")
	}
	capacity := max(newLen, 2*oldCap, 4)
	p := mallocgc(product(t.Size_, capacity), t, true)
	memmove(p, old, t.Size_*uintptr(newLen-num))
	return slice{p, newLen, capacity}
}

func growsliceNoAlias(old unsafe.Pointer, newLen, oldCap, num int, t *abi.Type) slice {
	return growslice(old, newLen, oldCap, num, t)
}

func growsliceBuf(old unsafe.Pointer, newLen, oldCap, num int, t *abi.Type, buf unsafe.Pointer, bufLen int) slice {
	return growslice(old, newLen, oldCap, num, t)
}

func growsliceBufNoAlias(old unsafe.Pointer, newLen, oldCap, num int, t *abi.Type, buf unsafe.Pointer, bufLen int) slice {
	return growslice(old, newLen, oldCap, num, t)
}

// moveSlice and its kin copy a slice that may live on the stack to the heap.

func moveSlice(t *abi.Type, old unsafe.Pointer, length, capacity int) (unsafe.Pointer, int, int) {
	return moveSliceNoScan(t.Size_, old, length, capacity)
}

func moveSliceNoScan(size uintptr, old unsafe.Pointer, length, capacity int) (unsafe.Pointer, int, int) {
	p := mallocgc(product(size, capacity), nil, true)
	memmove(p, old, size*uintptr(length))
	return p, length, capacity
}

func moveSliceNoCap(t *abi.Type, old unsafe.Pointer, length int) (unsafe.Pointer, int, int) {
	return moveSliceNoScan(t.Size_, old, length, length)
}

func moveSliceNoCapNoScan(size uintptr, old unsafe.Pointer, length int) (unsafe.Pointer, int, int) {
	return moveSliceNoScan(size, old, length, length)
}

// Conversions to interfaces.

func convT(t *abi.Type, v unsafe.Pointer) unsafe.Pointer {
	p := mallocgc(t.Size_, t, false)
	memmove(p, v, t.Size_)
	return p
}

func convTnoptr(t *abi.Type, v unsafe.Pointer) unsafe.Pointer { return convT(t, v) }

func convT16(v uint16) unsafe.Pointer {
	p := (*uint16)(mallocgc(2, nil, false))
	*p = v
	return unsafe.Pointer(p)
}

func convT32(v uint32) unsafe.Pointer {
	p := (*uint32)(mallocgc(4, nil, false))
	*p = v
	return unsafe.Pointer(p)
}

func convT64(v uint64) unsafe.Pointer {
	p := (*uint64)(mallocgc(8, nil, false))
	*p = v
	return unsafe.Pointer(p)
}

func convTstring(v string) unsafe.Pointer {
	p := (*string)(mallocgc(unsafe.Sizeof(v), nil, false))
	*p = v
	return unsafe.Pointer(p)
}

func convTslice(v []byte) unsafe.Pointer {
	p := (*[]byte)(mallocgc(unsafe.Sizeof(v), nil, false))
	*p = v
	return unsafe.Pointer(p)
}

// staticuint64s are the bytes: of a byte in an interface nothing is allocated.
var staticuint64s = [256]uint64{
	0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
	16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
	32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47,
	48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63,
	64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79,
	80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92, 93, 94, 95,
	96, 97, 98, 99, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111,
	112, 113, 114, 115, 116, 117, 118, 119, 120, 121, 122, 123, 124, 125, 126, 127,
	128, 129, 130, 131, 132, 133, 134, 135, 136, 137, 138, 139, 140, 141, 142, 143,
	144, 145, 146, 147, 148, 149, 150, 151, 152, 153, 154, 155, 156, 157, 158, 159,
	160, 161, 162, 163, 164, 165, 166, 167, 168, 169, 170, 171, 172, 173, 174, 175,
	176, 177, 178, 179, 180, 181, 182, 183, 184, 185, 186, 187, 188, 189, 190, 191,
	192, 193, 194, 195, 196, 197, 198, 199, 200, 201, 202, 203, 204, 205, 206, 207,
	208, 209, 210, 211, 212, 213, 214, 215, 216, 217, 218, 219, 220, 221, 222, 223,
	224, 225, 226, 227, 228, 229, 230, 231, 232, 233, 234, 235, 236, 237, 238, 239,
	240, 241, 242, 243, 244, 245, 246, 247, 248, 249, 250, 251, 252, 253, 254, 255,
}

// Strings. A buf is the compiler's, on the stack, for results that do not escape.

type tmpBuf = [32]byte

func newBytes(buf *tmpBuf, n int) []byte {
	if buf != nil && n <= len(buf) {
		return buf[:n]
	}
	return unsafe.Slice((*byte)(mallocgc(uintptr(n), nil, false)), n)
}

func concatstrings(buf *tmpBuf, parts []string) string {
	n := 0
	for _, s := range parts {
		n += len(s)
	}
	if n == 0 {
		return ""
	}
	b := newBytes(buf, n)
	at := 0
	for _, s := range parts {
		at += copy(b[at:], s)
	}
	return unsafe.String(&b[0], n)
}

func concatstring2(buf *tmpBuf, a, b string) string {
	return concatstrings(buf, []string{a, b})
}

func concatstring3(buf *tmpBuf, a, b, c string) string {
	return concatstrings(buf, []string{a, b, c})
}

func concatstring4(buf *tmpBuf, a, b, c, d string) string {
	return concatstrings(buf, []string{a, b, c, d})
}

func concatstring5(buf *tmpBuf, a, b, c, d, e string) string {
	return concatstrings(buf, []string{a, b, c, d, e})
}

func slicebytetostring(buf *tmpBuf, p *byte, n int) string {
	if n == 0 {
		return ""
	}
	b := newBytes(buf, n)
	copy(b, unsafe.Slice(p, n))
	return unsafe.String(&b[0], n)
}

func slicebytetostringtmp(p *byte, n int) string { return unsafe.String(p, n) }

func stringtoslicebyte(buf *tmpBuf, s string) []byte {
	b := newBytes(buf, len(s))
	copy(b, s)
	return b
}

//go:noinline
func panicmakeslicelen() { fatal("makeslice: len out of range") }

//go:noinline
func panicmakeslicecap() { fatal("makeslice: cap out of range") }
