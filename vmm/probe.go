package vmm

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"time"

	"kapsel/vmm/image"
	"kapsel/vmm/kvm"
)

// probeTimeout is far more than the probe's few instructions take anywhere.
const probeTimeout = 10 * time.Second

// Marks that the probe's guest writes to its console as it gets along.
const (
	markSSE     = "S"
	markSyscall = "U"
)

// modules is where Linux says which of its modules are loaded (Linux, Documentation/ABI/stable/sysfs-module).
const modules = "/sys/module"

// Usable says in words why this host cannot run the kernel, or nil if it can. The KVM of VT-x or SVM is taken at its word: a machine that shows it takes longer than all else of a
// start. Any other KVM, and one of which Linux does not say what it is, has to pass Probe.
func Usable(ctx context.Context) error {
	if !hardware(os.DirFS(modules)) {
		return Probe(ctx)
	}
	host, err := kvm.Open(DefaultKVM)
	if err != nil {
		return err
	}
	defer host.Close()
	return checkCapabilities(host)
}

// hardware reports whether KVM is that of VT-x or SVM. These modules are alive only where the processor has what they need, and Linux takes no second one beside the first
// (kvm_x86_vendor_init in linux/arch/x86/kvm/x86.c). One that is built in has no initstate.
func hardware(modules fs.FS) bool {
	for _, name := range []string{"kvm_intel", "kvm_amd"} {
		if state, err := fs.ReadFile(modules, name+"/initstate"); err == nil && string(state) == "live\n" {
			return true
		}
	}
	return false
}

// Probe runs a few instructions in a machine of its own, SSE and a system call from ring 3
// among them, and says in words why this host cannot run the kernel, or nil if it can. Some
// hosts offer a KVM in software that passes every check of flags and executes neither.
func Probe(ctx context.Context) error {
	img, err := image.Parse(image.Flat(probeCode, 0))
	if err != nil {
		return fmt.Errorf("the probe's image: %w", err)
	}
	var marks bytes.Buffer
	m, err := New(ctx, Config{Image: img, Memory: 4 << 20, Console: &marks, ConsoleInStep: true})
	if err != nil {
		return err
	}
	defer m.Close()
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	exit, err := m.Run(ctx)
	return probeResult(exit, err, marks.String())
}

// probeResult says what the probe's end and its marks mean.
func probeResult(exit Exit, err error, marks string) error {
	if marks == markSSE+markSyscall && exit == (Exit{Reason: GuestExit}) {
		return nil
	}
	cause := exit.String()
	if err != nil {
		cause = err.Error()
	}
	what := "run a system call from ring 3 to ring 0"
	if marks == "" {
		what = "execute SSE instructions in ring 0, as compiled Go needs them"
	}
	return fmt.Errorf("this host's KVM cannot %s (%s): it is no full hardware virtualization", what, cause)
}

// probeCode does some arithmetic in SSE registers and writes markSSE; opens its page to
// ring 3, goes there by SYSRET and comes back by SYSCALL, writes markSyscall, and exits with 0, or with
// 1 where a result is wrong. An exception ends it by a triple fault: it has no IDT.
var probeCode = []byte{
	0xb8, 7, 0, 0, 0, //                    mov $7, %eax
	0xf2, 0x48, 0x0f, 0x2a, 0xc0, //        cvtsi2sd %rax, %xmm0
	0x0f, 0x57, 0xc9, //                    xorps %xmm1, %xmm1
	0xf2, 0x0f, 0x58, 0xc8, //              addsd %xmm0, %xmm1
	0xf2, 0x48, 0x0f, 0x2c, 0xc1, //        cvttsd2si %xmm1, %rax
	0x83, 0xf8, 7, //                       cmp $7, %eax
	0x0f, 0x85, 0xa2, 0, 0, 0, //           jne wrong
	0xba, 0xf8, 3, 0, 0, //                 mov $COM1, %edx
	0xb0, 'S', 0xee, //                     mov $'S', %al; out %al, %dx
	// Set the user bit in the four page-table entries that map this page, at their physical
	// addresses: PML4[511], PDPT[510], PD[1], PT[0].
	0x0f, 0x20, 0xd8, //                    mov %cr3, %rax
	0x80, 0x88, 0xf8, 0x0f, 0, 0, 4, //     orb $4, 511*8(%rax)
	0x48, 0x8b, 0x80, 0xf8, 0x0f, 0, 0, //  mov 511*8(%rax), %rax
	0x25, 0, 0xf0, 0xff, 0xff, //           and $0xfffff000, %eax
	0x80, 0x88, 0xf0, 0x0f, 0, 0, 4, //     orb $4, 510*8(%rax)
	0x48, 0x8b, 0x80, 0xf0, 0x0f, 0, 0, //  mov 510*8(%rax), %rax
	0x25, 0, 0xf0, 0xff, 0xff, //           and $0xfffff000, %eax
	0x80, 0x48, 8, 4, //                    orb $4, 1*8(%rax)
	0x48, 0x8b, 0x40, 8, //                 mov 1*8(%rax), %rax
	0x25, 0, 0xf0, 0xff, 0xff, //           and $0xfffff000, %eax
	0x80, 0x08, 4, //                       orb $4, (%rax)
	0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8, //  mov %cr3, %rax; mov %rax, %cr3
	// STAR: SYSCALL loads cs 8, SYSRET cs 0x23. LSTAR: kernel. FMASK: nothing.
	0x31, 0xc0, //                          xor %eax, %eax
	0xba, 8, 0, 0x10, 0, //                 mov $0x00100008, %edx
	0xb9, 0x81, 0, 0, 0xc0, 0x0f, 0x30, //  mov $STAR, %ecx; wrmsr
	0x48, 0x8d, 0x05, 0x2b, 0, 0, 0, //     lea kernel(%rip), %rax
	0xba, 0xff, 0xff, 0xff, 0xff, //        mov $-1, %edx
	0xb9, 0x82, 0, 0, 0xc0, 0x0f, 0x30, //  mov $LSTAR, %ecx; wrmsr
	0x31, 0xc0, 0x31, 0xd2, //              xor %eax, %eax; xor %edx, %edx
	0xb9, 0x84, 0, 0, 0xc0, 0x0f, 0x30, //  mov $FMASK, %ecx; wrmsr
	0x48, 0x8d, 0x0d, 9, 0, 0, 0, //        lea user(%rip), %rcx
	0x41, 0xbb, 2, 0, 0, 0, //              mov $2, %r11d
	0x48, 0x0f, 0x07, //                    sysretq
	// user:
	0x8c, 0xcb, //                          mov %cs, %ebx
	0x0f, 0x05, //                          syscall
	// kernel:
	0x8c, 0xc8, //                          mov %cs, %eax
	0x83, 0xe0, 3, //                       and $3, %eax
	0x75, 0x14, //                          jne wrong
	0x83, 0xe3, 3, //                       and $3, %ebx
	0x83, 0xfb, 3, //                       cmp $3, %ebx
	0x75, 0x0c, //                          jne wrong
	0xba, 0xf8, 3, 0, 0, //                 mov $COM1, %edx
	0xb0, 'U', 0xee, //                     mov $'U', %al; out %al, %dx
	0x31, 0xc0, 0xe7, 0xf4, //              xor %eax, %eax; out %eax, $DEBUGEXIT
	// wrong:
	0xb8, 1, 0, 0, 0, 0xe7, 0xf4, //        mov $1, %eax; out %eax, $DEBUGEXIT
}
