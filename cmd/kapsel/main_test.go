package main

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tab/tabtest"
	"kapsel/vmm"
	"kapsel/vmm/device"
	"kapsel/vmm/disk"
	"kapsel/vmm/image"
	"kapsel/vmm/kvm"
	"kapsel/vmm/linux/linuxtest"
	"kapsel/vmm/qemu"
)

// playKapsel makes the test binary be the command, and playNohup start itself anew with some signals
// ignored.
const (
	playKapsel = "KAPSEL_TEST_PLAY_KAPSEL"
	playNohup  = "KAPSEL_TEST_PLAY_NOHUP"
)

var ignored = []os.Signal{syscall.SIGHUP, syscall.SIGINT}

func TestMain(m *testing.M) {
	switch {
	case filepath.Base(os.Args[0]) == qemu.Command:
		os.Stderr.WriteString(noMemory)
		os.Exit(1)
	case os.Getenv(playNohup) != "":
		signal.Ignore(ignored...)
		os.Unsetenv(playNohup)
		panic(syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
	case os.Getenv(playKapsel) != "":
		main()
		return
	}
	os.Exit(m.Run())
}

// noMemory is what QEMU says when it finds no memory, before it ends with 1. The test binary
// does so when it is called by QEMU's name.
const noMemory = "qemu-system-x86_64: cannot set up guest memory 'pc.ram': Cannot allocate memory\n"

// kapsel is the command with arguments, as a process of its own.
func kapsel(t *testing.T, args ...string) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	cmd = exec.CommandContext(ctx, self, args...)
	cmd.Env = append(os.Environ(), playKapsel+"=1")
	cmd.Stdout, cmd.Stderr = stdout, stderr
	return cmd, stdout, stderr
}

// Code that means the same in 32-bit mode (PVH, QEMU) and in 64-bit mode (KVM).
var (
	// mov dx, 0x3f8; mov al, '>'; out dx, al
	codePrompt = []byte{0x66, 0xba, 0xf8, 0x03, 0xb0, '>', 0xee}
	// mov eax, 42; out 0xf4, eax
	codeExit42 = []byte{0xb8, 42, 0, 0, 0, 0xe7, 0xf4}
	// mov eax, 124; out 0xf4, eax
	codeExit124 = []byte{0xb8, 124, 0, 0, 0, 0xe7, 0xf4}
	// mov esp, 0x80000; push 0; push 0; lidt [esp]: no interrupt can be delivered any more
	codeNoIDT = []byte{0xbc, 0x00, 0x00, 0x08, 0x00, 0x6a, 0, 0x6a, 0, 0x0f, 0x01, 0x1c, 0x24}
	// ud2
	codeUndefined = []byte{0x0f, 0x0b}
	// l: out dx, al; jmp l, behind codePrompt
	codeBabble = []byte{0xee, 0xeb, 0xfd}
	// jmp $
	codeSpin = []byte{0xeb, 0xfe}
	// mov dx, 0x3fd; l: in al, dx; test al, 1; jz l; mov dx, 0x3f8; in al, dx; out dx, al
	codeEcho = []byte{0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 1, 0x74, 0xfb, 0x66, 0xba, 0xf8, 0x03, 0xec, 0xee}
)

// imageFile writes an image that runs the code and returns its path.
func imageFile(t *testing.T, code ...[]byte) string {
	t.Helper()
	return file(t, "image.elf", image.Flat(bytes.Join(code, nil), 0))
}

func file(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, content, 0o644))
	return path
}

// withoutNotes is an image whose note segment is none any more.
func withoutNotes(t *testing.T) []byte {
	t.Helper()
	content := image.Flat(codeSpin, 0)
	const noteHeader = 64 + 56 // the second program header
	require.EqualValues(t, elf.PT_NOTE, binary.LittleEndian.Uint32(content[noteHeader:]))
	binary.LittleEndian.PutUint32(content[noteHeader:], uint32(elf.PT_NULL))
	return content
}

