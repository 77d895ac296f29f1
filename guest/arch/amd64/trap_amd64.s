//go:build kapsel

#include "textflag.h"
#include "go_asm.h"

// Into the kernel and out of it. See context.go for what lies where.
//
// A system call is served on the kernel's stack, below what switchTo left there, and the task mostly
// goes on behind it. Any other entry from ring 3, and a system call that ends a turn, saves the task's
// registers in its context and returns from switchTo: to the kernel, a task's run is a function
// call. Entry from ring 0 is an interrupt at idle or poll, which sets a bit, or an exception,
// which is fatal.
//
// FS and GS belong to the tasks throughout; the kernel uses neither, so there is no SWAPGS.

// One CPU: a task's stack pointer and the like can be kept in variables.

#define KERNEL_CODE 0x08
#define KERNEL_DATA 0x10
#define USER_CODE 0x2b
#define USER_CODE32 0x1b
#define USER_DATA 0x23
#define FLAGS_CLEAR 2

#define PUSH_REGISTERS \
	PUSHQ DI  \
	PUSHQ SI  \
	PUSHQ DX  \
	PUSHQ CX  \
	PUSHQ AX  \
	PUSHQ R8  \
	PUSHQ R9  \
	PUSHQ R10 \
	PUSHQ R11 \
	PUSHQ BX  \
	PUSHQ BP  \
	PUSHQ R12 \
	PUSHQ R13 \
	PUSHQ R14 \
	PUSHQ R15

#define POP_REGISTERS \
	POPQ R15 \
	POPQ R14 \
	POPQ R13 \
	POPQ R12 \
	POPQ BP  \
	POPQ BX  \
	POPQ R11 \
	POPQ R10 \
	POPQ R9  \
	POPQ R8  \
	POPQ AX  \
	POPQ CX  \
	POPQ DX  \
	POPQ SI  \
	POPQ DI

// Of vector registers the kernel's code uses X15, which is zero, and X13 and X14 (a test of tools/mkimage
// looks): what it left there is cleared. The others are the task's own still.
#define CLEAR_VECTORS \
	XORPS X13, X13 \
	XORPS X14, X14

// What the kernel and other tasks left in the processor's buffers VERW overwrites, where there is
// MD_CLEAR (Intel, "Microarchitectural Data Sampling"). It comes last before ring 3. Changes flags.
#define CLEAR_BUFFERS \
	CMPQ ·uncleared(SB), $0 \
	JNE  2(PC)             \
	VERW ·writeableSegment(SB)

// A return address onto the return stack and onto SP: a CALL over an INT3, where a RET that is
// predicted by it stops.
#define FILL1 BYTE $0xe8; LONG $1; BYTE $0xcc
#define FILL8 FILL1; FILL1; FILL1; FILL1; FILL1; FILL1; FILL1; FILL1

// Onto the kernel's stack, with as many entries in the return stack as the kernel will return from
// functions that it called before the task ran: fewer than 8. What FILL8 pushes is below
// kernelSP and goes with the next load of SP.
#define REFILL_RETURNS \
	MOVQ ·kernelSP(SB), SP \
	FILL8

// What switchTo keeps below its return address: BP, and room where a function in Go that is called
// with up to six arguments may spill them. ·kernelSP is below that.
#define SPILLS 48
#define FRAME (SPILLS+8)

// Back into switchTo's caller, with BP its own. R14 and X15 are set by compiled code behind
// the call of an assembly function.
#define RETURN_TO_KERNEL(served) \
	MOVQ  ·kernelSP(SB), SP      \
	MOVB  $served, (FRAME+8)(SP) \
	ADJSP $-SPILLS               \
	POPQ  BP                     \
	BYTE  $0xc3 // RET: the assembler would miss the pushes that it pairs with

