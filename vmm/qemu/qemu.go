// Package qemu runs a boot image under QEMU's emulator instead of KVM: the same
// configuration, the same ends, through the image's PVH door. It is what a host without
// usable KVM falls back to; it is slower and knows nothing of exits.
package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kapsel/guest/abi"
	"kapsel/vmm"
	"kapsel/vmm/watchdog"
)

// Command is the emulator's name, looked up in PATH.
const Command = "qemu-system-x86_64"

// File descriptors in QEMU: os/exec hands over the first of ExtraFiles at 3.
const (
	fdMonitor = "3"
	fdModules = "/dev/fd/4"
)

// answerTime is how long QEMU may take to start and to answer on its monitor, on a host
// that is busy with other things.
const answerTime = 30 * time.Second

// Machine is a virtual machine under QEMU.
type Machine struct {
	cmd     *exec.Cmd
	monitor *monitor
	watcher *watcher // nil: nobody watches
	input   io.Reader
	log     func(format string, args ...any)
	stdin   io.WriteCloser
	stderr  bytes.Buffer
	files   []*os.File // our copies of what QEMU inherits
	dump    string
	once    sync.Once
}

// Deterministic are options for New that make a run the same each time: one instruction is
// one nanosecond and one tick of the time-stamp counter (QEMU manual, "TCG Instruction Counting").
var Deterministic = []string{
	"-icount", "shift=0,sleep=off", "-seed", "1", "-rtc", "base=2024-01-01,clock=vm",
}

// New prepares a machine for the image in the file at path; nothing runs yet. Of c it
// takes Modules, Memory, Cmdline, Watchdog, Console, Input and Log; options are handed to
// QEMU behind its own. Close it after use.
func New(path string, c vmm.Config, options ...string) (*Machine, error) {
	command, err := find()
	if err != nil {
		return nil, err
	}
	m := &Machine{input: c.Input, log: c.Log}
	if m.log == nil {
		m.log = func(string, ...any) {}
	}
	if err := m.prepare(command, path, c, options); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// find returns QEMU's path.
func find() (string, error) {
	path, err := exec.LookPath(Command)
	if err != nil {
		return "", fmt.Errorf("%w: install QEMU, in Debian the package qemu-system-x86", err)
	}
	return path, nil
}

// Version asks this host's QEMU for its version, such as "7.2.22".
func Version(ctx context.Context) (string, error) {
	path, err := find()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", path, err)
	}
	return parseVersion(string(out))
}

// parseVersion reads what QEMU says of itself: "QEMU emulator version 7.2.22 (...)".
func parseVersion(out string) (string, error) {
	_, version, found := strings.Cut(out, "version ")
	fields := strings.Fields(version)
	if !found || len(fields) == 0 {
		return "", fmt.Errorf("%s --version: want a version, found %.40q", Command, out)
	}
	return fields[0], nil
}

func (m *Machine) prepare(command, path string, c vmm.Config, options []string) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket for QEMU's monitor: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "monitor")
	m.files = append(m.files, theirs)
	if m.monitor, err = newMonitor(pair[0]); err != nil {
		return err
	}
	if m.watcher, err = m.newWatcher(path, c.Watchdog); err != nil {
		return err
	}
	if len(c.Modules) > 0 {
		f, err := moduleFile(c.Modules)
		if err != nil {
			return err
		}
		m.files = append(m.files, f)
	}
	m.cmd = exec.Command(command, append(arguments(path, c), options...)...)
	m.cmd.ExtraFiles = m.files
	m.cmd.Stderr = &m.stderr
	if c.Console != nil {
		// Behind a type of our own, a file is written by us, who notice errors, not by QEMU.
		m.cmd.Stdout = struct{ io.Writer }{c.Console}
	}
	m.cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:   true,            // a Ctrl-C is for us, not for QEMU
		Pdeathsig: syscall.SIGKILL, // QEMU ends with the thread that starts it: see Run
	}
	m.stdin, err = m.cmd.StdinPipe()
	return err
}

// arguments is QEMU's command line. The machine starts stopped, so that an early failure
// of QEMU (exit code 1) is not taken for the guest's status 0 (exit code 1 as well).
func arguments(path string, c vmm.Config) []string {
	memory := c.Memory
	if memory == 0 {
		memory = vmm.DefaultMemory
	}
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-S",
		"-machine", "q35", "-accel", "tcg", "-cpu", "max,la57=off",
		"-m", fmt.Sprintf("%dk", memory>>10),
		"-kernel", path,
		"-chardev", "stdio,id=com1,signal=off", "-serial", "chardev:com1",
		"-device", fmt.Sprintf("isa-debug-exit,iobase=%#x,iosize=4", abi.PortDebugExit),
		"-chardev", "socket,id=monitor,fd=" + fdMonitor, "-mon", "chardev=monitor,mode=control",
	}
	if c.Cmdline != "" {
		args = append(args, "-append", c.Cmdline)
	}
	if len(c.Modules) > 0 {
		args = append(args, "-initrd", fdModules)
	}
	return args
}

