package boot

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/tests/machine"
	"kapsel/vmm/image"
)

// directDoor skips the test where the image is not entered by the direct door.
func directDoor(t *testing.T) {
	t.Helper()
	if machine.Accelerator(t) != "kvm" {
		t.Skip("the monitor chooses where the image is loaded by the direct door alone; QEMU loads it at 2 MiB")
	}
}

// TestOneMiB: two tasks run to their ends in 1 MiB of memory.
func TestOneMiB(t *testing.T) {
	directDoor(t)
	out := machine.Boot(t, machine.Guest{Image: "two.elf", Memory: 1 << 20})
	ended(t, out, abi.ExitOK)
	assert.Contains(t, out.Console, ", 1024 KiB of memory\n")
	for _, task := range []string{"hello", "counter"} {
		assert.Regexp(t, `(?m)^ *\d+ +`+task+` +Terminated +0 .* exit with code 0$`, out.Console)
	}
}

// TestTooLittleMemory: from the least memory that the image itself fits into, page by page until
// the kernel boots, it says what is missing; and then which tasks have no room.
func TestTooLittleMemory(t *testing.T) {
	directDoor(t)
	img, err := image.Open(machine.File(t, "two.elf"))
	require.NoError(t, err)
	memory := uint64(abi.PageSize)
	for img.Fits(image.Direct, memory, image.Params{}) != nil {
		memory += abi.PageSize
	}
	const refused = "kapsel: cannot boot: "
	missing := "the boot information has no usable RAM behind the kernel\n"
	out := machine.Boot(t, machine.Guest{Image: "two.elf", Memory: memory})
	for out.Exit.Status == abi.ExitBadBoot && memory < 1<<20 {
		ended(t, out, abi.ExitBadBoot)
		require.Equal(t, refused+missing, out.Console, "%d KiB", memory>>10)
		missing = "not enough memory for the kernel's page tables\n"
		memory += abi.PageSize
		out = machine.Boot(t, machine.Guest{Image: "two.elf", Memory: memory})
	}
	ended(t, out, abi.ExitNoTask)
	assert.Equal(t, 2, strings.Count(out.Console, "skipped: not enough RAM left for what it asks for\n"))
}