// Onto the kernel's stack, to call Go: with a frame as the next one down from Switch, for traces, and
// with what compiled code takes for granted.
#define ENTER_GO \
	MOVQ  ·kernelSP(SB), SP  \
	LEAQ  SPILLS(SP), BP     \
	XORPS X15, X15           \
	LEAQ  kapsel·g0(SB), R14 \
	INCQ  ·heartbeat(SB)

// To ring 3 behind a SYSCALL of the task whose context SP is, with its results in place. RCX, the
// flags and R8 to R11 are lost. IRETQ lets no later instruction begin before the branch of
// CLEAR_BUFFERS is right (SDM vol. 3, 8.3), and SYSRET may. If it was predicted wrong, that is at
// address 0. The task's stack comes last: nothing is to come between that and ring 3.
#define LEAVE_BY_SYSRET \
	CLEAR_VECTORS                 \
	MOVQ registers_r15(SP), R15     \
	MOVQ registers_r14(SP), R14     \
	MOVQ registers_r13(SP), R13     \
	MOVQ registers_r12(SP), R12     \
	MOVQ registers_rbp(SP), BP      \
	MOVQ registers_rbx(SP), BX      \
	MOVQ registers_rip(SP), CX      \
	MOVL $(const_flagsFixed+const_flagIF), R11 \
	XORL AX, AX                   \
	XORL R8, R8                   \
	XORL R9, R9                   \
	CMPQ ·uncleared(SB), $0       \
	JEQ  5(PC)                    \
	ANDQ ·uncleared(SB), CX       \
	MOVQ registers_rsp(SP), SP      \
	BYTE $0x48; SYSRET            \
	MOVQ registers_rsp(SP), SP      \
	VERW ·writeableSegment(SB)    \
	BYTE $0x48; SYSRET

// func switchTo() (served bool)
// Precondition: X15 is zero, as in all compiled code.
TEXT ·switchTo(SB), NOSPLIT|NOFRAME, $0-1
	PUSHQ BP
	ADJSP $SPILLS
	MOVQ SP, ·kernelSP(SB)
	MOVQ ·running(SB), SP
	CMPQ registers_came(SP), $const_cameBySyscall
	JNE  other
	MOVQ (const_results+24)(SP), R10
	MOVQ (const_results+16)(SP), DX
	MOVQ (const_results+8)(SP), SI
	MOVQ const_results(SP), DI
	LEAVE_BY_SYSRET

other:
	JA   call
	FXRSTOR64 registers_fx(SP)
	JMP  iret
call:
	CLEAR_VECTORS
iret:
	MOVQ $const_cameBySyscall, registers_came(SP) // as it does next, unless another entry says otherwise
	POP_REGISTERS
	ADDQ $16, SP                          // vector, code
	CLEAR_BUFFERS
	IRETQ

// syscallEntry is where SYSCALL goes: RCX = the task's RIP, R11 = its RFLAGS, interrupts off, its
// stack pointer still in RSP. What a system call keeps goes into its context, and the call to the
// kernel.
TEXT ·syscallEntry(SB), NOSPLIT|NOFRAME, $0
	MOVQ SP, R9
	MOVQ ·running(SB), SP                 // the task's stack is left at once
	MOVQ R9, registers_rsp(SP)
	MOVQ CX, registers_rip(SP)
	MOVQ BX, registers_rbx(SP)
	MOVQ BP, registers_rbp(SP)
	MOVQ R12, registers_r12(SP)
	MOVQ R13, registers_r13(SP)
	MOVQ R14, registers_r14(SP)
	MOVQ R15, registers_r15(SP)
	CMPQ context_memory(SP), $0
	JNE  refused                          // a 32-bit task's
	MOVQ AX, BX                           // kernel.SystemCall(attached, class, r0, r1, r2, r3)
	MOVQ DI, CX
	MOVQ SI, DI
	MOVQ DX, SI
	MOVQ R10, R8
	MOVQ ·attached(SB), AX
	ENTER_GO
	CALL kapsel·systemCall(SB)
	MOVQ ·running(SB), SP
	TESTB SI, SI
	JEQ  served
	CMPQ SP, ·ready(SB)
	JNE  served
	MOVQ DI, R10
	MOVQ CX, DX
	MOVQ BX, SI
	MOVQ AX, DI
	LEAVE_BY_SYSRET

