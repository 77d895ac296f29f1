//go:build kapsel_task

#include "textflag.h"

// func recorder() uint64
TEXT ·recorder(SB), NOSPLIT, $0-8
	LEAQ ·record1(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// record1 is an upcall: DI, SI, DX = the arguments, CX = the userdata. It adds them to calls.
TEXT ·record1(SB), NOSPLIT|NOFRAME, $0
	MOVQ ·count(SB), AX
	INCQ ·count(SB)
	CMPQ AX, $32
	JAE  full
	SHLQ $5, AX
	LEAQ ·calls(SB), R8
	ADDQ AX, R8
	MOVQ DI, 0(R8)
	MOVQ SI, 8(R8)
	MOVQ DX, 16(R8)
	MOVQ CX, 24(R8)
full:
	RET

// func yield(kind, r1, r2 uint64) (r0, s1, s2, s3, drift uint64)
//
// R12 and BX are registers that an upcall keeps.
TEXT ·yield(SB), NOSPLIT, $8-64
	MOVQ kind+0(FP), DI
	MOVQ r1+8(FP), SI
	MOVQ r2+16(FP), DX
	XORL R10, R10
	MOVQ SP, BX
	ANDQ $~15, SP
	MOVQ SP, R12
	XORL AX, AX
	SYSCALL
	SUBQ SP, R12
	MOVQ BX, SP
	MOVQ DI, r0+24(FP)
	MOVQ SI, s1+32(FP)
	MOVQ DX, s2+40(FP)
	MOVQ R10, s3+48(FP)
	MOVQ R12, drift+56(FP)
	RET

// func yieldOnStack(sp uint64)
//
// A Yield-NoWait with that stack, on which an upcall is to be called.
TEXT ·yieldOnStack(SB), NOSPLIT, $0-8
	MOVQ sp+0(FP), SP
	XORL DI, DI
	XORL SI, SI
	XORL AX, AX
	SYSCALL
	INT  $3

// func jump(addr uint64)
TEXT ·jump(SB), NOSPLIT, $0-8
	MOVQ addr+0(FP), AX
	JMP  AX

// func keeps(pattern, class, r0, r1, r2, r3 uint64) (changed, loose uint64)
//
// It makes a system call with patterns in the registers that the kernel keeps and in the
// vector registers. changed has a bit for each of BX, BP, R12 to R15 that is not what it
// was; loose is not 0 if AX, R8, R9 or one of X13 to X15 is not 0, or another vector register not what
// it was.
TEXT ·keeps(SB), NOSPLIT, $8-64
	MOVQ pattern+0(FP), BX
	MOVQ BX, X0
	PUNPCKLQDQ X0, X0
	MOVO X0, X1
	MOVO X0, X2
	MOVO X0, X3
	MOVO X0, X4
	MOVO X0, X5
	MOVO X0, X6
	MOVO X0, X7
	MOVO X0, X8
	MOVO X0, X9
	MOVO X0, X10
	MOVO X0, X11
	MOVO X0, X12
	MOVO X0, X13
	MOVO X0, X14
	MOVO X0, X15
	MOVQ BX, R8
	MOVQ BX, R9
	LEAQ 1(BX), R12
	LEAQ 2(BX), R13
	LEAQ 3(BX), R14
	LEAQ 4(BX), R15
	LEAQ 5(BX), BP
	MOVQ class+8(FP), AX
	MOVQ r0+16(FP), DI
	MOVQ r1+24(FP), SI
	MOVQ r2+32(FP), DX
	MOVQ r3+40(FP), R10
	SYSCALL
	ORQ  R8, AX
	ORQ  R9, AX
	POR  X14, X13
	POR  X15, X13
	MOVQ pattern+0(FP), CX
	MOVQ CX, X15
	PUNPCKLQDQ X15, X15
	PXOR X15, X0
	POR  X0, X13
	PXOR X15, X1
	POR  X1, X13
	PXOR X15, X2
	POR  X2, X13
	PXOR X15, X3
	POR  X3, X13
	PXOR X15, X4
	POR  X4, X13
	PXOR X15, X5
	POR  X5, X13
	PXOR X15, X6
	POR  X6, X13
	PXOR X15, X7
	POR  X7, X13
	PXOR X15, X8
	POR  X8, X13
	PXOR X15, X9
	POR  X9, X13
	PXOR X15, X10
	POR  X10, X13
	PXOR X15, X11
	POR  X11, X13
	PXOR X15, X12
	POR  X12, X13
	MOVQ X13, CX
	ORQ  CX, AX
	PSRLO $8, X13
	MOVQ X13, CX
	ORQ  CX, AX
	MOVQ AX, loose+56(FP)
	MOVQ pattern+0(FP), DX
	XORL CX, CX
	CMPQ BX, DX
	JEQ  bx
	ORL  $1, CX
bx:
	INCQ DX
	CMPQ R12, DX
	JEQ  r12
	ORL  $2, CX
r12:
	INCQ DX
	CMPQ R13, DX
	JEQ  r13
	ORL  $4, CX
r13:
	INCQ DX
	CMPQ R14, DX
	JEQ  r14
	ORL  $8, CX
r14:
	INCQ DX
	CMPQ R15, DX
	JEQ  r15
	ORL  $16, CX
r15:
	INCQ DX
	CMPQ BP, DX
	JEQ  bp
	ORL  $32, CX
bp:
	MOVQ CX, changed+48(FP)
	RET
