# System calls between two reads of the time-stamp counter, by Tock's x86 convention: as
# guest/tasks/measure has them for 64-bit tasks. Each is
#
#     void f(struct call *)
#
# with the structure of main.c: class, four words, three words of a Yield, then the ticks and
# the first result.

#define CLASS   0(%ebx)
#define WORD(i) 4+4*i(%ebx)
#define YIELD(i) 20+4*i(%ebx)
#define TICKS   32(%ebx)
#define RESULT  36(%ebx)

        .macro  begin
        push    %ebx
        push    %esi
        mov     12(%esp), %ebx
        lfence
        rdtsc
        lfence
        mov     %eax, %esi
        pushl   WORD(3)
        pushl   WORD(2)
        pushl   WORD(1)
        pushl   WORD(0)
        mov     CLASS, %eax
        .endm

        .macro  end
        lfence
        rdtsc
        lfence
        sub     %esi, %eax
        mov     %eax, TICKS
        pop     RESULT
        add     $12, %esp
        pop     %esi
        pop     %ebx
        ret
        .endm

        .text
        .globl empty, once, twice

empty:  begin
        end

once:   begin
        int     $0x40
        end

# twice makes the Yield behind the call, which must not run an upcall.
twice:  begin
        int     $0x40
        mov     YIELD(0), %eax
        mov     %eax, (%esp)
        mov     YIELD(1), %eax
        mov     %eax, 4(%esp)
        mov     YIELD(2), %eax
        mov     %eax, 8(%esp)
        xor     %eax, %eax
        int     $0x40
        end

        .section .note.GNU-stack, "", @progbits
