//go:build kapsel

package runtime

import (
	"internal/abi"
	"unsafe"
)

// moduledata is the linker's table of tables (cmd/link/internal/ld/symtab.go). Its layout
// belongs to the toolchain, as do the tables it points to; mkimage pins the version.
type moduledata struct {
	pcHeader    unsafe.Pointer
	funcnametab []byte
	cutab       []uint32
	filetab     []byte
	pctab       []byte
	pclntable   []byte
	ftab        []functab
	findfunctab uintptr
	minpc       uintptr
	maxpc       uintptr

	text, etext uintptr
	_           [15]uintptr // section bounds that nothing here needs
	rodata      uintptr
	gofunc      uintptr
	epclntab    uintptr

	textsectmap []byte
	typelinks   []int32
	itablinks   []uintptr
	ptab        []byte
	pluginpath  string
	pkghashes   []byte
	inittasks   []*initTask

	_ [256]byte // the rest, which the linker writes and nothing reads
}

var (
	firstmoduledata moduledata
	lastmoduledatap = &firstmoduledata
)

// A functab entry maps the start of a function, as an offset from text, to its funcInfo.
type functab struct{ entry, funcOff uint32 }

// A funcInfo describes a function to whoever walks the stack (runtime._func).
type funcInfo struct {
	entryOff    uint32
	nameOff     int32
	args        int32
	deferreturn uint32
	pcsp        uint32
	pcfile      uint32
	pcln        uint32
	npcdata     uint32
	cuOffset    uint32
	startLine   int32
	funcID      uint8
	flag        uint8
	_           uint8
	nfuncdata   uint8
	// followed by npcdata offsets into pctab, then nfuncdata offsets
}

// findfunc returns the function that holds pc, or nil.
//
//go:noinline
func findfunc(pc uintptr) *funcInfo {
	m := &firstmoduledata
	if pc < m.minpc || pc >= m.maxpc {
		return nil
	}
	off := uint32(pc - m.text)
	low, high := 0, len(m.ftab)-1 // the last entry ends the table
	for high-low > 1 {
		if mid := (low + high) / 2; m.ftab[mid].entry <= off {
			low = mid
		} else {
			high = mid
		}
	}
	return (*funcInfo)(unsafe.Pointer(&m.pclntable[m.ftab[low].funcOff]))
}

// pcvalue reads one of f's pc-value tables: pairs of varints (zig-zag delta of the value,
// delta of the address) that end with a zero value.
func pcvalue(f *funcInfo, table uint32, pc uintptr) int32 {
	if table == 0 {
		return -1
	}
	m := &firstmoduledata
	value, at := int32(-1), m.text+uintptr(f.entryOff)
	for start := at; ; {
		delta, behind := varint(table)
		if delta == 0 && at != start {
			return -1
		}
		value += int32(delta>>1) ^ -int32(delta&1)
		delta, table = varint(behind)
		at += uintptr(delta)
		if pc < at {
			return value
		}
	}
}

// varint reads the number at an index of pctab, and returns the index behind it.
//
//go:noinline
func varint(at uint32) (v, behind uint32) {
	for shift := uint(0); ; shift += 7 {
		b := firstmoduledata.pctab[at]
		at++
		v |= uint32(b&0x7f) << shift
		if b < 0x80 {
			return v, at
		}
	}
}

// pcdata returns the value of one of the numbered tables of the function at pc.
func pcdata(pc uintptr, table uintptr) int32 {
	f := findfunc(pc)
	if f == nil || table >= uintptr(f.npcdata) {
		return -1
	}
	off := *(*uint32)(unsafe.Add(unsafe.Pointer(f), unsafe.Sizeof(*f)+4*table))
	return pcvalue(f, off, pc)
}

// frame names the function, the file and the line of an instruction, or reports false.
// Of functions inlined at pc it gives the innermost's line under the outermost's name.
//
//go:linkname frame kapsel.frame
func frame(pc uintptr) (name, file string, line int, ok bool) {
	f := findfunc(pc)
	if f == nil {
		return "", "", 0, false
	}
	m := &firstmoduledata
	name = cstring(m.funcnametab[f.nameOff:])
	if i := pcvalue(f, f.pcfile, pc); i >= 0 {
		file = cstring(m.filetab[m.cutab[f.cuOffset+uint32(i)]:])
	}
	return name, file, int(pcvalue(f, f.pcln, pc)), true
}

// frameSize is how far the stack pointer is below the return address at an instruction, in
// bytes; -1 if that is not known.
//
//go:linkname frameSize kapsel.frameSize
func frameSize(pc uintptr) int {
	f := findfunc(pc)
	if f == nil {
		return -1
	}
	return int(pcvalue(f, f.pcsp, pc))
}

//go:noinline
func cstring(b []byte) string {
	n := 0
	for b[n] != 0 {
		n++
	}
	return unsafe.String(&b[0], n)
}

// Compile-time check that the toolchain's tables are the ones known here.
var _ = [1]struct{}{}[abi.CurrentPCLnTabMagic-abi.Go120PCLnTabMagic]
