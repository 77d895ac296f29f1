// The floor under a monitor in Linux: the fewest KVM calls that bring a virtual machine to
// its first exit, and that exit again and again. No CPUID, no interrupt controller, no long
// mode, one page of memory. Times by CLOCK_MONOTONIC; the argument is the unit to print,
// "instructions/op" where a nanosecond is an instruction.
#include "raw.h"
#include <linux/kvm.h>

enum { MACHINES = 21, EXITS = 1000, PAGE = 4096, ADDRESS = 0x1000 };

// out %al, $0x80; jmp back to it
static const uint8_t guest[] = { 0xe6, 0x80, 0xeb, 0xfc };

static long map(long fd, long size, long flags)
{
	return check("mmap", syscall6(__NR_mmap, 0, size, 3 /* PROT_READ|PROT_WRITE */, flags, fd, 0));
}

static void run_to_exit(long cpu, struct kvm_run *state)
{
	check("KVM_RUN", syscall3(__NR_ioctl, cpu, KVM_RUN, 0));
	if (state->exit_reason != KVM_EXIT_IO || state->io.port != 0x80)
		die("the guest, which did not exit for its port: exit reason", -(long)state->exit_reason);
}

// times are what passed by, and what this process had of it, in nanoseconds.
struct times { uint64_t passed, used; };

static struct times read_times(void)
{
	return (struct times){ now(), read_clock(2 /* CLOCK_PROCESS_CPUTIME_ID */) };
}

// measure makes a machine. It fills in the times to its first exit and of EXITS more.
static void measure(struct times *first, struct times *more)
{
	struct times started = read_times();
	long kvm = check("open /dev/kvm", syscall3(__NR_open, "/dev/kvm", 2 /* O_RDWR */, 0));
	long vm = check("KVM_CREATE_VM", syscall3(__NR_ioctl, kvm, KVM_CREATE_VM, 0));
	long ram = map(-1, PAGE, 0x22 /* MAP_PRIVATE|MAP_ANONYMOUS */);
	memcpy((void *)ram, guest, sizeof guest);
	struct kvm_userspace_memory_region region = {
		.guest_phys_addr = ADDRESS, .memory_size = PAGE, .userspace_addr = ram,
	};
	check("KVM_SET_USER_MEMORY_REGION", syscall3(__NR_ioctl, vm, KVM_SET_USER_MEMORY_REGION, &region));
	long cpu = check("KVM_CREATE_VCPU", syscall3(__NR_ioctl, vm, KVM_CREATE_VCPU, 0));
	long size = check("KVM_GET_VCPU_MMAP_SIZE", syscall3(__NR_ioctl, kvm, KVM_GET_VCPU_MMAP_SIZE, 0));
	struct kvm_run *state = (struct kvm_run *)map(cpu, size, 1 /* MAP_SHARED */);
	struct kvm_sregs sregs;
	check("KVM_GET_SREGS", syscall3(__NR_ioctl, cpu, KVM_GET_SREGS, &sregs));
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	check("KVM_SET_SREGS", syscall3(__NR_ioctl, cpu, KVM_SET_SREGS, &sregs));
	struct kvm_regs regs = { .rip = ADDRESS, .rflags = 2 };
	check("KVM_SET_REGS", syscall3(__NR_ioctl, cpu, KVM_SET_REGS, &regs));
	run_to_exit(cpu, state);
	struct times ran = read_times();
	for (int i = 0; i < EXITS; i++)
		run_to_exit(cpu, state);
	struct times ended = read_times();
	*first = (struct times){ ran.passed - started.passed, ran.used - started.used };
	*more = (struct times){ ended.passed - ran.passed, ended.used - ran.used };

	syscall3(__NR_munmap, state, size, 0);
	syscall3(__NR_munmap, ram, PAGE, 0);
	syscall3(__NR_close, cpu, 0, 0);
	syscall3(__NR_close, vm, 0, 0);
	syscall3(__NR_close, kvm, 0, 0);
}

// result reports the times, each of which n operations took.
static void result(const char *name, struct times *t, int n)
{
	uint64_t passed[MACHINES], used[MACHINES];
	for (int i = 0; i < MACHINES; i++) {
		passed[i] = t[i].passed;
		used[i] = t[i].used;
	}
	begin(name, MACHINES * n);
	value(100 * median(passed, MACHINES) / n, "ns/op");
	value(100 * median(used, MACHINES) / n, "cpu-ns/op");
	print("\n");
}

static void run(long argc, char **argv)
{
	struct times first[MACHINES], more[MACHINES];
	for (int i = 0; i < MACHINES; i++)
		measure(&first[i], &more[i]);
	result("Floor/first-exit", first, 1);
	result("Floor/exit", more, EXITS);
}
