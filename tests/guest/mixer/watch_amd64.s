//go:build kapsel_task

#include "textflag.h"

#define EACH_VECTOR(OP) \
	OP(X1) OP(X2) OP(X3) OP(X4) OP(X5) OP(X6) OP(X7) \
	OP(X8) OP(X9) OP(X10) OP(X11) OP(X12) OP(X13) OP(X14) OP(X15)
#define FILL(X) MOVQ R15, X; PSHUFD $0x44, X, X;
#define ADD_TO_SUM(X) PADDQ X, X0;

// func watch(pattern, ticks uint64) (changed uint64)
TEXT ·watch(SB), NOSPLIT, $48-24
	MOVQ R14, 40(SP)                      // g
	MOVQ pattern+0(FP), R15
	MOVQ ticks+8(FP), R12
	MOVQ R12, 8(SP)

	// MXCSR: round down, all masked, from one pattern bit; x87: single precision from another.
	MOVL $0x3f80, AX
	MOVQ R15, BX
	ANDL $0x40, BX
	SHLL $8, BX
	XORL BX, AX
	MOVL AX, 16(SP)
	LDMXCSR 16(SP)
	MOVL $0x007f, AX
	MOVQ R15, BX
	ANDL $0x80, BX
	SHLL $2, BX
	ORL  BX, AX
	MOVW AX, 20(SP)
	FLDCW 20(SP)

	MOVQ R15, X0
	EACH_VECTOR(FILL)
	MOVQ R15, BX
	MOVQ R15, SI
	MOVQ R15, DI
	MOVQ R15, R8
	MOVQ R15, R9
	MOVQ R15, R10
	MOVQ R15, R11
	MOVQ R15, R13
	RDTSC
	SHLQ $32, DX
	ORQ  DX, AX
	ADDQ 8(SP), AX
	MOVQ AX, R12                          // the end

again:
	MOVL $1, CX
	MOVQ BX, AX
	ANDQ SI, AX
	ANDQ DI, AX
	ANDQ R8, AX
	ANDQ R9, AX
	ANDQ R10, AX
	ANDQ R11, AX
	ANDQ R13, AX
	CMPQ AX, R15
	JNE  done
	MOVQ BX, AX
	ORQ  SI, AX
	ORQ  DI, AX
	ORQ  R8, AX
	ORQ  R9, AX
	ORQ  R10, AX
	ORQ  R11, AX
	ORQ  R13, AX
	CMPQ AX, R15
	JNE  done

	MOVL  $2, CX                          // 15 vectors: the sum of each half is 15 times the pattern
	PXOR  X0, X0
	EACH_VECTOR(ADD_TO_SUM)
	IMUL3Q $15, R15, DX
	MOVQ  X0, AX
	CMPQ  AX, DX
	JNE   done
	PSRLDQ $8, X0
	MOVQ  X0, AX
	CMPQ  AX, DX
	JNE   done

	MOVL $3, CX
	STMXCSR 24(SP)
	MOVL 24(SP), AX
	CMPL AX, 16(SP)
	JNE  done

	MOVL $4, CX
	FSTCW 28(SP)
	MOVW 28(SP), AX
	CMPW AX, 20(SP)
	JNE  done

	RDTSC
	SHLQ $32, DX
	ORQ  DX, AX
	CMPQ AX, R12
	JLT  again
	XORL CX, CX
done:
	MOVQ CX, changed+16(FP)
	MOVL $0x1f80, 16(SP)
	LDMXCSR 16(SP)
	MOVQ 40(SP), R14
	RET

// func segments() (fs, gs uint64)
TEXT ·segments(SB), NOSPLIT, $0-16
	BYTE $0x64; BYTE $0x48; BYTE $0x8b; BYTE $0x04; BYTE $0x25; LONG $0 // MOVQ FS:0, AX
	MOVQ AX, fs+0(FP)
	BYTE $0x65; BYTE $0x48; BYTE $0x8b; BYTE $0x04; BYTE $0x25; LONG $0 // MOVQ GS:0, AX
	MOVQ AX, gs+8(FP)
	RET
