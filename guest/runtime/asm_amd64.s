//go:build kapsel

#include "textflag.h"

// Functions that compiled code calls. In package runtime assembly may use Go's register
// calling convention: arguments in AX, BX, CX, DI, SI, R8..., g in R14, X15 zero.

TEXT runtime·mapinitnoop<ABIInternal>(SB), NOSPLIT, $0
	RET

TEXT runtime·getfp<ABIInternal>(SB), NOSPLIT|NOFRAME, $0
	MOVQ BP, AX
	RET

// morestack is where a function's first instructions go when the stack is too small for it.
// The stack does not grow: the program dies, on a stack of its own for that. The function has no frame yet: BP
// in the place of the address behind its call, below its own return address, is one.
TEXT runtime·morestack_noctxt(SB), NOSPLIT|NOFRAME, $0
	JMP runtime·morestack(SB)

TEXT runtime·morestack(SB), NOSPLIT|NOFRAME, $0
	MOVQ 0(SP), AX                        // the function that needed more
	MOVQ BP, 0(SP)
	MOVQ SP, BX
	LEAQ runtime·panicStack(SB), CX
	MOVQ CX, 16(R14)                      // g.stackguard0
	LEAQ 4096(CX), SP
	XORL BP, BP
	CALL runtime·stackOverflow<ABIInternal>(SB)
	INT  $3

// panicBounds saves the registers that may hold the index and the limit, in the machine's
// numbering, for boundsFailed. Below them is room for it to spill its three arguments.
TEXT runtime·panicBounds<ABIInternal>(SB), NOSPLIT, $152-0
	MOVQ AX, 24(SP)
	MOVQ CX, 32(SP)
	MOVQ DX, 40(SP)
	MOVQ BX, 48(SP)
	MOVQ SP, 56(SP)
	MOVQ BP, 64(SP)
	MOVQ SI, 72(SP)
	MOVQ DI, 80(SP)
	MOVQ R8, 88(SP)
	MOVQ R9, 96(SP)
	MOVQ R10, 104(SP)
	MOVQ R11, 112(SP)
	MOVQ R12, 120(SP)
	MOVQ R13, 128(SP)
	MOVQ R14, 136(SP)
	MOVQ R15, 144(SP)
	MOVQ 8(BP), AX                        // the address behind the call
	MOVQ 0(BP), CX                        // the caller's frame pointer
	LEAQ 24(SP), BX
	CALL runtime·boundsFailed<ABIInternal>(SB)
	INT  $3

// func memequal(p, q unsafe.Pointer, n uintptr) bool
TEXT runtime·memequal<ABIInternal>(SB), NOSPLIT, $0-25
	CMPQ AX, BX
	JEQ  done
words:                                        // the last 8 bytes of those that are left
	CMPQ CX, $8
	JB   rest
	MOVQ -8(AX)(CX*1), DX
	CMPQ DX, -8(BX)(CX*1)
	JNE  done
	SUBQ $8, CX
	JMP  words
rest:
	CMPL CX, $4
	JB   few
	MOVL (AX), DX
	CMPL DX, (BX)
	JNE  done
	MOVL -4(AX)(CX*1), DX                 // the tail, however long
	CMPL DX, -4(BX)(CX*1)
	JMP  done
few:
	TESTL CX, CX
	JEQ  done
	MOVB -1(AX)(CX*1), DX
	CMPB DX, -1(BX)(CX*1)
	JNE  done
	DECL CX
	JMP  few
done:                                         // the flags say whether it differs
	SETEQ AX
	RET

// The closure word in DX holds the size.
TEXT runtime·memequal_varlen<ABIInternal>(SB), NOSPLIT, $0-17
	MOVQ 8(DX), CX
	JMP  runtime·memequal<ABIInternal>(SB)

// func memclrNoHeapPointers(p unsafe.Pointer, n uintptr)
TEXT runtime·memclrNoHeapPointers<ABIInternal>(SB), NOSPLIT, $0-16
	CMPQ BX, $16
	JB   small
	MOVUPS X15, -16(AX)(BX*1)             // the tail, however long
	SHRQ $4, BX                           // blocks of 16 bytes
	CMPQ BX, $512
	JAE  large
	CMPQ BX, $16
	JB   blocks
many:
	MOVUPS X15, (AX)
	MOVUPS X15, 16(AX)
	MOVUPS X15, 32(AX)
	MOVUPS X15, 48(AX)
	MOVUPS X15, 64(AX)
	MOVUPS X15, 80(AX)
	MOVUPS X15, 96(AX)
	MOVUPS X15, 112(AX)
	MOVUPS X15, 128(AX)
	MOVUPS X15, 144(AX)
	MOVUPS X15, 160(AX)
	MOVUPS X15, 176(AX)
	MOVUPS X15, 192(AX)
	MOVUPS X15, 208(AX)
	MOVUPS X15, 224(AX)
	MOVUPS X15, 240(AX)
	ADDQ $256, AX
	SUBQ $16, BX
	CMPQ BX, $16
	JAE  many
	TESTQ BX, BX
	JEQ  done
blocks:
	MOVUPS X15, (AX)
	ADDQ $16, AX
	DECQ BX
	JNE  blocks
	RET
large:
	MOVQ AX, DI
	LEAQ (BX)(BX*1), CX                   // to words
	XORL AX, AX
	REP; STOSQ
	RET
