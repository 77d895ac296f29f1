package kvm

import "fmt"

// Cap is a capability number (KVM_CAP_* in linux/uapi/linux/kvm.h).
type Cap int

// Capabilities that the monitor asks for.
const (
	CapUserMemory       Cap = 3
	CapExtCPUID         Cap = 7
	CapUserNMI          Cap = 22
	CapSetGuestDebug    Cap = 23
	CapVCPUEvents       Cap = 41
	CapDebugRegs        Cap = 50
	CapXSave            Cap = 55
	CapXCRs             Cap = 56
	CapIOEventFD        Cap = 36
	CapTSCKHz           Cap = 61
	CapTSCDeadlineTimer Cap = 72
	CapSignalMSI        Cap = 77
	CapEnableCapVM      Cap = 98
	CapSMM              Cap = 117
	CapSplitIRQChip     Cap = 121
	CapVCPUAttributes   Cap = 127
	CapImmediateExit    Cap = 136
	CapGetMSRFeatures   Cap = 153
	CapMSRFilter        Cap = 189
	CapBinaryStatsFD    Cap = 203
	CapXSave2           Cap = 208
)

var capNames = map[Cap]string{
	CapUserMemory:       "KVM_CAP_USER_MEMORY",
	CapExtCPUID:         "KVM_CAP_EXT_CPUID",
	CapUserNMI:          "KVM_CAP_USER_NMI",
	CapSetGuestDebug:    "KVM_CAP_SET_GUEST_DEBUG",
	CapVCPUEvents:       "KVM_CAP_VCPU_EVENTS",
	CapDebugRegs:        "KVM_CAP_DEBUGREGS",
	CapXSave:            "KVM_CAP_XSAVE",
	CapXCRs:             "KVM_CAP_XCRS",
	CapVCPUAttributes:   "KVM_CAP_VCPU_ATTRIBUTES",
	CapMSRFilter:        "KVM_CAP_X86_MSR_FILTER",
	CapXSave2:           "KVM_CAP_XSAVE2",
	CapIOEventFD:        "KVM_CAP_IOEVENTFD",
	CapTSCKHz:           "KVM_CAP_GET_TSC_KHZ",
	CapTSCDeadlineTimer: "KVM_CAP_TSC_DEADLINE_TIMER",
	CapSignalMSI:        "KVM_CAP_SIGNAL_MSI",
	CapEnableCapVM:      "KVM_CAP_ENABLE_CAP_VM",
	CapSMM:              "KVM_CAP_X86_SMM",
	CapSplitIRQChip:     "KVM_CAP_SPLIT_IRQCHIP",
	CapImmediateExit:    "KVM_CAP_IMMEDIATE_EXIT",
	CapGetMSRFeatures:   "KVM_CAP_GET_MSR_FEATURES",
	CapBinaryStatsFD:    "KVM_CAP_BINARY_STATS_FD",
}

// String returns KVM's name of the capability.
func (c Cap) String() string {
	if name, ok := capNames[c]; ok {
		return name
	}
	return fmt.Sprintf("KVM_CAP number %d", int(c))
}
