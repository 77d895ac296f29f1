package onepage

import (
	"context"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/vmm"
)

func TestExitStatus(t *testing.T) {
	for _, tt := range []struct {
		written uint32
		status  int
	}{
		{0, 0}, {1, 1}, {abi.ExitPanic, abi.ExitPanic}, {127, 127}, {128, 127}, {0xffff_ffff, 127},
	} {
		r := run(t, exit(tt.written), vmm.Config{})
		assert.Equal(t, guestExit(tt.status), r.Exit, "%d written", tt.written)
	}
}

func TestExitPortWantsAWord(t *testing.T) {
	code := join(
		movEDX(abi.PortDebugExit), movEAX(9), outDXAL, outDXAX, // ignored
		inEAXDX, // all ones
		cmpEAX(0xffff_ffff), jne(7),
		exit(3),
		exit(1))
	assert.Equal(t, guestExit(3), run(t, code, vmm.Config{}).Exit)
}

// Without an IDT every exception is a triple fault.
func TestTripleFault(t *testing.T) {
	for _, tt := range []struct {
		name string
		code []byte
	}{
		{"undefined instruction", ud2},
		{"page fault", join([]byte{0xbb, 0, 0, 0, 0x40}, loadEAX)},               // mov $1 GiB, %ebx; mov (%rbx), %eax
		{"divide error", []byte{0x31, 0xc9, 0xf7, 0xf1}},                         // xor %ecx, %ecx; div %ecx
		{"general protection", []byte{0xb8, 8, 0, 0, 0, 0x0f, 0x00, 0xd8}},       // mov $8, %eax; ltr %ax
		{"jump to an unmapped address", []byte{0xb8, 0, 0, 0, 0x40, 0xff, 0xe0}}, // mov $1 GiB, %eax; jmp *%rax
		{"stack at the top of nothing", []byte{0x31, 0xe4, 0x50}},                // xor %esp, %esp; push %rax
		{"run off the end of memory", []byte{0xe9, 0xfb, 0xff, 0x1f, 0}},         // jmp +2 MiB - 5
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := run(t, tt.code, vmm.Config{})
			assert.Equal(t, vmm.Exit{Reason: vmm.Shutdown}, r.Exit)
			assert.Empty(t, r.console)
		})
	}
}

func TestUnknownPorts(t *testing.T) {
	code := join(
		movEDX(0x80), movEAX(0x12), outDXAL, outDXAL, // ignored, twice
		inALDX, // all ones, the rest of %eax unchanged
		cmpEAX(0xff), jne(27),
		movEDX(0xffff), movEAX(0), inEAXDX, // the last port, beyond its end
		cmpEAX(0xffff_ffff), jne(7),
		exit(4),
		exit(1))
	r := run(t, code, vmm.Config{})
	assert.Equal(t, guestExit(4), r.Exit)
	assert.EqualValues(t, 4, r.stats.UnknownPorts)
	assert.EqualValues(t, 5, r.stats.IO)
	assert.Equal(t, []string{
		"no device at I/O port 0x80: it reads all ones",
		"no device at I/O port 0xffff: it reads all ones",
	}, r.log, "once for each port")
}

func TestUnknownMMIO(t *testing.T) {
	code := join(
		mapMMIO(0xd000_0000),
		movEAX(1), storeEAX, // ignored
		loadEAX, cmpEAX(0xffff_ffff), jne(27),
		movEAX(0), loadAL, cmpEAX(0xff), jne(13),
		loadRAX, []byte{0x48, 0xff, 0xc0}, // all ones: inc %rax makes 0
		exitEAX,
		exit(1))
	r := run(t, code, vmm.Config{})
	assert.Equal(t, guestExit(0), r.Exit)
	assert.EqualValues(t, 4, r.stats.UnknownMMIO)
	assert.EqualValues(t, 4, r.stats.MMIO)
	assert.Equal(t, []string{"no memory and no device at physical 0xd0000000: the page reads all ones"}, r.log)
}

// A guest that touches everything must not fill the log.
func TestLogIsBounded(t *testing.T) {
	code := join(
		movEDX(0x1000),
		outDXAL, []byte{0xff, 0xc2}, // 1: out %al, (%dx); inc %edx
		[]byte{0x81, 0xfa, 0x64, 0x10, 0, 0, 0x75, 0xf5}, // cmp $0x1064, %edx; jne 1b
		exit(0))
	r := run(t, code, vmm.Config{})
	assert.Equal(t, guestExit(0), r.Exit)
	assert.EqualValues(t, 100, r.stats.UnknownPorts)
	assert.Len(t, r.log, 32)
}

