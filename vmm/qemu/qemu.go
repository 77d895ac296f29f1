// Package qemu runs a boot image under QEMU's emulator instead of KVM: the same
// configuration, the same ends, through the image's PVH door. It is what a host without
// usable KVM falls back to; it is slower and knows nothing of exits.
package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kapsel/guest/abi"
	"kapsel/vmm"
	"kapsel/vmm/ethernet"
	"kapsel/vmm/watchdog"
)

// Command is the emulator's name, looked up in PATH.
const Command = "qemu-system-x86_64"

// fdMonitor is the descriptor of QEMU's end of the monitor's socket in QEMU: os/exec hands over the first of
// ExtraFiles at 3. Those of hand are behind it.
const fdMonitor = 3

// Times for QEMU, on a host that is busy with other things.
const (
	answerTime = 30 * time.Second       // to start, and to answer on its monitor
	dumpTime   = 400 * time.Millisecond // to tell the registers of a machine that was told to end
)

// The machines that QEMU can be (QEMU manual, "System Emulator Targets", x86): microvm, as bare as our own
// monitor's, with slots for virtio devices in memory; and, of a QEMU that was built without that, q35,
// which has none.
const (
	microvm = "microvm,acpi=off,pic=off,pit=off,rtc=on,x-option-roms=off"
	q35     = "q35"
)

// Machine is a virtual machine under QEMU.
type Machine struct {
	// Started, if it is not nil, is called by Run when QEMU has started, the leader of a process group, and nothing is started any more. Set it before Run. An error
	// ends the machine.
	Started func(pid int) error

	command string
	config  vmm.Config
	options []string
	files   []*os.File // that QEMU gets: see hand

	// What New made.
	image, modules string   // paths in QEMU; modules may be empty
	com1           string   // chardev of the UART
	devices        []string // options of all virtio devices
	disks          int      // how many of them are disks
	ports          []*ethernet.Port
	namedPorts     []*namedPort
	relays         sync.WaitGroup // between ports and QEMU

	closing context.Context // ends with Close
	close   context.CancelFunc
	run     sync.Mutex // held by Run
	ran     bool

	// What this QEMU is asked for, until it turns out not to have it. Run's.
	kind        string   // for -machine: microvm or q35
	confinement []string // sandbox or none

	// Of the QEMU that was started last. Run's.
	cmd     *exec.Cmd
	ended   chan struct{} // closed when QEMU has ended
	monitor *monitor
	stdin   io.WriteCloser
	stderr  words
	console *os.File      // what QEMU's guest prints
	copied  chan struct{} // closed when all of that is written
	dump    string
}

// Deterministic are options for New that make a run the same each time: one instruction is
// one nanosecond and one tick of the time-stamp counter (QEMU manual, "TCG Instruction Counting").
var Deterministic = []string{
	"-icount", "shift=0,sleep=off", "-seed", "1", "-rtc", "base=2024-01-01,clock=vm",
}

