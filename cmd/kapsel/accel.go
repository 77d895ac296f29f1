package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"time"

	"kapsel/guest/abi"
	"kapsel/vmm"
	"kapsel/vmm/image"
	"kapsel/vmm/linux"
	"kapsel/vmm/qemu"
)

// probeTime is more than the few instructions of vmm.Probe can ever need.
const probeTime = 10 * time.Second

// A machine runs a guest once: vmm.Machine, or qemu.Machine.
type machine interface {
	Run(context.Context) (vmm.Exit, error)
	Dump(io.Writer)
	Close() error
}

// newMachine makes a machine with accelerator a. QEMU is handed the options.
func newMachine(ctx context.Context, a accelerator, c vmm.Config, options ...string) (machine, error) {
	if a == accelQEMU {
		return qemu.New(ctx, c, options...)
	}
	return vmm.New(ctx, c)
}

// fits says in words why the guest of a machine does not fit into its memory; nil if it does.
func (a accelerator) fits(c vmm.Config) error {
	low := min(c.Memory, abi.MMIOHole)
	if c.Linux != nil {
		return c.Linux.Fits(low, linux.Params{Cmdline: c.Cmdline, Initrd: c.Initrd})
	}
	if c.Image == nil { // a snapshot has its memory
		return nil
	}
	door := image.Direct
	if a == accelQEMU {
		door = image.PVH
	}
	return c.Image.Fits(door, low, image.Params{Cmdline: c.Cmdline, Modules: c.GuestModules()})
}

// tried is what a way to try KVM, vmm.Probe or vmm.Usable, says of it within probeTime; nil if it works.
func tried(ctx context.Context, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	return try(ctx)
}

// choose turns auto into an accelerator that this host has and says why in words.
func choose(ctx context.Context, a accelerator) (accelerator, string, error) {
	if a != accelAuto {
		return a, "as asked", nil
	}
	noKVM := tried(ctx, vmm.Usable)
	if noKVM == nil {
		return accelKVM, "it works on this host", nil
	}
	if err := context.Cause(ctx); err != nil { // which the probe takes for a failure
		return "", "", err
	}
	if _, err := exec.LookPath(qemu.Command); err != nil {
		return "", "", errors.Join(
			errors.New("neither KVM nor QEMU can be used here; see \"kapsel doctor\""),
			fmt.Errorf("  KVM: %w", noKVM), fmt.Errorf("  QEMU: %w", err))
	}
	return accelQEMU, fmt.Sprintf("KVM cannot be used: %v", noKVM), nil
}

// openImage reads an image; where there is none, it says that scripts/build makes the file.
func openImage(ctx context.Context, path, file string) (*image.Image, error) {
	img, err := image.Open(ctx, path)
	return img, wanting(err, file)
}

// wanting adds to an error that there is no file what makes it.
func wanting(err error, file string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: scripts/build makes build/%s", err, file)
	}
	return err
}