served:
	MOVQ AX, const_results(SP)
	MOVQ BX, (const_results+8)(SP)
	MOVQ CX, (const_results+16)(SP)
	MOVQ DI, (const_results+24)(SP)
	REFILL_RETURNS
	RETURN_TO_KERNEL(1)
refused:
	MOVQ $const_cameBySyscall, registers_came(SP)
	MOVQ DI, const_results(SP)            // for the dump
	MOVQ SI, (const_results+8)(SP)
	MOVQ DX, (const_results+16)(SP)
	MOVQ R10, (const_results+24)(SP)
	REFILL_RETURNS
	RETURN_TO_KERNEL(0)

// compatSyscallEntry is where SYSCALL goes from compatibility mode on AMD's processors. On
// Intel's it is an invalid instruction there, and no task has a use for it: so it goes on
// as if it had been one. RCX is the address behind its two bytes; the rest is as for SYSCALL
// in 64-bit mode.
TEXT ·compatSyscallEntry(SB), NOSPLIT|NOFRAME, $0
	MOVQ  SP, ·syscallSP(SB)
	MOVQ  ·running(SB), SP
	ADDQ  $const_contextTop, SP
	PUSHQ $USER_DATA
	PUSHQ ·syscallSP(SB)
	PUSHQ R11
	PUSHQ $USER_CODE32
	SUBQ  $2, CX
	PUSHQ CX
	PUSHQ $0
	PUSHQ CX
	LEAQ  ·trapStubs+(const_vectorInvalidOp*const_stubSize)(SB), CX
	XCHGQ CX, 0(SP)
	JMP   ·trap(SB)

// trapStubs has 8 bytes of code for each vector. Its call pushes an address that tells
// which it was. Where the CPU pushes no error code, 0 is pushed in its place.
#define TRAP      BYTE $0x6a; BYTE $0; CALL ·trap(SB); BYTE $0x90
#define TRAP_CODE BYTE $0x66; BYTE $0x90; CALL ·trap(SB); BYTE $0x90
#define TRAP_IST  BYTE $0x6a; BYTE $0; CALL ·trapOnIST(SB); BYTE $0x90
#define FATAL      BYTE $0x6a; BYTE $0; CALL ·kernelTrap(SB); BYTE $0x90
#define FATAL_CODE BYTE $0x66; BYTE $0x90; CALL ·kernelTrap(SB); BYTE $0x90
#define TRAP4     TRAP; TRAP; TRAP; TRAP
TEXT ·trapStubs(SB), NOSPLIT|NOFRAME, $0
	TRAP; TRAP_IST; TRAP_IST; TRAP        // #DE #DB NMI #BP
	TRAP4                                 // #OF #BR #UD #NM
	FATAL_CODE; TRAP; TRAP_CODE; TRAP_CODE // #DF - #TS #NP
	TRAP_CODE; TRAP_CODE; TRAP_CODE; TRAP // #SS #GP #PF -
	TRAP; TRAP_CODE; FATAL; TRAP          // #MF #AC #MC #XM
	TRAP; TRAP_CODE; TRAP; TRAP           // #VE #CP
	TRAP4
	TRAP; TRAP_CODE; TRAP_CODE; TRAP      // #HV #VC #SX
	TRAP4                                 // lines 0 to 31
	TRAP4
	TRAP4
	TRAP4
	TRAP4
	TRAP4
	TRAP4
	TRAP4
	BYTE $0x6a; BYTE $0; CALL ·int40(SB); BYTE $0x90