func TestIOAPICIsThere(t *testing.T) {
	code := join(
		mapMMIO(abi.IOAPICBase),
		movEAX(1), storeEAX, // select the version
		[]byte{0x8b, 0x43, 0x10}, // mov 0x10(%rbx), %eax
		cmpEAX(0x0017_0020), jne(7),
		exit(0),
		exit(1))
	r := run(t, code, vmm.Config{})
	assert.Equal(t, guestExit(0), r.Exit)
	assert.Zero(t, r.stats.UnknownMMIO)
}

func TestStringToConsole(t *testing.T) {
	text := strings.Repeat("In order, every byte of it. ", 20)
	code := join(
		[]byte{0x48, 0x8d, 0x35, 19, 0, 0, 0}, // lea text(%rip), %rsi
		outString(len(text)),
		exit(0),
		[]byte(text))
	r := run(t, code, vmm.Config{ConsoleInStep: true})
	assert.Equal(t, guestExit(0), r.Exit)
	assert.Equal(t, text, r.console)
	// How many iterations KVM hands over at once is its own affair.
	assert.EqualValues(t, r.writes+1, r.stats.IO, "an exit is a Write")
	t.Logf("%d bytes in %d exits", len(text), r.writes)
}

func TestBootInfo(t *testing.T) {
	const size = 12 * 8
	cmdline := strings.Repeat("word=value ", 100)
	module := []byte("a module's bytes")
	code := bootInfoGuest(size, len(cmdline), len(module))
	r := run(t, code, vmm.Config{Memory: 8 << 20, Cmdline: cmdline, Modules: [][]byte{module, {1}}})
	require.Equal(t, guestExit(0), r.Exit)
	require.Len(t, r.console, size+len(cmdline)+len(module))

	var info abi.BootInfo
	_, err := binary.Decode([]byte(r.console), binary.LittleEndian, &info)
	require.NoError(t, err)
	assert.EqualValues(t, abi.BootMagic, info.Magic)
	assert.EqualValues(t, size, info.Size)
	assert.EqualValues(t, 8<<20, info.RAMLow)
	assert.Zero(t, info.RAMHigh)
	assert.EqualValues(t, 2*abi.PageSize, info.ModulesSize)
	assert.Equal(t, info.Modules+info.ModulesSize, info.Free)
	assert.Equal(t, info.Image+abi.PageSize, info.Modules, "the image is one page")
	assert.EqualValues(t, len(cmdline), info.CmdlineSize)
	assert.EqualValues(t, 1_000_000_000, info.LAPICHz)
	assert.Greater(t, info.TSCHz, uint64(100_000_000))
	assert.Equal(t, cmdline, r.console[size:size+len(cmdline)])
	assert.Equal(t, string(module), r.console[size+len(cmdline):])
}

// bootInfoGuest prints the boot information, the command line and the start of the modules.
func bootInfoGuest(infoSize, cmdlineSize, moduleSize int) []byte {
	return join(
		rsiRDI, outString(infoSize),
		[]byte{0x48, 0x8b, 0x77, 0x38}, outString(cmdlineSize), // mov Cmdline(%rdi), %rsi
		[]byte{0x48, 0x8b, 0x77, 0x28}, outString(moduleSize), // mov Modules(%rdi), %rsi
		exit(0))
}

// The control registers are as the boot contract says.
func TestEntryState(t *testing.T) {
	print := func(loadRAX ...byte) []byte { // the register, 8 bytes little-endian
		return join(loadRAX, []byte{0x48, 0xa3}, // movabs %rax, ...
			binary.LittleEndian.AppendUint64(nil, entry+0x800),
			[]byte{0x48, 0xc7, 0xc6, 0, 0x08, 0x20, 0x80}, // mov $entry+0x800, %rsi
			outString(8))
	}
	code := join(
		print(0x0f, 0x20, 0xc0),                                                        // mov %cr0, %rax
		print(0x0f, 0x20, 0xe0),                                                        // mov %cr4, %rax
		movECX(0xc000_0080), print(0x0f, 0x32, 0x48, 0xc1, 0xe2, 32, 0x48, 0x09, 0xd0), // rdmsr EFER; shl $32, %rdx; or %rdx, %rax
		print(0x48, 0x31, 0xc0, 0x8c, 0xc8), // xor %rax, %rax; mov %cs, %eax
		exit(0))
	r := run(t, code, vmm.Config{})
	require.Equal(t, guestExit(0), r.Exit)
	require.Len(t, r.console, 32)
	register := func(i int) uint64 { return binary.LittleEndian.Uint64([]byte(r.console[8*i:])) }
	assert.EqualValues(t, 0x8001_0033, register(0), "CR0 = PE|MP|ET|NE|WP|PG")
	assert.EqualValues(t, 0x620, register(1), "CR4 = PAE|OSFXSR|OSXMMEXCPT")
	assert.EqualValues(t, 0xd01, register(2), "EFER = SCE|LME|LMA|NXE")
	assert.Zero(t, register(3)&3, "ring 0")
}

