# How a program starts under Tock's x86 convention, and its system call.

        .section .start, "ax"
        .globl _start
        # _start(application start, RAM start, RAM size, initial break), called with no
        # return address and room for one system call.
_start:
        mov     $_stack_top, %esi
        mov     $_heap, %eax
        sub     $16, %esp
        movl    $0, (%esp)              # Memop brk
        mov     %eax, 4(%esp)
        mov     $5, %eax
        int     $0x40
        cmpl    $128, (%esp)
        jne     fail
        add     $16, %esp
        mov     4(%esp), %eax           # the arguments, before the stack is another
        mov     8(%esp), %ebx
        mov     12(%esp), %ecx
        mov     16(%esp), %edx
        mov     %esi, %esp
        push    %edx
        push    %ecx
        push    %ebx
        push    %eax
        mov     $_data_in_flash, %esi   # .data from flash, .bss to 0
        mov     $_data, %edi
        mov     $_data_size, %ecx
        rep movsb
        mov     $_bss, %edi
        mov     $_bss_size, %ecx
        xor     %eax, %eax
        rep stosb
        call    main
        push    %eax
        push    %eax
        push    %eax                    # r1: the completion code
        push    $0                      # r0: terminate
        mov     $6, %eax
        int     $0x40
fail:   ud2

        .text
        .globl tock
        # void tock(unsigned class, unsigned words[4]): the words in and out.
tock:
        push    %ebx
        mov     8(%esp), %eax
        mov     12(%esp), %ebx
        push    12(%ebx)
        push    8(%ebx)
        push    4(%ebx)
        push    (%ebx)
        int     $0x40
        pop     (%ebx)
        pop     4(%ebx)
        pop     8(%ebx)
        pop     12(%ebx)
        pop     %ebx
        ret

        .section .note.GNU-stack, "", @progbits
