package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"kapsel/guest/abi"
	"kapsel/vmm"
)

// runOptions is the command line of "kapsel run".
type runOptions struct {
	image   string
	tasks   []string
	accel   accelerator
	memory  byteSize
	timeout time.Duration // 0: none
	cmdline string
	breaks  addresses
	verbose bool

	watchdog time.Duration // 0: none
}

// defaultWatchdog is far longer than the kernel works on anything before it returns to its
// main loop, on any host.
const defaultWatchdog = 10 * time.Second

// parseRun reads the arguments of "kapsel run": flags and files in any order; all that
// follows "--" is files.
func parseRun(args []string) (*runOptions, error) {
	o := &runOptions{accel: accelAuto, memory: vmm.DefaultMemory}
	f := newFlags("run")
	f.Var(&o.accel, "accel", "")
	f.Var(&o.memory, "mem", "")
	f.DurationVar(&o.timeout, "timeout", 0, "")
	f.DurationVar(&o.watchdog, "watchdog", defaultWatchdog, "")
	f.StringVar(&o.cmdline, "cmdline", "", "")
	f.Var(&o.breaks, "break", "")
	f.BoolVar(&o.verbose, "v", false, "")
	files, err := parseMixed(f, args)
	if err != nil {
		return nil, err
	}
	switch {
	case len(files) == 0:
		return nil, errors.New("no image given: kapsel run [flags] IMAGE [TASK.tbf...]")
	case o.timeout < 0:
		return nil, fmt.Errorf("--timeout %s: want a positive time, as 30s", o.timeout)
	case o.watchdog < 0:
		return nil, fmt.Errorf("--watchdog %s: want a positive time, as 10s, or 0 for none", o.watchdog)
	case o.memory > vmm.MaxMemory:
		return nil, fmt.Errorf("--mem %s: a machine can have at most %dG", &o.memory, vmm.MaxMemory>>30)
	case len(o.cmdline) > abi.CmdlineMax:
		return nil, fmt.Errorf("--cmdline of %d bytes: the kernel reads at most %d", len(o.cmdline), abi.CmdlineMax)
	}
	if err := vmm.CheckBreakpoints(o.breaks); err != nil {
		return nil, fmt.Errorf("--break: %w", err)
	}
	o.image, o.tasks = files[0], files[1:]
	return o, nil
}

// parseDoctor reads the arguments of "kapsel doctor".
func parseDoctor(args []string) (accelerator, error) {
	accel := accelAuto
	f := newFlags("doctor")
	f.Var(&accel, "accel", "")
	err := parseOnly(f, args)
	return accel, err
}

// parseOnly parses flags and refuses other arguments.
func parseOnly(f *flag.FlagSet, args []string) error {
	others, err := parseMixed(f, args)
	if err == nil && len(others) > 0 {
		err = fmt.Errorf("unexpected argument %q", others[0])
	}
	return err
}

// newFlags makes a flag set that leaves errors and help to the caller.
func newFlags(name string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	return f
}

// parseMixed parses flags that may stand before, between and behind the other arguments,
// which it returns.
func parseMixed(f *flag.FlagSet, args []string) (others []string, err error) {
	for {
		if err := f.Parse(args); err != nil {
			return nil, err
		}
		rest := f.Args()
		if len(rest) == 0 {
			return others, nil
		}
		if parsed := len(args) - len(rest); parsed > 0 && args[parsed-1] == "--" {
			return append(others, rest...), nil
		}
		others = append(others, rest[0])
		args = rest[1:]
	}
}

// accelerator is a flag: what runs the machine.
type accelerator string

const (
	accelAuto accelerator = "auto"
	accelKVM  accelerator = "kvm"
	accelQEMU accelerator = "qemu"
)

func (a *accelerator) String() string { return string(*a) }

// Set takes one of the accelerators' names.
func (a *accelerator) Set(text string) error {
	switch v := accelerator(text); v {
	case accelAuto, accelKVM, accelQEMU:
		*a = v
		return nil
	}
	return errors.New("want auto, kvm or qemu")
}

// addresses is a flag that may be repeated: virtual addresses.
type addresses []uint64

// String writes the addresses as Set reads them.
func (a *addresses) String() string {
	var list []string
	for _, address := range *a {
		list = append(list, strconv.FormatUint(address, 16))
	}
	return strings.Join(list, ",")
}

// Set reads hexadecimal addresses, with or without 0x, with commas between.
func (a *addresses) Set(text string) error {
	for word := range strings.SplitSeq(text, ",") {
		address, err := strconv.ParseUint(strings.TrimPrefix(word, "0x"), 16, 64)
		if err != nil {
			return fmt.Errorf("want hexadecimal addresses as ffffffff80200000, found %q", word)
		}
		*a = append(*a, address)
	}
	return nil
}
