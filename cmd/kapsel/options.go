package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kapsel/guest/abi"
	"kapsel/vmm"
	"kapsel/vmm/confine"
	"kapsel/vmm/ethernet/network"
	"kapsel/vmm/image"
	"kapsel/vmm/snapshot"
)

// runOptions is the command line of "kapsel run".
type runOptions struct {
	image   string
	tasks   []string
	args    []string // of tasks, as is env
	env     []string
	accel   accelerator
	memory  byteSize
	timeout time.Duration // 0: none
	cmdline string
	breaks  addresses
	devices devices
	net     network.Flag
	ports   namedPorts
	ask     *asker   // nil: nobody is asked to end
	ready   *os.File // is told when signals reach the command; nil: nobody waits for that
	gpio    gpioOptions
	confine confineFlag
	verbose bool

	watchdog time.Duration // 0: none

	linux  string // a Linux kernel in the place of image and tasks
	initrd string // with linux: its initial file system, "" for none

	from  string             // the directory of a snapshot in the place of image and tasks
	clock clockFlag          // with from
	taken *snapshot.Snapshot // of from; nil until config has read it
}

// defaultWatchdog is far longer than the kernel works on anything before it returns to its
// main loop, on any host.
const defaultWatchdog = 10 * time.Second

// leastWatchdog is longer than the kernel takes from its entry until it can panic: by an NMI before
// that the processor shuts down.
const leastWatchdog = 100 * time.Millisecond

// parseReady takes the number of a descriptor that the caller has left open.
func (o *runOptions) parseReady(text string) error {
	fd, err := strconv.ParseUint(text, 10, 31)
	if err == nil && fd > 2 {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC)
	}
	if err != nil || fd <= 2 {
		return errors.New("want the number of an open file descriptor above 2")
	}
	o.ready = os.NewFile(uintptr(fd), "ready")
	return nil
}

// parseRun reads the arguments of "kapsel run": flags and files in any order; all that
// follows "--" is the tasks'.
func parseRun(args []string) (*runOptions, error) {
	o := &runOptions{accel: accelAuto, memory: vmm.DefaultMemory}
	f := newFlags("run")
	f.Var(&o.accel, "accel", "")
	f.Var(&o.memory, "mem", "")
	f.DurationVar(&o.timeout, "timeout", 0, "")
	f.DurationVar(&o.watchdog, "watchdog", defaultWatchdog, "")
	f.StringVar(&o.cmdline, "cmdline", "", "")
	f.Var(&o.breaks, "break", "")
	f.Var(diskFlag{&o.devices}, "disk", "")
	f.Var(&o.net, "net", "")
	f.Var(rngFlag{&o.devices}, "rng", "")
	f.Var(consoleFlag{&o.devices}, "console", "")
	f.Var(portFlag{&o.ports}, "port", "")
	f.Var(fileFlag{&o.ports, abi.PortADC, confine.Options{}, connectADC}, "adc", "")
	f.Var(fileFlag{&o.ports, abi.PortDAC, confine.Options{}, connectDAC}, "dac", "")
	f.Var(fileFlag{&o.ports, abi.PortScreen, confine.Options{Files: true}, connectScreen}, "screen", "")
	f.Var(buzzerFlag{&o.ports}, "buzzer", "")
	f.Var(controlFlag{&o.ports}, "control", "")
	f.Var(askFlag{&o.ports, &o.ask}, "ask", "")
	f.Func("ready", "", o.parseReady)
	f.Var(gpioFlag{&o.gpio, &o.devices}, "gpio", "")
	f.Var(&o.confine, "confine", "")
	f.BoolVar(&o.verbose, "v", false, "")
	f.StringVar(&o.linux, "linux", "", "")
	f.StringVar(&o.initrd, "initrd", "", "")
	f.StringVar(&o.from, "from", "", "")
	f.Var(&o.clock, "clock", "")
	files, err := o.parseTasks(f, args)
	if err != nil {
		return nil, err
	}
	if err := o.forSnapshot(f, files); err != nil {
		return nil, err
	}
	if err := o.forLinux(f, files); err != nil {
		return nil, err
	}
	switch {
	case len(files) == 0 && o.linux == "" && o.from == "":
		return nil, errors.New("no image given: kapsel run [flags] IMAGE [TASK...] [-- ARG...]")
	case o.timeout < 0:
		return nil, fmt.Errorf("--timeout %s: want a positive time, as 30s", o.timeout)
	case o.watchdog != 0 && o.watchdog < leastWatchdog:
		return nil, fmt.Errorf("--watchdog %s: want %s or more, as 10s, or 0 for none", o.watchdog, leastWatchdog)
	case o.memory > vmm.MaxMemory:
		return nil, fmt.Errorf("--mem %s: a machine can have at most %dG", &o.memory, vmm.MaxMemory>>30)
	case len(o.cmdline) > abi.CmdlineMax && o.linux == "":
		return nil, fmt.Errorf("--cmdline of %d bytes: the kernel reads at most %d", len(o.cmdline), abi.CmdlineMax)
	}
	if o.net.Config != nil {
		o.devices = append(o.devices, vmm.Network{Connection: *o.net.Config})
	}
	if len(o.ports) > 0 {
		o.devices = append(o.devices, o.ports.device())
	}
	if err := vmm.CheckDevices(o.devices); err != nil {
		return nil, err
	}
	if o.linux == "" && o.from == "" {
		if err := vmm.CheckCmdline(o.cmdline, len(o.devices)); err != nil {
			return nil, err
		}
	}
	if err := vmm.CheckBreakpoints(o.breaks); err != nil {
		return nil, fmt.Errorf("--break: %w", err)
	}
	if o.linux == "" && o.from == "" {
		o.image, o.tasks = files[0], files[1:]
	}
	return o, checkGPIO(o.gpio, files)
}