func TestUnusableImages(t *testing.T) {
	good := image.Flat(codeSpin, 0)
	missing := filepath.Join(t.TempDir(), "missing.elf")
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"missing file", []string{missing}, "no such file or directory: scripts/build makes build/kapsel.elf"},
		{"folder", []string{t.TempDir()}, "is a directory"},
		{"empty file", []string{file(t, "empty", nil)}, "empty"},
		{"text file", []string{file(t, "text", []byte("hello, this is no image at all\n"))}, "text"},
		{"truncated ELF", []string{file(t, "cut.elf", good[:len(good)-1])}, "cut.elf"},
		{"truncated header", []string{file(t, "head.elf", good[:40])}, "head.elf"},
		{"an ELF without our entry", []string{file(t, "other.elf", withoutNotes(t))}, "no Kapsel boot note"},
		{"a Linux program", []string{"/proc/self/exe"}, "exe"},
		{"4 GiB of bss", []string{file(t, "bss.elf", image.Flat(codeSpin, 4<<30))}, "bss.elf"},
		{"too little memory", []string{file(t, "good.elf", good), "--mem", "28K"}, "MiB of memory, 28 KiB given: pass --mem "},
		{"missing task", []string{file(t, "good.elf", good), missing}, "no such file"},
		{"empty task", []string{file(t, "good.elf", good), file(t, "empty.tbf", nil)}, "found an empty file"},
		{"a task that is none", []string{file(t, "good.elf", good), file(t, "text.tbf", make([]byte, 4096))},
			"text.tbf\": want a task in Tock Binary Format at byte 0: format version is 0x0, want 0x2"},
		{"a task with something behind it", []string{file(t, "good.elf", good), file(t, "two.tbf", append(object(4096), "more"...))},
			"two.tbf\": want a task in Tock Binary Format at byte 4096: number of bytes is 0x4"},
		{"a task that is cut short", []string{file(t, "good.elf", good), file(t, "cut.tbf", object(8192)[:1000])}, "total size is 0x2000, want at most 0x3e8"},
		{"erased flash alone", []string{file(t, "good.elf", good), file(t, "erased.tbf", bytes.Repeat([]byte{0xff}, 4096))},
			"erased.tbf\": want a task in Tock Binary Format at byte 0: format version is 0xffff, want 0x2"},
		{"a tail that is not blank", []string{file(t, "good.elf", good), file(t, "dump.bin", append(append(object(4096), bytes.Repeat([]byte{0xff}, 100)...), 0))},
			"dump.bin\": want a task in Tock Binary Format at byte 4096: format version is 0xffff, want 0x2"},
		{"an archive without x86", []string{file(t, "good.elf", good), file(t, "app.tab", tabtest.Archive(t, tabtest.Metadata, tabtest.File("cortex-m4.tbf", "arm")))},
			`app.tab": want an object for 32-bit x86 (x86.tbf, i386.tbf, i486.tbf, i586.tbf, i686.tbf), or one of a 64-bit task; found "cortex-m4.tbf"`},
		{"an archive of nothing sound", []string{file(t, "good.elf", good), file(t, "app.tab", tabtest.Archive(t, tabtest.File("x86.tbf", "code")))},
			`app.tab": "x86.tbf": want a task in Tock Binary Format at byte 0: number of bytes is 0x4`},
		{"an archive that is none", []string{file(t, "good.elf", good), file(t, "app.tab", object(4096))},
			"app.tab\": want a tar archive with objects for each architecture (.tab): "},
		{"a task without end", []string{file(t, "good.elf", good), "/dev/zero"}, "\"/dev/zero\": a device: want a file or a pipe"},
		{"an image without end", []string{"/dev/zero"}, "\"/dev/zero\": a device: want a file or a pipe"},
		{"a file with an end of line and an escape in its name", []string{file(t, "a\nb\x1b[2J", good), "--mem", "28K"}, `a\nb\x1b[2J": needs`},
		{"a missing file with such a name", []string{"a\nb\x1b[2J"}, `"a\nb\x1b[2J": no such file`},
		{"a task with such a name", []string{file(t, "good.elf", good), file(t, "a\nb\x1b[2J", nil)}, `a\nb\x1b[2J": want a task`},
		{"ELF flags", []string{file(t, "flags.elf", changed(good, 48, 0xff))}, "ELF flags 0xff, x86-64 has none"},
		{"notes with another alignment", []string{file(t, "align.elf", changed(good, 64+56+48, 8))}, "notes aligned to 8 bytes, want 4"},
		{"an image without a PVH note", []string{file(t, "pvh.elf", changed(good, 64+2*56+8, 19))}, "no PVH note"},
		{"too little memory for the tasks", []string{file(t, "good.elf", good), file(t, "big.tbf", object(4<<20)), "--mem", "4M"}, "pass --mem 8M or more"},
	} {
		for _, accel := range []string{"kvm", "qemu"} {
			t.Run(test.name+" "+accel, func(t *testing.T) {
				cmd, stdout, stderr := kapsel(t, append([]string{"run", "--accel", accel}, test.args...)...)
				cmd.Run()
				assert.Equal(t, statusUsage, cmd.ProcessState.ExitCode())
				assert.Empty(t, stdout.String())
				assertOneLine(t, stderr.String(), test.want)
			})
		}
	}
}

