// What Linux asks of a program for what the kernel's benchmarks do: system calls, messages
// between two processes, a timer, a signal, a fault. It counts ticks of the time-stamp
// counter and means to run where a tick is an instruction (vmexec -icount); elsewhere it
// refuses. Each figure is the median of single operations, less what reading the counter
// twice takes.
#include "raw.h"
#include <asm/signal.h>
#include <asm/sigcontext.h>
#include <asm/siginfo.h>
#include <asm/ucontext.h>
#include <linux/futex.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <linux/time.h>

enum { SAMPLES = 1001, WARM = 100 };

static uint64_t samples[SAMPLES];
static uint64_t empty; // ticks between two readings with nothing between

// median sorts the n samples and returns the middle one.
static uint64_t median(uint64_t *samples, int n)
{
	for (int i = 1; i < n; i++) {
		uint64_t v = samples[i];
		int j = i;
		for (; j > 0 && samples[j - 1] > v; j--)
			samples[j] = samples[j - 1];
		samples[j] = v;
	}
	return samples[n / 2];
}

// MEASURE times the statement, SAMPLES times after WARM runs.
#define MEASURE(statement) do { \
	for (int i = -WARM; i < SAMPLES; i++) { \
		uint64_t started = rdtsc(); \
		statement; \
		uint64_t ended = rdtsc(); \
		if (i >= 0) \
			samples[i] = ended - started - empty; \
	} \
} while (0)

// result reports the samples; an operation is 1/parts of one.
static void result(const char *name, int parts)
{
	begin(name, SAMPLES);
	value(100 * median(samples, SAMPLES) / parts, "instructions/op");
	print("\n");
}

// check_clock dies unless a tick is a nanosecond, as it is where each is an instruction.
static void check_clock(void)
{
	uint64_t ticks = rdtsc(), time = now();
	while (now() < time + 1000000)
		;
	time = now() - time;
	ticks = rdtsc() - ticks;
	if (ticks < time - time / 1000 || ticks > time + time / 1000) {
		print("failed: a tick of the time-stamp counter is no nanosecond here: run this under vmexec -icount\n");
		end(1);
	}
}

// shared is memory of both processes.
static struct {
	uint32_t turn;      // futex: 1 is the child's
	uint32_t rounds;    // yield: how often the child ran
} *shared;

// child starts a process that runs f for ever; the parent ends it by stop.
static long child(void (*f)(void))
{
	long pid = check("fork", syscall3(__NR_fork, 0, 0, 0));
	if (pid)
		return pid;
	for (;;)
		f();
}

static void stop(long pid)
{
	check("kill", syscall3(__NR_kill, pid, SIGKILL, 0));
	check("wait4", syscall4(__NR_wait4, pid, 0, 0, 0));
}

static int to_child[2], to_parent[2]; // pipes: to read, to write
static char byte;

static void receive(int fd) { check("read", syscall3(__NR_read, fd, &byte, 1)); }
static void send(int fd) { check("write", syscall3(__NR_write, fd, &byte, 1)); }

static void pipe_child(void)
{
	receive(to_child[0]);
	send(to_parent[1]);
}

static void pipe_parent(void)
{
	send(to_child[1]);
	receive(to_parent[0]);
}

static void measure_pipe(void)
{
	check("pipe", syscall3(__NR_pipe, to_child, 0, 0));
	check("pipe", syscall3(__NR_pipe, to_parent, 0, 0));
	long pid = child(pipe_child);
	MEASURE(pipe_parent());
	stop(pid);
	result("Linux/pipe", 2);
	result("Linux/pipe-and-back", 1);
}

// give hands the turn over, and waits until it comes back.
static void give(uint32_t from, uint32_t to)
{
	__atomic_store_n(&shared->turn, to, __ATOMIC_SEQ_CST);
	check("futex", syscall3(__NR_futex, &shared->turn, FUTEX_WAKE, 1));
	while (__atomic_load_n(&shared->turn, __ATOMIC_SEQ_CST) != from)
		syscall4(__NR_futex, &shared->turn, FUTEX_WAIT, to, 0); // EAGAIN: it is back already
}

