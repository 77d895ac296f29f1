package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"kapsel/guest/arch/amd64/mitigation"
	"kapsel/vmm"
	"kapsel/vmm/confine"
	"kapsel/vmm/kvm"
	"kapsel/vmm/qemu"
)

// A finding is one line of the doctor's table.
type finding struct {
	what   string
	state  string
	detail string
}

// A diagnosis is what the doctor found on a host.
type diagnosis struct {
	cpu          []finding
	host         []finding        // what the host's kernel does against transient execution
	plan         *mitigation.Plan // what ours does under KVM, nil if KVM cannot run it
	landlock     int              // version of its ABI, 0 for none
	seccomp      bool
	device       error // why the KVM device cannot be used at all
	capabilities []vmm.Capability
	probe        error // why KVM cannot run the kernel
	qemuVersion  string
	qemu         error // why there is no QEMU
}

// doctorCommand is "kapsel doctor": status 0 if the accelerator asked for works here, 1 if not.
func doctorCommand(args []string, std stdio) (int, error) {
	accel, err := parseDoctor(args)
	if err != nil {
		return statusUsage, usageError{err}
	}
	d := examine(context.Background())
	d.write(std.out)
	if !d.works(accel) {
		return 1, nil
	}
	return 0, nil
}

// works says whether accelerator a can run an image here.
func (d diagnosis) works(a accelerator) bool {
	return a != accelQEMU && d.probe == nil || a != accelKVM && d.qemu == nil
}

// examine looks at this host.
func examine(ctx context.Context) diagnosis {
	var d diagnosis
	cpuinfo, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		d.cpu = []finding{{"processor", "?", err.Error()}}
	} else {
		d.cpu = cpuFindings(string(cpuinfo))
	}
	d.host = hostFindings(os.DirFS("/sys/devices/system/cpu"))
	d.landlock, d.seccomp = confine.Landlock(), confine.Seccomp()
	device, err := kvm.Open(vmm.DefaultKVM)
	if err != nil {
		d.device, d.probe = err, err
	} else {
		device.Close()
		if d.capabilities, err = vmm.Capabilities(); err != nil {
			d.device = err
		}
		d.probe = tried(ctx, vmm.Probe)
		if d.probe == nil {
			d.plan = guestPlan()
		}
	}
	d.qemuVersion, d.qemu = qemu.Version(ctx)
	return d
}

// write prints the table and, below it, what follows from it.
func (d diagnosis) write(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range d.findings() {
		fmt.Fprintf(t, "%s\t%s\t%s\n", f.what, f.state, f.detail)
	}
	t.Flush()
	fmt.Fprintln(w)
	for _, line := range d.advice() {
		fmt.Fprintln(w, line)
	}
}

// findings is the table.
func (d diagnosis) findings() []finding {
	all := append(append([]finding{}, d.cpu...), d.host...)
	all = append(all, d.confinement()...)
	all = append(all, checkKVM(vmm.DefaultKVM, d.device, "present, permitted, right version"))
	for _, c := range d.capabilities {
		all = append(all, capabilityFinding(c))
	}
	if d.device == nil {
		all = append(all, checkKVM("KVM runs the kernel", d.probe, "ring 0, SSE and system calls work"))
	}
	if d.plan != nil {
		all = append(all, kernelFinding(d.plan))
	}
	if d.qemu != nil {
		return append(all, finding{qemu.Command, "no", d.qemu.Error()})
	}
	return append(all, finding{qemu.Command, "yes", "version " + d.qemuVersion})
}

// confinement is what the host has for "kapsel run" to confine itself.
func (d diagnosis) confinement() []finding {
	landlock := finding{"landlock", "no", `"kapsel run" can still open files, as far as seccomp lets it`}
	if d.landlock > 0 {
		landlock = finding{"landlock", "yes", fmt.Sprintf("ABI %d: \"kapsel run\" opens nothing once the machine is made", d.landlock)}
	}
	seccomp := finding{"seccomp", "no", `"kapsel run" keeps all system calls`}
	if d.seccomp {
		seccomp = finding{"seccomp", "yes", `"kapsel run" keeps the system calls that a machine needs`}
	}
	return []finding{landlock, seccomp}
}

// checkKVM is a finding about something of KVM that works or not; the advice says why.
func checkKVM(what string, err error, detail string) finding {
	if err != nil {
		return finding{what, "no", "see below"}
	}
	return finding{what, "yes", detail}
}

func capabilityFinding(c vmm.Capability) finding {
	f := finding{"  " + c.Name, "yes", c.Use}
	switch {
	case !c.Have && c.Needed:
		f.state, f.detail = "no", "needed: "+c.Use
	case !c.Have:
		f.state, f.detail = "no", "optional: "+c.Use
	}
	return f
}

// advice says what "kapsel run" will do here and how to make it better.
func (d diagnosis) advice() []string {
	switch {
	case d.plan != nil && d.plan.MeltdownOpen:
		return []string{`"kapsel run" will use KVM.`, meltdownAdvice}
	case d.probe == nil:
		return []string{`"kapsel run" will use KVM: nothing to do.`}
	case d.qemu == nil:
		return []string{`"kapsel run" will use QEMU, which emulates every instruction: right, but slow.`,
			"KVM cannot be used: " + d.probe.Error() + ".", betterHost}
	}
	return []string{`"kapsel run" cannot work here: make one of these two work.`,
		"KVM: " + d.probe.Error() + ".", betterHost, "QEMU: " + d.qemu.Error() + "."}
}

// betterHost is where KVM works as it should.
const betterHost = "KVM works on bare metal with Intel VT-x or AMD-V enabled, and in a virtual machine with nested virtualization."

// cpuFlags are the processor features worth knowing, in the order of the table, as
// Linux names them in /proc/cpuinfo.
var cpuFlags = []string{"vmx", "svm", "hypervisor", "nx", "smep", "smap", "umip", "pcid", "invpcid",
	"constant_tsc", "tsc_deadline_timer", "x2apic", "fsgsbase", "pku", "la57"}

// cpuFindings reads the first processor of a /proc/cpuinfo.
func cpuFindings(cpuinfo string) []finding {
	first, _, _ := strings.Cut(cpuinfo, "\n\n")
	field := map[string]string{}
	for line := range strings.Lines(first) {
		name, value, _ := strings.Cut(line, ":")
		field[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	has := map[string]bool{}
	for _, f := range strings.Fields(field["flags"]) {
		has[f] = true
	}
	var have, lack []string
	for _, f := range cpuFlags {
		if has[f] {
			have = append(have, f)
		} else {
			lack = append(lack, f)
		}
	}
	return []finding{
		{"processor", "", strings.TrimSpace(field["vendor_id"] + " " + field["model name"])},
		{"  has", "", strings.Join(have, " ")},
		{"  lacks", "", strings.Join(lack, " ")},
	}
}