func TestUnusableDisks(t *testing.T) {
	if err := kvmMissing(); err != nil {
		t.Skipf("needs KVM: %v", err)
	}
	locked := file(t, "locked.img", make([]byte, 4096))
	image, err := disk.Open(locked, false)
	require.NoError(t, err)
	defer image.Close()
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"missing file", []string{"--disk", "/nowhere/disk.img"}, `disk "/nowhere/disk.img": no such file or directory: truncate -s 64M FILE makes an empty one`},
		{"folder", []string{"--disk", "/"}, `disk "/": want a raw image or a block device, found a directory`},
		{"empty file", []string{"--disk", file(t, "empty.img", nil)}, `empty.img": it is empty: truncate -s 64M FILE gives it a size`},
		{"half a sector", []string{"--disk", file(t, "half.img", make([]byte, 256))}, `half.img": its size, 256 bytes, is no multiple of 512`},
		{"in use", []string{"--disk", locked}, `locked.img": it is in use by another program, as a machine that runs: only with ,ro can several share one`},
		{"in use, to read", []string{"--disk", locked + ",ro"}, `locked.img": it is in use by another program, as a machine that runs`},
		{"a character device", []string{"--disk", "/dev/null", "--rng"}, `disk "/dev/null": want a raw image or a block device, found a file of another kind`},
		{"a name with an end of line and an escape", []string{"--disk", "a\nb\x1b[2J"}, `disk "a\nb\x1b[2J": no such file`},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd, stdout, stderr := kapsel(t, append([]string{"run", "--accel", "kvm", imageFile(t, codeSpin)}, test.args...)...)
			cmd.Run()
			assert.Equal(t, statusUsage, cmd.ProcessState.ExitCode())
			assert.Empty(t, stdout.String())
			assertOneLine(t, stderr.String(), test.want)
		})
	}
}

// A machine with one of each device runs as one without, and -v tells of each at the end.
func TestRunWithDevices(t *testing.T) {
	if err := kvmMissing(); err != nil {
		t.Skipf("needs KVM: %v", err)
	}
	image := file(t, "disk.img", make([]byte, 4096))
	socket := filepath.Join(t.TempDir(), "socket")
	cmd, stdout, stderr := kapsel(t, "run", "--accel", "kvm", "-v", "--console", "virtio", "--disk", image+",ro", "--rng", "--net", "unix="+socket,
		imageFile(t, codePrompt, codeEcho, codeExit42))
	cmd.Stdin = strings.NewReader("x")
	cmd.Run()
	assert.Equal(t, 42, cmd.ProcessState.ExitCode(), stderr)
	assert.Equal(t, ">x", stdout.String())
	for i, name := range []string{"console", "disk " + strconv.Quote(image), "entropy", "network unix=" + socket} {
		assert.Contains(t, stderr.String(), fmt.Sprintf("kapsel: device %d, %s: 0 requests", i, name))
	}
	assert.Contains(t, stderr.String(), "kapsel: network: 0 frames sent")
	assert.NoFileExists(t, socket)
}

// TestUnusableLinux: what is no kernel, and what does not fit, is said in one line before there is a machine.
func TestUnusableLinux(t *testing.T) {
	text := file(t, "text", []byte("hello, this is no kernel at all\n"))
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"missing file", []string{"--linux", "/nonexistent/vmlinuz"}, `"/nonexistent/vmlinuz": no such file`},
		{"text file", []string{"--linux", text}, `text": not a bzImage: want a Linux kernel for x86-64`},
		{"an image", []string{"--linux", file(t, "good.elf", image.Flat(codeSpin, 0))}, `good.elf": an ELF file, not a bzImage`},
		{"a device", []string{"--linux", "/dev/zero"}, `"/dev/zero": a device: want a file or a pipe`},
		{"with an image", []string{"--linux", text, "kapsel.elf"}, `"kapsel.elf" would be an image or a task`},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd, stdout, stderr := kapsel(t, append([]string{"run"}, test.args...)...)
			cmd.Run()
			assert.Equal(t, statusUsage, cmd.ProcessState.ExitCode())
			assert.Empty(t, stdout.String())
			assertOneLine(t, stderr.String(), test.want)
		})
	}
}

