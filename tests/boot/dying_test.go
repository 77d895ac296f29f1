package boot

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
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

// TestKernelPanicInASystemCall: the trace goes through the entry code to the main loop, whatever the task
// has in BP.
func TestKernelPanicInASystemCall(t *testing.T) {
	unknown := []byte{
		0xbd, 0x01, 0x02, 0x03, 0x04, // MOV EBP, 0x04030201
		0xb8, 0x63, 0x00, 0x00, 0x00, // MOV EAX, 99: no class
	}
	below := []string{
		"  kapsel/guest/arch/amd64.(*CPU).Switch\n      kapsel/guest/arch/amd64/cpu.go:", "  kapsel/guest/kernel.(*Kernel).turns\n",
		"  kapsel/guest/kernel.(*Kernel).RunTelling\n", "  main.main\n      kapsel/guest/board/kvm/main.go:",
	}
	for _, c := range []struct {
		bits  int
		call  []byte
		entry []string
	}{
		{64, []byte{0x0f, 0x05}, []string{"  kapsel/guest/arch/amd64.syscallEntry\n      kapsel/guest/arch/amd64/trap_amd64.s:"}},
		{32, []byte{0xcd, abi.Vector32}, []string{
			"  kapsel/guest/arch/amd64.systemCall32\n      kapsel/guest/arch/amd64/task32.go:",
			"  kapsel/guest/arch/amd64.int40\n      kapsel/guest/arch/amd64/trap_amd64.s:",
		}},
	} {
		t.Run(fmt.Sprint(c.bits, " bits"), func(t *testing.T) {
			task := machine.CodeAt(t, "odd", c.bits, func(uint32) []byte { return slices.Concat(unknown, c.call) })
			out := machine.Boot(t, machine.Guest{Image: "bare.elf", Modules: [][]byte{task}, Cmdline: "fault=panic"})
			ended(t, out, abi.ExitPanic)
			above := []string{"kernel panic: kernel: a task faulted", "  kapsel/guest/kernel.SystemCall\n      kapsel/guest/kernel/syscall.go:"}
			inOrder(t, out.Console, slices.Concat(above, c.entry, below)...)
			assert.NotContains(t, out.Console, "not in the kernel's code")
		})
	}
}

// TestSystemRegisters: behind Boot they hold the same by either door, whatever the firmware left.
func TestSystemRegisters(t *testing.T) {
	out := machine.Boot(t, machine.Guest{Image: "test/dying.elf", Cmdline: "registers"})
	for _, want := range []string{
		"LDTR: 0x0", "TR: 0x30", "GDT limit: 0x3f", "IDT limit: 0x40f",
		"CR0: 0x80010033",         // PE, MP, ET, NE, WP, PG
		"CR4: 0x[0-3][02]0[6e]e0", // PAE, MCE, PGE, OSFXSR, OSXMMEXCPT; UMIP, PCIDE, SMEP, SMAP where CPUID has them
		"DR7: 0x400",              // no breakpoint
		"EFER: 0xd01",             // SCE, LME, LMA, NXE
		"STAR: 0x1b000800000000", "FMASK: 0x47700", "SYSENTER_CS: 0x0",
	} {
		assert.Regexp(t, "(?m)^"+want+"$", out.Console)
	}
}

// TestMachineCheck: a machine check ends the machine with a panic, wherever it finds the processor.
// QEMU's monitor raises one.
func TestMachineCheck(t *testing.T) {
	if machine.Accelerator(t) != "qemu" {
		t.Skip("needs QEMU's monitor")
	}
	for _, test := range []struct{ name, at, task, ready string }{
		{"in a task", "CPL=3", "test/spinner.tbf", "spinner: spinning\n"},
		{"asleep", "HLT=1", "test/echo.tbf", "echo: ready\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "qmp")
			typist := machine.NewTypist(machine.Step{On: test.ready})
			raised := make(chan bool, 1)
			go func() {
				io.Copy(io.Discard, typist.Keys) // ends when the task is ready
				raised <- raiseMachineCheck(socket, test.at)
			}()
			out := machine.Boot(t, machine.Guest{
				Image: "bare.elf", Modules: [][]byte{machine.Object(t, test.task)}, Console: typist,
				Options: []string{"-qmp", "unix:" + socket + ",server=on,wait=off"},
			})
			ended(t, out, abi.ExitPanic)
			assert.True(t, <-raised)
			inOrder(t, out.Console, test.ready, "kapsel: kernel panic: machine check\n  vector 18,", "RIP 0x")
		})
	}
}

// raiseMachineCheck makes QEMU raise an uncorrected error of bank 0 (SDM vol. 3, 15.3.2.2) as
// soon as at is among the registers.
func raiseMachineCheck(socket, at string) bool {
	q := dialQMP(socket)
	if q == nil {
		return false
	}
	defer q.Close()
	for {
		q.do(`{"execute": "stop"}`)
		registers, ok := q.human("info registers")
		if !ok {
			return false
		}
		if strings.Contains(registers, at) {
			q.human("mce 0 0 0xb000000000000000 5 0 0") // valid, uncorrected, enabled; in progress
			q.do(`{"execute": "cont"}`)
			return true
		}
		q.do(`{"execute": "cont"}`)
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
