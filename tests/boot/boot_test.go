// Package boot tests the whole: images that mkimage built, booted by QEMU through the PVH
// door or by Kapsel's monitor under KVM through the direct one.
package boot

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/tests/machine"
	"kapsel/vmm"
)

// ended asserts that the guest ended by itself with a status.
func ended(t *testing.T, out machine.Outcome, status int) {
	t.Helper()
	assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit, Status: status}, out.Exit)
}

// inOrder asserts that the texts are on the console one behind another.
func inOrder(t *testing.T, console string, texts ...string) {
	t.Helper()
	rest := console
	for _, text := range texts {
		_, after, found := strings.Cut(rest, text)
		require.True(t, found, "%q is missing on the console, or out of order", text)
		rest = after
	}
}

func TestDemo(t *testing.T) {
	out := machine.Boot(t, machine.Guest{Image: "kapsel.elf"})
	ended(t, out, abi.ExitOK)

	name := map[string]string{"kvm": "KVM", "qemu": "QEMU TCG"}[machine.Accelerator(t)]
	assert.Regexp(t, `^Kapsel `+regexp.QuoteMeta(abi.Version)+` on `+name+`, \d+ KiB of memory\n`, out.Console)
	for _, task := range []string{"hello", "counter", "intruder"} {
		assert.Regexp(t, `(?m)^ *\d+ +`+task+` +Terminated .* exit with code 0$`, out.Console)
	}

	// hello and counter in turns: each speaks between two lines of the other, most of the time.
	turns := regexp.MustCompile(`(?m)^(hello: greeting|counter:) `).FindAllString(out.Console, -1)
	assert.Len(t, turns, 20)
	changes := 0
	for i := 1; i < len(turns); i++ {
		if turns[i] != turns[i-1] {
			changes++
		}
	}
	assert.GreaterOrEqual(t, changes, 8, "lines of hello and counter are not interleaved")
}

// TestQEMUMachines: the image runs on both of QEMU's machines that a PVH loader gives: microvm has nothing that the
// kernel does not use, and q35 has a firmware that leaves its devices running.
func TestQEMUMachines(t *testing.T) {
	if machine.Accelerator(t) != "qemu" {
		t.Skip("the machines are QEMU's")
	}
	for _, kind := range []string{"microvm", "q35"} {
		t.Run(kind, func(t *testing.T) {
			out := machine.Boot(t, machine.Guest{Image: "bare.elf", Modules: [][]byte{machine.Object(t, "counter.tbf")}, Options: []string{"-machine", kind}})
			ended(t, out, abi.ExitOK)
			assert.Regexp(t, `(?m)^ *1 +counter +Terminated .* exit with code 0$`, out.Console)
		})
	}
}

// TestIntruder: each attempt is named, and stopped for the reason and at the address it should be.
func TestIntruder(t *testing.T) {
	out := machine.Boot(t, machine.Guest{Image: "bare.elf", Modules: [][]byte{machine.Object(t, "intruder.tbf")}})
	ended(t, out, abi.ExitOK)
	assert.NotContains(t, out.Console, "NOT STOPPED")

	const (
		write      = `page fault: write to a page that it may not write at `
		execute    = `page fault: execute of a page that it may not execute at 0x400`
		privileged = `general protection: .*, PC 0x4000`
	)
	for i, want := range []struct{ attempt, fault string }{
		{"write the kernel's data", write + "0xffffffff80200000,"},
		{"read the kernel's data", "page fault: read of a page that it may not read at 0xffffffff80200000,"},
		{"write all tasks' memory, through the kernel's map of it", write + "0xffff800000400000,"},
		{"write its own code", write + "0x4000"},
		{"write its own object's header", write + "0x40000000,"},
		{"write the grants that the kernel keeps in its RAM", "page fault: write where no page is at 0x400[12][0-9a-f]ff8,"},
		{"execute its data", execute},
		{"execute its stack", execute},
		{"jump to 0", "page fault: execute where no page is at 0x0, PC 0x0,"},
		{"jump to an address that is not canonical", "(general protection|jump to an address that is not canonical).*PC 0x"},
		{"run CLI", privileged},
		{"run OUT to the machine's exit port", privileged},
		{"run MOV to CR3", privileged},
		{"run WRMSR to the system call entry", privileged},
		{"run HLT", privileged},
		{"load a descriptor table", privileged},
		{"use data of a local descriptor table", privileged + "[0-9a-f]*, vector 13, code 0x4"},
		{"jump into code of a local descriptor table", privileged + "[0-9a-f]*, vector 13, code 0x4"},
		{"make a system call of an unknown class", "unknown system call class, code 0x63"},
		{"raise the kernel's double-fault vector", privileged},
	} {
		assert.Regexp(t, fmt.Sprintf(`(?m)^intruder: attempt %d: %s\ntask \d+ intruder faulted: %s.*; restarting$`,
			i+1, regexp.QuoteMeta(want.attempt), want.fault), out.Console)
	}
	assert.Contains(t, out.Console, "intruder: all 20 attempts were stopped\n")
}

