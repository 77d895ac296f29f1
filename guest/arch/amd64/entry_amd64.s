//go:build kapsel

#include "textflag.h"
#include "go_asm.h"

// The two doors into the kernel. Both end in common, on the kernel's stack, with what the
// monitor said in ·doorInfo and ·doorPVH.

// entry is the direct door (guest/abi/boot.go): 64-bit mode, at the image's own addresses.
// DI = physical address of a BootInfo.
TEXT ·entry(SB), NOSPLIT|NOFRAME, $0
	RDTSC
	SHLQ $32, DX
	ORQ  DX, AX
	MOVQ AX, ·bootTSC(SB)
	MOVQ DI, ·doorInfo(SB)
	MOVQ $0, ·doorPVH(SB)
	JMP  ·common(SB)
	JMP  ·pvhEntry(SB)                    // never reached: the linker keeps what is referred to

// common runs the Go program on the kernel's stack, which begins on the first page
// boundary in ·stack, so that the page below it can be a guard.
TEXT ·common(SB), NOSPLIT|NOFRAME, $0
	CLD
	LEAQ ·stack+const_pageSize-1(SB), AX
	ANDQ $~(const_pageSize-1), AX
	ADDQ $const_pageSize, AX              // above the guard page
	LEAQ const_stackSize(AX), SP
	JMP  kapsel·start(SB)

// ·pvh is the PVH door's data.
#define PVH_TSC    0                      // the time-stamp counter at the door
#define PVH_INFO   8                      // physical address of hvm_start_info
#define PVH_TABLES 16                     // virtual address of ·istStacks
#define PVH_HIGH   24                     // virtual address of pvhHigh
#define PVH_LONG   32                     // virtual address of pvhEntry64
#define PVH_GDT    40                     // null, 64-bit code
#define PVH_GDTR   56                     // limit, base
#define PVH_FAR    64                     // physical address of pvhEntry64, selector
DATA ·pvh+16(SB)/8, $·istStacks(SB)
DATA ·pvh+24(SB)/8, $·pvhHigh(SB)
DATA ·pvh+32(SB)/8, $·pvhEntry64(SB)
DATA ·pvh+48(SB)/8, $0x00af9b000000ffff
DATA ·pvh+56(SB)/2, $15
DATA ·pvh+68(SB)/4, $8
GLOBL ·pvh(SB), NOPTR, $72

// pvhEntry is the PVH door (Xen, docs/misc/pvh.pandoc): 32-bit protected mode, flat
// segments, paging off, interrupts off. BX = physical address of hvm_start_info.
// It makes page tables that map the first GiB at 0 and at KernelBase, enters long mode,
// and joins the direct door.
//
// The assembler encodes for 64-bit mode; the instructions used here mean the same in 32-bit
// mode. An address relative to RIP there is an absolute one here, so nothing is
// reached by name but ·pvh, whose distance from the code is known.
TEXT ·pvhEntry(SB), NOSPLIT|NOFRAME, $0
	CLD
	RDTSC
	MOVL AX, SI
	MOVL DX, DI
	// There is no stack. A CALL needs 4 bytes of one here, and the thunk of pvhEntry64's jump 8:
	// rsdp_paddr in hvm_start_info, which the kernel does not read.
	LEAL 40(BX), SP
	BYTE $0xe8; LONG $0                   // CALL to the next instruction
	POPQ BP                               // 1 byte: BP = the physical address of this instruction
	LEAL ·pvh(SB), AX                     // 6 bytes: AX = ·pvh - (that address + 7), modulo 2^32
	LEAL 7(BP)(AX*1), BP                  // BP = the physical address of ·pvh

	MOVL SI, PVH_TSC(BP)
	MOVL DI, (PVH_TSC+4)(BP)
	MOVL BX, PVH_INFO(BP)

	// Three tables, on the first page boundary in ·istStacks, which nobody uses yet.
	MOVL PVH_TABLES(BP), DI
	ADDL $(-0x80000000+const_pageSize-1), DI // from virtual to physical
	ANDL $~(const_pageSize-1), DI
	LEAL (const_pageSize+3)(DI), AX       // present, writeable
	MOVL AX, 0(DI)                        // PML4: the first and the last 512 GiB
	MOVL AX, (511*8)(DI)
	MOVL $0x80000001, AX
	CPUID                                 // no more of BX is needed
	MOVL $0x83, AX                        // present, writeable, large
	BTL  $26, DX                          // pages of 1 GiB
	JCS  gigabyte
	XORL CX, CX                           // PD: 2 MiB
#define LARGE(n) MOVL AX, (2*const_pageSize+8*n)(DI)(CX*8); ADDL $0x200000, AX
large:
	LARGE(0)
	LARGE(1)
	LARGE(2)
	LARGE(3)
	LARGE(4)
	LARGE(5)
	LARGE(6)
	LARGE(7)
	ADDL $8, CX
	CMPL CX, $512
	JNE  large
	LEAL (2*const_pageSize+3)(DI), AX
gigabyte:
	MOVL AX, const_pageSize(DI)           // PDPT: the first GiB and the last but one
	MOVL AX, (const_pageSize+510*8)(DI)

	MOVL $0x620, AX                       // CR4: PAE, OSFXSR, OSXMMEXCPT
	MOVL AX, CR4
	MOVL DI, CR3
	MOVL $0xc0000080, CX                  // EFER: SCE, LME, NXE
	RDMSR
	ORL  $0x901, AX
	WRMSR
	MOVL $0x80010033, AX                  // CR0: PG, WP, NE, ET, MP, PE
	MOVL AX, CR0

	// A 64-bit code segment, and a jump through it: both by physical address.
	LEAL PVH_GDT(BP), AX
	MOVL AX, (PVH_GDTR+2)(BP)
	LGDT PVH_GDTR(BP)
	MOVL PVH_LONG(BP), AX
	ADDL $-0x80000000, AX
	MOVL AX, PVH_FAR(BP)
	BYTE $0xff; BYTE $0xad; LONG $PVH_FAR // JMP FAR PVH_FAR(BP)

// pvhEntry64 goes on in 64-bit mode, still at its physical address.
// BP = the physical address of ·pvh.
TEXT ·pvhEntry64(SB), NOSPLIT|NOFRAME, $0
	MOVL BP, BP                           // clear the upper half
	MOVL SP, SP
	MOVQ PVH_HIGH(BP), AX
	JMP  AX

// pvhHigh goes on at the image's own addresses.
TEXT ·pvhHigh(SB), NOSPLIT|NOFRAME, $0
	MOVQ ·pvh+PVH_TSC(SB), AX
	MOVQ AX, ·bootTSC(SB)
	MOVQ ·pvh+PVH_INFO(SB), AX
	MOVQ AX, ·doorPVH(SB)
	JMP  ·common(SB)
