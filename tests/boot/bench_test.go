package boot

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/tests/machine"
	"kapsel/vmm/qemu"
)

// firstInstruction is a task that reads the time-stamp counter at once, has low-level debug
// print both halves, and ends.
var firstInstruction = []byte{
	0x0f, 0x31, //                         rdtsc
	0xbf, 0x08, 0x00, 0x00, 0x00, //       mov $8, %edi: low-level debug
	0xbe, 0x03, 0x00, 0x00, 0x00, //       mov $3, %esi: print two
	0x49, 0x89, 0xc2, //                   mov %rax, %r10
	0xb8, 0x02, 0x00, 0x00, 0x00, //       mov $2, %eax: Command
	0x0f, 0x05, //                         syscall
	0x31, 0xff, //                         xor %edi, %edi: terminate
	0x31, 0xf6, //                         xor %esi, %esi
	0xb8, 0x06, 0x00, 0x00, 0x00, //       mov $6, %eax: Exit
	0x0f, 0x05, //                         syscall
}

// ticks are readings of the time-stamp counter on the way from a machine's reset, where it
// is 0, to the first task's first instruction.
type ticks struct{ entered, loaded, first uint64 }

// bootTicks boots the demo's tasks behind one that reads the counter first, under QEMU with
// the options.
func bootTicks(t testing.TB, options []string) ticks {
	out := machine.Boot(t, machine.Guest{
		Image: "bare.elf",
		Modules: [][]byte{
			machine.Code(t, "first", firstInstruction),
			machine.Object(t, "hello.tbf"), machine.Object(t, "counter.tbf"), machine.Object(t, "intruder.tbf"),
		},
		Cmdline: "boot-ticks",
		Options: options,
	})
	var read ticks
	var high, low uint64
	scan(t, out.Console, "boot: entered at tick ", "%d, tasks loaded at tick %d", &read.entered, &read.loaded)
	scan(t, out.Console, "LowLevelDebug: App 0x1 prints ", "0x%x 0x%x", &high, &low)
	read.first = high<<32 + low
	return read
}

// bootInstructions returns the instructions from the kernel's first to the first task's
// first, and to the main loop.
func bootInstructions(t testing.TB) (total, loading uint64) {
	read := bootTicks(t, qemu.Deterministic)
	return read.first - read.entered, read.loaded - read.entered
}

func scan(t testing.TB, console, prefix, format string, words ...any) {
	t.Helper()
	_, rest, found := strings.Cut(console, prefix)
	require.True(t, found, "%q is not on the console:\n%s", prefix, console)
	_, err := fmt.Sscanf(rest, format, words...)
	require.NoError(t, err)
}

// TestBootInstructions: a guest with four tasks reaches its first within 100,000 instructions,
// every time the same number.
func TestBootInstructions(t *testing.T) {
	if machine.Accelerator(t) != "qemu" {
		t.Skip("instructions are counted by QEMU's emulator")
	}
	total, _ := bootInstructions(t)
	assert.LessOrEqual(t, total, uint64(100_000))
	again, _ := bootInstructions(t)
	assert.Equal(t, total, again)
	t.Logf("%d instructions from the kernel's first to the first task's first", total)
}

// BenchmarkBoot counts instructions: from the PVH door to the main loop, and to the first
// instruction of the first of four tasks.
func BenchmarkBoot(b *testing.B) {
	var total, loading uint64
	for b.Loop() {
		total, loading = bootInstructions(b)
	}
	b.ReportMetric(float64(total), "instructions/boot")
	b.ReportMetric(float64(loading), "instructions/load")
}

// BenchmarkReset counts ticks from the reset of QEMU's machines, firmware included, to the
// first task, and the kernel's part of them. A tick is an instruction, or a nanosecond of
// waiting.
func BenchmarkReset(b *testing.B) {
	if machine.Accelerator(b) != "qemu" {
		b.Skip("instructions are counted by QEMU's emulator")
	}
	for _, kind := range []string{"q35", "microvm"} {
		b.Run(kind, func(b *testing.B) {
			var read ticks
			for b.Loop() {
				// Of two options -machine, the later one counts.
				read = bootTicks(b, append([]string{"-machine", kind}, qemu.Deterministic...))
			}
			b.ReportMetric(float64(read.first), "ticks/reset")
			b.ReportMetric(float64(read.first-read.entered), "ticks/boot")
		})
	}
}
