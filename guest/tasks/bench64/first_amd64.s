//go:build kapsel_task

#include "textflag.h"

// first is the task's init function, in the place of runtime.entry. Its first instruction but
// one reads the time-stamp counter, into a variable that the data do not overwrite. All of
// the variables are there only when the break is behind them: so it moves that first, by the
// table that runtime.entry reads (guest/runtime/task_amd64.s).
TEXT ·first(SB), NOSPLIT|NOFRAME, $0
	MOVQ  DX, R8
	RDTSC
	SHLQ  $32, DX
	ORQ   DX, AX
	MOVQ  AX, BX                          // the kernel keeps BX, BP, R12 to R15
	MOVQ  DI, R12
	MOVQ  SI, R13
	MOVQ  R8, BP
	MOVQ  CX, R15
	XORL  DI, DI                          // Memop 0: brk
	MOVQ  40(R12), SI
	MOVL  $5, AX
	SYSCALL
	MOVQ  BX, ·firstTick(SB)
	MOVQ  R12, DI
	MOVQ  R13, SI
	MOVQ  BP, DX
	MOVQ  R15, CX
	JMP   runtime·entry(SB)
