package boot

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/tests/machine"
)

// TestThousandTasks: each of a thousand task objects has its line, although the kernel's queue
// of messages holds the lines of a fifth of them.
func TestThousandTasks(t *testing.T) {
	objects := 1000
	if machine.InRig() {
		objects = 200 // the console takes long
	}
	modules := make([][]byte, objects)
	for i := range modules {
		modules[i] = machine.Code(t, fmt.Sprintf("task%d", i), exits)
	}
	out := machine.Boot(t, machine.Guest{Image: "bare.elf", Modules: modules})
	ended(t, out, abi.ExitOK)
	assert.NotContains(t, out.Console, "were lost here")
	for i := range kernel.MaxTasks {
		assert.Contains(t, out.Console, fmt.Sprintf("\ntask %d task%d: flash ", i+1, i))
	}
	for i := kernel.MaxTasks; i < objects; i++ {
		line := fmt.Sprintf("\ntask object at offset %#x skipped: all task slots are in use\n", i*abi.PageSize)
		assert.Equal(t, 1, strings.Count(out.Console, line), line)
	}
}

// floods prints by low-level debug a hundred thousand times, and exits.
var floods = append([]byte{
	0xbb, 0xa0, 0x86, 0x01, 0x00, // MOV EBX, 100000
	0xb8, 0x02, 0x00, 0x00, 0x00, // next: MOV EAX, Command
	0xbf, 0x08, 0x00, 0x00, 0x00, // MOV EDI, low-level debug
	0xbe, 0x02, 0x00, 0x00, 0x00, // MOV ESI, print a number
	0x89, 0xda, // MOV EDX, EBX
	0x0f, 0x05, // SYSCALL
	0xff, 0xcb, // DEC EBX
	0x75, 0xe9, // JNZ next
}, exits...)

// TestFloodOfDebugText: a task that prints without a pause hides no message of the kernel's
// about another, and what it loses is reported while it goes on.
func TestFloodOfDebugText(t *testing.T) {
	const restarts = 32
	out := machine.Boot(t, machine.Guest{
		Image: "bare.elf", Cmdline: "no-dump",
		Modules: [][]byte{machine.Code(t, "flooding", floods), machine.Code(t, "faulting", []byte{0xf4})}, // HLT
	})
	ended(t, out, abi.ExitTaskFault)
	faults := regexp.MustCompile(`(?m)^task \d+ faulting faulted: .*; (restarting|stopped)$`).FindAllString(out.Console, -1)
	assert.Len(t, faults, restarts+1)
	assert.NotContains(t, out.Console, "of the kernel's messages were lost here")
	reports := regexp.MustCompile(`(?m)^\[\d+ bytes of tasks' debug text were lost here\]$`).FindAllString(out.Console, -1)
	least := 1
	if machine.Accelerator(t) == "qemu" { // elsewhere the line may be too slow for more in that time
		least = 3
	}
	assert.GreaterOrEqual(t, len(reports), least)
}
