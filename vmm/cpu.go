package vmm

import (
	"slices"

	"kapsel/guest/arch/amd64/mitigation"
	"kapsel/vmm/kvm"
)

// Control register and EFER bits (Intel SDM vol. 3, sections 2.2.1 and 2.5).
const (
	cr0PE = 1 << 0
	cr0MP = 1 << 1
	cr0ET = 1 << 4
	cr0NE = 1 << 5
	cr0WP = 1 << 16
	cr0PG = 1 << 31

	cr4PAE        = 1 << 5
	cr4OSFXSR     = 1 << 9
	cr4OSXMMEXCPT = 1 << 10

	eferSCE = 1 << 0
	eferLME = 1 << 8
	eferLMA = 1 << 10
	eferNXE = 1 << 11

	rflagsReserved = 1 << 1 // always 1
)

// lapicHz is the input frequency of KVM's local APIC timer: its bus cycle is 1 ns
// (APIC_BUS_CYCLE_NS in linux/arch/x86/kvm/lapic.h).
const lapicHz = 1_000_000_000

// entry is the state in which the processor enters the guest, in 64-bit mode.
type entry struct {
	rip, rdi, rsi uint64
	cr3           uint64
	code, data    uint16         // selectors of flat segments
	gdt           kvm.Descriptor // none: an exception before the guest has tables is a triple fault
}

// enterLongMode gives the processor the state of abi's direct door or of Linux's 64-bit entry, on top of
// what it has after reset.
func enterLongMode(cpu *kvm.VCPU, e entry) error {
	s, err := cpu.Sregs()
	if err != nil {
		return err
	}
	s.CR0 = cr0PE | cr0MP | cr0ET | cr0NE | cr0WP | cr0PG
	s.CR3 = e.cr3
	s.CR4 = cr4PAE | cr4OSFXSR | cr4OSXMMEXCPT
	s.EFER = eferSCE | eferLME | eferLMA | eferNXE
	s.CS = kvm.Segment{Selector: e.code, Limit: 0xffff_ffff, Typ: 11, Present: 1, S: 1, L: 1, G: 1}
	data := kvm.Segment{Selector: e.data, Limit: 0xffff_ffff, Typ: 3, Present: 1, S: 1, DB: 1, G: 1}
	s.DS, s.ES, s.FS, s.GS, s.SS = data, data, data, data, data
	// VM entry demands a busy 64-bit TSS (Intel SDM vol. 3, section 28.3.1.2).
	s.TR = kvm.Segment{Limit: 0x67, Typ: 11, Present: 1}
	s.LDT = kvm.Segment{Unusable: 1}
	s.GDT, s.IDT = e.gdt, kvm.Descriptor{}
	if err := cpu.SetSregs(s); err != nil {
		return err
	}
	return cpu.SetRegs(&kvm.Regs{RIP: e.rip, RDI: e.rdi, RSI: e.rsi, RFLAGS: rflagsReserved})
}

// CPUID leaves and bits that depend on the machine (Intel SDM vol. 2, CPUID; AMD APM vol. 3,
// appendix E).
const (
	leafFeatures     = 0x1
	leafCache        = 0x4
	leafExtended     = 0x7 // subleaf 0
	leafTopology     = 0xb
	leafTopologyV2   = 0x1f
	leafAMDFeatures  = 0x8000_0001
	leafAMDCores     = 0x8000_0008
	leafAMDCache     = 0x8000_001d
	leafAMDTopology  = 0x8000_001e
	featureVMX       = 1 << 5  // leaf 1 ECX
	featureDeadline  = 1 << 24 // leaf 1 ECX
	featureGuest     = 1 << 31 // leaf 1 ECX
	featureHTT       = 1 << 28 // leaf 1 EDX
	featureAMDLegacy = 1 << 1  // leaf 0x80000001 ECX: several cores without HTT
	featureSVM       = 1 << 2  // leaf 0x80000001 ECX
	featureHLE       = 1 << 4  // leaf 7 EBX
	featureRTM       = 1 << 11 // leaf 7 EBX
	featureArchCaps  = 1 << 29 // leaf 7 EDX: there is IA32_ARCH_CAPABILITIES
)