// TestTaskFiles: what of a file of tasks the machine gets.
func TestTaskFiles(t *testing.T) {
	two := append(object(4096), object(8192)...)
	archive := tabtest.Archive(t, tabtest.Metadata, tabtest.File("cortex-m4.tbf", "arm"), tabtest.File("i386.tbf", string(object(8192))))
	for _, test := range []struct {
		name, file string
		content    []byte
		want       []byte
	}{
		{"an object", "one.tbf", object(4096), object(4096)},
		{"two objects", "two.tbf", two, two},
		{"an object that is not padded", "short.tbf", object(5000), object(5000)},
		{"a copy of a flash", "flash.bin", append(two, bytes.Repeat([]byte{0xff}, 70_000)...), two},
		{"a tail of zeros", "zeros.bin", append(two, make([]byte, 4096)...), two},
		{"an archive", "app.tab", archive, object(8192)},
		{"an archive of another name", "app", archive, object(8192)},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := readObjects(t.Context(), file(t, test.file, test.content))
			require.NoError(t, err)
			assert.True(t, bytes.Equal(test.want, got), "%d bytes, want %d", len(got), len(test.want))
		})
	}
}

// changed is a file with another byte in one place.
func changed(file []byte, at int, b byte) []byte {
	file = bytes.Clone(file)
	file[at] = b
	return file
}

// object has the size of a task object, and is none that is sound.
func object(size int) []byte {
	b := make([]byte, size)
	binary.LittleEndian.PutUint16(b[tbf.OffsetVersion:], tbf.Version)
	binary.LittleEndian.PutUint16(b[tbf.OffsetHeaderSize:], tbf.BaseSize)
	binary.LittleEndian.PutUint32(b[tbf.OffsetTotalSize:], uint32(size))
	return b
}

// assertOneLine checks that the command said one line, with want in it.
func assertOneLine(t *testing.T, stderr, want string) {
	t.Helper()
	assert.Regexp(t, `^kapsel: [^\n]+\n$`, stderr)
	assert.Contains(t, stderr, want)
}

func TestUsageErrors(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"unknown command", []string{"start"}, `no command "start"`},
		{"no image", []string{"run"}, "no image given"},
		{"unknown flag", []string{"run", "--fast", "x"}, "no flag --fast: see kapsel help run"},
		{"help of no command", []string{"help", "now"}, `no command "now": want run, call, snapshot, serve, load, unload, tasks, pause, resume, kill, save, restore, bench, oci, disk, doctor, version or help`},
		{"help of two commands", []string{"help", "run", "bench"}, `unexpected argument "bench"`},
		{"flag of help", []string{"help", "--fast"}, "no flag --fast: see kapsel help help"},
		{"argument of doctor", []string{"doctor", "now"}, `unexpected argument "now"`},
		{"argument of version", []string{"version", "now"}, `unexpected argument "now"`},
		{"disk without a word", []string{"disk"}, "want kapsel disk format FILE or kapsel disk show FILE"},
		{"disk with another word", []string{"disk", "erase"}, `disk "erase": want kapsel disk format FILE or kapsel disk show FILE`},
		{"flag of disk", []string{"disk", "--force"}, "no flag --force: see kapsel help disk"},
		{"format of nothing", []string{"disk", "format", "--force"}, "no file given: kapsel disk format FILE"},
		{"format of two files", []string{"disk", "format", "a", "b"}, `unexpected argument "b"`},
		{"format of half a page", []string{"disk", "format", "a", "--size", "6K"}, "--size 6K: that is 6144 bytes: want a multiple of 4096, as 4K"},
		{"show of nothing", []string{"disk", "show", ""}, "no file given: kapsel disk show FILE"},
		{"flag of show", []string{"disk", "show", "--force", "a"}, "no flag --force: see kapsel help disk"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd, stdout, stderr := kapsel(t, test.args...)
			cmd.Run()
			assert.Equal(t, statusUsage, cmd.ProcessState.ExitCode())
			assert.Empty(t, stdout.String())
			assertOneLine(t, stderr.String(), test.want)
		})
	}
}