small:
	TESTQ BX, BX
	JEQ  done
	MOVB $0, (AX)
	INCQ AX
	DECQ BX
	JMP  small
done:
	RET

// func memmove(to, from unsafe.Pointer, n uintptr)
// Overlapping ranges are copied as if through a buffer.
TEXT runtime·memmove<ABIInternal>(SB), NOSPLIT, $0-24
	CMPQ CX, $16
	JA   over16
	CMPQ CX, $8
	JAE  from8to16
	CMPQ CX, $4
	JAE  from4to7
	TESTQ CX, CX
	JEQ  done
	MOVQ CX, R8                           // 1 to 3: first, middle and last byte
	SHRQ $1, R8
	MOVB (BX), DX
	MOVB (BX)(R8*1), DI
	MOVB -1(BX)(CX*1), SI
	MOVB DX, (AX)
	MOVB DI, (AX)(R8*1)
	MOVB SI, -1(AX)(CX*1)
	RET
from4to7:
	MOVL (BX), DX
	MOVL -4(BX)(CX*1), SI
	MOVL DX, (AX)
	MOVL SI, -4(AX)(CX*1)
	RET
from8to16:
	MOVQ (BX), DX
	MOVQ -8(BX)(CX*1), SI
	MOVQ DX, (AX)
	MOVQ SI, -8(AX)(CX*1)
	RET
over16:
	MOVQ AX, DX
	SUBQ BX, DX                           // to - from, wrapping: below n means that a
	CMPQ DX, CX                           // forward copy would overwrite what it still reads
	JB   backward
	MOVUPS -16(BX)(CX*1), X14             // the tail, read first
	LEAQ -16(AX)(CX*1), DX
	CMPQ CX, $512
	JAE  words
forward:
	MOVUPS (BX), X13
	MOVUPS X13, (AX)
	ADDQ $16, BX
	ADDQ $16, AX
	CMPQ AX, DX
	JB   forward
	MOVUPS X14, (DX)
	RET
words:
	MOVQ AX, DI
	MOVQ BX, SI
	SHRQ $3, CX
	REP; MOVSQ
	MOVUPS X14, (DX)
	RET
backward:
	MOVUPS (BX), X14                      // the head, read first
	MOVQ AX, DX
back:
	SUBQ $16, CX
	MOVUPS (BX)(CX*1), X13
	MOVUPS X13, (AX)(CX*1)
	CMPQ CX, $16
	JA   back
	MOVUPS X14, (DX)
done:
	RET

// The kernel is compiled and assembled with -spectre=ret, which makes CALL AX and JMP AX a
// CALL or JMP of retpolineAX, and so on. A thunk goes where the register says by a RET that is
// predicted to lead into the loop behind its CALL, whatever a task has taught the predictors
// (Intel, "Retpoline: A Branch Target Injection Mitigation", 3.1).
#define RETPOLINE(reg) \
	BYTE $0xe8; LONG $7                    \ // CALL over the next three
	PAUSE                                 \
	LFENCE                                \
	BYTE $0xeb; BYTE $-7                   \ // JMP to PAUSE
	MOVQ reg, 0(SP)                       \
	RET

TEXT runtime·retpolineAX(SB), NOSPLIT|NOFRAME, $0
	RETPOLINE(AX)

TEXT runtime·retpolineCX(SB), NOSPLIT|NOFRAME, $0
	RETPOLINE(CX)

TEXT runtime·retpolineDX(SB), NOSPLIT|NOFRAME, $0
	RETPOLINE(DX)

TEXT runtime·retpolineBX(SB), NOSPLIT|NOFRAME, $0
	RETPOLINE(BX)

TEXT runtime·retpolineSI(SB), NOSPLIT|NOFRAME, $0
	RETPOLINE(SI)

TEXT runtime·retpolineDI(SB), NOSPLIT|NOFRAME, $0
	RETPOLINE(DI)

TEXT runtime·retpolineR8(SB), NOSPLIT|NOFRAME, $0
	RETPOLINE(R8)

TEXT runtime·retpolineR9(SB), NOSPLIT|NOFRAME, $0
	RETPOLINE(R9)

TEXT runtime·retpolineR10(SB), NOSPLIT|NOFRAME, $0
	RETPOLINE(R10)

TEXT runtime·retpolineR11(SB), NOSPLIT|NOFRAME, $0
	RETPOLINE(R11)

TEXT runtime·retpolineR12(SB), NOSPLIT|NOFRAME, $0
	RETPOLINE(R12)

TEXT runtime·retpolineR13(SB), NOSPLIT|NOFRAME, $0
	RETPOLINE(R13)

TEXT runtime·retpolineR15(SB), NOSPLIT|NOFRAME, $0
	RETPOLINE(R15)

// start runs the program on the stack that ends at SP and begins at AX.
TEXT kapsel·start(SB), NOSPLIT|NOFRAME, $0
	LEAQ kapsel·g0(SB), R14
	MOVQ AX, 0(R14)                       // g.stackLow
	MOVQ SP, 8(R14)                       // g.stackHigh
	ADDQ $928, AX                         // what a chain of NOSPLIT functions may use (abi.StackSmall+...)
	MOVQ AX, 16(R14)                      // g.stackguard0
	MOVQ AX, 24(R14)                      // g.stackguard1
	XORPS X15, X15
	XORL BP, BP                           // ends a walk over frame pointers
	CALL runtime·run<ABIInternal>(SB)
	INT  $3
