#include "textflag.h"
#include "go_asm.h"

#define STAMP \
	LFENCE       \
	RDTSC        \
	LFENCE       \
	SHLQ $32, DX \
	ORQ  DX, AX

#define LOAD \
	MOVQ (Call_Args+0)(BX), DI   \
	MOVQ (Call_Args+8)(BX), SI   \
	MOVQ (Call_Args+16)(BX), DX  \
	MOVQ (Call_Args+24)(BX), R10 \
	MOVBLZX Call_Class(BX), AX

// The kernel keeps BX and R12. Of the results STAMP spoils DX.
#define STORE \
	MOVQ R12, Call_Begin(BX)        \
	MOVQ AX, Call_End(BX)           \
	MOVQ DI, (Call_Results+0)(BX)   \
	MOVQ SI, (Call_Results+8)(BX)   \
	MOVQ R8, (Call_Results+16)(BX)

// func Empty(c *Call)
TEXT ·Empty(SB), NOSPLIT, $0-8
	MOVQ c+0(FP), BX
	STAMP
	MOVQ AX, R12
	LOAD
	MOVQ DX, R8
	STAMP
	STORE
	RET

// func Once(c *Call)
TEXT ·Once(SB), NOSPLIT, $0-8
	MOVQ c+0(FP), BX
	STAMP
	MOVQ AX, R12
	LOAD
	SYSCALL
	MOVQ DX, R8
	STAMP
	STORE
	RET

// func Twice(c *Call)
//
// An upcall keeps BX and R12 to R15, and wants a stack that is aligned to 16 bytes.
TEXT ·Twice(SB), NOSPLIT, $0-8
	MOVQ c+0(FP), BX
	MOVQ SP, R13
	ANDQ $~15, SP
	STAMP
	MOVQ AX, R12
	LOAD
	SYSCALL
	MOVQ (Call_Yield+0)(BX), DI
	MOVQ (Call_Yield+8)(BX), SI
	MOVQ (Call_Yield+16)(BX), DX
	XORL AX, AX
	SYSCALL
	MOVQ DX, R8
	STAMP
	MOVQ R13, SP
	STORE
	RET

// func Until(c *Call, most uint64) (yields uint64)
TEXT ·Until(SB), NOSPLIT, $0-24
	MOVQ c+0(FP), BX
	MOVQ most+8(FP), R14
	MOVQ SP, R13
	ANDQ $~15, SP
	XORL R15, R15
	STAMP
	MOVQ AX, R12
	LOAD
	SYSCALL
again:
	MOVQ (Call_Yield+0)(BX), DI
	MOVQ (Call_Yield+8)(BX), SI
	XORL AX, AX
	SYSCALL
	ADDQ $1, R15
	MOVQ (Call_Yield+8)(BX), SI
	CMPB (SI), $0
	JNE  over
	CMPQ R15, R14
	JB   again
over:
	MOVQ DX, R8
	STAMP
	MOVQ R13, SP
	STORE
	MOVQ R15, yields+16(FP)
	RET

// func Echo(c *Call)
TEXT ·Echo(SB), NOSPLIT, $0-8
	MOVQ c+0(FP), BX
again:
	LOAD
	SYSCALL
	MOVQ (Call_Yield+0)(BX), DI
	MOVQ (Call_Yield+8)(BX), SI
	MOVQ (Call_Yield+16)(BX), DX
	XORL AX, AX
	SYSCALL
	TESTQ SI, SI                          // the length of what is lent
	JEQ  again
	MOVQ DX, R8
	XORL R12, R12
	STAMP
	STORE
	RET

// func Stamp() uint64
TEXT ·Stamp(SB), NOSPLIT, $0-8
	STAMP
	MOVQ AX, ret+0(FP)
	RET

// func Delay(until uint64)
TEXT ·Delay(SB), NOSPLIT, $0-8
	MOVQ until+0(FP), R8
again:
	RDTSC
	SHLQ $32, DX
	ORQ  DX, AX
	CMPQ AX, R8
	JAE  over
	MOVL $1000, CX
wait:
	SUBL $1, CX
	JNE  wait
	JMP  again
over:
	RET

// func Spin(flag *uint64, limit, until uint64) (before, after uint64)
TEXT ·Spin(SB), NOSPLIT, $0-40
	MOVQ flag+0(FP), BX
	MOVQ limit+8(FP), DI
	MOVQ until+16(FP), SI
	XORL R9, R9                           // the longest time
	RDTSC
	SHLQ $32, DX
	ORQ  DX, AX
	MOVQ AX, R10                          // the read before
	MOVQ AX, R12
	MOVQ AX, R13
again:
	RDTSC
	SHLQ $32, DX
	ORQ  DX, AX
	CMPQ (BX), $0
	JNE  flagged
	MOVQ AX, R11
	SUBQ R10, R11
	CMPQ R11, R9
	JBE  shorter
	MOVQ R11, R9
	MOVQ R10, R12
	MOVQ AX, R13
	CMPQ R11, DI
	JAE  over
shorter:
	MOVQ AX, R10
	CMPQ AX, SI
	JB   again
	JMP  over
flagged:
	MOVQ R10, R12
	MOVQ AX, R13
over:
	MOVQ R12, before+24(FP)
	MOVQ R13, after+32(FP)
	RET

// func StampAndFault(stamp *uint64)
TEXT ·StampAndFault(SB), NOSPLIT, $0-8
	MOVQ stamp+0(FP), BX
	XORL CX, CX
	STAMP
	MOVQ AX, (BX)
	MOVQ AX, (CX)
	RET

// func UpcallAddress() uint64
TEXT ·UpcallAddress(SB), NOSPLIT, $0-8
	LEAQ ·upcall(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// upcall is called by the kernel.
TEXT ·upcall(SB), NOSPLIT|NOFRAME, $0
	RET
	BYTE $0x90; LONG $0x90909090; WORD $0x9090 // NOPs: a function has 8 bytes (docs/abi.md, Subscribe)