// forLinux sets what is otherwise when Linux is booted, and refuses what Linux cannot have.
func (o *runOptions) forLinux(f *flag.FlagSet, files []string) error {
	given := flagsGiven(f)
	if !given["linux"] {
		if given["initrd"] {
			return errors.New("--initrd is for a Linux kernel: kapsel run --linux VMLINUZ --initrd FILE")
		}
		return nil
	}
	switch {
	case o.linux == "":
		return errors.New(`--linux "": want the file of a Linux kernel, as /boot/vmlinuz`)
	case given["initrd"] && o.initrd == "":
		return errors.New(`--initrd "": want the file of an initial file system`)
	case len(o.args) > 0 || len(o.env) > 0:
		return errors.New("arguments and --env are for tasks: Linux has --cmdline")
	case len(files) > 0:
		return fmt.Errorf("--linux boots a Linux kernel alone: %q would be an image or a task", files[0])
	case given["watchdog"]:
		return errors.New("--watchdog watches Kapsel's kernel: it cannot be given with --linux")
	case o.accel == accelQEMU:
		return errors.New("--linux needs KVM, and --accel qemu forbids it: QEMU boots Linux without Kapsel, by -kernel and -initrd")
	}
	o.watchdog = 0
	if !given["mem"] {
		o.memory = vmm.DefaultLinuxMemory
	}
	return nil
}

// flagsGiven are the names of the flags that were set.
func flagsGiven(f *flag.FlagSet) map[string]bool {
	given := map[string]bool{}
	f.Visit(func(f *flag.Flag) { given[f.Name] = true })
	return given
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

// newFlags makes a flag set for parseMixed.
func newFlags(name string) *flag.FlagSet { return flag.NewFlagSet(name, flag.ContinueOnError) }

// parseMixed parses flags that may stand before, between and behind the other arguments,
// which it returns. It reads what FlagSet.Parse does, but says what is wrong in our words.
func parseMixed(f *flag.FlagSet, args []string) (others []string, err error) {
	others, behind, err := parseSplit(f, args)
	return append(others, behind...), err
}

// parseSplit is parseMixed that returns what stands behind "--" by itself.
func parseSplit(f *flag.FlagSet, args []string) (others, behind []string, err error) {
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			return others, args, nil
		case len(arg) < 2 || arg[0] != '-':
			others = append(others, arg)
		default:
			if args, err = parseFlag(f, arg, args); err != nil {
				return nil, nil, err
			}
		}
	}
	return others, nil, nil
}

// parseTasks parses the flags of a command that boots tasks, and what they have: --env, --env-from, and behind "--" their arguments. It returns the files.
func (o *runOptions) parseTasks(f *flag.FlagSet, args []string) (files []string, err error) {
	add := func(variables ...string) error {
		o.env = append(o.env, variables...)
		return vmm.CheckEnvironment(nil, o.env)
	}
	f.Func("env", "", func(variable string) error { return add(variable) })
	f.Func("env-from", "", func(path string) error {
		variables, err := readVariables(path)
		return errors.Join(err, add(variables...))
	})
	if files, o.args, err = parseSplit(f, args); err != nil {
		return nil, err
	}
	return files, vmm.CheckEnvironment(o.args, o.env)
}

// readVariables reads variables from a file, in which a zero byte ends each.
func readVariables(path string) ([]string, error) {
	text, err := image.ReadFile(context.Background(), path)
	if err != nil || len(text) == 0 {
		return nil, err
	}
	variables, ended := strings.CutSuffix(string(text), "\x00")
	if !ended {
		return nil, fmt.Errorf("%q: want a zero byte behind each variable, found none at the end", path)
	}
	return strings.Split(variables, "\x00"), nil
}