// New prepares a machine; nothing runs yet. Of c it takes all but Breakpoints, ConsoleInStep
// and what is KVM's alone; options are handed to QEMU behind its own, and a -machine among them takes
// the place of ours. Close it after use. If ctx has ended the error is its cause; if a device cannot
// be had it is a *vmm.DeviceError.
func New(ctx context.Context, c vmm.Config, options ...string) (*Machine, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	c, err := c.WithDefaults()
	if err != nil {
		return nil, err
	}
	if c.Linux != nil {
		return nil, errors.New("booting Linux needs KVM here: QEMU boots it without Kapsel, by -kernel and -initrd")
	}
	m := &Machine{config: c, options: options, com1: "stdio,id=com1,signal=off", kind: microvm, confinement: sandbox}
	if m.command, err = find(); err != nil {
		return nil, err
	}
	m.closing, m.close = context.WithCancel(context.Background())
	if err := m.addAll(); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// addAll makes the files that QEMU is to load, of the bytes that were checked, and the devices.
func (m *Machine) addAll() (err error) {
	if m.image, err = m.addFile("image", m.config.Image.File()); err != nil {
		return err
	}
	if modules := m.config.GuestModules(); len(modules) > 0 {
		if m.modules, err = m.addFile("modules", padded(modules)); err != nil {
			return err
		}
	}
	return m.addDevices()
}

// addFile makes a file in memory, and returns its path in QEMU.
func (m *Machine) addFile(name string, content []byte) (path string, err error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return "", fmt.Errorf("file in memory for the %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	path = fmt.Sprintf("/dev/fd/%d", m.hand(f))
	_, err = f.Write(content)
	return path, err
}

// hand has QEMU get a file, which is closed with the machine, and returns its descriptor there.
func (m *Machine) hand(f *os.File) int {
	m.files = append(m.files, f)
	return fdMonitor + len(m.files)
}

// padded is the modules back to back, each padded to a page.
func padded(modules [][]byte) (all []byte) {
	for _, m := range modules {
		all = append(all, m...)
		all = append(all, make([]byte, -len(m)&(abi.PageSize-1))...)
	}
	return all
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
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
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

// sandbox confines QEMU (QEMU manual, "-sandbox"): of a guest that breaks out of the emulator,
// which QEMU's authors call no security boundary, system calls are left that reach this
// process's own files and no new programs or rights.
var sandbox = []string{"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"}

// arguments is QEMU's command line. The machine starts stopped, so that an early failure of QEMU (exit
// code 1) is not taken for the guest's status 0 (exit code 1 as well).
func (m *Machine) arguments() []string {
	args := slices.Concat(m.confinement, []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-S",
		"-accel", "tcg", "-cpu", "max,la57=off",
		"-m", fmt.Sprintf("%dk", m.config.Memory>>10),
		"-kernel", m.image,
		"-chardev", m.com1, "-serial", "chardev:com1",
		"-device", fmt.Sprintf("isa-debug-exit,iobase=%#x,iosize=4", abi.PortDebugExit),
		"-chardev", fmt.Sprintf("socket,id=monitor,fd=%d", fdMonitor), "-mon", "chardev=monitor,mode=control",
	})
	if !slices.Contains(m.options, "-machine") {
		args = append(args, "-machine", m.kind)
	}
	if m.config.Cmdline != "" {
		args = append(args, "-append", m.config.Cmdline)
	}
	if m.modules != "" {
		args = append(args, "-initrd", m.modules)
	}
	return slices.Concat(args, m.devices, m.options)
}

// started tells that QEMU runs. If that fails QEMU is ended.
func (m *Machine) started() error {
	if m.Started == nil {
		return nil
	}
	err := m.Started(m.cmd.Process.Pid)
	if err != nil {
		m.kill()
	}
	return err
}

// Run runs the machine until the guest ends, ctx does, or QEMU fails, and says which. The
// error is nil unless Exit.Reason is vmm.Failed. A machine runs once.
//
// What the guest has printed is written before Run returns. A console that does not take it
// holds Run, but from the end of ctx on for vmm.FlushTime at most: then the machine was
// cancelled, even if the guest had ended.
func (m *Machine) Run(ctx context.Context) (vmm.Exit, error) {
	m.run.Lock()
	defer m.run.Unlock()
	if m.ran || m.closing.Err() != nil {
		return vmm.Exit{Reason: vmm.Failed}, errors.New("this machine has run already, or is closed: make another with New")
	}
	m.ran = true
	runtime.LockOSThread() // QEMU ends with the thread that starts it
	defer runtime.UnlockOSThread()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(m.closing, stop)()

	err := m.start(ctx)
	for err != nil && ctx.Err() == nil && m.concede() {
		err = m.start(ctx)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return vmm.Exit{Reason: vmm.Cancelled}, nil
	case err != nil:
		return vmm.Exit{Reason: vmm.Failed}, m.failure(err)
	}
	if err := m.started(); err != nil {
		return vmm.Exit{Reason: vmm.Failed}, err
	}
	m.startPorts()
	exit, err := m.watch(ctx)
	if (!m.drain(ctx) || !m.drainPorts(ctx)) && exit.Reason == vmm.GuestExit {
		exit = vmm.Exit{Reason: vmm.Cancelled}
	}
	return exit, err
}

// concede gives up what a QEMU that has ended said that it does not have, and reports whether
// there is such a thing: then another may start.
func (m *Machine) concede() bool {
	said := m.said()
	switch {
	case m.confinement != nil && cannotConfine(said):
		m.config.Warn("QEMU cannot confine itself, and runs with all rights of this command: %s", said)
		m.confinement = nil
	case m.kind == microvm && hasNoMicrovm(said) && len(m.devices) == 0:
		m.config.Log("this QEMU has no machine microvm, and is q35 instead: %s", said)
		m.kind = q35
	default:
		return false
	}
	return true
}

// start starts QEMU, and the machine in it. If that fails QEMU has ended.
func (m *Machine) start(ctx context.Context) error {
	conn, theirs, err := newSocket("monitor")
	if err != nil {
		return err
	}
	monitor := newMonitor(conn)
	m.monitor = monitor
	m.cmd = exec.Command(m.command, m.arguments()...)
	m.cmd.ExtraFiles = append([]*os.File{theirs}, m.files...)
	m.stderr = words{}
	m.cmd.Stderr = &m.stderr
	m.cmd.WaitDelay = vmm.FlushTime // whoever else has QEMU's standard error
	m.cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:   true,            // a Ctrl-C is for us, not for QEMU
		Pdeathsig: syscall.SIGKILL, // see Run
	}
	m.config.Log("%s", strings.Join(m.cmd.Args, " "))
	err = m.launch()
	theirs.Close()
	if err != nil {
		monitor.close()
		return fmt.Errorf("start QEMU: %w", err)
	}
	context.AfterFunc(ctx, func() { monitor.hurry(time.Now().Add(dumpTime)) })
	if err := monitor.start(); err != nil {
		m.kill()
		m.console.Close()
		monitor.close()
		return err
	}
	return nil
}

// launch starts the process, and what waits for it and for its output. Our copies of what is
// QEMU's alone are closed.
func (m *Machine) launch() (err error) {
	stdin, typed, err := newSocket("standard input")
	if err != nil {
		return err
	}
	defer typed.Close()
	var printed *os.File
	if m.console, printed, err = os.Pipe(); err != nil {
		stdin.Close()
		return err
	}
	defer printed.Close()
	m.stdin, m.cmd.Stdin, m.cmd.Stdout = stdin, typed, printed
	if err = m.cmd.Start(); err != nil {
		m.console.Close()
		stdin.Close()
		return err
	}
	m.ended, m.copied = make(chan struct{}), make(chan struct{})
	go func() {
		m.cmd.Wait() // how QEMU ended is told by its state
		m.stdin.Close()
		m.monitor.hurry(time.Now().Add(dumpTime)) // whoever else has the socket
		close(m.ended)
	}()
	go m.copyConsole(m.console, m.copied) // this QEMU's, as another may be started
	return nil
}

// copyConsole writes what the guest prints, until QEMU or drain ends that, and then closes copied.
// What cannot be written is lost; the guest goes on.
func (m *Machine) copyConsole(printed io.Reader, copied chan<- struct{}) {
	defer close(copied)
	// Behind a type of our own a file is written by us, who notice errors.
	if _, err := io.Copy(struct{ io.Writer }{m.config.Console}, printed); err != nil && !errors.Is(err, os.ErrClosed) {
		m.config.Log("the console is lost: %v", err)
		io.Copy(io.Discard, printed)
	}
}

// drain waits until all that the guest printed is written, which it reports, or ctx ends and
// it takes too long.
func (m *Machine) drain(ctx context.Context) bool {
	defer m.console.Close() // ends copyConsole behind a Write that was abandoned
	select {
	case <-m.copied:
		return true
	case <-ctx.Done():
	}
	select {
	case <-m.copied:
		return true
	case <-time.After(vmm.FlushTime):
		return false
	}
}

// kill ends QEMU and whatever it started.
func (m *Machine) kill() {
	unix.Kill(-m.cmd.Process.Pid, unix.SIGKILL) // its own group; it may have ended
	<-m.ended
}

// watch follows a machine that was started to its end.
func (m *Machine) watch(ctx context.Context) (vmm.Exit, error) {
	if m.config.Input != nil {
		go io.Copy(m.stdin, m.config.Input) // ends with the input or with QEMU
	}
	watcher := m.newWatcher()
	ticks := watcher.ticks()
	reason := vmm.Cancelled
	for running := true; running; {
		select {
		case <-m.ended:
			return m.exit()
		case <-ctx.Done():
			running = false
		case <-ticks:
			if watcher.tick() == watchdog.Hung {
				reason, running = vmm.Hung, false
			}
			ticks = watcher.ticks()
		}
	}
	m.takeDump()
	m.kill()
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
// that the processor was reset, as a triple fault does, or that QEMU got a signal, which it says;
// all else is QEMU's failure.
func (m *Machine) exit() (vmm.Exit, error) {
	code := m.cmd.ProcessState.ExitCode()
	switch {
	case code == 0 && !strings.Contains(m.said(), "terminating on signal"):
		return vmm.Exit{Reason: vmm.Shutdown}, nil
	case code > 0 && code%2 == 1:
		return vmm.Exit{Reason: vmm.GuestExit, Status: code / 2}, nil
	}
	return vmm.Exit{Reason: vmm.Failed}, m.failure(errors.New(m.cmd.ProcessState.String()))
}

// ErrMemory says that QEMU could not get the guest's memory.
var ErrMemory = errors.New("this host cannot give that much memory")

// words keeps the beginning of what is written to it.
type words struct{ text []byte }

// Write takes p, and keeps as much of it as there is room for.
func (w *words) Write(p []byte) (int, error) {
	const most = 4096
	w.text = append(w.text, p[:min(len(p), most-len(w.text))]...)
	return len(p), nil
}

// said is what QEMU wrote to its standard error, in one line. QEMU has ended.
func (m *Machine) said() string { return strings.Join(strings.Fields(string(m.stderr.text)), " ") }

// cannotConfine reports whether QEMU's last words are that it has no sandbox, because it was
// built without, or that this host's kernel refuses it.
func cannotConfine(said string) bool {
	return strings.Contains(said, "-sandbox support is not enabled") || strings.Contains(said, "seccomp")
}

// hasNoMicrovm reports whether QEMU's last words are that it was built without the machine, or
// that its firmware is not installed.
func hasNoMicrovm(said string) bool {
	return strings.Contains(said, "unsupported machine type") || strings.Contains(said, "qboot.rom")
}

// failure is what QEMU said, which is the cause, with how we noticed.
func (m *Machine) failure(err error) error {
	said := m.said()
	switch {
	case m.ended == nil: // it never began
		return err
	case said == "":
		return fmt.Errorf("QEMU failed and said nothing: %w", err)
	case hasNoMicrovm(said) && len(m.devices) > 0:
		return fmt.Errorf("devices need QEMU's machine microvm, and this QEMU does not have it (QEMU: %s): install one that has, or use KVM", said)
	case strings.Contains(said, "cannot set up guest memory"):
		return fmt.Errorf("%w (QEMU: %s): pass less", ErrMemory, strings.TrimPrefix(said, Command+": "))
	}
	return fmt.Errorf("QEMU failed: %s (%w)", said, err)
}

// Dump writes the processor's registers as QEMU shows them, after a Run that was cancelled
// or found the kernel hung; nothing if QEMU never ran the guest. During Run it waits for the
// end.
func (m *Machine) Dump(w io.Writer) {
	m.run.Lock()
	defer m.run.Unlock()
	text := m.dump
	if text == "" && m.monitor != nil && m.monitor.started {
		text = "QEMU tells the registers only of a machine that was still running.\n"
	}
	io.WriteString(w, text)
}

// Close stops the machine and gives everything back. Calling it again does nothing.
func (m *Machine) Close() error {
	m.close()
	m.run.Lock() // waits for Run's end
	defer m.run.Unlock()
	for _, f := range m.files {
		f.Close()
	}
	m.files = nil
	m.closeNamedPorts()
	err := m.closePorts()
	if m.monitor != nil {
		m.monitor.close()
	}
	return err
}