// trap: 0(SP) address in trapStubs, 8 code, 16 RIP, 24 CS, 32 RFLAGS, 40 RSP, 48 SS. From
// ring 3 SP is in the running task's context, because RSP0 was. All of the task is saved: the kernel's
// code uses vector registers.
TEXT ·trap(SB), NOSPLIT|NOFRAME, $0
	TESTB $3, 24(SP)
	JEQ   ring0
	PUSH_REGISTERS
	FXSAVE64 registers_fx(SP)
	LEAQ ·trapStubs(SB), CX
	MOVQ registers_vector(SP), AX
	SUBQ CX, AX
	SHRQ $3, AX                           // stubSize; the address is behind the CALL, within the stub
	MOVQ AX, registers_came(SP)
	REFILL_RETURNS
	MOVQ ·kernelSP(SB), SP
	PUSHQ $FLAGS_CLEAR
	POPFQ                                 // AC would lift SMAP, DF would turn copies around
	RETURN_TO_KERNEL(0)
ring0:
	JMP   ·kernelTrap(SB)

// int40 is trap for INT 0x40. From 32-bit code of a 32-bit task it is a system call, which keeps all
// registers that such code has. The others it makes 0.
TEXT ·int40(SB), NOSPLIT|NOFRAME, $0
	CMPQ  24(SP), $USER_CODE32
	JEQ   code32
	JMP   ·trap(SB)
code32:
	SUBQ  $registers_vector, SP             // where the context begins
	CMPQ  context_memory(SP), $0
	JNE   task32
	ADDQ  $registers_vector, SP
	JMP   ·trap(SB)
task32:
	MOVQ $const_cameByInt40, registers_came(SP)
	MOVQ AX, registers_rax(SP)
	MOVQ BX, registers_rbx(SP)
	MOVQ CX, registers_rcx(SP)
	MOVQ DX, registers_rdx(SP)
	MOVQ SI, registers_rsi(SP)
	MOVQ DI, registers_rdi(SP)
	MOVQ BP, registers_rbp(SP)
	MOVQ SP, AX                           // systemCall32(context)
	ENTER_GO
	PUSHQ $FLAGS_CLEAR
	POPFQ                                 // AC would lift SMAP, DF would turn copies around
	CALL kapsel·systemCall32(SB)
	TESTB AX, AX
	JEQ  served
	CLEAR_VECTORS
	MOVQ ·running(SB), SP
	XORL R8, R8
	XORL R9, R9
	XORL R10, R10
	XORL R11, R11
	XORL R12, R12
	XORL R13, R13
	XORL R14, R14
	XORL R15, R15
	MOVQ registers_rax(SP), AX
	MOVQ registers_rbx(SP), BX
	MOVQ registers_rcx(SP), CX
	MOVQ registers_rdx(SP), DX
	MOVQ registers_rsi(SP), SI
	MOVQ registers_rdi(SP), DI
	MOVQ registers_rbp(SP), BP
	ADDQ $registers_rip, SP
	CLEAR_BUFFERS
	IRETQ
served:
	REFILL_RETURNS
	RETURN_TO_KERNEL(1)

// trapOnIST is trap for vectors with a stack of their own: from ring 3 the frame is moved
// to the task's context. (#DF and #MC go to kernelTrap at once: they are fatal wherever they
// come from.)
TEXT ·trapOnIST(SB), NOSPLIT|NOFRAME, $0
	TESTB $3, 24(SP)
	JNE   ring3
	JMP   ·kernelTrap(SB)
ring3:
	PUSHQ BP
	MOVQ  ·running(SB), BP
	PUSHQ AX
	LEAQ  (const_contextTop-56)(BP), BP
#define MOVE(from, to) MOVQ from(SP), AX; MOVQ AX, to(BP)
	MOVE(16, 0)
	MOVE(24, 8)
	MOVE(32, 16)
	MOVE(40, 24)
	MOVE(48, 32)
	MOVE(56, 40)
	MOVE(64, 48)
	POPQ  AX
	MOVQ  BP, ·syscallSP(SB)
	POPQ  BP
	MOVQ  ·syscallSP(SB), SP
	JMP   ·trap(SB)

