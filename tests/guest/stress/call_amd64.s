//go:build kapsel_task

#include "textflag.h"
#include "go_asm.h"

// The vector registers that a system call keeps. It makes X13 to X15 zero.
#define EACH_KEPT(OP) \
	OP(X0) OP(X1) OP(X2) OP(X3) OP(X4) OP(X5) OP(X6) \
	OP(X7) OP(X8) OP(X9) OP(X10) OP(X11) OP(X12)
#define FILL(X) MOVQ R15, X; PSHUFD $0x44, X, X;
#define DIFFERENCE_TO_X13(X) XORPS X15, X; ORPS X, X13;

// DF, AC, NT and TF, which the kernel clears.
#define FLAGS_CLEARED 0x44500

// func call(r *registers) (intact bool)
TEXT ·call(SB), NOSPLIT, $16-9
	MOVQ r+0(FP), R12
	MOVQ SP, ·goStack(SB)
	ANDQ $~15, SP
	MOVQ SP, ·callStack(SB)
	MOVQ registers_rdi(R12), DI
	MOVQ registers_rsi(R12), SI
	MOVQ registers_rdx(R12), DX
	MOVQ registers_r10(R12), R10
	MOVQ registers_kept(R12), R15
	EACH_KEPT(FILL)
	FILL(X13)
	FILL(X14)
	FILL(X15)
	MOVQ R15, R8
	MOVQ R15, R9
	MOVQ R15, BX
	MOVQ R15, BP
	MOVQ R15, R13
	MOVQ R15, R14
	MOVQ R12, ·callRegisters(SB)
	PUSHQ registers_flags(R12)
	POPFQ
	MOVQ registers_rax(R12), AX
	SYSCALL

	MOVQ SP, CX
	MOVQ ·goStack(SB), SP
	CMPQ CX, ·callStack(SB)
	JNE  changed
	CMPQ R12, ·callRegisters(SB)
	JNE  changed
	ORQ  R8, AX
	ORQ  R9, AX
	MOVQ AX, registers_rax(R12)
	MOVQ DI, registers_rdi(R12)
	MOVQ SI, registers_rsi(R12)
	MOVQ DX, registers_rdx(R12)
	MOVQ R10, registers_r10(R12)
	MOVQ registers_kept(R12), AX
	CMPQ AX, BX
	JNE  changed
	CMPQ AX, BP
	JNE  changed
	CMPQ AX, R13
	JNE  changed
	CMPQ AX, R14
	JNE  changed
	CMPQ AX, R15
	JNE  changed
	ORPS X14, X13
	ORPS X15, X13
	FILL(X15)
	EACH_KEPT(DIFFERENCE_TO_X13)
	MOVHLPS X13, X14
	ORPS X14, X13
	MOVQ X13, AX
	TESTQ AX, AX
	JNE  changed
	PUSHFQ
	POPQ AX
	TESTL $FLAGS_CLEARED, AX
	JNE  changed
	MOVB $1, intact+8(FP)
	RET
changed:
	CLD
	MOVB $0, intact+8(FP)
	RET

// func upcallAddress() uint64
TEXT ·upcallAddress(SB), NOSPLIT, $0-8
	LEAQ ·upcallEntry(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// upcallEntry is the upcall of every event. It counts.
TEXT ·upcallEntry(SB), NOSPLIT|NOFRAME, $0
	INCQ ·upcalls(SB)
	RET

// func lose()
//
// Yields without a stack, while an upcall waits.
TEXT ·lose(SB), NOSPLIT|NOFRAME, $0
	XORL SP, SP
	XORL AX, AX
	MOVL $1, DI
	SYSCALL
	INT  $3
