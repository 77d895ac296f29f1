package bench

import (
	"fmt"
	"io/fs"
	"runtime"
	"strings"
)

// A Host is what a run's header says of the machine that it ran on.
type Host struct {
	CPU         string
	Microcode   string
	Kernel      string // release
	KVM         string // the module: kvm_amd, kvm_intel
	Virtual     bool   // the host runs under a hypervisor itself
	Mitigations string // of the processor's faults, without those that it does not have
	Governor    string // of the frequency, "" where Linux does not set it
	Turbo       string // on, off, or "" if Linux does not say
}

// ReadHost looks at the system's files below root: os.DirFS("/"). What cannot be read stays empty.
func ReadHost(root fs.FS) Host {
	cpu := cpuFields(root)
	h := Host{
		CPU:         cpu["model name"],
		Microcode:   cpu["microcode"],
		Kernel:      line(root, "proc/sys/kernel/osrelease"),
		KVM:         kvmModule(root),
		Mitigations: mitigations(root),
		Governor:    line(root, "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
		Turbo:       turbo(root),
	}
	for _, flag := range strings.Fields(cpu["flags"]) {
		h.Virtual = h.Virtual || flag == "hypervisor"
	}
	return h
}

// Facts returns the header's lines of the host. accel is what ran the machine, usesKVM
// whether that is KVM.
func (h Host) Facts(accel string, usesKVM bool) []Fact {
	kvm := ""
	if usesKVM {
		kvm = h.KVM
	}
	if usesKVM && h.Virtual {
		kvm += ", nested: this host is a virtual machine"
	}
	var facts []Fact
	for _, f := range []Fact{
		{"goos", runtime.GOOS}, {"goarch", runtime.GOARCH}, {"pkg", "kapsel"},
		{"cpu", h.CPU}, {"microcode", h.Microcode}, {"kernel", "Linux " + h.Kernel},
		{"accel", accel}, {"kvm", kvm}, {"mitigations", h.Mitigations},
		{"governor", h.Governor}, {"turbo", h.Turbo},
	} {
		if f.Value != "" {
			facts = append(facts, f)
		}
	}
	return facts
}

// noCycles begins the warnings after which no cycles are to be shown.
const noCycles = "cycles mean nothing"

// Warnings says what figures of KVM on this host do not mean. noKVM is why vmm.Probe found
// that KVM cannot run the kernel, nil if it can.
func (h Host) Warnings(noKVM error) []string {
	var w []string
	if noKVM != nil {
		w = append(w, fmt.Sprintf("%s: %v", noCycles, noKVM))
	}
	if h.Virtual {
		w = append(w, noCycles+": this host is a virtual machine, so its KVM is nested or emulated itself")
	}
	switch h.Governor {
	case "performance":
	case "":
		if !h.Virtual {
			w = append(w, "the processor's frequency is not known to be fixed: Linux shows no governor")
		}
	default:
		w = append(w, fmt.Sprintf("the processor's frequency changes while it runs: the governor is %s, set it to performance", h.Governor))
	}
	if h.Turbo == "on" {
		w = append(w, "turbo is on: the TSC ticks at one rate, the processor does not")
	}
	return w
}

// cpuFields are the lines of the first processor in /proc/cpuinfo.
func cpuFields(root fs.FS) map[string]string {
	fields := map[string]string{}
	text, _ := fs.ReadFile(root, "proc/cpuinfo")
	first, _, _ := strings.Cut(string(text), "\n\n")
	for l := range strings.Lines(first) {
		name, value, _ := strings.Cut(l, ":")
		fields[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	return fields
}

// line returns a file's text as one line, "" if there is none.
func line(root fs.FS, name string) string {
	text, _ := fs.ReadFile(root, name)
	return strings.Join(strings.Fields(string(text)), " ")
}

// kvmModule names the part of KVM for this processor.
func kvmModule(root fs.FS) string {
	for _, module := range []string{"kvm_intel", "kvm_amd"} {
		if _, err := fs.Stat(root, "sys/module/"+module); err == nil {
			return module
		}
	}
	return "neither kvm_intel nor kvm_amd"
}

// mitigations names the faults that the processor has, and what Linux does about each.
func mitigations(root fs.FS) string {
	const dir = "sys/devices/system/cpu/vulnerabilities"
	files, err := fs.ReadDir(root, dir)
	if err != nil {
		return "unknown"
	}
	var list []string
	for _, f := range files {
		state := strings.TrimPrefix(line(root, dir+"/"+f.Name()), "Mitigation: ")
		if state != "" && state != "Not affected" {
			list = append(list, f.Name()+"="+strings.ReplaceAll(state, "; ", ", "))
		}
	}
	if list == nil {
		return "none needed"
	}
	return strings.Join(list, "; ")
}

// turbo asks the two drivers that say.
func turbo(root fs.FS) string {
	if s := line(root, "sys/devices/system/cpu/intel_pstate/no_turbo"); s != "" {
		return onOff(s == "0")
	}
	if s := line(root, "sys/devices/system/cpu/cpufreq/boost"); s != "" {
		return onOff(s == "1")
	}
	return ""
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}
