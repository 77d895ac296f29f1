package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kapsel/bench"
	"kapsel/files"
	"kapsel/vmm"
	"kapsel/vmm/image"
	"kapsel/vmm/qemu"
)

// A measurer boots images and collects what they measure.
type measurer struct {
	o      *benchOptions
	accel  accelerator // never auto
	image  *image.Image
	run    *bench.Run
	stderr io.Writer
}

// errMeasured ends a machine that has told all that it is to tell.
var errMeasured = errors.New("measured")

// measure boots the benchmark image as often as asked for, then takes the stages of booting and
// the smallest memory, and returns all of it; or the command's status and why not.
func (o *benchOptions) measure(ctx context.Context, stderr io.Writer) (*bench.Run, int, error) {
	m, status, err := o.measurer(ctx, stderr)
	if err != nil {
		return nil, status, err
	}
	for boot := range o.count {
		if status, err := m.boot(ctx, boot, "", nil); err != nil {
			return nil, status, err
		}
	}
	for _, more := range []func(context.Context) (int, error){m.withDevices, m.withCustomer, m.withServices} {
		if status, err := more(ctx); err != nil {
			return nil, status, err
		}
	}
	for _, stage := range []func(context.Context) error{m.stages, m.smallestMemory, m.minimal} {
		if err := stage(ctx); err != nil {
			return nil, failedStatus(ctx), err
		}
	}
	m.sizes()
	return m.finish()
}

// measurer opens the image, chooses the accelerator, and says on what the run is made.
func (o *benchOptions) measurer(ctx context.Context, stderr io.Writer) (*measurer, int, error) {
	m := &measurer{o: o, run: new(bench.Run), stderr: stderr}
	var err error
	if m.image, err = openImage(ctx, o.image, "bench.elf"); err != nil {
		return nil, statusUsage, usageError{err}
	}
	var why string
	if m.accel, why, err = choose(ctx, o.accel); err != nil {
		return nil, statusFailed, err
	}
	m.log("accelerator %s: %s", m.accel, why)
	if err := m.accel.fits(vmm.Config{Image: m.image, Memory: uint64(o.memory)}); err != nil {
		return nil, statusUsage, usageError{fmt.Errorf("--mem %s: %w", &o.memory, err)}
	}
	if err := m.header(ctx); err != nil {
		return nil, statusFailed, err
	}
	return m, 0, nil
}

// finish says what the figures do not mean, and returns those that were asked for.
func (m *measurer) finish() (*bench.Run, int, error) {
	for _, w := range m.run.Warnings {
		fmt.Fprintf(m.stderr, "kapsel: warning: %s\n", w)
	}
	m.run.Results = slices.DeleteFunc(m.run.Results, func(r bench.Result) bool { return !m.wants(r.Name) })
	if len(m.run.Results) == 0 {
		return nil, statusUsage, usageError{fmt.Errorf("no path of the image has a name that --run %s fits", m.o.run)}
	}
	return m.run, 0, nil
}

// failedStatus is the command's status after an error: the signal's if one caused it.
func failedStatus(ctx context.Context) int {
	var s signalError
	if errors.As(context.Cause(ctx), &s) {
		return statusSignal + int(s.Signal)
	}
	return statusFailed
}

// log writes a line for -v.
func (m *measurer) log(format string, args ...any) {
	if m.o.verbose {
		fmt.Fprintf(m.stderr, "kapsel: "+strings.TrimSuffix(format, "\n")+"\n", args...)
	}
}

// header fills in on what the run was made, and what its figures cannot mean.
func (m *measurer) header(ctx context.Context) error {
	name, err := accelName(ctx, m.accel)
	if err != nil {
		return err
	}
	host := bench.ReadHost(os.DirFS("/"))
	m.run.Config = host.Facts(name, m.accel == accelKVM)
	if m.accel == accelKVM {
		m.run.Warnings = host.Warnings(tried(ctx, vmm.Probe))
	} else {
		m.run.Warnings = []string{"under QEMU's emulator: counts of instructions are exact, times mean nothing"}
	}
	return nil
}

// unit is what a tick of the guest's time-stamp counter is.
func (m *measurer) unit() string {
	if m.accel == accelQEMU {
		return bench.Instructions
	}
	return bench.Cycles
}

// wants reports whether a path is among those asked for.
func (m *measurer) wants(name string) bool { return m.o.run.MatchString(name) }

