# How a program starts under Tock's x86 convention, and its system call (docs/abi.md, section 1, "32-bit tasks").

        .section .start, "ax"
        .globl _start
        # _start(application start, RAM start, RAM size, initial break), called with no
        # return address and room for one system call.
_start:
        sub     $16, %esp
        movl    $0, (%esp)              # Memop brk: RAM up to the heap is the program's
        movl    $_heap, 4(%esp)
        mov     $5, %eax
        int     $0x40
        cmpl    $128, (%esp)
        jne     fail
        movl    $10, (%esp)             # Memop: where the stack begins, for reports of faults
        movl    $_stack_top, 4(%esp)
        mov     $5, %eax
        int     $0x40
        movl    $11, (%esp)             # Memop: where the heap begins
        movl    $_heap, 4(%esp)
        mov     $5, %eax
        int     $0x40
        add     $16, %esp
        mov     4(%esp), %eax           # the arguments, before the stack is another
        mov     8(%esp), %ebx
        mov     12(%esp), %ecx
        mov     16(%esp), %edx
        mov     $_stack_top, %esp
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
        call    main                    # with ESP a multiple of 16, as the i386 ABI has it
        push    %eax
        call    exit
fail:   ud2

        # exit(completion code): a C library has one of its own, which comes in its place.
        .weak   exit
exit:
        mov     4(%esp), %ebx
        sub     $16, %esp
        movl    $0, (%esp)              # Exit, terminate
        mov     %ebx, 4(%esp)
        mov     $6, %eax
        int     $0x40
        ud2

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
