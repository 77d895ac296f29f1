#include "textflag.h"

// CRC32 (SDM vol. 2A) works on general registers, 8 bytes at a time, and is of SSE4.2: the caller knows that the processor has it. It
// adds to the sum as it is, without the complements in front and behind.

// func update(sum uint32, data []byte) uint32
TEXT ·update(SB), NOSPLIT, $0-36
	MOVL sum+0(FP), AX
	MOVQ data_base+8(FP), SI
	MOVQ data_len+16(FP), CX
	MOVQ CX, DX
	SHRQ $3, CX
	JZ   rest

words:
	CRC32Q (SI), AX
	ADDQ   $8, SI
	DECQ   CX
	JNZ    words

rest:
	ANDQ $7, DX
	JZ   done

bytes:
	CRC32B (SI), AX
	INCQ   SI
	DECQ   DX
	JNZ    bytes

done:
	MOVL AX, ret+32(FP)
	RET
