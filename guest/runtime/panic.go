//go:build kapsel

package runtime

import (
	"internal/abi"
	"unsafe"
)

// die ends the program with a message. pc and fp are the address and the frame pointer
// of the code that panicked, where a trace is to begin. It does not return.
//
//go:linkname die kapsel.die
func die(message string, pc, fp uintptr)

// boundsCode returns what the table of functions tells of a call of panicBounds: which check
// failed, and where the index and the limit are, as abi.BoundsEncode has it.
//
//go:linkname boundsCode kapsel.boundsCode
func boundsCode(pc uintptr) int

// fatal panics on behalf of its caller's caller.
//
//go:noinline
func fatal(message string) {
	frame := (*[2]uintptr)(*(*unsafe.Pointer)(getfp())) // of fatal's caller: its caller's frame, its return address
	die(message, frame[1]-1, frame[0])
}

//go:noinline
func panicdivide() { fatal("integer divide by zero") }

//go:noinline
func panicoverflow() { fatal("integer overflow") }

//go:noinline
func panicshift() { fatal("negative shift amount") }

//go:noinline
func panicwrap() { fatal("method called with a nil pointer receiver") }

//go:noinline
func panicnildottype(want *abi.Type) { fatal("type assertion on a nil interface") }

//go:noinline
func panicdottypeE(have, want, iface *abi.Type) { fatal("type assertion to another type") }

//go:noinline
func panicdottypeI(have *abi.ITab, want, iface *abi.Type) { fatal("type assertion to another type") }

//go:noinline
func panicunsafeslicelen() { fatal("unsafe.Slice: length out of range") }

//go:noinline
func panicunsafeslicenilptr() { fatal("unsafe.Slice: nil pointer with a length") }

//go:noinline
func panicunsafestringlen() { fatal("unsafe.String: length out of range") }

//go:noinline
func panicunsafestringnilptr() { fatal("unsafe.String: nil pointer with a length") }

// unreachableMethod stands in the place of methods that the linker left out.
//
//go:noinline
func unreachableMethod() {
	kept = &keepTypes[0]
	fatal("unreachable method called: linker bug")
}

//go:noinline
func gopanic(v any) {
	// An assertion compares addresses of type descriptors. A type switch would read the
	// descriptor, which mkimage leaves out of the image.
	if text, ok := v.(string); ok {
		fatal(text)
	}
	if v == nil {
		fatal("panic(nil)")
	}
	fatal("panic with a value that is not a string")
}

// panicStack is where the program dies when its own stack is used up.
var panicStack [4096]byte

// stackOverflow is entered on panicStack, from morestack.
func stackOverflow(pc, fp uintptr) { die("stack overflow", pc, fp) }

// boundsText holds a bounds failure's message: there is nowhere else to put it.
var boundsText [96]byte

// boundsFormats are Go's own words, by internal/abi.BoundsErrorCode: %x is the index, %y the limit.
var boundsFormats = [...]string{
	abi.BoundsIndex:      "index out of range [%x] with length %y",
	abi.BoundsSliceAlen:  "slice bounds out of range [:%x] with length %y",
	abi.BoundsSliceAcap:  "slice bounds out of range [:%x] with capacity %y",
	abi.BoundsSliceB:     "slice bounds out of range [%x:%y]",
	abi.BoundsSlice3Alen: "slice bounds out of range [::%x] with length %y",
	abi.BoundsSlice3Acap: "slice bounds out of range [::%x] with capacity %y",
	abi.BoundsSlice3B:    "slice bounds out of range [:%x:%y]",
	abi.BoundsSlice3C:    "slice bounds out of range [%x:%y:]",
	abi.BoundsConvert:    "cannot convert slice with length %x to array or pointer to array with length %y",
}

// boundsFailed is called by panicBounds with the address behind the check and the
// registers at it, in the machine's numbering. Which of them are the index and the
// limit stands in a table of the function's.
func boundsFailed(pc uintptr, regs *[16]int64, fp uintptr) {
	code, signed, xIsReg, yIsReg, xVal, yVal := abi.BoundsDecode(boundsCode(pc - 1))
	x, y := int64(xVal), int64(yVal)
	if xIsReg {
		x = regs[xVal]
	}
	if yIsReg {
		y = regs[yVal]
	}
	format := boundsFormats[code]
	n := 0
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			boundsText[n] = format[i]
			n++
			continue
		}
		i++
		v, canBeNegative := x, signed
		if format[i] == 'y' {
			v, canBeNegative = y, true
		}
		n = putInt(n, v, canBeNegative)
	}
	die(unsafe.String(&boundsText[0], n), pc-1, fp)
}

// putInt writes v in decimal at boundsText[n:] and returns the index behind it.
func putInt(n int, v int64, signed bool) int {
	u := uint64(v)
	if signed && v < 0 {
		boundsText[n] = '-'
		n++
		u = -u
	}
	unit := uint64(1)
	for u/unit >= 10 {
		unit *= 10
	}
	for ; unit > 0; unit /= 10 {
		boundsText[n] = byte('0' + u/unit%10)
		n++
	}
	return n
}
