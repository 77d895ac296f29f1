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
