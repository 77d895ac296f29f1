//go:build !kapsel

package amd64

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestFaultNames(t *testing.T) {
	for _, tt := range []struct {
		vector uint8
		code   uint64
		want   string
	}{
		{0, 0, "divide error"},
		{1, 0, "debug exception"},
		{3, 0, "breakpoint"},
		{6, 0, "invalid instruction"},
		{8, 0, "double fault"},
		{13, 0, "general protection: privileged instruction, bad selector or non-canonical address"},
		{13, 0x18, "general protection: privileged instruction, bad selector or non-canonical address"},
		{17, 0, "alignment check"},
		{18, 0, "machine check"},
		{21, 0, "control protection"},
		{9, 0, "reserved exception"},
		{15, 0, "reserved exception"},
		{22, 0, "reserved exception"},
		{31, 0, "reserved exception"},
		{32, 0, "reserved exception"},
		{255, 0, "reserved exception"},
		{14, 0, "page fault: read where no page is"},
		{14, 1, "page fault: read of a page that it may not read"},
		{14, 2, "page fault: write where no page is"},
		{14, 3, "page fault: write to a page that it may not write"},
		{14, 4, "page fault: read where no page is"},
		{14, 5, "page fault: read of a page that it may not read"},
		{14, 6, "page fault: write where no page is"},
		{14, 7, "page fault: write to a page that it may not write"},
		{14, 0x14, "page fault: execute where no page is"},
		{14, 0x15, "page fault: execute of a page that it may not execute"},
	} {
		assert.Equal(t, tt.want, faultName(tt.vector, tt.code), "vector %d, error code %#x", tt.vector, tt.code)
	}
}

func TestPrintRegisters(t *testing.T) {
	newHostCPU(t)
	*contexts[2] = context{registers: registers{
		rax: 0xa1, rbx: 0xb1, rcx: 0xc1, rdx: 0xd1, rsi: 0x51, rdi: 0xd2, rbp: 0xb2, rsp: 0x52,
		r8: 8, r9: 9, r10: 10, r11: 11, r12: 12, r13: 13, r14: 14, r15: 15,
		rip: 0x123456789abcdef0, cs: 0x2b, rflags: 0x202, ss: 0x23,
	}}
	var w text
	(&CPU{}).PrintRegisters(2, &w)
	assert.Equal(t, ""+
		"  RAX 0x00000000000000a1  RBX 0x00000000000000b1  RCX 0x00000000000000c1  RDX 0x00000000000000d1\n"+
		"  RSI 0x0000000000000051  RDI 0x00000000000000d2  RBP 0x00000000000000b2  RSP 0x0000000000000052\n"+
		"  R8  0x0000000000000008  R9  0x0000000000000009  R10 0x000000000000000a  R11 0x000000000000000b\n"+
		"  R12 0x000000000000000c  R13 0x000000000000000d  R14 0x000000000000000e  R15 0x000000000000000f\n"+
		"  RIP 0x123456789abcdef0  CS  0x000000000000002b  RFL 0x0000000000000202  SS  0x0000000000000023\n", w.s)
}

// SYSCALL keeps less than a trap: what is printed is what the task goes on with.
func TestPrintRegistersOfASystemCall(t *testing.T) {
	newHostCPU(t)
	x := contexts[0]
	*x = context{registers: registers{came: cameBySyscall, rip: 0x4000_1002, r8: 1, r9: 1, r11: 1, rcx: 1, cs: userCode32, rbx: 0xb1}}
	x.results = [4]uint64{0xd1, 0x51, 0xd2, 0x10}
	var w text
	(&CPU{}).PrintRegisters(0, &w)
	assert.Equal(t, ""+
		"  RAX 0x0000000000000000  RBX 0x00000000000000b1  RCX 0x0000000040001002  RDX 0x00000000000000d2\n"+
		"  RSI 0x0000000000000051  RDI 0x00000000000000d1  RBP 0x0000000000000000  RSP 0x0000000000000000\n"+
		"  R8  0x0000000000000000  R9  0x0000000000000000  R10 0x0000000000000010  R11 0x0000000000000202\n"+
		"  R12 0x0000000000000000  R13 0x0000000000000000  R14 0x0000000000000000  R15 0x0000000000000000\n"+
		"  RIP 0x0000000040001002  CS  0x000000000000002b  RFL 0x0000000000000202  SS  0x0000000000000023\n", w.s)
}
