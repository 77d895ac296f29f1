//go:build kapsel_kernel

#include "textflag.h"

// Only package runtime's assembly may use Go's register calling convention: arguments in AX, BX, CX,
// DI, SI, R8, where the results are too, g in R14, X15 zero, and on the caller's stack room for the
// arguments, which the callee may spill there.

// What the entry code of the machine layer calls of Go, through these.

// func kernel.SystemCall(k *Kernel, class abi.Class, r0, r1, r2, r3 uint64) (s0, s1, s2, s3 uint64, on bool)
TEXT kapsel·systemCall(SB), NOSPLIT|NOFRAME, $0
	JMP kapsel∕guest∕kernel·SystemCall<ABIInternal>(SB)

// func amd64.systemCall32(x *context) (on bool)
TEXT kapsel·systemCall32(SB), NOSPLIT|NOFRAME, $0
	JMP kapsel∕guest∕arch∕amd64·systemCall32<ABIInternal>(SB)

// func amd64.rdtsc() uint64
TEXT kapsel·rdtsc<ABIInternal>(SB), NOSPLIT|NOFRAME, $0-8
	RDTSC
	SHLQ $32, DX
	ORQ  DX, AX
	RET
