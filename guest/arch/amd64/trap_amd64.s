//go:build kapsel

#include "textflag.h"
#include "go_asm.h"

// Into the kernel and out of it. See context.go for what lies where.
//
// Entry from ring 3 saves the task's registers in its context and returns from switchTo on
// the kernel's stack: to the kernel, a task's run is a function call. Entry from ring 0
// is an interrupt at idle or poll, which sets a bit, or an exception, which is fatal.
//
// FS and GS belong to the tasks throughout; the kernel uses neither, so there is no SWAPGS.

// One CPU: a task's stack pointer and the like can be kept in variables.

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

#define CLEAR_VECTORS \
	XORPS X0, X0   \
	XORPS X1, X1   \
	XORPS X2, X2   \
	XORPS X3, X3   \
	XORPS X4, X4   \
	XORPS X5, X5   \
	XORPS X6, X6   \
	XORPS X7, X7   \
	XORPS X8, X8   \
	XORPS X9, X9   \
	XORPS X10, X10 \
	XORPS X11, X11 \
	XORPS X12, X12 \
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

// Back into switchTo's caller, with BP its own. R14 and X15 are set by compiled code behind
// the call of an assembly function.
#define RETURN_TO_KERNEL \
	MOVQ  ·kernelSP(SB), SP    \
	POPQ  BP                  \
	BYTE  $0xc3 // RET: the assembler would miss the pushes that it pairs with

// func switchTo()
// Precondition: X15 is zero, as in all compiled code.
TEXT ·switchTo(SB), NOSPLIT|NOFRAME, $0-0
	PUSHQ BP
	MOVQ SP, ·kernelSP(SB)
	MOVQ ·running(SB), AX
	CMPQ context_vector(AX), $const_cameBySyscall
	JNE  other

	CLEAR_VECTORS
	MOVQ context_r15(AX), R15
	MOVQ context_r14(AX), R14
	MOVQ context_r13(AX), R13
	MOVQ context_r12(AX), R12
	MOVQ context_rbp(AX), BP
	MOVQ context_rbx(AX), BX
	MOVQ (const_callArgs+24)(AX), R10
	MOVQ (const_callArgs+16)(AX), DX
	MOVQ (const_callArgs+8)(AX), SI
	MOVQ const_callArgs(AX), DI
	MOVQ context_rip(AX), CX
	MOVQ context_rsp(AX), SP
	MOVL $(const_flagsFixed+const_flagIF), R11
	XORL AX, AX
	XORL R8, R8
	XORL R9, R9
	// As CLEAR_BUFFERS, but IRETQ lets no later instruction begin before the branch is right (SDM
	// vol. 3, 8.3), and SYSRET may. If it was predicted wrong, that is at address 0.
	CMPQ ·uncleared(SB), $0
	JEQ  clear
	ANDQ ·uncleared(SB), CX
	BYTE $0x48; SYSRET
clear:
	VERW ·writeableSegment(SB)
	BYTE $0x48; SYSRET

other:
	MOVQ AX, SP
	JA   upcall
	FXRSTOR64 context_fx(AX)
	JMP  iret
upcall:
	CLEAR_VECTORS
iret:
	POP_REGISTERS
	ADDQ $16, SP                          // vector, code
	CLEAR_BUFFERS
	IRETQ

// A system call: RCX = the task's RIP, R11 = its RFLAGS, interrupts off, its stack pointer still
// in RSP. What a system call keeps goes into its context, and its words.
#define KEEP_CALL \
	MOVQ  SP, R11                                \
	MOVQ  ·running(SB), SP                       \
	MOVQ  CX, context_rip(SP)                    \
	MOVQ  R11, context_rsp(SP)                   \
	MOVQ  $const_cameBySyscall, context_vector(SP) \
	MOVB  AX, const_callClass(SP)                \
	MOVQ  DI, const_callArgs(SP)                 \
	MOVQ  SI, (const_callArgs+8)(SP)             \
	MOVQ  DX, (const_callArgs+16)(SP)            \
	MOVQ  R10, (const_callArgs+24)(SP)           \
	MOVQ  BX, context_rbx(SP)                    \
	MOVQ  BP, context_rbp(SP)                    \
	MOVQ  R12, context_r12(SP)                   \
	MOVQ  R13, context_r13(SP)                   \
	MOVQ  R14, context_r14(SP)                   \
	MOVQ  R15, context_r15(SP)

// syscallEntry is where SYSCALL goes.
TEXT ·syscallEntry(SB), NOSPLIT|NOFRAME, $0
	KEEP_CALL
	RETURN_TO_KERNEL

// refillingEntry is where SYSCALL goes if the plan of mitigations says so: no branch, which a
// task could have trained, decides it.
TEXT ·refillingEntry(SB), NOSPLIT|NOFRAME, $0
	KEEP_CALL
	REFILL_RETURNS
	RETURN_TO_KERNEL

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
	JMP   ·userTrap(SB)

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
	TRAP                                  // INT 0x40

// trap: 0(SP) address in trapStubs, 8 code, 16 RIP, 24 CS, 32 RFLAGS, 40 RSP, 48 SS. From
// ring 3 SP is in the running task's context, because RSP0 was.
TEXT ·trap(SB), NOSPLIT|NOFRAME, $0
	TESTB $3, 24(SP)
	JEQ   ring0
	JMP   ·userTrap(SB)
ring0:
	JMP   ·kernelTrap(SB)

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
	LEAQ  const_contextTop(BP), BP
