//go:build kapsel_task

#include "textflag.h"

// entry is a task's init function (docs/abi.md, "Start"): DI is the start of the
// application in flash, SI the start of its RAM, DX its size, CX the initial break.
// At the start of the application mkimage put a table of where things go:
//	 0  address of the initial data in flash
//	 8  address of the data in RAM
//	16  size of the data, a multiple of 8
//	24  lowest address of the stack, behind the zeroed data
//	32  end of the stack, 16-byte aligned; the heap begins here
//	40  address of the first break
TEXT runtime·entry(SB), NOSPLIT|NOFRAME, $0
	MOVQ DI, R12
	MOVQ SI, R13
	ADDQ DX, SI
	MOVQ SI, R15                          // end of RAM
	XORL DI, DI                           // Memop 0: brk
	MOVQ 40(R12), SI
	MOVL $5, AX
	SYSCALL
	CMPQ DI, $128
	JNE  nomem
	MOVQ 0(R12), SI
	MOVQ 8(R12), DI
	MOVQ 16(R12), CX
	SHRQ $3, CX
	REP; MOVSQ
	MOVQ 24(R12), AX
	MOVQ 32(R12), SP
	MOVQ SP, runtime·heapNext(SB)
	MOVQ 40(R12), CX
	MOVQ CX, runtime·heapEnd(SB)
	JMP  kapsel·start(SB)
nomem:
	XORL DI, DI                           // Exit 0: terminate, with completion code NOMEM
	MOVL $9, SI
	MOVL $6, AX
	SYSCALL
	INT  $3

// func sbrk(delta uintptr) bool
TEXT runtime·sbrk<ABIInternal>(SB), NOSPLIT, $0
	MOVL $1, DI
	MOVQ AX, SI
	MOVL $5, AX
	SYSCALL
	XORPS X15, X15
	XORL AX, AX
	CMPQ DI, $137
	JNE  failed
	MOVL $1, AX
failed:
	RET
