//go:build kapsel_task

#include "textflag.h"

// first is the task's init function (docs/abi.md, sections 1 and 6).
TEXT ·first(SB), NOSPLIT|NOFRAME, $0
	RDTSC
	MOVL $8, DI                           // driver: low-level debug
	MOVL $3, SI                           // command: print two numbers
	MOVQ AX, R10
	MOVL $2, AX                           // Command
	SYSCALL
	XORL DI, DI                           // Exit-terminate
	XORL SI, SI                           // with completion code 0
	MOVL $6, AX                           // Exit
	SYSCALL
	JMP  runtime·entry(SB)                // never reached: the linker keeps what is referred to