// TestSpinningTask: time slices give the others their turn.
func TestSpinningTask(t *testing.T) {
	out := machine.Boot(t, machine.Guest{
		Image:   "bare.elf",
		Modules: [][]byte{machine.Object(t, "test/spinner.tbf"), machine.Object(t, "hello.tbf")},
		Until:   "hello: greeting 10 of 10\n",
	})
	assert.Equal(t, vmm.Cancelled, out.Exit.Reason)
	inOrder(t, out.Console, "spinner: spinning\n", "hello: greeting 2 of 10\n", "hello: greeting 10 of 10\n")
}

// TestRegistersOfTasksAreTheirOwn: two tasks that fill all registers with patterns of their
// own never see one change, through preemptions, sleeps and each other.
func TestRegistersOfTasksAreTheirOwn(t *testing.T) {
	mixer := machine.Object(t, "test/mixer.tbf")
	out := machine.Boot(t, machine.Guest{Image: "bare.elf", Modules: [][]byte{mixer, mixer, machine.Object(t, "hello.tbf")}})
	ended(t, out, abi.ExitOK)
	assert.Equal(t, 2, strings.Count(out.Console, "mixer: unchanged\n"))
	assert.NotRegexp(t, `mixer +Terminated +0 +\d+ +0 +0 `, out.Console, "a mixer was never preempted: the test proves nothing")
}

// TestPanicOfTask: a Go panic in a task says where, and ends the task alone.
func TestPanicOfTask(t *testing.T) {
	out := machine.Boot(t, machine.Guest{
		Image:   "bare.elf",
		Modules: [][]byte{machine.Object(t, "test/clumsy.tbf"), machine.Object(t, "hello.tbf")},
	})
	ended(t, out, 99)
	inOrder(t, out.Console, "panic: index out of range [3] with length 3\n  main.main\n      kapsel/tests/guest/clumsy/main.go:12\n",
		"hello: greeting 10 of 10\n")
	assert.NotContains(t, out.Console, "got away")
}

// TestHeapOfTaskIsUsedUp: a task without a byte left still says why it ends.
func TestHeapOfTaskIsUsedUp(t *testing.T) {
	out := machine.Boot(t, machine.Guest{Image: "bare.elf", Modules: [][]byte{machine.Object(t, "test/glutton.tbf")}})
	ended(t, out, 99)
	inOrder(t, out.Console, "panic: out of memory: ", "runtime/heap_task.go:")
}

// TestInput: bytes typed at the machine's serial line reach the task that reads.
func TestInput(t *testing.T) {
	typist := machine.NewTypist(machine.Step{On: "echo: ready\n", Keys: "hi!q"})
	out := machine.Boot(t, machine.Guest{
		Image: "bare.elf", Modules: [][]byte{machine.Object(t, "test/echo.tbf")}, Input: typist.Keys, Console: typist,
	})
	ended(t, out, abi.ExitOK)
	inOrder(t, out.Console, "echo: ready\n", "[h]\n", "[i]\n", "[!]\n", "[q]\n")
}

// TestBadModule: an object that is no task is skipped with a reason, and the next is run.
func TestBadModule(t *testing.T) {
	hello := machine.Object(t, "hello.tbf")
	spoiled := append([]byte(nil), hello...)
	spoiled[12] ^= 1 // the checksum
	out := machine.Boot(t, machine.Guest{Image: "bare.elf", Modules: [][]byte{spoiled, hello}})
	ended(t, out, abi.ExitOK)
	inOrder(t, out.Console, "skipped", "checksum", "hello: greeting 10 of 10\n")
}

// TestSmallMemory: the image runs in little memory, and in more than the first GiB.
func TestMemorySizes(t *testing.T) {
	for _, mib := range []uint64{4, 2048} {
		t.Run(fmt.Sprintf("%dMiB", mib), func(t *testing.T) {
			out := machine.Boot(t, machine.Guest{
				Image: "bare.elf", Modules: [][]byte{machine.Object(t, "hello.tbf")}, Memory: mib << 20,
			})
			ended(t, out, abi.ExitOK)
			assert.Contains(t, out.Console, "hello: greeting 10 of 10\n")
		})
	}
}

// TestReadOnlyState: a task sees its turns counted and the time go on in its own memory,
// beside another that takes turns, and makes no system call for it.
func TestReadOnlyState(t *testing.T) {
	onlooker := machine.Object(t, "test/onlooker.tbf")
	out := machine.Boot(t, machine.Guest{
		Image: "bare.elf", Modules: [][]byte{onlooker, onlooker, machine.Object(t, "hello.tbf")},
	})
	ended(t, out, abi.ExitOK)
	assert.Equal(t, 2, strings.Count(out.Console, "onlooker: saw 5 turns without a call\n"))
	// the first brk, version, Allow, then a line (Allow, Command, Yield, Allow), and Exit
	assert.Len(t, regexp.MustCompile(`onlooker +Terminated +0 +8 `).FindAllString(out.Console, -1), 2, "other calls were made")
}