static void futex_child(void)
{
	while (__atomic_load_n(&shared->turn, __ATOMIC_SEQ_CST) != 1)
		syscall4(__NR_futex, &shared->turn, FUTEX_WAIT, 0, 0);
	give(1, 0);
}

static void measure_futex(void)
{
	long pid = child(futex_child);
	MEASURE(give(0, 1));
	stop(pid);
	result("Linux/futex", 2);
}

static void yield_child(void)
{
	shared->rounds++;
	syscall3(__NR_sched_yield, 0, 0, 0);
}

// measure_yield counts only the yields after which the other process ran once.
static void measure_yield(void)
{
	long pid = child(yield_child);
	int n = 0;
	for (int tries = 0; n < SAMPLES; tries++) {
		if (tries == 100 * SAMPLES)
			die("sched_yield, which hardly ever switches", 0);
		uint32_t rounds = __atomic_load_n(&shared->rounds, __ATOMIC_SEQ_CST);
		uint64_t started = rdtsc();
		syscall3(__NR_sched_yield, 0, 0, 0);
		uint64_t ended = rdtsc();
		if (__atomic_load_n(&shared->rounds, __ATOMIC_SEQ_CST) == rounds + 1)
			samples[n++] = ended - started - empty;
	}
	stop(pid);
	result("Linux/yield", 2);
}

// measure_timer sleeps until a deadline and looks at the clock. What reading the clock takes
// until it is read is taken for half of what it takes as a whole. Linux may not wait for
// other timers, as it would by default for 50 us.
static void measure_timer(void)
{
	check("prctl", syscall3(__NR_prctl, PR_SET_TIMERSLACK, 1, 0));
	MEASURE(now());
	uint64_t half = median(samples, SAMPLES) / 2;
	for (int i = 0; i < SAMPLES; i++) {
		uint64_t deadline = now() + 200000;
		int64_t until[2] = { deadline / 1000000000, deadline % 1000000000 };
		check("clock_nanosleep", syscall4(__NR_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, until, 0));
		samples[i] = now() - deadline - half;
	}
	result("Linux/timer", 1);
}

void restore(void); // returns from a signal handler
asm("restore:\n\tmov $15, %eax\n\tsyscall\n"); // 15 is rt_sigreturn

static void handle(int signal, void (*handler)(int, siginfo_t *, struct ucontext *))
{
	struct {
		void (*handler)(int, siginfo_t *, struct ucontext *);
		unsigned long flags;
		void (*restorer)(void);
		unsigned long mask;
	} action = { handler, SA_SIGINFO | SA_RESTORER, restore, 0 };
	check("rt_sigaction", syscall4(__NR_rt_sigaction, signal, &action, 0, sizeof action.mask));
}

static void nothing(int signal, siginfo_t *info, struct ucontext *context) {}

static void measure_signal(void)
{
	long pid = syscall3(__NR_getpid, 0, 0, 0);
	handle(SIGUSR1, nothing);
	MEASURE(syscall3(__NR_tgkill, pid, pid, SIGUSR1));
	result("Linux/signal", 1);
}

static volatile uint64_t caught; // the counter when the handler began

static void catch(int signal, siginfo_t *info, struct ucontext *context)
{
	caught = rdtsc();
	context->uc_mcontext.rip += 2; // behind the instruction that faulted
}

// measure_fault is the time from a load from nowhere to its handler.
static void measure_fault(void)
{
	long nowhere = check("mmap", syscall6(__NR_mmap, 0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	handle(SIGSEGV, catch);
	for (int i = 0; i < SAMPLES; i++) {
		uint64_t started = rdtsc();
		asm volatile(".byte 0x8a, 0x07" : : "D"(nowhere) : "rax", "memory"); // mov (%rdi), %al
		samples[i] = caught - started - empty;
	}
	result("Linux/fault", 1);
}

static void run(long argc, char **argv)
{
	check_clock();
	shared = (void *)check("mmap", syscall6(__NR_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	MEASURE();
	empty = median(samples, SAMPLES);
	MEASURE(syscall3(__NR_getpid, 0, 0, 0));
	result("Linux/getpid", 1);
	measure_yield();
	measure_pipe();
	measure_futex();
	measure_timer();
	measure_signal();
	measure_fault();
}