func TestHelpAndVersion(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"help", []string{"help"}, helpText},
		{"flag", []string{"--help"}, helpText},
		{"help of help", []string{"help", "--help"}, helpText},
		{"help of run", []string{"help", "run"}, helpFor("run")},
		{"help of bench", []string{"help", "bench"}, helpFor("bench")},
		{"help of load", []string{"help", "load"}, helpFor("load")},
		{"help of disk", []string{"help", "disk"}, helpFor("disk")},
		{"help of version", []string{"help", "version"}, helpFor("version")},
		{"run's own", []string{"run", "--help"}, helpFor("run")},
		{"run's own, in short, behind other words", []string{"run", "image.elf", "-h"}, helpFor("run")},
		{"bench's own", []string{"bench", "-help"}, helpFor("bench")},
		{"disk's own", []string{"disk", "--help"}, helpFor("disk")},
		{"disk format's own", []string{"disk", "format", "-h"}, helpFor("disk")},
		{"disk show's own", []string{"disk", "show", "x", "-h"}, helpFor("disk")},
		{"doctor's own", []string{"doctor", "-h"}, helpFor("doctor")},
		{"version's own", []string{"--version", "-h"}, helpFor("version")},
		{"version", []string{"version"}, "kapsel " + abi.Version + ", go"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd, stdout, stderr := kapsel(t, test.args...)
			require.NoError(t, cmd.Run())
			if test.name == "version" {
				assert.True(t, strings.HasPrefix(stdout.String(), test.want))
			} else {
				assert.Equal(t, test.want, stdout.String())
			}
			assert.Empty(t, stderr.String())
		})
	}
}

// The help of a command has what is about it: of all help, each line but the title is in one.
func TestHelpForACommand(t *testing.T) {
	all := ""
	for _, command := range commands {
		help := helpFor(command)
		assert.True(t, strings.HasPrefix(help, "usage:\n  kapsel "+command+" "), help)
		all += help
	}
	_, text, _ := strings.Cut(helpText, "\n")
	for line := range strings.Lines(text) {
		assert.Contains(t, all, line)
	}
	run := helpFor("run")
	for _, want := range []string{"--watchdog", "Ctrl-A x", "exit status of run, the monitor's own:"} {
		assert.Contains(t, run, want)
	}
	assert.NotContains(t, run, "bench")
	assert.NotContains(t, helpFor("bench"), "--watchdog")
	assert.Equal(t, "usage:\n  kapsel version                           say which release this is\n", helpFor("version"))
}

func TestNoArgumentsShowsHelpAndFails(t *testing.T) {
	cmd, stdout, stderr := kapsel(t)
	cmd.Run()
	assert.Equal(t, statusUsage, cmd.ProcessState.ExitCode())
	assert.Empty(t, stdout.String())
	assert.Equal(t, helpText, stderr.String())
}

// onEach runs a test with each accelerator, or with the one that KAPSEL_ACCEL names. The
// guests here are plain integer code, which every KVM can run, software or not.
func onEach(t *testing.T, test func(t *testing.T, accel string)) {
	for accel, missing := range map[string]func() error{"kvm": kvmMissing, "qemu": qemuMissing} {
		if only := os.Getenv("KAPSEL_ACCEL"); only != "" && only != accel {
			continue
		}
		t.Run(accel, func(t *testing.T) {
			t.Parallel()
			if err := missing(); err != nil {
				t.Skipf("needs %s: %v", accel, err)
			}
			test(t, accel)
		})
	}
}

func qemuMissing() error {
	_, err := exec.LookPath(qemu.Command)
	return err
}

func kvmMissing() error {
	device, err := kvm.Open(vmm.DefaultKVM)
	if err != nil {
		return err
	}
	return device.Close()
}

func TestRun(t *testing.T) {
	onEach(t, func(t *testing.T, accel string) {
		cmd, stdout, stderr := kapsel(t, "run", imageFile(t, codePrompt, codeEcho, codeExit42), "--accel", accel)
		cmd.Stdin = strings.NewReader("x")
		cmd.Run()
		assert.Equal(t, 42, cmd.ProcessState.ExitCode(), stderr)
		assert.Equal(t, ">x", stdout.String())
		assert.Empty(t, stderr.String())
	})
}

// TestRunFullDisk: that the console could not be written is said, and is a failure.
func TestRunFullDisk(t *testing.T) {
	onEach(t, func(t *testing.T, accel string) {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		require.NoError(t, err)
		defer full.Close()
		cmd, _, stderr := kapsel(t, "run", imageFile(t, codePrompt, codeExit42), "--accel", accel)
		cmd.Stdout = full
		cmd.Run()
		assert.Equal(t, statusFailed, cmd.ProcessState.ExitCode())
		assertOneLine(t, stderr.String(), "the guest ended with status 42, but what it printed is lost: ")
		assert.Contains(t, stderr.String(), "no space left on device")
	})
}

func TestRunWithoutInput(t *testing.T) {
	onEach(t, func(t *testing.T, accel string) {
		cmd, stdout, stderr := kapsel(t, "run", imageFile(t, codePrompt, codeExit42), "--accel", accel)
		cmd.Run() // standard input is /dev/null
		assert.Equal(t, 42, cmd.ProcessState.ExitCode(), stderr)
		assert.Equal(t, ">", stdout.String())
	})
}