#define MOVE(from, to) MOVQ from(SP), AX; MOVQ AX, to(BP)
	MOVE(16, -56)
	MOVE(24, -48)
	MOVE(32, -40)
	MOVE(40, -32)
	MOVE(48, -24)
	MOVE(56, -16)
	MOVE(64, -8)
	POPQ  AX
	MOVQ  BP, ·syscallSP(SB)
	POPQ  BP
	MOVQ  ·syscallSP(SB), SP
	SUBQ  $56, SP
	JMP   ·userTrap(SB)

// userTrap saves all of a task: the kernel's code uses vector registers.
TEXT ·userTrap(SB), NOSPLIT|NOFRAME, $0
	PUSH_REGISTERS
	FXSAVE64 context_fx(SP)
	LEAQ ·trapStubs(SB), CX
	MOVQ context_vector(SP), AX
	SUBQ CX, AX
	SHRQ $3, AX                           // stubSize; the address is behind the CALL, within the stub
	MOVQ AX, context_vector(SP)
	REFILL_RETURNS
	MOVQ ·kernelSP(SB), SP
	PUSHQ $FLAGS_CLEAR
	POPFQ                                 // AC would lift SMAP, DF would turn copies around
	RETURN_TO_KERNEL

// kernelTrap: the stack is as in trap. An interrupt line, at idle or poll, sets its bit. An NMI
// is the watchdog's: there, where interrupts are on, it comes too late and does nothing. All
// else is fatal.
TEXT ·kernelTrap(SB), NOSPLIT|NOFRAME, $0
	PUSH_REGISTERS
	LEAQ ·trapStubs(SB), CX
	MOVQ context_vector(SP), AX
	SUBQ CX, AX
	SHRQ $3, AX
	MOVQ AX, context_vector(SP)
	CMPQ AX, $const_vectorLine0
	JAE  line
	CMPQ AX, $const_vectorNMI
	JNE  fatal
	TESTQ $const_flagIF, context_rflags(SP)
	JNE  back
fatal:
	LEAQ kapsel·g0(SB), R14
	MOVQ $0, 16(R14)                      // stack checks would only hide the first fault
	MOVQ SP, BX
	ANDQ $~15, SP
	SUBQ $16, SP
	MOVQ BX, 0(SP)
	CALL ·kernelFault(SB)
	INT  $3
line:
	SUBQ $const_vectorLine0, AX
	BTSQ AX, ·pending(SB)
back:
	POP_REGISTERS
	ADDQ $16, SP
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

// func refillReturns()
TEXT ·refillReturns(SB), NOSPLIT|NOFRAME, $0-0
	FILL8; FILL8; FILL8; FILL8
	ADDQ $(32*8), SP
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

// func exchange(from, to *context)
TEXT ·exchange(SB), NOSPLIT, $0-16
	MOVQ from+0(FP), SI
	MOVQ to+8(FP), DI
	TESTQ SI, SI
	JEQ  clear
	CMPQ context_vector(SI), $const_cameBySyscall
	JB   saved                            // by userTrap, with all vector registers
	FXSAVE64 context_fx(SI)
saved:
	MOVW DS, context_ds(SI)
	MOVW ES, context_es(SI)
	MOVW FS, context_fs(SI)
	MOVW GS, context_gs(SI)
	// A base that was 0 can have changed only with its selector: tasks cannot write them.
	MOVL context_fs(SI), AX               // FS and GS
	ORQ  context_fsBase(SI), AX
	ORQ  context_gsBase(SI), AX
	JEQ  clear
	READ_MSR(const_msrFSBase, context_fsBase)
	READ_MSR(const_msrGSBase, context_gsBase)
clear:
	// An interrupt from ring 3 has made SS null, and AMD's SYSRET leaves what is behind the
	// selector (APM vol. 3, SYSRET): in compatibility mode the task could not use its stack.
	MOVL $0x10, AX
	MOVW AX, SS
	FCLEX                                 // an exception that waits would come here, in ring 0
	EMMS
	FMOVL ·x87Operand(SB), F0             // FILD
	CMPQ context_vector(DI), $const_cameBySyscall
	JB   segments                         // switchTo restores all vector registers
	FXRSTOR64 context_fx(DI)
segments:
	TESTQ SI, SI
	JEQ  load
	MOVQ context_ds(SI), AX               // all four selectors
	CMPQ AX, context_ds(DI)
	JNE  load
	MOVQ context_fsBase(SI), AX
	CMPQ AX, context_fsBase(DI)
	JNE  bases
	MOVQ context_gsBase(SI), AX
	CMPQ AX, context_gsBase(DI)
	JNE  bases
	RET
load:
	MOVW context_ds(DI), DS
	MOVW context_es(DI), ES
	MOVW context_fs(DI), FS               // may clear the base, hence the bases behind it
	MOVW context_gs(DI), GS
bases:
	WRITE_MSR(const_msrFSBase, context_fsBase)
	WRITE_MSR(const_msrGSBase, context_gsBase)
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

// func refillingEntryAddress() uint64
TEXT ·refillingEntryAddress(SB), NOSPLIT, $0-8
	LEAQ ·refillingEntry(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// func compatSyscallEntryAddress() uint64
TEXT ·compatSyscallEntryAddress(SB), NOSPLIT, $0-8
	LEAQ ·compatSyscallEntry(SB), AX
	MOVQ AX, ret+0(FP)
	RET
