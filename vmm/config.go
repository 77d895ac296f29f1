package vmm

import (
	"errors"
	"fmt"
	"io"
	"time"

	"kapsel/guest/abi"
	"kapsel/vmm/image"
	"kapsel/vmm/kvm"
	"kapsel/vmm/linux"
)

// Memory sizes in bytes.
const (
	// DefaultMemory is the RAM of a machine whose Config does not say.
	DefaultMemory = 64 << 20
	// DefaultLinuxMemory is the same for a machine that boots Linux.
	DefaultLinuxMemory = 256 << 20
	// MaxMemory is the most RAM that a machine can have.
	MaxMemory = 1 << 40
)

// MaxBreakpoints is how many breakpoints a machine can have.
const MaxBreakpoints = kvm.MaxBreakpoints

// DefaultKVM is the path of the KVM device.
const DefaultKVM = "/dev/kvm"

// Config says what machine New is to make. Only Image is required, or Linux in its place.
type Config struct {
	// Image is what to boot.
	Image *image.Image
	// Linux is a Linux kernel to boot in the place of an image, with Initrd as its initial file
	// system. It powers the machine off and resets it as ACPI has it. There are no modules and no watchdog.
	Linux *linux.Kernel
	// Initrd is an archive that Linux unpacks, or empty.
	Initrd []byte
	// Modules are handed to the guest behind the image, each padded to a page: further
	// tasks in Tock Binary Format. The monitor does not look into them.
	Modules [][]byte
	// Arguments and Environment are strings for the tasks (package kapsel/guest/task: Args, Environ), those of Environment of the form NAME=VALUE;
	// CheckEnvironment has the limits.
	Arguments, Environment []string
	// Memory is the guest's RAM in bytes, a multiple of abi.PageSize and at most
	// MaxMemory; 0 means DefaultMemory, or DefaultLinuxMemory.
	Memory uint64
	// Cmdline is the guest's command line, at most abi.CmdlineMax bytes; for Linux as many as it takes.
	Cmdline string

	// Devices are the machine's virtio devices, at most abi.VirtioPlaces. Words of the command line, in front of Cmdline,
	// tell the guest where each is (DeviceWords).
	Devices []Device

	// Breakpoints are virtual addresses of instructions, at most MaxBreakpoints. Run ends
	// before the guest executes one of them, in any address space. They take the debug
	// registers from the guest. A processor that is emulated itself may not stop at them.
	Breakpoints []uint64

	// Watchdog is how long the kernel may keep the processor from tasks and from sleep: then
	// it gets an NMI, at which it panics. If it does not end within as long again, Run ends
	// with Hung. It is noticed after one to two and a quarter times as long. 0 means for ever,
	// as for images that have no heartbeat (abi.NoteHeartbeat).
	Watchdog time.Duration

	// Console takes what the guest writes to COM1, in order, on a goroutine of its own. One
	// that is slow fills a buffer, and then the guest finds its UART's transmitter not empty
	// until there is room again. Nil discards it.
	Console io.Writer
	// ConsoleInStep has Console written on the virtual processor's thread: one Write for each
	// access, string instructions included, so that what the Writer finds in Stats is how things
	// stood at that access. It must never block: it would hold Run and Close.
	ConsoleInStep bool
	// InStep has the devices served on the virtual processor's thread, in the exit by which the guest's driver notifies them, and the
	// console as ConsoleInStep. Then nothing of a device's is under way between two exits, and a Port's End may call Pause.
	InStep bool
	// Input is what COM1 receives. It is read by a goroutine of its own, at the guest's
	// pace; after Close that goroutine ends as soon as its Read returns. Nil is no input.
	Input io.Reader
	// Log takes one line at a time about what a guest should not do and what the host
	// cannot do. It may be called from several goroutines. Nil discards it.
	Log func(format string, args ...any)
	// Warn takes one line about what makes the machine less safe than it should be. Nil is Log.
	Warn func(format string, args ...any)

	// Mark, if not nil, gives the machine the benchmark device (abi.PortMark and what stands
	// beside it), and is called on the virtual processor's thread for each mark that the
	// guest sets. It must not call Run, Dump or Close.
	Mark func(Mark)
	// SmallPages keeps the host from backing the guest's memory with huge pages, so that
	// Resident tells what was touched.
	SmallPages bool

	// KVM is the path of the KVM device; DefaultKVM if empty.
	KVM string
}

// WithDefaults checks c, for any accelerator, and fills in what it leaves open.
func (c Config) WithDefaults() (Config, error) {
	if err := c.checkGuest(); err != nil {
		return c, err
	}
	if c.Linux == nil {
		if err := CheckCmdline(c.Cmdline, len(c.Devices)); err != nil {
			return c, err
		}
	}
	return c.complete()
}

// complete checks and fills in what does not depend on the guest.
func (c Config) complete() (Config, error) {
	if c.Memory == 0 {
		c.Memory = DefaultMemory
		if c.Linux != nil {
			c.Memory = DefaultLinuxMemory
		}
	}
	if c.Memory%abi.PageSize != 0 {
		return c, fmt.Errorf("memory of %d bytes is not a multiple of %d", c.Memory, abi.PageSize)
	}
	if c.Memory > MaxMemory {
		return c, fmt.Errorf("memory of %d bytes is more than the %d that a machine can have", c.Memory, uint64(MaxMemory))
	}
	if c.Watchdog < 0 {
		return c, fmt.Errorf("a watchdog of %v: want a positive time, or 0 for none", c.Watchdog)
	}
	if err := CheckBreakpoints(c.Breakpoints); err != nil {
		return c, err
	}
	if err := CheckDevices(c.Devices); err != nil {
		return c, err
	}
	c.ConsoleInStep = c.ConsoleInStep || c.InStep
	if c.Console == nil {
		c.Console = io.Discard
	}
	if c.Log == nil {
		c.Log = func(string, ...any) {}
	}
	if c.Warn == nil {
		c.Warn = c.Log
	}
	if c.KVM == "" {
		c.KVM = DefaultKVM
	}
	return c, nil
}

// checkGuest says in words why c names no guest, or two; nil if it names one.
func (c *Config) checkGuest() error {
	switch {
	case c.Image == nil && c.Linux == nil:
		return errors.New("no image to boot: set Config.Image, or Config.Linux")
	case c.Image != nil && c.Linux != nil:
		return errors.New("an image and Linux: a machine boots one of them")
	case c.Linux == nil && len(c.Initrd) > 0:
		return errors.New("an initial file system is for Linux: set Config.Linux")
	case c.Linux != nil && len(c.Modules) > 0:
		return errors.New("modules for Linux: they are tasks for an image")
	case c.Linux != nil && len(c.Arguments)+len(c.Environment) > 0:
		return errors.New("arguments or an environment for Linux: they are for tasks; Linux has its command line")
	case c.Linux != nil && c.Watchdog != 0:
		return errors.New("a watchdog for Linux, which has no heartbeat")
	}
	return CheckEnvironment(c.Arguments, c.Environment)
}

// CheckBreakpoints says in words why Config.Breakpoints cannot be the addresses; nil if
// they can.
func CheckBreakpoints(addresses []uint64) error {
	if len(addresses) > MaxBreakpoints {
		return fmt.Errorf("%d breakpoints are more than the %d that a machine can have", len(addresses), MaxBreakpoints)
	}
	for _, address := range addresses {
		if uint64(int64(address)<<16>>16) != address {
			return fmt.Errorf("breakpoint %#x is no virtual address: its bits 63 to 47 are not all the same", address)
		}
	}
	return nil
}