func TestRunGuestStatusLikeOurs(t *testing.T) {
	onEach(t, func(t *testing.T, accel string) {
		cmd, _, stderr := kapsel(t, "run", imageFile(t, codeExit124), "--accel", accel)
		cmd.Run()
		assert.Equal(t, 124, cmd.ProcessState.ExitCode())
		assert.Empty(t, stderr.String(), "no dump: the guest ended by itself")
	})
}

func TestRunTripleFault(t *testing.T) {
	onEach(t, func(t *testing.T, accel string) {
		cmd, _, stderr := kapsel(t, "run", imageFile(t, codeNoIDT, codeUndefined), "--accel", accel)
		cmd.Run()
		assert.Equal(t, statusFailed, cmd.ProcessState.ExitCode())
		assert.Contains(t, stderr.String(), "kapsel: the guest's processor shut down (triple fault)\n")
	})
}

// TestLinuxWithoutKVM: a host whose KVM cannot run it is told so, before anything is booted.
func TestLinuxWithoutKVM(t *testing.T) {
	if vmm.Probe(t.Context()) == nil {
		t.Skip("this host's KVM runs Linux")
	}
	cmd, stdout, stderr := kapsel(t, "run", "--linux", file(t, "vmlinuz", linuxtest.Kernel(codeExit42)))
	cmd.Run()
	assert.Equal(t, statusFailed, cmd.ProcessState.ExitCode())
	assert.Empty(t, stdout.String())
	assert.Contains(t, stderr.String(), "KVM")
}

// TestRunLinux boots kernels of a few instructions by --linux: one prints and powers off, one resets.
func TestRunLinux(t *testing.T) {
	if err := kvmMissing(); err != nil {
		t.Skip(err)
	}
	powerOff := []byte{0x66, 0xba, 0x00, 0x06, 0xb0, device.SleepS5<<2 | 1<<5, 0xee} // mov dx, 0x600; mov al, ...; out dx, al
	reset := []byte{0x66, 0xba, 0x02, 0x06, 0xb0, device.ResetValue, 0xee}
	for _, test := range []struct {
		name           string
		end            []byte
		status         int
		stdout, stderr string
	}{
		{"power off", powerOff, 0, ">", ""},
		{"reset", reset, statusFailed, ">", "kapsel: the guest reset the machine, which is not booted again\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			kernel := linuxtest.Kernel(slices.Concat(codePrompt, test.end, codeExit42))
			cmd, stdout, stderr := kapsel(t, "run", "--accel", "kvm", "--linux", file(t, "vmlinuz", kernel), "--initrd", file(t, "initrd", []byte("x")), "--mem", "32M")
			cmd.Run()
			assert.Equal(t, test.status, cmd.ProcessState.ExitCode())
			assert.Equal(t, test.stdout, stdout.String())
			assert.Equal(t, test.stderr, stderr.String())
		})
	}
}

// TestRunFromPipes: image and tasks come from wherever they can be read once.
func TestRunFromPipes(t *testing.T) {
	stdin := "/dev/stdin"
	if _, err := os.Lstat(stdin); err != nil { // the nested machine has no such link
		stdin = "/proc/self/fd/0"
	}
	onEach(t, func(t *testing.T, accel string) {
		image := image.Flat(bytes.Join([][]byte{codePrompt, codeExit42}, nil), 0)
		for _, test := range []struct {
			name          string
			args          []string
			stdin, second []byte
		}{
			{"the image from standard input", []string{stdin}, image, nil},
			{"the image from another pipe", []string{"/proc/self/fd/3"}, nil, image},
			{"a task from standard input", []string{file(t, "image.elf", image), stdin}, object(4096), nil},
			{"both", []string{"/proc/self/fd/3", stdin}, object(8192), image},
		} {
			t.Run(test.name, func(t *testing.T) {
				cmd, stdout, stderr := kapsel(t, append([]string{"run", "--accel", accel}, test.args...)...)
				r, w, err := os.Pipe()
				require.NoError(t, err)
				defer r.Close()
				cmd.Stdin, cmd.ExtraFiles = bytes.NewReader(test.stdin), []*os.File{r}
				go func() {
					defer w.Close()
					w.Write(test.second)
				}()
				cmd.Run()
				assert.Equal(t, 42, cmd.ProcessState.ExitCode(), stderr)
				assert.Equal(t, ">", stdout.String())
				assert.Empty(t, stderr.String())
			})
		}
	})
}

