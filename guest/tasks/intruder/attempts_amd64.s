//go:build kapsel_task

#include "textflag.h"

// func codeAddress() uint64
TEXT ·codeAddress(SB), NOSPLIT, $0-8
	LEAQ ·cli(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// func jump(addr uint64)
TEXT ·jump(SB), NOSPLIT, $0-8
	MOVQ addr+0(FP), AX
	JMP  AX

// func cli()
TEXT ·cli(SB), NOSPLIT, $0-0
	CLI
	RET

// func out()
TEXT ·out(SB), NOSPLIT, $0-0
	MOVL $0xf4, DX
	XORL AX, AX
	OUTL
	RET

// func movCR3()
TEXT ·movCR3(SB), NOSPLIT, $0-0
	XORL AX, AX
	MOVQ AX, CR3
	RET

// func wrmsr()
TEXT ·wrmsr(SB), NOSPLIT, $0-0
	MOVL $0xc0000082, CX
	XORL AX, AX
	XORL DX, DX
	WRMSR
	RET

// func hlt()
TEXT ·hlt(SB), NOSPLIT, $0-0
	HLT
	RET

// func lgdt()
TEXT ·lgdt(SB), NOSPLIT, $16-0
	LGDT 0(SP)
	RET

// func localData()
TEXT ·localData(SB), NOSPLIT, $0-0
	MOVL $7, AX                           // the first descriptor, ring 3
	MOVW AX, DS
	RET

// func localCode()
TEXT ·localCode(SB), NOSPLIT, $16-0
	MOVQ $0, 0(SP)
	MOVL $7, 4(SP)
	BYTE $0xff; BYTE $0x2c; BYTE $0x24    // LJMP *(SP)
	RET

// func int8()
TEXT ·int8(SB), NOSPLIT, $0-0
	INT $8
	RET
