package vmm

import (
	"kapsel/guest/arch/amd64/mitigation"
	"kapsel/vmm/kvm"
)

// Model-specific registers (Intel SDM vol. 4; AMD APM vol. 2, appendix A; Linux, virt/kvm/x86/msr.rst).
const (
	msrTSC          = 0x10
	msrAPICBase     = 0x1b
	msrSpecCtrl     = 0x48
	msrPredCmd      = 0x49
	msrSMBase       = 0x9e
	msrSysenterCS   = 0x174
	msrTSCDeadline  = 0x6e0
	msrEFER         = 0xc000_0080
	msrSTAR         = 0xc000_0081
	msrLSTAR        = 0xc000_0082
	msrCSTAR        = 0xc000_0083
	msrFMASK        = 0xc000_0084
	msrFSBase       = 0xc000_0100
	msrGSBase       = 0xc000_0101
	msrKernelGSBase = 0xc000_0102
	msrKVMClock     = 0x4b56_4d01
)

// imageMSRs are those that an image's kernel uses, beside x2APIC's. An access to another is a general-protection
// exception.
var imageMSRs = []kvm.MSRRange{
	{Base: msrAPICBase, Count: 1, Read: true, Write: true},
	{Base: msrSpecCtrl, Count: 1, Read: true, Write: true},
	{Base: msrPredCmd, Count: 1, Write: true},
	{Base: mitigation.MSRArchCapabilities, Count: 1, Read: true},
	{Base: msrSysenterCS, Count: 1, Read: true, Write: true},
	{Base: msrTSCDeadline, Count: 1, Read: true, Write: true},
	{Base: msrEFER, Count: msrFMASK - msrEFER + 1, Read: true, Write: true},
	{Base: msrFSBase, Count: 2, Read: true, Write: true},
	{Base: msrKVMClock, Count: 1, Read: true, Write: true},
}

// savedMSRs are the registers of an image's machine that a guest can change and that are in no other part of a snapshot.Processor: of
// imageMSRs those that hold something, the one that SWAPGS changes, and, with system management mode, which the local APIC can bring a guest into, the one that RSM
// changes there. The last is the one that starts a timer, behind all else.
func savedMSRs(cpuid []kvm.CPUIDEntry, smm bool) []kvm.MSR {
	list := []kvm.MSR{{Index: msrSysenterCS}, {Index: msrSTAR}, {Index: msrLSTAR}, {Index: msrCSTAR}, {Index: msrFMASK}, {Index: msrKernelGSBase}}
	for _, o := range []struct {
		have  bool
		index uint32
	}{
		{smm, msrSMBase},
		{hasSpecCtrl(cpuid), msrSpecCtrl},
		{leaf(cpuid, leafKVMFeatures, 0).Eax&featureKVMClock != 0, msrKVMClock},
		{leaf(cpuid, leafFeatures, 0).Ecx&featureDeadline != 0, msrTSCDeadline},
	} {
		if o.have {
			list = append(list, kvm.MSR{Index: o.index})
		}
	}
	return list
}

// CPUID bits by which there is a register.
const (
	leafKVMFeatures = 0x4000_0001
	featureKVMClock = 1 << 3 // EAX: KVM_FEATURE_CLOCKSOURCE2

	specCtrlIntel = 1<<26 | 1<<27 | 1<<31 // leaf 7 EDX: IBRS, STIBP, SSBD
	specCtrlAMD   = 1<<14 | 1<<15 | 1<<24 // leaf 0x80000008 EBX: the same
)

func hasSpecCtrl(cpuid []kvm.CPUIDEntry) bool {
	return leaf(cpuid, leafExtended, 0).Edx&specCtrlIntel != 0 || leaf(cpuid, leafAMDCores, 0).Ebx&specCtrlAMD != 0
}

// leaf returns a leaf of a list; zeros if it has none such.
func leaf(cpuid []kvm.CPUIDEntry, function, index uint32) kvm.CPUIDEntry {
	for _, e := range cpuid {
		if e.Function == function && e.Index == index {
			return e
		}
	}
	return kvm.CPUIDEntry{}
}

// filterMSRs lets an image's kernel at imageMSRs alone, where KVM can do that.
func (m *Machine) filterMSRs(host *kvm.Device) error {
	if err := wantCapability(host, kvm.CapMSRFilter); err != nil {
		m.config.Log("the guest is not refused the model-specific registers that its kernel does not use: %v", err)
		return nil
	}
	return m.vm.AllowMSRs(imageMSRs)
}
