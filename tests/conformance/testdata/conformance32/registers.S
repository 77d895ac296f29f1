# A system call with a pattern in every register, for behaviour 29 (struct registers in main.c).

        .set    EAX, 0
        .set    ECX, 4
        .set    EDX, 8
        .set    EBX, 12
        .set    ESI, 16
        .set    EDI, 20
        .set    EBP, 24
        .set    ESP, 28
        .set    EFLAGS, 32
        .set    DS, 36
        .set    ES, 40
        .set    FS, 44
        .set    GS, 48
        .set    FX, 64

        .text
        .globl keep
        # void keep(unsigned words[4], unsigned spins): fills the registers from before, EAX is
        # the class; counts spins down, which a time slice may end in; makes the system call;
        # and writes to after what the registers are then. before.esp is written, not read.
keep:
        push    %ebp
        push    %ebx
        push    %esi
        push    %edi
        pushf
        push    %ds
        push    %es
        push    %fs
        push    %gs
        mov     40(%esp), %esi
        mov     44(%esp), %ecx
        fxsave  usual
        push    12(%esi)
        push    8(%esi)
        push    4(%esi)
        push    (%esi)
        mov     %esp, before+ESP

        fxrstor before+FX
        mov     before+DS, %ds
        mov     before+ES, %es
        mov     before+FS, %fs
        mov     before+GS, %gs
        push    before+EFLAGS
        popf                            # nothing below changes the flags
        mov     before+EAX, %eax
        mov     before+EDX, %edx
        mov     before+EBX, %ebx
        mov     before+ESI, %esi
        mov     before+EDI, %edi
        mov     before+EBP, %ebp
spin:   jecxz   spun
        lea     -1(%ecx), %ecx
        jmp     spin
spun:   mov     before+ECX, %ecx
        int     $0x40

        mov     %eax, after+EAX
        mov     %ecx, after+ECX
        mov     %edx, after+EDX
        mov     %ebx, after+EBX
        mov     %esi, after+ESI
        mov     %edi, after+EDI
        mov     %ebp, after+EBP
        mov     %esp, after+ESP
        mov     before+ESP, %esp
        pushf
        pop     after+EFLAGS
        mov     %ds, after+DS
        mov     %es, after+ES
        mov     %fs, after+FS
        mov     %gs, after+GS
        fxsave  after+FX

        fxrstor usual
        mov     56(%esp), %esi
        pop     (%esi)
        pop     4(%esi)
        pop     8(%esi)
        pop     12(%esi)
        pop     %gs
        pop     %fs
        pop     %es
        pop     %ds
        popf
        pop     %edi
        pop     %esi
        pop     %ebx
        pop     %ebp
        ret

        .local  usual
        .comm   usual, 512, 16          # x87 and vector registers of the program

        .section .note.GNU-stack, "", @progbits
