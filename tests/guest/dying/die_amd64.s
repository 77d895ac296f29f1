//go:build kapsel_kernel

#include "textflag.h"

// func writeCode()
TEXT ·writeCode(SB), NOSPLIT, $0-0
	MOVQ $0, ·writeCode(SB)
	RET

// func loseStack()
TEXT ·loseStack(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ $0x1000, SP                      // nothing is there: a page fault cannot be pushed
	MOVQ AX, (SP)
	RET

// func writeAt(addr uint64)
TEXT ·writeAt(SB), NOSPLIT, $0-8
	MOVQ addr+0(FP), AX
	MOVB $0, (AX)
	RET

// func stringAddress(s string) uint64
TEXT ·stringAddress(SB), NOSPLIT, $0-24
	MOVQ s_base+0(FP), AX
	MOVQ AX, ret+16(FP)
	RET

// func execute(code *[8]byte)
TEXT ·execute(SB), NOSPLIT, $0-8
	MOVQ code+0(FP), AX
	CALL AX
	RET

#define KEEP(n) MOVQ AX, (8*n)(DI)
#define KEEP_MSR(n, msr) MOVL $msr, CX; RDMSR; SHLQ $32, DX; ORQ DX, AX; KEEP(n)

// func readRegisters(to *[11]uint64)
TEXT ·readRegisters(SB), NOSPLIT, $16-8
	MOVQ to+0(FP), DI
	XORL AX, AX
	BYTE $0x0f; BYTE $0x00; BYTE $0xc0    // SLDT AX
	KEEP(0)
	XORL AX, AX
	BYTE $0x0f; BYTE $0x00; BYTE $0xc8    // STR AX
	KEEP(1)
	BYTE $0x0f; BYTE $0x01; BYTE $0x04; BYTE $0x24 // SGDT (SP)
	MOVWQZX 0(SP), AX
	KEEP(2)
	BYTE $0x0f; BYTE $0x01; BYTE $0x0c; BYTE $0x24 // SIDT (SP)
	MOVWQZX 0(SP), AX
	KEEP(3)
	MOVQ CR0, AX
	KEEP(4)
	MOVQ CR4, AX
	KEEP(5)
	MOVQ DR7, AX
	KEEP(6)
	KEEP_MSR(7, 0xc0000080)
	KEEP_MSR(8, 0xc0000081)
	KEEP_MSR(9, 0xc0000084)
	KEEP_MSR(10, 0x174)
	RET