// moduleFile is a file in memory with the modules back to back, each padded to a page.
func moduleFile(modules [][]byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("modules", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("file for the modules: %w", err)
	}
	f := os.NewFile(uintptr(fd), "modules")
	var all []byte
	for _, m := range modules {
		all = append(all, m...)
		all = append(all, make([]byte, -len(m)&(abi.PageSize-1))...)
	}
	_, err = f.Write(all)
	return f, err
}

// Run runs the machine until the guest ends, ctx does, or QEMU fails, and says which. The
// error is nil unless Exit.Reason is vmm.Failed. A machine runs once.
func (m *Machine) Run(ctx context.Context) (vmm.Exit, error) {
	m.log("%s", strings.Join(m.cmd.Args, " "))
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := m.cmd.Start(); err != nil {
		return vmm.Exit{Reason: vmm.Failed}, fmt.Errorf("start QEMU: %w", err)
	}
	m.closeFiles()
	ended := make(chan struct{})
	go func() {
		m.cmd.Wait() // how QEMU ended is told by its state
		close(ended)
	}()
	if err := m.monitor.start(); err != nil {
		m.cmd.Process.Kill()
		<-ended
		return vmm.Exit{Reason: vmm.Failed}, m.failure(err)
	}
	if m.input != nil {
		go io.Copy(m.stdin, m.input) // ends with the input or with QEMU
	}
	reason := vmm.Cancelled
	ticks := m.watcher.ticks()
	for running := true; running; {
		select {
		case <-ended:
			return m.exit()
		case <-ctx.Done():
			running = false
		case <-ticks:
			if m.watcher.tick() == watchdog.Hung {
				reason, running = vmm.Hung, false
			}
			ticks = m.watcher.ticks()
		}
	}
	m.takeDump()
	m.cmd.Process.Kill()
	<-ended
	return vmm.Exit{Reason: reason}, nil
}

// takeDump keeps the registers for Dump while there is a QEMU to ask.
func (m *Machine) takeDump() {
	text, err := m.monitor.registers()
	if err != nil {
		text = fmt.Sprintf("QEMU did not tell the registers: %v\n", err)
	}
	m.dump = text
}

// exit translates QEMU's exit code: odd ones are the guest's, by isa-debug-exit; 0 means
// that the processor was reset, as a triple fault does; all else is QEMU's failure.
func (m *Machine) exit() (vmm.Exit, error) {
	code := m.cmd.ProcessState.ExitCode()
	switch {
	case code == 0:
		return vmm.Exit{Reason: vmm.Shutdown}, nil
	case code > 0 && code%2 == 1:
		return vmm.Exit{Reason: vmm.GuestExit, Status: code / 2}, nil
	}
	return vmm.Exit{Reason: vmm.Failed}, m.failure(errors.New(m.cmd.ProcessState.String()))
}

// ErrMemory says that QEMU could not get the guest's memory.
var ErrMemory = errors.New("this host cannot give that much memory")

// failure is what QEMU said, which is the cause, with how we noticed.
func (m *Machine) failure(err error) error {
	said := strings.TrimSpace(m.stderr.String())
	switch {
	case said == "":
		return fmt.Errorf("QEMU failed and said nothing: %w", err)
	case strings.Contains(said, "cannot set up guest memory"):
		return fmt.Errorf("%w (QEMU: %s): pass less", ErrMemory, strings.TrimPrefix(said, Command+": "))
	}
	return fmt.Errorf("QEMU failed: %s (%w)", said, err)
}

// Dump writes the processor's registers as QEMU shows them, after a Run that was cancelled
// or found the kernel hung; nothing if QEMU never ran the guest.
func (m *Machine) Dump(w io.Writer) {
	text := m.dump
	if text == "" && m.monitor.started {
		text = "QEMU tells the registers only of a machine that was still running.\n"
	}
	io.WriteString(w, text)
}

// Close gives everything back. Calling it again does nothing.
func (m *Machine) Close() error {
	m.once.Do(func() {
		m.closeFiles()
		if m.monitor != nil {
			m.monitor.close()
		}
		if m.stdin != nil {
			m.stdin.Close()
		}
	})
	return nil
}

// closeFiles closes our copies of what QEMU inherited.
func (m *Machine) closeFiles() {
	for _, f := range m.files {
		f.Close()
	}
	m.files = nil
}