// boot boots the image once, in a machine with a command line and devices, to its end, and keeps the results.
func (m *measurer) boot(ctx context.Context, boot int, cmdline string, devices []vmm.Device) (int, error) {
	console, marks, status, err := m.once(ctx, boot, cmdline, devices)
	if err != nil {
		return status, err
	}
	if err := m.keep(console, marks); err != nil {
		return statusFailed, fmt.Errorf("%q: %w", m.o.image, err)
	}
	return 0, nil
}

// once boots the image, with further options for QEMU, and returns what it printed and marked.
func (m *measurer) once(ctx context.Context, boot int, cmdline string, devices []vmm.Device, options ...string) (*bench.Console, []vmm.Mark, int, error) {
	console := &bench.Console{Progress: func(name string) {
		if m.wants(name) {
			fmt.Fprintf(m.stderr, "kapsel: boot %d of %d: %s\n", boot+1, m.o.count, name)
		}
	}}
	var marks []vmm.Mark
	exit, cause, err := m.guest(ctx, m.o.timeout, vmm.Config{
		Image:   m.image,
		Cmdline: cmdline,
		Memory:  uint64(m.o.memory),
		Devices: devices,
		Mark:    func(mark vmm.Mark) { marks = append(marks, mark) },
	}, console, console.Done, options...)
	if err == nil && !console.Done() {
		status := failedStatus(ctx)
		if errors.Is(cause, errTimeout) {
			status, cause = statusTimeout, fmt.Errorf("%w after %s", errTimeout, m.o.timeout)
		}
		if exit.Reason != vmm.Cancelled {
			cause = errors.New(exit.String())
		}
		return nil, nil, status, fmt.Errorf("%w: %w", cause, console.Err())
	}
	return console, marks, statusFailed, err
}

// keep makes results of what was printed and counted. What is the same in each boot is
// kept of the first.
func (m *measurer) keep(console *bench.Console, marks []vmm.Mark) error {
	spans, err := bench.Spans(marks)
	if err != nil {
		return err
	}
	results, skipped, err := console.Results(m.unit(), spans)
	if err != nil {
		return err
	}
	m.run.Results = append(m.run.Results, results...)
	for _, s := range skipped {
		if !slices.Contains(m.run.Skipped, s) {
			m.run.Skipped = append(m.run.Skipped, s)
		}
	}
	for _, w := range uncounted(marks) {
		if !slices.Contains(m.run.Warnings, w) {
			m.run.Warnings = append(m.run.Warnings, w)
		}
	}
	return nil
}

// uncounted says which counters the monitor did not have, and why.
func uncounted(marks []vmm.Mark) []string {
	var warnings []string
	for _, mark := range marks {
		for _, c := range []struct {
			what  string
			count vmm.Count
		}{{"guest instructions", mark.Instructions}, {"exits that KVM serves by itself", mark.Exits}} {
			if c.count.Err == nil {
				continue
			}
			if text := fmt.Sprintf("%s are not counted: %v", c.what, c.count.Err); !slices.Contains(warnings, text) {
				warnings = append(warnings, text)
			}
		}
	}
	return warnings
}

// A measuredConsole passes on what the guest prints, and ends the machine when that
// suffices.
type measuredConsole struct {
	io.Writer
	enough func() bool
	end    context.CancelCauseFunc
}

func (c measuredConsole) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	if c.enough() {
		c.end(errMeasured)
	}
	return n, err
}

// guest runs an image until enough says so, the guest ends, or time is over. It returns
// the cause if the machine was cancelled. options are for QEMU.
func (m *measurer) guest(ctx context.Context, patience time.Duration, c vmm.Config, console io.Writer, enough func() bool, options ...string) (exit vmm.Exit, cause, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errTimeout)
	defer cancel()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	c.Console, c.ConsoleInStep, c.Log = measuredConsole{console, enough, end}, true, m.log
	machine, err := newMachine(ctx, m.accel, c, slices.Concat(qemu.Deterministic, options)...)
	if err != nil {
		return exit, nil, err
	}
	defer machine.Close()
	exit, err = machine.Run(ctx)
	m.log("%v", exit)
	return exit, context.Cause(ctx), err
}

