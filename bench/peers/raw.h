// What the peer programs share: system calls without a C library, the time-stamp counter,
// results in Go's benchmark format.
#include <asm/unistd.h>
#include <stdint.h>

static inline long syscall6(long n, long a, long b, long c, long d, long e, long f)
{
	register long r10 asm("r10") = d;
	register long r8 asm("r8") = e;
	register long r9 asm("r9") = f;
	long result;
	asm volatile("syscall" : "=a"(result)
		: "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
		: "rcx", "r11", "memory");
	return result;
}
#define syscall4(n, a, b, c, d) syscall6(n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define syscall3(n, a, b, c) syscall4(n, a, b, c, 0)

static inline uint64_t rdtsc(void)
{
	uint32_t low, high;
	asm volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

// read_clock returns a clock's time in nanoseconds.
static inline uint64_t read_clock(int clock)
{
	int64_t t[2]; // struct timespec
	syscall3(__NR_clock_gettime, clock, t, 0);
	return t[0] * 1000000000 + t[1];
}

static inline uint64_t now(void) { return read_clock(1 /* CLOCK_MONOTONIC */); }

static void print(const char *text)
{
	long n = 0;
	while (text[n])
		n++;
	syscall3(__NR_write, 1, text, n);
}

static void print_number(uint64_t v)
{
	char digits[21];
	char *p = digits + sizeof digits;
	*--p = 0;
	do
		*--p = '0' + v % 10;
	while (v /= 10);
	print(p);
}

// end ends the program.
static void __attribute__((noreturn)) end(int status)
{
	for (;;)
		syscall3(__NR_exit_group, status, 0, 0);
}

static void __attribute__((noreturn)) die(const char *what, long error)
{
	print("failed: ");
	print(what);
	print(": error ");
	print_number(-error);
	print("\n");
	end(1);
}

// check dies if a system call failed, else returns its result.
static long check(const char *what, long result)
{
	if (result < 0 && result > -4096)
		die(what, result);
	return result;
}

// begin starts the line of a result of n samples.
static void begin(const char *name, int n)
{
	print("Benchmark");
	print(name);
	print(" ");
	print_number(n);
}

// value adds a value, in hundredths of the unit, to the line.
static void value(uint64_t hundredths, const char *unit)
{
	print(" ");
	print_number(hundredths / 100);
	print(hundredths % 100 < 10 ? ".0" : ".");
	print_number(hundredths % 100);
	print(" ");
	print(unit);
}

// The compiler may call these.
void *memset(void *to, int value, unsigned long n)
{
	void *start = to;
	asm volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(value) : "memory");
	return start;
}

void *memcpy(void *to, const void *from, unsigned long n)
{
	void *start = to;
	asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
	return start;
}

// The entry: argc lies at the stack pointer, the arguments above it.
static void run(long argc, char **argv);
void __attribute__((noreturn, used)) start(long *stack)
{
	run(stack[0], (char **)(stack + 1));
	end(0);
}
asm(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall start\n");