// parseFlag sets the flag in arg, whose value may be the next argument, and returns the
// arguments behind it.
func parseFlag(f *flag.FlagSet, arg string, next []string) ([]string, error) {
	typed, value, given := strings.Cut(arg, "=")
	name := strings.TrimPrefix(typed[1:], "-")
	found := f.Lookup(name)
	switch {
	case found == nil && (name == "h" || name == "help"):
		return nil, flag.ErrHelp
	case found == nil:
		return nil, fmt.Errorf("no flag %s: see kapsel help %s", typed, f.Name())
	case given:
	case isSwitch(found.Value):
		value = "true"
	case len(next) == 0:
		return nil, fmt.Errorf("%s wants a value", spell(name))
	default:
		value, next = next[0], next[1:]
	}
	if err := f.Set(name, value); err != nil {
		return nil, wrongValue(found, value, err)
	}
	return next, nil
}

// isSwitch reports whether a flag means something without a value.
func isSwitch(v flag.Value) bool {
	b, ok := v.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}

// spell is a flag as the documents write it.
func spell(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// wrongValue says what a flag wants. Package flag's own kinds do not; they are Getters.
func wrongValue(f *flag.Flag, value string, err error) error {
	if value == "" {
		value = `""`
	}
	getter, ok := f.Value.(flag.Getter)
	if !ok {
		return fmt.Errorf("%s %s: %w", spell(f.Name), value, err)
	}
	switch getter.Get().(type) {
	case time.Duration:
		return fmt.Errorf("%s %s: want a time as 30s", spell(f.Name), value)
	case int:
		return fmt.Errorf("%s %s: want a whole number as 10", spell(f.Name), value)
	case bool:
		return fmt.Errorf("%s=%s: want true or false, or %[1]s alone", spell(f.Name), value)
	}
	return fmt.Errorf("%s %s: %w", spell(f.Name), value, err)
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

// devices are the machine's devices, in the order in which flags named them, a network behind the others, and ports behind that.
type devices []vmm.Device

// rngFlag is a flag without a value: an entropy device.
type rngFlag struct{ devices *devices }

func (f rngFlag) String() string { return "" }

// IsBoolFlag says that the flag stands alone.
func (f rngFlag) IsBoolFlag() bool { return true }

// Set takes true, which the flag alone means, and makes the device.
func (f rngFlag) Set(text string) error {
	if text != "true" {
		return errors.New("want --rng alone")
	}
	*f.devices = append(*f.devices, vmm.Entropy{})
	return nil
}

// diskFlag is a flag that may be repeated: a block device.
type diskFlag struct{ devices *devices }

func (f diskFlag) String() string { return "" }

// defaultPrivate is how much a private disk keeps of what is written.
const defaultPrivate = 64 << 20

// Set reads FILE, FILE,ro or FILE,private[=SIZE].
func (f diskFlag) Set(text string) error {
	d := vmm.Disk{Path: text}
	i := strings.LastIndexByte(text, ',')
	word := text[i+1:]
	size, sized := strings.CutPrefix(word, "private=")
	switch {
	case i < 0:
	case word == "ro":
		d.Path, d.ReadOnly = text[:i], true
	case word == "private":
		d.Path, d.Private = text[:i], defaultPrivate
	case sized:
		private := byteSize(0)
		if err := private.Set(size); err != nil {
			return err
		}
		d.Path, d.Private = text[:i], uint64(private)
	case i > 0 && !exists(text) && exists(text[:i]):
		return fmt.Errorf("want FILE, FILE,ro or FILE,private, found %q behind the file", text[i:])
	}
	if d.Path == "" {
		return errors.New("want FILE, or FILE,ro for one that the guest cannot write to, or FILE,private for one whose file stays as it is")
	}
	*f.devices = append(*f.devices, d)
	return nil
}

// notWritten refuses disks whose files a machine of a snapshot would write to.
func (d devices) notWritten() error {
	for _, d := range d {
		if d, ok := d.(vmm.Disk); ok && d.Written() {
			return fmt.Errorf("--disk %s: a snapshot cannot take back what the guest writes to a file: give %[1]s,ro or %[1]s,private", printable(d.Path))
		}
	}
	return nil
}

// exists reports whether there is a file of that name.
func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// consoleFlag is a flag: whether there is a console device beside the UART.
type consoleFlag struct{ devices *devices }

func (f consoleFlag) String() string { return "" }

// Set takes uart or virtio; the last one counts.
func (f consoleFlag) Set(text string) error {
	*f.devices = slices.DeleteFunc(*f.devices, func(d vmm.Device) bool { return d == vmm.Console{} })
	switch text {
	case "uart":
		return nil
	case "virtio":
		*f.devices = append(*f.devices, vmm.Console{})
		return nil
	}
	return errors.New("want uart or virtio")
}
