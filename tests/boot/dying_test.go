package boot

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/tests/machine"
	"kapsel/vmm"
)

// TestKernelPanic: whatever kills the kernel, it says what and where, with file and line, and
// the machine ends with the status for it. tests/guest/dying dies by command line.
func TestKernelPanic(t *testing.T) {
	const (
		source = "kapsel/tests/guest/dying/main.go:"
		stubs  = "kapsel/tests/guest/dying/die_amd64.s:"
	)
	// Where the image is, in the direct map.
	door, inImage := "pvh", "0xffff800000200000"
	if machine.Accelerator(t) == "kvm" {
		door, inImage = "direct-door", "0xffff800000008000"
	}
	for _, test := range []struct {
		way  string
		says []string // in this order
	}{
		{"panic", []string{"kernel panic: told to\n", "main.main.func", source, "main.main\n", source}},
		{"bounds", []string{"kernel panic: index out of range [9] with length 4\n", "main.main.func", source}},
		{"slice", []string{"kernel panic: slice bounds out of range [:8] with length 4\n", source}},
		{"divide", []string{"kernel panic: integer divide by zero\n", source}},
		{"nil", []string{"kernel panic: page fault: read where no page is\n", "address 0x0\n", source, "main.main\n", source, "RIP 0x"}},
		{"overflow", []string{"kernel panic: stack overflow\n", "main.deep\n", "... and ", " times more\n", "main.main\n"}},
		{"write-code", []string{"page fault: write to a page that it may not write\n", "error code 0x3", stubs, source}},
		{"write-constants", []string{"page fault: write to a page that it may not write\n", "error code 0x3", stubs, source}},
		{"execute-data", []string{"page fault: execute of a page that it may not execute\n", "error code 0x11", "not in the kernel's code\n"}},
		{"lose-stack", []string{"kernel panic: double fault\n", "vector 8,", stubs}}, // on a stack of its own
		{"touch-zero", []string{"page fault: write where no page is\n", "address 0x0\n", stubs}},
		{"touch-image-by-" + door, []string{"page fault: write where no page is\n", "address " + inImage + "\n", stubs}},
	} {
		t.Run(test.way, func(t *testing.T) {
			out := machine.Boot(t, machine.Guest{Image: "test/dying.elf", Cmdline: test.way})
			ended(t, out, abi.ExitPanic)
			inOrder(t, out.Console, append([]string{"dying: booted\n"}, test.says...)...)
		})
	}
}

// TestStatus: the status that a guest writes is the machine's.
func TestStatus(t *testing.T) {
	ended(t, machine.Boot(t, machine.Guest{Image: "test/dying.elf", Cmdline: "exit"}), len("exit")+3)
}

// TestSpinningKernel: a kernel that never ends is ended by the context, and the dump shows where
// it was.
func TestSpinningKernel(t *testing.T) {
	out := machine.Boot(t, machine.Guest{Image: "test/dying.elf", Cmdline: "spin", Timeout: 5 * time.Second})
	assert.Equal(t, vmm.Cancelled, out.Exit.Reason)
	assert.Contains(t, out.Console, "dying: booted\n")
	assert.Regexp(t, `(?i)RIP\s*=?\s*(0x)?ffffffff802`, out.Dump)
}
