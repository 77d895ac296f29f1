package boot

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/tests/machine"
	"kapsel/vmm/qemu"
)

// TestAllSlots: a task in each slot, all of which set alarms, print and end.
func TestAllSlots(t *testing.T) {
	modules := make([][]byte, kernel.MaxTasks)
	for i := range modules {
		modules[i] = machine.Object(t, "hello.tbf")
	}
	out := machine.Boot(t, machine.Guest{Image: "bare.elf", Modules: modules})
	ended(t, out, abi.ExitOK)
	for greeting := 1; greeting <= 10; greeting++ {
		line := fmt.Sprintf("hello: greeting %d of 10\n", greeting)
		assert.Equal(t, kernel.MaxTasks, strings.Count(out.Console, line), line)
	}
	for i := range modules {
		assert.Regexp(t, fmt.Sprintf(`(?m)^ *%d  hello +Terminated .* exit with code 0$`, i+1), out.Console)
	}
}

// TestProcessConsoleListsAllSlots: the list has a row for each of as many tasks as there can be.
func TestProcessConsoleListsAllSlots(t *testing.T) {
	modules := make([][]byte, kernel.MaxTasks)
	for i := range modules {
		modules[i] = machine.Code(t, fmt.Sprint("task", i), waits)
	}
	typist := machine.NewTypist(
		machine.Step{On: "kapsel$ ", Keys: "list\r"},
		machine.Step{On: "kapsel$ ", Keys: "reset\r"},
	)
	out := machine.Boot(t, machine.Guest{
		Image: "bare.elf", Modules: modules, Cmdline: "console", Input: typist.Keys, Console: typist,
	})
	ended(t, out, abi.ExitOK)
	for i := range modules {
		assert.Regexp(t, fmt.Sprintf(`(?m)^ *%d    Unique     task%d .* (Running|Yielded)$`, i+1, i), out.Console)
	}
}

// waits is a task that waits for ever.
var waits = []byte{
	0xb8, 0x00, 0x00, 0x00, 0x00, // next: MOV EAX, Yield
	0xbf, 0x01, 0x00, 0x00, 0x00, // MOV EDI, wait
	0x0f, 0x05, // SYSCALL
	0xeb, 0xf2, // JMP next
}

// TestInterruptsCostNoMoreWithMoreTasks: an alarm takes as many instructions from the interrupt to
// the task, within 2 %, however many tasks there are beside those that have alarms.
func TestInterruptsCostNoMoreWithMoreTasks(t *testing.T) {
	if machine.Accelerator(t) != "qemu" {
		t.Skip("instructions are counted by QEMU's emulator")
	}
	few := interruptToTask(t, 3)
	for _, tasks := range []int{16, kernel.MaxTasks} {
		assert.InEpsilon(t, few, interruptToTask(t, tasks), 0.02, "%d tasks", tasks)
	}
}

// interruptToTask is the median of that path of the benchmark image, which has three tasks, in
// a machine with so many.
func interruptToTask(t *testing.T, tasks int) int {
	others := make([][]byte, tasks-3)
	for i := range others {
		others[i] = machine.Code(t, fmt.Sprint("other", i), waits)
	}
	out := machine.Boot(t, machine.Guest{
		Image: "bench.elf", Modules: others, Options: qemu.Deterministic, Until: "bench AlarmLatency ",
	})
	var ticks []int
	for _, line := range regexp.MustCompile(`(?m)^bench InterruptToTask .*$`).FindAllString(out.Console, -1) {
		for _, sample := range regexp.MustCompile(` (\d+)\*(\d+)`).FindAllStringSubmatch(line, -1) {
			value, _ := strconv.Atoi(sample[1])
			count, _ := strconv.Atoi(sample[2])
			ticks = append(ticks, slices.Repeat([]int{value}, count)...)
		}
	}
	require.NotEmpty(t, ticks, "the path was not measured")
	slices.Sort(ticks)
	t.Logf("with %d tasks: %d instructions", tasks, ticks[len(ticks)/2])
	return ticks[len(ticks)/2]
}

// TestAllSlotsFault: of a fault in each slot, one behind another, each is told of.
func TestAllSlotsFault(t *testing.T) {
	modules := make([][]byte, kernel.MaxTasks)
	for i := range modules {
		modules[i] = machine.Code(t, fmt.Sprint("faulting", i), []byte{0xf4}) // HLT
	}
	out := machine.Boot(t, machine.Guest{Image: "bare.elf", Modules: modules, Cmdline: "fault=stop"})
	ended(t, out, abi.ExitTaskFault)
	assert.NotContains(t, out.Console, "were lost here")
	for i := range modules {
		assert.Contains(t, out.Console, fmt.Sprintf("\ntask %d faulting%d faulted: ", i+1, i))
	}
}