// TestRunFallsBackAloud: auto takes QEMU where KVM does not work, and says what that means.
func TestRunFallsBackAloud(t *testing.T) {
	if err := qemuMissing(); err != nil {
		t.Skipf("needs qemu: %v", err)
	}
	if vmm.Probe(t.Context()) == nil {
		t.Skip("needs a host whose KVM does not work")
	}
	cmd, stdout, stderr := kapsel(t, "run", imageFile(t, codePrompt, codeExit42))
	cmd.Run()
	assert.Equal(t, 42, cmd.ProcessState.ExitCode(), stderr)
	assert.Equal(t, ">", stdout.String())
	assertOneLine(t, stderr.String(), "kapsel: warning: KVM cannot be used: ")
	assert.Contains(t, stderr.String(), "; QEMU's emulator runs the machine, which its authors call no security boundary\n")
}

func TestRunTimeout(t *testing.T) {
	onEach(t, func(t *testing.T, accel string) {
		cmd, stdout, stderr := kapsel(t, "run", "--accel", accel, "--timeout", "10s", imageFile(t, codePrompt, codeSpin)) // by then the guest has printed, on a busy host, too
		cmd.Run()
		assert.Equal(t, statusTimeout, cmd.ProcessState.ExitCode())
		assert.Equal(t, ">", stdout.String())
		assert.Regexp(t, `(?i)(e|r)ip[ =]+[0-9a-f]*20000[0-9a-f]`, stderr.String(), "a dump of the registers")
		assert.Contains(t, stderr.String(), "kapsel: ended by --timeout after 10s\n")
	})
}

// TestRunHung: the guest masks its APIC's LINT1, by which QEMU sends an NMI.
func TestRunHung(t *testing.T) {
	if err := qemuMissing(); err != nil {
		t.Skipf("needs qemu: %v", err)
	}
	// mov dword [0xfee00360], 0x10000, in 32-bit mode
	code := bytes.Join([][]byte{{0xc7, 0x05, 0x60, 0x03, 0xe0, 0xfe, 0, 0, 1, 0}, codePrompt, codeSpin}, nil)
	path := file(t, "image.elf", image.FlatWatched(code, 4096, abi.KernelBase+image.FlatAddress+2048))
	cmd, stdout, stderr := kapsel(t, "run", "--accel", "qemu", "--watchdog", "200ms", path)
	cmd.Run()
	assert.Equal(t, statusHung, cmd.ProcessState.ExitCode())
	assert.Equal(t, ">", stdout.String())
	assert.Contains(t, stderr.String(), "EIP=", "a dump of the registers")
	assert.Contains(t, stderr.String(), "kapsel: the kernel hangs, and the watchdog's NMI did not end it\n")
}

func TestRunEndedBySignal(t *testing.T) {
	// What this process ignores, in the background perhaps, the command would; what it catches it would not.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGINT)
	defer signal.Stop(caught)
	onEach(t, func(t *testing.T, accel string) {
		for signal, status := range map[syscall.Signal]int{syscall.SIGHUP: 129, syscall.SIGINT: 130, syscall.SIGQUIT: 131, syscall.SIGTERM: 143} {
			cmd, _, stderr := kapsel(t, "run", "--accel", accel, imageFile(t, codePrompt, codeSpin))
			console := startUntilPrompt(t, cmd)
			require.NoError(t, cmd.Process.Signal(signal))
			io.Copy(io.Discard, console)
			cmd.Wait()
			assert.Equal(t, status, cmd.ProcessState.ExitCode(), stderr)
		}
	})
}

// TestRunIgnoresWhatItsCallerIgnores: SIGHUP and SIGINT, as nohup and a shell's background jobs do.
func TestRunIgnoresWhatItsCallerIgnores(t *testing.T) {
	onEach(t, func(t *testing.T, accel string) {
		cmd, _, stderr := kapsel(t, "run", "--accel", accel, imageFile(t, codePrompt, codeEcho, codeExit42))
		cmd.Env = append(cmd.Env, playNohup+"=1")
		stdin, err := cmd.StdinPipe()
		require.NoError(t, err)
		console := startUntilPrompt(t, cmd)
		for _, s := range ignored {
			require.NoError(t, cmd.Process.Signal(s))
		}
		_, err = stdin.Write([]byte("x"))
		require.NoError(t, err)
		io.Copy(io.Discard, console)
		cmd.Wait()
		assert.Equal(t, 42, cmd.ProcessState.ExitCode(), stderr)
	})
}