// guestCPUID returns what the guest's CPUID shall answer, given what KVM supports: one
// processor with APIC id 0 under a hypervisor, without nested virtualization and transactional memory
// (TSX, which makes attacks by transient execution easier), and with the TSC-deadline timer if
// deadline says that KVM emulates it. KVM's own leaves (0x40000000 on) stay, and so does all that says
// which mitigations the processor needs and has.
func guestCPUID(supported []kvm.CPUIDEntry, deadline bool) []kvm.CPUIDEntry {
	entries := slices.Clone(supported)
	for i := range entries {
		e := &entries[i]
		switch e.Function {
		case leafFeatures:
			e.Ebx = e.Ebx&0xffff | 1<<16 // APIC id 0, one logical processor
			e.Ecx = e.Ecx&^(featureVMX|featureDeadline) | featureGuest
			if deadline {
				e.Ecx |= featureDeadline
			}
			e.Edx &^= featureHTT
		case leafCache, leafAMDCache:
			e.Eax &= 0x3fff // nobody shares a cache; one core
		case leafExtended:
			if e.Index == 0 {
				e.Ebx &^= featureHLE | featureRTM
			}
		case leafTopology, leafTopologyV2:
			oneProcessor(e)
		case leafAMDFeatures:
			e.Ecx &^= featureSVM | featureAMDLegacy
		case leafAMDCores:
			e.Ecx = 0
		case leafAMDTopology:
			e.Eax, e.Ebx, e.Ecx = 0, 0, 0
		}
	}
	return entries
}

// oneProcessor fills a topology level: a thread level and a core level with one processor
// each, nothing above; x2APIC id 0.
func oneProcessor(e *kvm.CPUIDEntry) {
	e.Eax, e.Ebx, e.Ecx, e.Edx = 0, 0, e.Index, 0
	if e.Index < 2 {
		e.Ebx = 1
		e.Ecx |= (e.Index + 1) << 8 // level type: 1 thread, 2 core
	}
}

// tellCapabilities gives the guest's IA32_ARCH_CAPABILITIES the value that host and KVM can offer, if
// its CPUID has the register: by that the kernel knows which faults the processor does not have.
// Where KVM does not tell, or refuses, the guest has what KVM made of it.
func (m *Machine) tellCapabilities(host *kvm.Device, cpuid []kvm.CPUIDEntry) error {
	if !hasArchCapabilities(cpuid) {
		return nil
	}
	value, told, err := host.FeatureMSR(mitigation.MSRArchCapabilities)
	if err != nil || !told {
		return err
	}
	set, err := m.cpu.SetMSR(mitigation.MSRArchCapabilities, value)
	if err == nil && !set {
		m.config.Log("KVM does not take IA32_ARCH_CAPABILITIES %#x for the guest", value)
	}
	return err
}

func hasArchCapabilities(cpuid []kvm.CPUIDEntry) bool {
	return slices.ContainsFunc(cpuid, func(e kvm.CPUIDEntry) bool {
		return e.Function == leafExtended && e.Index == 0 && e.Edx&featureArchCaps != 0
	})
}

// GuestProcessor returns what a guest's processor under this host's KVM says about transient execution.
func GuestProcessor() (mitigation.Processor, error) {
	host, err := kvm.Open(DefaultKVM)
	if err != nil {
		return mitigation.Processor{}, err
	}
	defer host.Close()
	supported, err := host.SupportedCPUID()
	if err != nil {
		return mitigation.Processor{}, err
	}
	capabilities, _, err := host.FeatureMSR(mitigation.MSRArchCapabilities)
	if err != nil {
		return mitigation.Processor{}, err
	}
	return guestProcessor(guestCPUID(supported, true), capabilities), nil
}

// guestProcessor asks a list of leaves in the place of the processor.
func guestProcessor(leaves []kvm.CPUIDEntry, capabilities uint64) mitigation.Processor {
	cpuid := func(leaf, subleaf uint32) (a, b, c, d uint32) {
		for _, e := range leaves {
			if e.Function == leaf && e.Index == subleaf {
				return e.Eax, e.Ebx, e.Ecx, e.Edx
			}
		}
		return 0, 0, 0, 0
	}
	return mitigation.ReadProcessor(cpuid, func(uint32) uint64 { return capabilities })
}