// kernelTrap: the stack is as in trap. An interrupt line, at idle or poll, sets its bit. An NMI
// is the watchdog's: there, where interrupts are on, it comes too late and does nothing. All
// else is fatal, unless a capsule failed.
TEXT ·kernelTrap(SB), NOSPLIT|NOFRAME, $0
	PUSHQ CX
	PUSHQ AX
	LEAQ ·trapStubs(SB), CX
	MOVQ 16(SP), AX
	SUBQ CX, AX
	SHRQ $3, AX
	SUBQ $const_vectorLine0, AX
	JB   exception
	BTSQ AX, ·pending(SB)
back:
	POPQ AX
	POPQ CX
	ADDQ $16, SP
	IRETQ
exception:
	ADDQ $const_vectorLine0, AX
	MOVQ AX, 16(SP)
	CMPQ AX, $const_vectorNMI
	JNE  fatal
	TESTQ $const_flagIF, 48(SP)
	JNE  back
	CMPB ·panicking(SB), $0               // it says so already
	JNE  back
fatal:
	POPQ AX
	POPQ CX
	PUSH_REGISTERS
	LEAQ kapsel·g0(SB), R14
	MOVQ $0, 16(R14)                      // stack checks would only hide the first fault
	MOVQ SP, BX
	ANDQ $~15, SP
	SUBQ $16, SP
	MOVQ BX, 0(SP)
	CALL ·kernelFault(SB)
	MOVQ 0(SP), SP
	MOVQ 24(R14), AX
	MOVQ AX, 16(R14)                      // stack checks again
	POP_REGISTERS
	ADDQ $16, SP                          // vector, code
	IRETQ

// func resume(to *unwind.Resumption)
// It leaves the stack that it is called on, be that an NMI's, behind which NMIs come again.
TEXT ·resume(SB), NOSPLIT|NOFRAME, $0-8
	MOVQ  to+0(FP), SI
	LEAQ  kapsel·g0(SB), R14
	MOVQ  24(R14), AX
	MOVQ  AX, 16(R14)                     // stack checks again, if a fault or an overflow has ended them
	PUSHQ $KERNEL_DATA
	PUSHQ resumption_SP(SI)
	PUSHQ $FLAGS_CLEAR
	PUSHQ $KERNEL_CODE
	PUSHQ resumption_PC(SI)
	MOVQ  resumption_FP(SI), BP
	MOVQ  resumption_Results(SI), AX
	MOVQ  (resumption_Results+8)(SI), BX
	MOVQ  (resumption_Results+16)(SI), CX
	MOVQ  (resumption_Results+24)(SI), DI
	XORL  SI, SI
	XORL  DX, DX
	XORL  R8, R8
	XORL  R9, R9
	XORL  R10, R10
	XORL  R11, R11
	XORPS X15, X15
	IRETQ

// func idle()
TEXT ·idle(SB), NOSPLIT, $0-0
	CMPQ ·pending(SB), $0
	JNE  awake
	CLEAR_BUFFERS
	STI                                   // takes effect behind HLT's start: no wake-up is lost
	HLT
	CLI
awake:
	RET

// func poll()
TEXT ·poll(SB), NOSPLIT, $0-0
	STI                                   // takes effect behind the next instruction
	BYTE $0x90                            // NOP, of which the assembler would make nothing
	CLI                                   // in front of it interrupts are taken, one behind another
	RET

#define READ_MSR(msr, to) \
	MOVL $msr, CX; \
	RDMSR; \
	MOVL AX, to(SI); \
	MOVL DX, to+4(SI)
#define WRITE_MSR(msr, from) \
	MOVL $msr, CX; \
	MOVL from(DI), AX; \
	MOVL from+4(DI), DX; \
	WRMSR

