package boot

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/tbf/tbfbuild"
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

// TestLittleMemory: two tasks run to their ends in little memory: with all drivers, and with few.
func TestLittleMemory(t *testing.T) {
	directDoor(t)
	hello, counter := machine.Object(t, "hello.tbf"), machine.Object(t, "counter.tbf")
	for name, g := range map[string]machine.Guest{
		"kvm":     {Image: "two.elf", Memory: 1280 << 10},
		"minimal": {Image: "test/minimal/minimal.elf", Modules: [][]byte{hello, counter}, Memory: 640 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			out := machine.Boot(t, g)
			ended(t, out, abi.ExitOK)
			assert.Contains(t, out.Console, fmt.Sprintf(", %d KiB of memory\n", g.Memory>>10))
			for _, task := range []string{"hello", "counter"} {
				assert.Regexp(t, `(?m)^ *\d+ +`+task+` +Terminated +0 .* exit with code 0$`, out.Console)
			}
		})
	}
}

// TestTooLittleMemory: from the least memory that the image itself fits into, page by page until
// the kernel boots, it says what is missing; and then which tasks have no room.
func TestTooLittleMemory(t *testing.T) {
	directDoor(t)
	img, err := image.Open(t.Context(), machine.File(t, "two.elf"))
	require.NoError(t, err)
	memory := uint64(abi.PageSize)
	for img.Fits(image.Direct, memory, image.Params{}) != nil {
		memory += abi.PageSize
	}
	const refused = "kapsel: cannot boot: "
	missing := "the boot information has no usable RAM behind the kernel\n"
	out := machine.Boot(t, machine.Guest{Image: "two.elf", Memory: memory})
	for out.Exit.Status == abi.ExitBadBoot && memory < 2<<20 {
		ended(t, out, abi.ExitBadBoot)
		require.Equal(t, refused+missing, out.Console, "%d KiB", memory>>10)
		missing = "not enough memory for the kernel's page tables\n"
		memory += abi.PageSize
		out = machine.Boot(t, machine.Guest{Image: "two.elf", Memory: memory})
	}
	ended(t, out, abi.ExitNoTask)
	assert.Equal(t, 2, strings.Count(out.Console, "skipped: not enough RAM left for what it asks for\n"))
}

// TestGiBOfTask: a task has 1 GiB of memory, but for where loans lie, and uses all of it. While the
// kernel clears it for the task, alarms are served and others run.
func TestGiBOfTask(t *testing.T) {
	const memory = 1280 << 20
	needMemory(t, memory)
	out := machine.Boot(t, machine.Guest{
		Image: "bare.elf", Modules: [][]byte{machine.Object(t, "hello.tbf"), machine.Object(t, "test/hoarder.tbf")},
		Memory: memory, Watchdog: 10 * watchdog,
	})
	ended(t, out, abi.ExitOK)
	inOrder(t, out.Console, "hoarder: wants 1014 MiB\n", "hello: greeting ", "hoarder: has it\n", "hoarder: used all of it\n")
	assert.Contains(t, out.Console, "hello: greeting 10 of 10\n")
}

// needMemory skips the test where the host has not twice as much memory to give.
func needMemory(t *testing.T, bytes uint64) {
	t.Helper()
	info, err := os.ReadFile("/proc/meminfo")
	require.NoError(t, err)
	available := regexp.MustCompile(`MemAvailable: +(\d+) kB`).FindSubmatch(info)
	require.NotNil(t, available)
	if kib, err := strconv.ParseUint(string(available[1]), 10, 64); err != nil || kib < 2*bytes>>10 {
		t.Skipf("needs %d MiB of memory, %d MiB are there", 2*bytes>>20, kib>>10)
	}
}

// TestMemoryAbove4GiB: tasks get the memory above 4 GiB as well, by either door: five of them have
// more together than lies below. They move their breaks and find zeros, which they overwrite.
func TestMemoryAbove4GiB(t *testing.T) {
	const memory, each, tasks = 8 << 30, 1300 << 20, 5
	var modules [][]byte
	for i := range tasks {
		modules = append(modules, greedy(t, fmt.Sprintf("greedy-%d", i), each))
	}
	out := machine.Boot(t, machine.Guest{Image: "bare.elf", Modules: modules, Memory: memory})
	ended(t, out, abi.ExitOK)
	said := regexp.MustCompile(`, (\d+) KiB of memory\n`).FindStringSubmatch(out.Console)
	require.NotNil(t, said)
	kib, _ := strconv.Atoi(said[1])
	assert.InDelta(t, memory>>10, kib, 1024, "KiB of memory, but for what the firmware keeps")
	for i := range tasks {
		terminated(t, out.Console, fmt.Sprintf("greedy-%d", i))
	}
}

// greedy is a task that asks for so much RAM and uses a little of it.
func greedy(t *testing.T, name string, ram uint32) []byte {
	object, err := tbfbuild.Build(tbfbuild.Spec{Name: name, MinimumRAM: ram, ABI64: true, Binary: []byte{
		0x48, 0x8b, 0xd9, //                                mov %rcx, %rbx: the initial break
		0x31, 0xff, //                                      xor %edi, %edi: brk
		0x48, 0x8d, 0xb3, 0, 0, 3, 0, //                    lea 0x30000(%rbx), %rsi: three pieces
		0xb8, 5, 0, 0, 0, 0x0f, 0x05, //                    mov $5, %eax: Memop; syscall
		0x81, 0xff, 0x80, 0, 0, 0, 0x75, 0x1e, //           cmp $Success, %edi; jne bad
		0x48, 0x89, 0xdf, 0xb9, 0, 0x60, 0, 0, //           mov %rbx, %rdi; mov $0x6000, %ecx
		0x31, 0xc0, 0xfc, 0xf3, 0x48, 0xaf, 0x75, 0x10, //  xor %eax, %eax; cld; repe scasq; jne bad
		0x48, 0x89, 0xdf, 0xb9, 0, 0x60, 0, 0, 0xff, 0xc8, 0xf3, 0x48, 0xab, // decl %eax; rep stosq
		0x31, 0xf6, 0xeb, 5, //                             xor %esi, %esi; jmp exit
		0xbe, 1, 0, 0, 0, //                                bad: mov $1, %esi
		0x31, 0xff, 0xb8, 6, 0, 0, 0, 0x0f, 0x05, //        exit: Exit-terminate
	}})
	require.NoError(t, err)
	return object
}
