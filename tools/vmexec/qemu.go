package main

import "strconv"

// kernelArguments is Linux's command line. A panic reboots at once, which ends the
// machine (-no-reboot); so does init's reboot at the end, by the quickest way there is.
const kernelArguments = "console=ttyS0,115200 loglevel=4 panic=-1 oops=panic reboot=t " +
	"tsc=reliable no_timer_check nokaslr mitigations=off random.trust_cpu=on"

// File descriptors of the channels in QEMU: os/exec hands over the first at 3.
const (
	fdOutput = "/dev/fd/3"
	fdReport = "/dev/fd/4"
	fdFiles  = "/dev/fd/5"
)

// Time in the machine is the number of instructions executed (-icount), 8 ns for each, and
// waiting takes none. So a busy host makes no timeout, and timers run on the CPU's own
// thread: beside it, they would lose interrupts, because QEMU 7.2 changes a CPU's pending
// interrupts without a lock at each entry to and exit from a nested guest; the machine
// then sleeps for ever.
const defaultTime = "shift=3,sleep=off"

// exactTime is -icount: one instruction is one nanosecond and one tick of the TSC.
const exactTime = "shift=0,sleep=off"

// qemuArguments is QEMU's command line for the machine. One CPU: with two, TCG of
// QEMU 7.2 can hang where Linux patches its own code.
func qemuArguments(o *options, initrd, console string) []string {
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", "q35", "-accel", "tcg", "-cpu", o.cpu, "-smp", "1", "-m", strconv.Itoa(o.mem),
		"-kernel", o.rig + "/vmlinuz", "-initrd", initrd, "-append", kernelArguments,
	}
	// The order makes them ttyS0 to ttyS3.
	for i, path := range []string{console, fdOutput, fdReport, fdFiles} {
		id := "serial" + strconv.Itoa(i)
		args = append(args, "-chardev", "file,id="+id+",path="+path, "-serial", "chardev:"+id)
	}
	switch {
	case o.icount:
		return append(args, "-icount", exactTime, "-seed", "1", "-rtc", "base=2024-01-01,clock=vm")
	case o.hostTime:
		return args
	}
	return append(args, "-icount", defaultTime)
}
