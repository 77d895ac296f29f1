package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"kapsel/cmd/kapsel/endings"
	"kapsel/cmd/kapsel/oci"
	"kapsel/guest/abi"
	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tab"
	"kapsel/guest/kernel/tbf/tbfbuild"
	"kapsel/vmm"
	"kapsel/vmm/image"
	"kapsel/vmm/linux"
	"kapsel/vmm/qemu"
	"kapsel/vmm/snapshot"
)

// Why a machine is ended from outside.
var (
	errLeft    = errors.New("left with Ctrl-A x")
	errTimeout = errors.New("ended by --timeout")
)

// A signalError says that a signal ended the machine.
type signalError struct{ syscall.Signal }

func (e signalError) Error() string { return "ended by signal: " + e.Signal.String() }

// runCommand is "kapsel run": it boots an image and returns the guest's exit status. From
// its first step on it can be told to end.
func runCommand(args []string, std stdio) (int, error) {
	o, err := parseRun(args)
	if err != nil {
		return statusUsage, usageError{err}
	}
	return untilTold(o.timeout, o.ask, std, func(ctx context.Context, leave context.CancelCauseFunc) (int, error) {
		o.tellReady()
		return o.run(ctx, leave, std)
	})
}

// tellReady tells whoever waits for it that signals reach the command.
func (o *runOptions) tellReady() {
	if o.ready == nil {
		return
	}
	o.ready.WriteString(oci.Ready) // the other end may be gone, which changes nothing here
	o.ready.Close()
}

// untilTold does what a command does, whose context ends with a signal, unless that is one for which ask takes over, when its time is over, unless that is 0, or by
// leave. It returns the status.
func untilTold(timeout time.Duration, ask *asker, std stdio, do func(ctx context.Context, leave context.CancelCauseFunc) (int, error)) (int, error) {
	ctx, leave := context.WithCancelCause(context.Background())
	defer leave(nil)
	stop := leaveOnSignals(func(cause error) {
		if !ask.takes(cause, leave) {
			leave(cause)
		}
	})
	defer stop()
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, fmt.Errorf("%w after %s", errTimeout, timeout))
		defer cancel()
		time.AfterFunc(timeout, std.hurry) // even if the guest has ended
	}
	defer context.AfterFunc(ctx, std.hurry)()

	status, err := do(ctx, leave)
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, cause) { // perhaps before there was a machine
		return outcome(vmm.Exit{Reason: vmm.Cancelled}, nil, cause)
	}
	return status, err
}

// run boots the image, or has a snapshot go on, with the console at std, until leave is called or ctx ends otherwise.
func (o *runOptions) run(ctx context.Context, leave context.CancelCauseFunc, std stdio) (int, error) {
	config, err := o.config(ctx, std)
	if err != nil {
		return statusUsage, usageError{err}
	}
	defer o.closeTaken()
	accel, why, err := choose(ctx, o.accel)
	if err != nil {
		return statusFailed, err
	}
	config.Log("accelerator %s: %s", accel, why)
	if o.linux != "" && accel == accelQEMU {
		return statusFailed, fmt.Errorf("--linux needs KVM, and KVM cannot run it here (%s): QEMU boots Linux without Kapsel, by -kernel and -initrd", why)
	}
	if o.from != "" && accel == accelQEMU {
		return statusFailed, fmt.Errorf("--from needs KVM, and KVM cannot run it here: %s", why)
	}
	if accel != o.accel && accel == accelQEMU {
		config.Warn("%s; QEMU's emulator runs the machine, which its authors call no security boundary", why)
	}
	if err := accel.fits(config); err != nil {
		return statusUsage, usageError{fmt.Errorf("%q: %w", cmp.Or(o.linux, o.image), err)}
	}
	if accel == accelQEMU && len(o.breaks) > 0 {
		return statusUsage, usageError{fmt.Errorf("--break needs KVM, and QEMU is used here (%s): use gdb instead, as README.md shows under Debug", why)}
	}
	std.outputs = &outputs{}
	defer std.outputs.refuse()
	if o.taken != nil {
		o.withoutAsk(&config)
	}
	if len(o.ports) > 0 {
		ports, end, err := o.ports.connect(ctx, std)
		if err != nil {
			return statusUsage, usageError{err}
		}
		defer end()
		config.Devices[len(config.Devices)-1] = ports
	}
	if o.taken != nil {
		if config.Devices, err = arrange(o.taken.State.Devices, config.Devices); err != nil {
			return statusUsage, usageError{fmt.Errorf("--from %s: %w", o.from, err)}
		}
	}
	closeGPIO, err := o.gpio.open(ctx, std)
	if err != nil {
		return statusUsage, usageError{err}
	}
	out := newGuestOutput(std.out)
	out.unread = func() { leave(signalError{syscall.SIGPIPE}) }
	if o.taken != nil {
		out.begin() // its UART is set up
	}
	con, err := openConsole(std.in, out, func() { leave(errLeft) }, o.gpio.press())
	if err != nil {
		return statusFailed, err
	}
	defer con.restore()
	config.Input, config.Console = con.in, out
	status, err := o.boot(ctx, accel, config, std)
	if problem := closeGPIO(); problem != nil {
		config.Warn("--gpio: %v", problem)
	}
	if lost := out.failure(); err == nil && lost != nil {
		return statusFailed, fmt.Errorf("the guest ended with status %d, but what it printed is lost: %w", status, lost)
	}
	return status, err
}

