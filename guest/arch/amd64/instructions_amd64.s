//go:build kapsel

#include "textflag.h"
#include "go_asm.h"

// func outb(port uint16, v byte)
TEXT ·outb(SB), NOSPLIT, $0-3
	MOVW port+0(FP), DX
	MOVB v+2(FP), AX
	OUTB
	RET

// func outl(port uint16, v uint32)
TEXT ·outl(SB), NOSPLIT, $0-8
	MOVW port+0(FP), DX
	MOVL v+4(FP), AX
	OUTL
	RET

// func sendString(s string)
TEXT ·sendString(SB), NOSPLIT, $0-16
	MOVQ s_base+0(FP), SI
	MOVQ s_len+8(FP), BX
	TESTQ BX, BX
	JEQ  done
next:
	MOVL $const_serialPatience, CX
	MOVL $const_uartLineStatus, DX
	INB
	TESTB $const_uartEmpty, AX
	BYTE $0xe1; BYTE $-5                  // LOOPE to INB: while ZF is set and RCX is not 0
	MOVL $const_uartData, DX
	MOVQ ·serialBurst(SB), CX
	CMPQ BX, CX
	CMOVQLT BX, CX
	SUBQ CX, BX
	REP; OUTSB                            // the direction flag is clear; no other changes
	JNE  next
done:
	RET

// func sendChars(chars *uint64, n int)
TEXT ·sendChars(SB), NOSPLIT, $0-16
	JMP ·sendString(SB)                   // a string is a pointer and a length, too

// func rdmsr(msr uint32) uint64
TEXT ·rdmsr(SB), NOSPLIT, $0-16
	MOVL msr+0(FP), CX
	RDMSR
	SHLQ $32, DX
	ORQ  DX, AX
	MOVQ AX, ret+8(FP)
	RET

// func wrmsr(msr uint32, v uint64)
TEXT ·wrmsr(SB), NOSPLIT, $0-16
	MOVL msr+0(FP), CX
	MOVQ v+8(FP), AX
	MOVQ AX, DX
	SHRQ $32, DX
	WRMSR
	RET

// func cpuid(leaf, subleaf uint32) (a, b, c, d uint32)
TEXT ·cpuid(SB), NOSPLIT, $0-24
	MOVL leaf+0(FP), AX
	MOVL subleaf+4(FP), CX
	CPUID
	MOVL AX, a+8(FP)
	MOVL BX, b+12(FP)
	MOVL CX, c+16(FP)
	MOVL DX, d+20(FP)
	RET

// func readCR2() uint64
TEXT ·readCR2(SB), NOSPLIT, $0-8
	MOVQ CR2, AX
	MOVQ AX, ret+0(FP)
	RET

// func writeCR0(v uint64)
TEXT ·writeCR0(SB), NOSPLIT, $0-8
	MOVQ v+0(FP), AX
	MOVQ AX, CR0
	RET

// func writeCR3(v uint64)
TEXT ·writeCR3(SB), NOSPLIT, $0-8
	MOVQ v+0(FP), AX
	MOVQ AX, CR3
	RET

// func writeCR4(v uint64)
TEXT ·writeCR4(SB), NOSPLIT, $0-8
	MOVQ v+0(FP), AX
	MOVQ AX, CR4
	RET

// func writeDR7(v uint64)
TEXT ·writeDR7(SB), NOSPLIT, $0-8
	MOVQ v+0(FP), AX
	MOVQ AX, DR7
	RET

// func lgdt(p *tablePointer)
TEXT ·lgdt(SB), NOSPLIT, $0-8
	MOVQ p+0(FP), AX
	LGDT 6(AX)                            // limit and base follow the padding
	RET

// func lidt(p *tablePointer)
TEXT ·lidt(SB), NOSPLIT, $0-8
	MOVQ p+0(FP), AX
	LIDT 6(AX)
	RET

// func ltr(selector uint16)
TEXT ·ltr(SB), NOSPLIT, $0-2
	MOVW selector+0(FP), AX
	LTR  AX
	RET

// func lldt(selector uint16)
TEXT ·lldt(SB), NOSPLIT, $0-2
	MOVW selector+0(FP), AX
	BYTE $0x0f; BYTE $0x00; BYTE $0xd0    // LLDT AX
	RET

// func halt()
TEXT ·halt(SB), NOSPLIT, $0-0
	CLI
	HLT
	RET
