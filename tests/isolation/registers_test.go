package isolation

import (
	"fmt"
	"testing"
)

// TestLocalDescriptors: there is no local descriptor table, by neither door: every way to load a
// selector of one is a general protection fault with that selector, and LAR, LSL, VERR and VERW
// find nothing behind any of them.
func TestLocalDescriptors(t *testing.T) {
	var traps []trap
	for _, selector := range []uint16{0x0007, 0x000f, 0xffff} {
		for _, way := range waysToLoad(selector) {
			traps = append(traps, trap{fmt.Sprintf("%s of %#x", way.name, selector), way.code, fmt.Sprintf(way.fault, selector&^3)})
		}
	}
	text := play(t, "no-dump", storm("local", traps), seen("seen"))
	stopped(t, text, "local", traps)
}

// waysToLoad are ways to load a selector. The faults have a place for the error code.
func waysToLoad(selector uint16) []trap {
	const (
		refused = `general protection: .*, vector 13, code %#x$`
		// As QEMU reads the frame, the fault may come before the selector is looked at.
		framed = `(general protection: .*, vector 13, code %#x$|page fault: read of a page that it may not read at 0x80000)`
	)
	low, high := byte(selector), byte(selector>>8)
	far := func(modRM byte) []byte { // through a pointer on the stack: an offset of 4 bytes, the selector
		return []byte{0x50, 0xc7, 0x44, 0x24, 4, low, high, 0, 0, 0xff, modRM, 0x24}
	}
	push := func(code ...byte) []byte { return append([]byte{0x68, low, high, 0, 0}, code...) }
	return []trap{
		{"MOV to ES", []byte{0xb8, low, high, 0, 0, 0x8e, 0xc0}, refused},
		{"MOV to SS", []byte{0xb8, low, high, 0, 0, 0x8e, 0xd0}, refused},
		{"MOV to DS", []byte{0xb8, low, high, 0, 0, 0x8e, 0xd8}, refused},
		{"MOV to FS", []byte{0xb8, low, high, 0, 0, 0x8e, 0xe0}, refused},
		{"MOV to GS", []byte{0xb8, low, high, 0, 0, 0x8e, 0xe8}, refused},
		{"far JMP", far(0x2c), refused},
		{"far CALL", far(0x1c), refused},
		{"far RET", push(0x54, 0x48, 0xcb), framed},
		{"IRET to CS", append([]byte{0x6a, 0x23, 0x54, 0x9c}, push(0x54, 0x48, 0xcf)...), framed},
		{"IRET to SS", push(0x54, 0x9c, 0x6a, 0x2b, 0x54, 0x48, 0xcf), framed},
	}
}

// seen is a task that asks LAR, LSL, VERR and VERW about every selector there can be. Only the
// three descriptors of ring 3 answer, each with any of four RPLs.
func seen(name string) *program {
	p := newProgram(name)
	for _, ask := range []struct {
		what  string
		code  []byte
		count uint32 // of selectors that are there
	}{
		{"LAR", []byte{0x0f, 0x02, 0xc3}, 12},  // lar %ebx, %eax
		{"LSL", []byte{0x0f, 0x03, 0xc3}, 12},  // lsl %ebx, %eax
		{"VERR", []byte{0x0f, 0x00, 0xe3}, 12}, // verr %bx
		{"VERW", []byte{0x0f, 0x00, 0xeb}, 4},  // verw %bx: data alone
	} {
		p.countSelectors(ask.code)
		p.wantCount(ask.what+" of all selectors", ask.count)
		p.countSelectors(append([]byte{0x83, 0xcb, 4}, ask.code...)) // or $4, %ebx: the table indicator
		p.wantCount(ask.what+" of local selectors", 0)
	}
	return p
}

