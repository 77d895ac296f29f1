// Prints a line and ends: the program of a container of runc's, for tests/start.
//
// It is a static program without a C library, so that what counts is the runtime.

enum { sys_write = 1, sys_exit = 60 }; // Linux, arch/x86/entry/syscalls/syscall_64.tbl

static long call(long number, long a, long b, long c) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}

void _start(void) {
    static const char line[] = "hello\n";
    call(sys_write, 1, (long)line, sizeof line - 1);
    call(sys_exit, 0, 0, 0);
}