// config makes the machine's configuration: it reads and checks image and tasks.
func (o *runOptions) config(ctx context.Context, std stdio) (vmm.Config, error) {
	c := vmm.Config{
		Memory:  uint64(o.memory),
		Cmdline: o.cmdline,

		Arguments:   o.args,
		Environment: o.env,

		Log: func(string, ...any) {},

		Devices:     o.devices,
		Breakpoints: o.breaks,
		Watchdog:    o.watchdog,
	}
	say := func(format string, args ...any) {
		fmt.Fprintf(std.err, "kapsel: "+strings.TrimSuffix(format, "\n")+"\n", args...)
	}
	c.Warn = func(format string, args ...any) { say("warning: "+format, args...) }
	if o.verbose {
		c.Log = say
	}
	if o.linux != "" {
		return o.linuxConfig(ctx, c)
	}
	var err error
	if o.from != "" {
		o.taken, err = within(ctx, func() (*snapshot.Snapshot, error) { return snapshot.Load(o.from) })
		return c, err
	}
	if err := o.openFirst(ctx, &c); err != nil {
		return c, err
	}
	for _, path := range o.tasks {
		objects, err := readObjects(ctx, path)
		if err != nil {
			return c, err
		}
		c.Modules = append(c.Modules, objects)
	}
	return c, nil
}

// openFirst opens the image, which is the first file unless that is a task: then it is the one beside the command.
func (o *runOptions) openFirst(ctx context.Context, c *vmm.Config) error {
	data, err := image.ReadFile(ctx, o.image)
	switch {
	case err != nil && isTask(o.image, nil):
		return err
	case err != nil:
		return wanting(err, "kapsel.elf")
	case !isTask(o.image, data):
		if c.Image, err = image.Parse(data); err != nil {
			return fmt.Errorf("%q: %w", o.image, err)
		}
		return nil
	}
	objects, err := parseObjects(o.image, data)
	if err != nil {
		return err
	}
	c.Modules = [][]byte{objects}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if o.image, err = image.FindBare(filepath.Dir(self)); err != nil {
		return err
	}
	c.Image, err = image.Open(ctx, o.image)
	return err
}

// isTask reports whether a file is, or was to be, one of task objects rather than an image.
func isTask(path string, data []byte) bool {
	_, object := tbf.Length(data)
	return object || tab.Is(data) || filepath.Ext(path) == ".tbf" || filepath.Ext(path) == ".tab"
}

// linuxConfig completes the configuration of a machine that boots Linux: it reads and checks the kernel, and
// reads its initial file system.
func (o *runOptions) linuxConfig(ctx context.Context, c vmm.Config) (vmm.Config, error) {
	c.Cmdline = strings.TrimSpace(linux.Cmdline + " " + o.cmdline)
	var err error
	if c.Linux, err = linux.Open(ctx, o.linux); err != nil || o.initrd == "" {
		return c, err
	}
	c.Initrd, err = image.ReadFile(ctx, o.initrd)
	if err == nil && len(c.Initrd) == 0 {
		err = fmt.Errorf("%q: want an initial file system, found an empty file", o.initrd)
	}
	return c, err
}

// readObjects reads a file of task objects, each from a multiple of 4 KiB on, or of a .tab file the
// object that Kapsel runs. Whether an object is sound is the kernel's to judge, which skips it if
// not; but what is none would hide all that follows. A blank tail, as a copy of a flash has, is left
// out.
func readObjects(ctx context.Context, path string) ([]byte, error) {
	objects, err := image.ReadFile(ctx, path)
	if err != nil {
		return nil, err
	}
	return parseObjects(path, objects)
}