// sizes adds what the kernel of the image with two tasks takes. Its symbols are beside it.
func (m *measurer) sizes() {
	if !slices.ContainsFunc(bench.KernelSizeNames, m.wants) {
		return
	}
	if _, err := os.Stat(m.o.small); err != nil {
		return // smallestMemory has said so, if it was asked
	}
	results, err := bench.KernelSizes(m.o.small, filepath.Join(filepath.Dir(m.o.small), "kernel.elf"))
	if err != nil {
		m.run.Warnings = append(m.run.Warnings, fmt.Sprintf("the kernel's size is not known: %v", err))
	}
	m.run.Results = append(m.run.Results, results...)
}

// stages measures how booting looks from the host: under KVM, in a machine whose memory
// the host backs with small pages, so that those touched can be counted.
func (m *measurer) stages(ctx context.Context) error {
	if m.accel != accelKVM || !slices.ContainsFunc(stageNames, m.wants) {
		return nil
	}
	for range m.o.count {
		results, err := m.stagesOnce(ctx)
		if err != nil {
			return err
		}
		m.run.Results = append(m.run.Results, results...)
	}
	return nil
}

// The stages of booting as the host sees them.
var stageNames = []string{"BootCreated", "BootFirstOutput", "BootTaskOutput"}

func (m *measurer) stagesOnce(ctx context.Context) ([]bench.Result, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, m.o.timeout, errTimeout)
	defer cancel()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	s := &stageConsole{end: end}
	started := time.Now()
	machine, err := vmm.New(ctx, vmm.Config{Image: m.image, Memory: uint64(m.o.memory), Console: s, ConsoleInStep: true, Log: m.log, SmallPages: true,
		Mark: func(vmm.Mark) {}}) // a board for benchmarks looks for its device
	if err != nil {
		return nil, err
	}
	defer machine.Close()
	s.machine = machine
	s.note(stageNames[0], started, bench.Metric{Unit: "copied-bytes/op", Value: float64(machine.Stats().Loaded)})
	s.started = time.Now()
	exit, err := machine.Run(ctx)
	if err == nil && exit.Reason == vmm.Cancelled && !errors.Is(context.Cause(ctx), errMeasured) {
		err = context.Cause(ctx)
	}
	return s.results, errors.Join(err, s.err)
}

// A stageConsole takes the time and the counters at the guest's first output, and when its
// first task has printed, if it does; then it ends the machine. It is written on the
// processor's thread.
type stageConsole struct {
	machine *vmm.Machine
	started time.Time // of Run
	console bench.Console
	end     context.CancelCauseFunc
	results []bench.Result
	err     error
}

func (s *stageConsole) Write(p []byte) (int, error) {
	s.console.Write(p)
	stage := len(s.results)
	if stage == 1 || stage == 2 && s.console.Booted() {
		s.note(stageNames[stage], s.started, bench.Metric{Unit: "user-exits/op", Value: float64(s.machine.Stats().Exits())})
	}
	if len(s.results) == len(stageNames) || s.console.Done() {
		s.end(errMeasured)
	}
	return len(p), nil
}

// note keeps a stage with the time since then and the pages of the guest's memory in use.
func (s *stageConsole) note(name string, since time.Time, count bench.Metric) {
	elapsed := time.Since(since)
	pages, err := s.machine.Resident()
	s.err = errors.Join(s.err, err)
	s.results = append(s.results, bench.Result{Name: name, Ops: 1, Metrics: []bench.Metric{
		{Unit: "ns/op", Value: float64(elapsed.Nanoseconds())}, count, {Unit: "pages/op", Value: float64(pages)},
	}})
}

// Bounds of the search for the smallest memory, in bytes. QEMU rounds the size of memory up
// to 8 KiB, so that is the step under both accelerators.
const (
	memoryStep = 8 << 10
	memoryMost = 16 << 20
)

// smallestMemory finds the least memory with which two tasks run to their ends, of the full board and of the
// minimal one.
func (m *measurer) smallestMemory(ctx context.Context) error {
	for _, least := range []struct{ name, image, made, instead string }{
		{"SmallestMemory", m.o.small, smallImage, "; or name one with --small"},
		{bench.MinimalMemory, m.o.minimalSmall, minimalSmallImage, ""},
	} {
		if !m.wants(least.name) {
			continue
		}
		img, err := openImage(ctx, least.image, least.made)
		if err != nil {
			m.run.Warnings = append(m.run.Warnings, fmt.Sprintf("%s was not measured: %s%s", least.name, files.Words(err), least.instead))
			continue
		}
		fmt.Fprintf(m.stderr, "kapsel: %s\n", least.name)
		enough, err := m.leastMemory(ctx, img)
		if err != nil {
			return fmt.Errorf("%q, %w", least.image, err)
		}
		m.run.Results = append(m.run.Results, bench.Result{Name: least.name, Ops: 1,
			Metrics: []bench.Metric{{Unit: "KiB", Value: float64(enough >> 10)}}})
	}
	return nil
}

