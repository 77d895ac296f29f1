//go:build kapsel

package runtime

import (
	"internal/abi"
	"internal/runtime/maps"
	"unsafe"
)

// Types that the linker looks up by name when it writes DWARF (cmd/link/internal/ld/dwarf.go).
type (
	_type = abi.Type
	eface struct {
		_type *_type
		data  unsafe.Pointer
	}
	iface struct {
		tab  *abi.ITab
		data unsafe.Pointer
	}
	stringStructDWARF struct {
		str *byte
		len int
	}
	slice struct {
		array    unsafe.Pointer
		len, cap int
	}
	sudog struct{ elem unsafe.Pointer }
	waitq struct{ first, last *sudog }
	hchan struct{ recvq, sendq waitq }
)

// keepTypes holds the two types that DWARF refers to by address. unreachableMethod, which
// the linker always keeps, keeps it.
var keepTypes = [...]any{(*uintptr)(nil), (*unsafe.Pointer)(nil)}

var kept *any

// mentionTypes is never called, nor linked: it makes the compiler describe these types.
func mentionTypes() [19]any {
	return [...]any{
		(*eface)(nil), (*iface)(nil), (*stringStructDWARF)(nil), (*slice)(nil), (*sudog)(nil),
		(*waitq)(nil), (*hchan)(nil), (*maps.Map)(nil), (*abi.Type)(nil), (*abi.ArrayType)(nil),
		(*abi.ChanType)(nil), (*abi.FuncType)(nil), (*abi.MapType)(nil), (*abi.PtrType)(nil),
		(*abi.SliceType)(nil), (*abi.StructType)(nil), (*abi.InterfaceType)(nil),
		(*abi.Imethod)(nil), (*abi.ITab)(nil),
	}
}