// parseObjects is readObjects of a file that was read.
func parseObjects(path string, objects []byte) ([]byte, error) {
	if len(objects) == 0 {
		return nil, fmt.Errorf("%q: want a task in Tock Binary Format, found an empty file", path)
	}
	label := strconv.Quote(path)
	if tab.Is(objects) || filepath.Ext(path) == ".tab" {
		name, object, err := tab.Object(objects)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", label, err)
		}
		label, objects = fmt.Sprintf("%s: %q", label, name), object
	}
	for at := uint64(0); at < uint64(len(objects)); {
		size, ok := tbf.Length(objects[at:])
		if !ok && at > 0 && tbf.Blank(objects[at:]) {
			return objects[:at], nil
		}
		if !ok {
			return nil, fmt.Errorf("%s: want a task in Tock Binary Format at byte %d: %w", label, at, tbfbuild.Check(objects[at:]))
		}
		at += abi.PageUp(uint64(size))
	}
	return objects, nil
}

// firstObject splits objects that readObjects has read behind the first.
func firstObject(objects []byte) (first, rest []byte) {
	size, _ := tbf.Length(objects)
	return objects[:size], objects[min(abi.PageUp(uint64(size)), uint64(len(objects))):]
}

// boot runs the machine to its end and returns the command's exit status.
func (o *runOptions) boot(ctx context.Context, accel accelerator, c vmm.Config, std stdio) (int, error) {
	m, err := o.machine(ctx, accel, c)
	if _, ok := errors.AsType[*vmm.DeviceError](err); ok {
		return statusUsage, usageError{err}
	}
	if err != nil && accel == accelKVM && o.taken == nil { // auto may have chosen it without trying
		err = o.advised(accel, err)
	}
	if err != nil {
		return statusFailed, err
	}
	defer m.Close()
	if err := std.outputs.begin(); err != nil {
		return statusFailed, err
	}
	if err := o.confineFor(m, c, std.in); err != nil {
		return statusFailed, err
	}
	defer followSize(m, std.in)()
	exit, err := m.Run(ctx)
	c.Log("%v", exit)
	status, err := outcome(exit, o.advised(accel, err), context.Cause(ctx))
	switch {
	case exit.Reason == vmm.Shutdown, exit.Reason == vmm.Hung, exit.Reason == vmm.Breakpoint, exit.Reason == vmm.Failed,
		errors.Is(err, errTimeout):
		m.Dump(std.err)
	}
	return status, err
}

// machine makes the machine.
func (o *runOptions) machine(ctx context.Context, accel accelerator, c vmm.Config) (machine, error) {
	if o.taken != nil {
		return vmm.Fork(ctx, o.taken, c, vmm.Time(o.clock))
	}
	return newMachine(ctx, accel, c)
}

// closeTaken gives the snapshot back that config has read, if there is one.
func (o *runOptions) closeTaken() {
	if o.taken != nil {
		o.taken.Close()
	}
}

// advised is a machine's failure with what to do about it.
func (o *runOptions) advised(accel accelerator, failure error) error {
	switch {
	case errors.Is(failure, qemu.ErrMemory):
		return fmt.Errorf("--mem %s: %w", &o.memory, failure)
	case failure != nil && (o.linux != "" || o.from != ""):
		return fmt.Errorf("%w: see kapsel doctor", failure)
	case failure != nil && accel == accelKVM:
		return fmt.Errorf("%w: see kapsel doctor, or use --accel qemu", failure)
	}
	return failure
}

// outcome is the command's exit status and last word for how a machine ended: by itself,
// at a breakpoint, by a failure, or cancelled for the cause.
func outcome(exit vmm.Exit, failure, cause error) (int, error) {
	switch exit.Reason {
	case vmm.GuestExit:
		if exit.Status == abi.ExitCapsule {
			return exit.Status, errors.New("every task ended with exit code 0, but a capsule failed and stayed off: the console says which")
		}
		return exit.Status, nil
	case vmm.Shutdown, vmm.Reset:
		return statusFailed, errors.New(exit.String())
	case vmm.Hung:
		return statusHung, errors.New(exit.String())
	case vmm.Breakpoint:
		return statusBreakpoint, errors.New(exit.String())
	case vmm.Cancelled:
		var s signalError
		switch {
		case errors.Is(cause, errLeft):
			return statusLeft, nil
		case errors.Is(cause, errTimeout):
			return statusTimeout, cause
		case errors.As(cause, &s):
			return statusSignal + int(s.Signal), s
		}
		return statusFailed, cause
	}
	return statusFailed, failure
}

// leaveOnSignals calls leave at the signals that mean an end, until stop is called. SIGPIPE is none, and does nothing: a peer of a socket's that has gone raises
// it, too, and whoever writes gets an error in any case.
func leaveOnSignals(leave context.CancelCauseFunc) (stop func()) {
	pipes := make(chan os.Signal, 1)
	if !signal.Ignored(syscall.SIGPIPE) {
		signal.Notify(pipes, syscall.SIGPIPE)
	}
	notified := endings.Notify(func(s syscall.Signal) { leave(signalError{s}) })
	return func() {
		notified()
		signal.Stop(pipes)
	}
}