func TestRunConsoleNobodyReads(t *testing.T) {
	onEach(t, func(t *testing.T, accel string) {
		cmd, _, stderr := kapsel(t, "run", "--accel", accel, imageFile(t, codePrompt, codeBabble))
		console := startUntilPrompt(t, cmd)
		console.Close()
		cmd.Wait()
		assert.Equal(t, 128+int(syscall.SIGPIPE), cmd.ProcessState.ExitCode(), stderr)
	})
}

func TestRunLeftFromTheTerminal(t *testing.T) {
	onEach(t, func(t *testing.T, accel string) {
		user, terminal := openTerminal(t)
		before, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
		require.NoError(t, err)
		cmd, _, stderr := kapsel(t, "run", "--accel", accel, imageFile(t, codePrompt, codeEcho, codeSpin))
		cmd.Stdin = terminal
		console := startUntilPrompt(t, cmd)
		user.Write([]byte("\x03"))
		echo := make([]byte, 1)
		_, err = io.ReadFull(console, echo)
		require.NoError(t, err)
		assert.Equal(t, "\x03", string(echo), "Ctrl-C reaches the guest")
		user.Write([]byte("\x01x"))
		cmd.Wait()
		assert.Equal(t, statusLeft, cmd.ProcessState.ExitCode(), stderr)
		after, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
		require.NoError(t, err)
		assert.Equal(t, before, after, "the terminal is as it was")
	})
}

// startUntilPrompt starts the command and waits for the guest's prompt.
func startUntilPrompt(t *testing.T, cmd *exec.Cmd) (console io.ReadCloser) {
	t.Helper()
	cmd.Stdout = nil
	console, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	prompt := make([]byte, 1)
	_, err = io.ReadFull(console, prompt)
	require.NoError(t, err)
	require.Equal(t, ">", string(prompt))
	return console
}

// The breakpoint is at a string instruction, behind codePrompt and a MOV: KVM executes it
// itself and stops there even on a processor without working debug registers.
func TestRunToBreakpoint(t *testing.T) {
	if err := kvmMissing(); err != nil {
		t.Skipf("needs kvm: %v", err)
	}
	outString := []byte{0x48, 0xc7, 0xc6, 0, 0, 0x20, 0x80, 0x6e} // mov rsi, the image's start; outsb
	cmd, stdout, stderr := kapsel(t, "run", "--accel", "kvm", "--break", "ffffffff8020000e",
		imageFile(t, codePrompt, outString, codeExit42))
	cmd.Run()
	assert.Equal(t, statusBreakpoint, cmd.ProcessState.ExitCode())
	assert.Equal(t, ">", stdout.String())
	assert.Contains(t, stderr.String(), "rip ffffffff8020000e")
	assert.Contains(t, stderr.String(), "kapsel: breakpoint at 0xffffffff8020000e\n")
}

func TestBreakpointsNeedKVM(t *testing.T) {
	cmd, _, stderr := kapsel(t, "run", "--accel", "qemu", "--break", "ffffffff80200000", imageFile(t, codeSpin))
	cmd.Run()
	assert.Equal(t, statusUsage, cmd.ProcessState.ExitCode())
	assertOneLine(t, stderr.String(), "--break needs KVM, and QEMU is used here (as asked): use gdb instead")
}

// TestRunTooMuchMemory: a QEMU that finds no memory never runs the guest.
func TestRunTooMuchMemory(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	bin := t.TempDir()
	require.NoError(t, os.Symlink(self, filepath.Join(bin, qemu.Command)))
	cmd, stdout, stderr := kapsel(t, "run", "--accel", "qemu", "--mem", "64G", imageFile(t, codeSpin))
	cmd.Env = append(cmd.Env, "PATH="+bin)
	cmd.Run()
	assert.Equal(t, statusFailed, cmd.ProcessState.ExitCode())
	assert.Empty(t, stdout.String())
	assertOneLine(t, stderr.String(), "--mem 64G: this host cannot give that much memory (QEMU: cannot set up guest memory 'pc.ram': Cannot allocate memory): pass less")
}

func TestNoAccelerator(t *testing.T) {
	cmd, _, stderr := kapsel(t, "run", "--accel", "qemu", imageFile(t, codeSpin))
	cmd.Env = append(cmd.Env, "PATH="+t.TempDir())
	cmd.Run()
	assert.Equal(t, statusFailed, cmd.ProcessState.ExitCode())
	assertOneLine(t, stderr.String(), "install QEMU")
}