// countSelectors emits code that counts in ECX the selectors in BX for which ask sets ZF.
func (p *program) countSelectors(ask []byte) {
	p.emit(0x31, 0xc9, 0x31, 0xdb) // xor %ecx, %ecx; xor %ebx, %ebx
	from := len(p.code)
	p.emit(ask...)
	p.emit(0x75, 2, 0xff, 0xc1, 0xff, 0xc3)  // jnz 1f; inc %ecx; 1: inc %ebx
	p.emit32(0x1_0000, 0x81, 0xfb)           // cmp $0x10000, %ebx
	p.emit(0x72, byte(from-(len(p.code)+2))) // jb
}

// wantCount checks ECX.
func (p *program) wantCount(what string, count uint32) {
	p.emit32(count, 0x81, 0xf9) // cmp $count, %ecx
	p.failUnlessEqual(p.check(what))
}

// TestWhatRingThreeSees: of the system registers a task sees nothing, and what would let it is
// switched off. Where a processor has no UMIP it may look at some all the same: they hold what the
// kernel put there at boot, the same for each task.
func TestWhatRingThreeSees(t *testing.T) {
	zero := func(code ...byte) []byte { // what the code leaves in EAX is to be 0
		return append(append([]byte{0x31, 0xc0}, code...), 0x85, 0xc0, 0x75, 2, 0x0f, 0x0b) // test; jnz; ud2
	}
	const either = `(` + privileged + `|` + invalid + `)`
	traps := []trap{
		{"SGDT", survives(0x0f, 0x01, 0x04, 0x24), either},
		{"SIDT", survives(0x0f, 0x01, 0x0c, 0x24), either},
		{"SLDT", zero(0x0f, 0x00, 0xc0), either},
		{"STR", zero(0x0f, 0x00, 0xc8, 0x83, 0xe8, 0x30), either}, // sub $0x30, %eax: the same in every task
		{"SMSW", survives(0x0f, 0x01, 0xe0), either},
		{"LLDT", []byte{0x31, 0xc0, 0x0f, 0x00, 0xd0}, privileged},
		{"LMSW", []byte{0x0f, 0x01, 0xf0}, privileged},
		{"RDPMC", []byte{0x31, 0xc9, 0x0f, 0x33}, privileged},
		{"RDFSBASE", []byte{0xf3, 0x48, 0x0f, 0xae, 0xc0}, invalid},
		{"RDGSBASE", []byte{0xf3, 0x48, 0x0f, 0xae, 0xc8}, invalid},
		{"WRFSBASE", []byte{0xf3, 0x48, 0x0f, 0xae, 0xd0}, invalid},
		{"WRGSBASE", []byte{0xf3, 0x48, 0x0f, 0xae, 0xd8}, invalid},
		{"XGETBV", []byte{0x31, 0xc9, 0x0f, 0x01, 0xd0}, invalid},
		{"XSETBV", []byte{0x31, 0xc9, 0x0f, 0x01, 0xd1}, either},
		{"RDPKRU", []byte{0x31, 0xc9, 0x0f, 0x01, 0xee}, invalid},
		{"MONITOR", []byte{0x31, 0xc9, 0x0f, 0x01, 0xc8}, either},
		{"MWAIT", []byte{0x31, 0xc9, 0x0f, 0x01, 0xc9}, either},
		{"MOV from CR2", []byte{0x0f, 0x20, 0xd0}, privileged},
		{"MOV from CR4", []byte{0x0f, 0x20, 0xe0}, privileged},
		{"MOV from CR8", []byte{0x44, 0x0f, 0x20, 0xc0}, privileged},
		{"MOV from DR7", []byte{0x0f, 0x21, 0xf8}, privileged},
		{"MOV to DR0", []byte{0x0f, 0x23, 0xc0}, privileged},
		{"INS", []byte{0x6c}, privileged},
		{"OUTS", []byte{0x6e}, privileged},
		{"POPF of IOPL 3, then IN", []byte{0x68, 2, 0x32, 0, 0, 0x9d, 0xec}, privileged},
		{"the flags at the start: IF alone", zero(0x9c, 0x58, 0x25, 0, 0x77, 0x3f, 0, 0x2d, 0, 2, 0, 0), invalid}, // all but those of arithmetic,
	}
	text := play(t, "no-dump", storm("sees", traps))
	stopped(t, text, "sees", traps)
}
