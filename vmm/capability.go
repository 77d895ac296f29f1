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
}

var capabilities = []struct {
	number kvm.Cap
	use    string
	needed bool
}{
	{kvm.CapUserMemory, "the guest's memory", true},
	{kvm.CapExtCPUID, "what the guest's CPUID says", true},
	{kvm.CapEnableCapVM, "choosing the interrupt controller", true},
	{kvm.CapSplitIRQChip, "the local APIC and its timer, with the I/O APIC in the monitor", true},
	{kvm.CapSignalMSI, "interrupts of devices", true},
	{kvm.CapImmediateExit, "stopping a guest at any time", true},
	{kvm.CapTSCDeadlineTimer, "timers in TSC ticks; the guest counts APIC ticks without", false},
	{kvm.CapSetGuestDebug, "breakpoints; none can be set without", false},
	{kvm.CapUserNMI, "the watchdog's NMI; a kernel that hangs is ended without a trace otherwise", false},
	{kvm.CapIOEventFD, "notifications of virtio devices, which are exits to the monitor without; the benchmark device", false},
	{kvm.CapBinaryStatsFD, "counting all exits in benchmarks", false},
	{kvm.CapTSCKHz, "the frequency of the TSC; the guest measures it without", false},
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
		list = append(list, Capability{c.number.String(), c.use, n > 0, c.needed})
	}
	return list, nil
}

// checkCapabilities fails if KVM lacks something needed.
func checkCapabilities(host *kvm.Device) error {
	list, err := readCapabilities(host)
	if err != nil {
		return err
	}
	var missing []string
	for _, c := range list {
		if c.Needed && !c.Have {
			missing = append(missing, fmt.Sprintf("%s (%s)", c.Name, c.Use))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("this host's KVM lacks %s: a newer kernel is needed", strings.Join(missing, ", "))
	}
	return nil
}