// leastMemory finds the least memory, in bytes, with which an image's two tasks run to their ends.
func (m *measurer) leastMemory(ctx context.Context, img *image.Image) (uint64, error) {
	tooLittle, enough := uint64(0), uint64(memoryMost)
	if err := m.runsWith(ctx, img, enough); err != nil {
		return 0, fmt.Errorf("with %d MiB of memory: %w", memoryMost>>20, err)
	}
	for enough-tooLittle > memoryStep {
		middle := (tooLittle + enough) / 2 / memoryStep * memoryStep
		err := m.runsWith(ctx, img, middle)
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		if err == nil {
			enough = middle
			m.log("%d KiB of memory are enough", middle>>10)
		} else {
			tooLittle = middle
			m.log("%d KiB of memory are too little: %v", middle>>10, err)
		}
	}
	return enough, nil
}

// minimal measures the minimal board, under QEMU: how long it boots, and the size of its kernel. Symbols are beside
// the image.
func (m *measurer) minimal(ctx context.Context) error {
	if m.accel != accelQEMU || !slices.ContainsFunc(bench.MinimalNames, m.wants) {
		return nil
	}
	img, err := openImage(ctx, m.o.minimal, minimalImage)
	if err != nil {
		m.run.Warnings = append(m.run.Warnings, fmt.Sprintf("the minimal board was not measured: %s", files.Words(err)))
		return nil
	}
	fmt.Fprintf(m.stderr, "kapsel: %s\n", strings.Join(bench.MinimalNames, ", "))
	var console bytes.Buffer
	exit, cause, err := m.guest(ctx, smallTimeout, vmm.Config{Image: img, Memory: uint64(m.o.memory), Cmdline: "boot-ticks"},
		&console, func() bool { return false })
	switch {
	case err != nil:
		return err
	case exit.Reason == vmm.Cancelled:
		return fmt.Errorf("%q: %w", m.o.minimal, cause)
	case exit != (vmm.Exit{Reason: vmm.GuestExit}):
		return fmt.Errorf("%q: %v", m.o.minimal, exit)
	}
	boot, err := bench.MinimalBoot(console.String(), m.unit())
	if err != nil {
		return fmt.Errorf("%q: %w", m.o.minimal, err)
	}
	sizes, err := bench.KernelSizes(m.o.minimal, filepath.Join(filepath.Dir(m.o.minimal), "kernel.elf"))
	if err != nil {
		return err
	}
	m.run.Results = append(append(m.run.Results, boot), bench.MinimalSize(sizes)...)
	return nil
}

// twoTasks is how often the kernel's last table says that a task ended well.
const (
	twoTasks  = 2
	endedWell = " exit with code 0\n"
)

// smallTimeout ends two tasks, which need a second, in a machine that hangs.
const smallTimeout = time.Minute

// runsWith says why the image's two tasks do not run to their ends with so much memory; nil
// if they do. A kernel that cannot boot, or has no room for a task, may end in any way.
func (m *measurer) runsWith(ctx context.Context, img *image.Image, memory uint64) error {
	if err := m.accel.fits(vmm.Config{Image: img, Memory: memory}); err != nil {
		return err
	}
	var console bytes.Buffer
	exit, cause, err := m.guest(ctx, smallTimeout, vmm.Config{Image: img, Memory: memory}, &console, func() bool { return false })
	if err != nil {
		return err
	}
	if exit.Reason == vmm.Cancelled {
		return cause
	}
	if exit != (vmm.Exit{Reason: vmm.GuestExit}) {
		return errors.New(exit.String())
	}
	if n := strings.Count(strings.ReplaceAll(console.String(), "\r", ""), endedWell); n != twoTasks {
		return fmt.Errorf("want %d tasks that ended well, found %d", twoTasks, n)
	}
	return nil
}
