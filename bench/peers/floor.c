// The floor under a monitor in Linux: the fewest KVM calls that bring a virtual machine to
// its first exit, and that exit again and again. No CPUID, no interrupt controller, no long
// mode, one page of memory. Times by CLOCK_MONOTONIC; the argument is the unit to print,
// "instructions/op" where a nanosecond is an instruction.
#include "raw.h"
#include <linux/kvm.h>

enum { MACHINES = 20, EXITS = 20000, PAGE = 4096, ADDRESS = 0x1000 };

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

// add_times adds to sum what passed between two readings.
static void add_times(struct times *sum, struct times from, struct times to)
{
	sum->passed += to.passed - from.passed;
	sum->used += to.used - from.used;
}

// measure makes a machine. It adds the times to its first exit and of exits more.
static void measure(struct times *first, struct times *more, int exits)
{
	struct times started = read_times();
	long kvm = check("open /dev/kvm", syscall3(__NR_open, "/dev/kvm", 2 /* O_RDWR */, 0));
	long vm = check("KVM_CREATE_VM", syscall3(__NR_ioctl, kvm, KVM_CREATE_VM, 0));
	// A processor without a local APIC costs more than this call: Linux then patches its code.
	struct kvm_enable_cap apic = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { 24 } };
	check("KVM_ENABLE_CAP", syscall3(__NR_ioctl, vm, KVM_ENABLE_CAP, &apic));
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
	for (int i = 0; i < exits; i++)
		run_to_exit(cpu, state);
	struct times ended = read_times();
	add_times(first, started, ran);
	add_times(more, ran, ended);

	syscall3(__NR_munmap, state, size, 0);
	syscall3(__NR_munmap, ram, PAGE, 0);
	syscall3(__NR_close, cpu, 0, 0);
	syscall3(__NR_close, vm, 0, 0);
	syscall3(__NR_close, kvm, 0, 0);
}

// result reports the mean of n operations, which took the times.
static void result(const char *name, struct times t, int n)
{
	begin(name, n);
	value(100 * t.passed / n, "ns/op");
	value(100 * t.used / n, "cpu-ns/op");
	print("\n");
}

static void run(long argc, char **argv)
{
	struct times first = {}, more = {};
	for (int i = 0; i < MACHINES; i++)
		measure(&first, &more, 0);
	result("Floor/first-exit", first, MACHINES);
	measure(&first, &more, EXITS);
	result("Floor/exit", more, EXITS);
}
