package vmm

import (
	"fmt"
	"strings"

	"kapsel/vmm/kvm"
)

// Capability is something that KVM may offer.
type Capability struct {
	Name   string // KVM's name: "KVM_CAP_SPLIT_IRQCHIP"
	Use    string // what the monitor uses it for
	Have   bool
	Needed bool // the monitor cannot work without it
	// Snapshots says that there are no snapshots without it.
	Snapshots bool
}

// What a capability is for.
const (
	optional = iota
	needed
	forSnapshots
)

var capabilities = []struct {
	number kvm.Cap
	use    string
	need   int
}{
	{kvm.CapUserMemory, "the guest's memory", needed},
	{kvm.CapExtCPUID, "what the guest's CPUID says", needed},
	{kvm.CapEnableCapVM, "choosing the interrupt controller", needed},
	{kvm.CapSplitIRQChip, "the local APIC and its timer, with the I/O APIC in the monitor", needed},
	{kvm.CapSignalMSI, "interrupts of devices", needed},
	{kvm.CapImmediateExit, "stopping a guest at any time", needed},
	{kvm.CapTSCDeadlineTimer, "timers in TSC ticks; the guest counts APIC ticks without", optional},
	{kvm.CapSetGuestDebug, "breakpoints; none can be set without", optional},
	{kvm.CapUserNMI, "the watchdog's NMI; a kernel that hangs is ended without a trace otherwise", optional},
	{kvm.CapIOEventFD, "notifications of virtio devices, which are exits to the monitor without; the benchmark device", optional},
	{kvm.CapBinaryStatsFD, "counting all exits in benchmarks", optional},
	{kvm.CapTSCKHz, "the frequency of the TSC; the guest measures it without", optional},
	{kvm.CapMSRFilter, "refusing the guest model-specific registers that its kernel does not use; no snapshots without", forSnapshots},
	{kvm.CapVCPUAttributes, "the guest's time in snapshots", forSnapshots},
	{kvm.CapVCPUEvents, "exceptions and interrupts in snapshots", forSnapshots},
	{kvm.CapDebugRegs, "debug registers in snapshots", forSnapshots},
	{kvm.CapXSave, "extended state in snapshots", forSnapshots},
	{kvm.CapXCRs, "which extended state there is, in snapshots", forSnapshots},
}

// Capabilities asks the KVM device what it offers of what the monitor uses.
func Capabilities() ([]Capability, error) {
	host, err := kvm.Open(DefaultKVM)
	if err != nil {
		return nil, err
	}
	defer host.Close()
	return readCapabilities(host)
}

func readCapabilities(host *kvm.Device) ([]Capability, error) {
	var list []Capability
	for _, c := range capabilities {
		n, err := host.Extension(c.number)
		if err != nil {
			return nil, err
		}
		list = append(list, Capability{c.number.String(), c.use, n > 0, c.need == needed, c.need == forSnapshots})
	}
	return list, nil
}

// checkCapabilities fails if KVM lacks something needed.
func checkCapabilities(host *kvm.Device) error {
	list, err := readCapabilities(host)
	if err != nil {
		return err
	}
	if missing := missing(list, func(c Capability) bool { return c.Needed }); missing != "" {
		return fmt.Errorf("this host's KVM lacks %s: a newer kernel is needed", missing)
	}
	return nil
}

// missing names those that KVM lacks and that are wanted.
func missing(list []Capability, wanted func(Capability) bool) string {
	var names []string
	for _, c := range list {
		if wanted(c) && !c.Have {
			names = append(names, fmt.Sprintf("%s (%s)", c.Name, c.Use))
		}
	}
	return strings.Join(names, ", ")
}