// The guest sees the hypervisor bit, itself as processor 0, and the timer that KVM has.
func TestCPUID(t *testing.T) {
	code := join(
		movEAX(1), []byte{0x0f, 0xa2}, // cpuid
		[]byte{0x89, 0x1c, 0x25, 0, 0x08, 0x20, 0x80}, // mov %ebx, entry+0x800
		[]byte{0x89, 0x0c, 0x25, 4, 0x08, 0x20, 0x80}, // mov %ecx, entry+0x804
		[]byte{0x48, 0xc7, 0xc6, 0, 0x08, 0x20, 0x80}, // mov $entry+0x800, %rsi
		outString(8),
		exit(0))
	r := run(t, code, vmm.Config{})
	require.Equal(t, guestExit(0), r.Exit)
	require.Len(t, r.console, 8)
	ebx := binary.LittleEndian.Uint32([]byte(r.console))
	ecx := binary.LittleEndian.Uint32([]byte(r.console[4:]))
	assert.Zero(t, ebx>>24, "APIC id")
	assert.EqualValues(t, 1, ebx>>16&0xff, "processors")
	assert.NotZero(t, ecx&(1<<31), "hypervisor")
	assert.Zero(t, ecx&(1<<5), "VMX")
	assert.Equal(t, capability(t, "KVM_CAP_TSC_DEADLINE_TIMER"), ecx&(1<<24) != 0, "TSC-deadline timer")
}

// A model-specific register that the kernel does not use is a general-protection exception, which ends a guest without an IDT.
func TestForeignMSRsAreRefused(t *testing.T) {
	needKVM(t)
	if !capability(t, "KVM_CAP_X86_MSR_FILTER") {
		t.Skip("this host's KVM refuses a guest no model-specific register")
	}
	read, write := []byte{0x0f, 0x32}, []byte{0x0f, 0x30}
	zero := []byte{0x31, 0xc0, 0x31, 0xd2} // xor %eax, %eax; xor %edx, %edx
	for _, tt := range []struct {
		name   string
		index  uint32
		access []byte
		want   vmm.Exit
	}{
		{"read EFER", 0xc000_0080, read, guestExit(0)},
		{"write FS.base", 0xc000_0100, join(zero, write), guestExit(0)},
		{"write CSTAR", 0xc000_0083, join(zero, write), guestExit(0)},
		{"read IA32_MISC_ENABLE", 0x1a0, read, vmm.Exit{Reason: vmm.Shutdown}},
		{"write IA32_TIME_STAMP_COUNTER", 0x10, join(zero, write), vmm.Exit{Reason: vmm.Shutdown}},
		{"write IA32_PAT", 0x277, join(zero, write), vmm.Exit{Reason: vmm.Shutdown}},
		{"write IA32_DEBUGCTL", 0x1d9, join(zero, write), vmm.Exit{Reason: vmm.Shutdown}},
		{"write TSC_AUX", 0xc000_0103, join(zero, write), vmm.Exit{Reason: vmm.Shutdown}},
		{"read IA32_PRED_CMD", 0x49, read, vmm.Exit{Reason: vmm.Shutdown}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, run(t, join(movECX(tt.index), tt.access, exit(0)), vmm.Config{}).Exit)
		})
	}
}

func capability(t *testing.T, name string) bool {
	t.Helper()
	list, err := vmm.Capabilities()
	require.NoError(t, err)
	for _, c := range list {
		if c.Name == name {
			return c.Have
		}
	}
	require.Fail(t, "no such capability", name)
	return false
}

// Where Probe says yes, a guest gets through an SSE instruction; else it says what is wrong.
func TestProbe(t *testing.T) {
	needKVM(t)
	err := vmm.Probe(context.Background())
	t.Logf("this host: %v", err)
	if err != nil {
		assert.ErrorContains(t, err, "this host's KVM cannot")
		return
	}
	r := run(t, join([]byte{0x0f, 0x57, 0xc0}, exit(0)), vmm.Config{}) // xorps %xmm0, %xmm0
	assert.Equal(t, guestExit(0), r.Exit)
}
