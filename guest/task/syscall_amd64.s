#include "textflag.h"

// func Raw(class abi.Class, r0, r1, r2, r3 uint64) (s0, s1, s2, s3 uint64)
TEXT ·Raw(SB), NOSPLIT, $0-72
	MOVBLZX class+0(FP), AX
	MOVQ r0+8(FP), DI
	MOVQ r1+16(FP), SI
	MOVQ r2+24(FP), DX
	MOVQ r3+32(FP), R10
	SYSCALL
	MOVQ DI, s0+40(FP)
	MOVQ SI, s1+48(FP)
	MOVQ DX, s2+56(FP)
	MOVQ R10, s3+64(FP)
	RET

// func yield(kind, arg0, arg1 uint64) (a, b, c uint32)
//
// An upcall may change every register that a C function may; BX and BP it keeps. The stack is
// aligned to 16 bytes, as the ABI asks.
TEXT ·yield(SB), NOSPLIT, $8-36
	MOVQ kind+0(FP), DI
	MOVQ arg0+8(FP), SI
	MOVQ arg1+16(FP), DX
	XORL R10, R10
	MOVQ SP, BX
	ANDQ $~15, SP
	XORL AX, AX
	SYSCALL
	MOVQ BX, SP
	MOVL DI, a+24(FP)
	MOVL SI, b+28(FP)
	MOVL DX, c+32(FP)
	RET

// func upcallAddress() uint64
TEXT ·upcallAddress(SB), NOSPLIT, $0-8
	LEAQ ·upcallEntry(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// upcallEntry is called by the kernel as a C function would be: DI, SI, DX = the arguments,
// CX = the *Upcall. It keeps the registers that a C function keeps.
TEXT ·upcallEntry(SB), NOSPLIT|NOFRAME, $0
	PUSHQ BX
	PUSHQ BP
	PUSHQ R12
	PUSHQ R13
	PUSHQ R14
	PUSHQ R15
	SUBQ  $24, SP
	MOVQ  CX, 0(SP)
	MOVL  DI, 8(SP)
	MOVL  SI, 12(SP)
	MOVL  DX, 16(SP)
	CALL  ·called(SB)
	ADDQ  $24, SP
	POPQ  R15
	POPQ  R14
	POPQ  R13
	POPQ  R12
	POPQ  BP
	POPQ  BX
	RET
