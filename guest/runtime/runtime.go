//go:build kapsel

package runtime

import (
	"internal/abi"
	"unsafe"
)

// Variables that generated code reads.
var (
	writeBarrier struct { // mkimage compiles with -wb=false: never consulted
		enabled bool
		pad     [3]byte
		cgo     bool
		alignme uint64
	}
	x86HasAVX, x86HasFMA, x86HasPOPCNT, x86HasSSE41 bool // false: baseline code only
	zerobase                                        uintptr
)

// Variables that the linker sets.
var buildVersion, modinfo, defaultGOROOT string

// A g is as much of a goroutine as compiled code looks at: the stack check in a
// function's first instructions compares SP with stackguard0.
type g struct {
	stackLow, stackHigh      uintptr
	stackguard0, stackguard1 uintptr
}

// g0 is the only thread of execution. Compiled code finds it in R14.
//
//go:linkname g0 kapsel.g0
var g0 g

// An initTask is the linker's list of one package's initialisers.
type initTask struct {
	state uint32
	nfns  uint32
	// followed by nfns code addresses
}

//go:linkname main_main main.main
func main_main()

// run runs every package's initialisers in the linker's order, then main.
func run() {
	for _, t := range firstmoduledata.inittasks {
		first := unsafe.Add(unsafe.Pointer(t), unsafe.Sizeof(*t))
		for i := uint32(0); i < t.nfns; i++ {
			p := unsafe.Add(first, uintptr(i)*8)
			f := *(*func())(unsafe.Pointer(&p))
			f()
		}
	}
	main_main()
	fatal("main returned")
}

// Implemented in asm_amd64.s.

func mapinitnoop()
func memmove(to, from unsafe.Pointer, n uintptr)
func memclrNoHeapPointers(p unsafe.Pointer, n uintptr)
func memequal(p, q unsafe.Pointer, n uintptr) bool
func memequal_varlen(p, q unsafe.Pointer) bool
func panicBounds()
func getfp() unsafe.Pointer // the caller's frame pointer

// Equality of types, referred to by type descriptors.

func memequal0(p, q unsafe.Pointer) bool   { return true }
func memequal8(p, q unsafe.Pointer) bool   { return *(*int8)(p) == *(*int8)(q) }
func memequal16(p, q unsafe.Pointer) bool  { return *(*int16)(p) == *(*int16)(q) }
func memequal32(p, q unsafe.Pointer) bool  { return *(*int32)(p) == *(*int32)(q) }
func memequal64(p, q unsafe.Pointer) bool  { return *(*int64)(p) == *(*int64)(q) }
func memequal128(p, q unsafe.Pointer) bool { return *(*[2]int64)(p) == *(*[2]int64)(q) }
func strequal(p, q unsafe.Pointer) bool    { return *(*string)(p) == *(*string)(q) }
func f32equal(p, q unsafe.Pointer) bool    { return *(*float32)(p) == *(*float32)(q) }
func f64equal(p, q unsafe.Pointer) bool    { return *(*float64)(p) == *(*float64)(q) }

func interequal(p, q unsafe.Pointer) bool {
	x, y := *(*iface)(p), *(*iface)(q)
	return x.tab == y.tab && ifaceeq(x.tab, x.data, y.data)
}

func nilinterequal(p, q unsafe.Pointer) bool {
	x, y := *(*eface)(p), *(*eface)(q)
	return x._type == y._type && efaceeq(x._type, x.data, y.data)
}

func ifaceeq(tab *abi.ITab, x, y unsafe.Pointer) bool {
	return tab == nil || efaceeq(tab.Type, x, y)
}

func efaceeq(t *abi.Type, x, y unsafe.Pointer) bool {
	switch {
	case t == nil:
		return true
	case t.Equal == nil:
		fatal("comparing values of a type that cannot be compared")
		return false
	case t.IsDirectIface():
		return x == y
	}
	return t.Equal(x, y)
}

func cmpstring(a, b string) int {
	for i := 0; i < len(a) && i < len(b); i++ {
		if a[i] != b[i] {
			if a[i] < b[i] {
				return -1
			}
			return 1
		}
	}
	return len(a) - len(b)
}

// memclrHasPointers and the typed moves are plain: nobody scans memory for pointers.

func memclrHasPointers(p unsafe.Pointer, n uintptr) { memclrNoHeapPointers(p, n) }

func typedmemmove(t *abi.Type, to, from unsafe.Pointer) { memmove(to, from, t.Size_) }

func typedmemclr(t *abi.Type, p unsafe.Pointer) { memclrNoHeapPointers(p, t.Size_) }

func typedslicecopy(t *abi.Type, to unsafe.Pointer, toLen int, from unsafe.Pointer, fromLen int) int {
	n := min(toLen, fromLen)
	memmove(to, from, uintptr(n)*t.Size_)
	return n
}