// func exchange(to *context, cr3 uint64)
TEXT ·exchange(SB), NOSPLIT, $0-16
	MOVQ ·running(SB), SI
	MOVQ to+0(FP), DI
	MOVQ cr3+8(FP), AX
	MOVQ AX, CR3
	MOVQ DI, ·running(SB)
	LEAQ const_contextTop(DI), AX
	MOVQ AX, ·tss+4(SB)                   // RSP0
	CMPQ registers_came(SI), $const_cameBySyscall
	JB   saved                            // by trap, with all vector registers
	FXSAVE64 registers_fx(SI)
saved:
	BYTE $0x8c; BYTE $0xe8                  // MOVL GS, AX
	MOVQ AX, R8
	SHLQ $16, R8
	BYTE $0x8c; BYTE $0xe0                  // MOVL FS, AX
	ORQ  AX, R8
	SHLQ $16, R8
	BYTE $0x8c; BYTE $0xc0                  // MOVL ES, AX
	ORQ  AX, R8
	SHLQ $16, R8
	BYTE $0x8c; BYTE $0xd8                  // MOVL DS, AX
	ORQ  AX, R8                           // all four selectors
	MOVQ R8, registers_ds(SI)
	// A base that was 0 can have changed only with its selector: tasks cannot write them.
	MOVQ R8, R9
	SHRQ $32, R9                          // FS and GS
	ORQ  registers_fsBase(SI), R9
	ORQ  registers_gsBase(SI), R9
	JEQ  clear
	READ_MSR(const_msrFSBase, registers_fsBase)
	READ_MSR(const_msrGSBase, registers_gsBase)
clear:
	// An interrupt from ring 3 has made SS null, and AMD's SYSRET leaves what is behind the
	// selector (APM vol. 3, SYSRET): in compatibility mode the task could not use its stack.
	MOVL $0x10, AX
	MOVW AX, SS
	FCLEX                                 // an exception that waits would come here, in ring 0
	EMMS
	FMOVL ·x87Operand(SB), F0             // FILD
	CMPQ registers_came(DI), $const_cameBySyscall
	JB   segments                         // switchTo restores all vector registers
	FXRSTOR64 registers_fx(DI)
segments:
	CMPQ R8, registers_ds(DI)
	JNE  load
	ORQ  registers_fsBase(DI), R9
	ORQ  registers_gsBase(DI), R9
	JEQ  returns                          // all are 0
	JMP  bases
load:
	MOVW registers_ds(DI), DS
	MOVW registers_es(DI), ES
	MOVW registers_fs(DI), FS               // may clear the base, hence the bases behind it
	MOVW registers_gs(DI), GS
bases:
	WRITE_MSR(const_msrFSBase, registers_fsBase)
	WRITE_MSR(const_msrGSBase, registers_gsBase)
returns:
	FILL8; FILL8; FILL8; FILL8
	ADDQ $(32*8), SP
	RET

// func loadSegments()
TEXT ·loadSegments(SB), NOSPLIT|NOFRAME, $0-0
	MOVL $0x10, AX
	MOVW AX, SS
	XORL AX, AX
	MOVW AX, DS
	MOVW AX, ES
	MOVW AX, FS
	MOVW AX, GS
	MOVQ 0(SP), AX                        // return with a far return: CS, then RIP
	SUBQ $8, SP
	MOVQ AX, 0(SP)
	MOVQ $0x08, 8(SP)
	BYTE $0x48; BYTE $0xcb                // LRETQ

// func trapStubsAddress() uint64
TEXT ·trapStubsAddress(SB), NOSPLIT, $0-8
	LEAQ ·trapStubs(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// func syscallEntryAddress() uint64
TEXT ·syscallEntryAddress(SB), NOSPLIT, $0-8
	LEAQ ·syscallEntry(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// func compatSyscallEntryAddress() uint64
TEXT ·compatSyscallEntryAddress(SB), NOSPLIT, $0-8
	LEAQ ·compatSyscallEntry(SB), AX
	MOVQ AX, ret+0(FP)
	RET
