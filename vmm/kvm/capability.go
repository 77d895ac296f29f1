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
	CapIOEventFD        Cap = 36
	CapTSCKHz           Cap = 61
	CapTSCDeadlineTimer Cap = 72
	CapSignalMSI        Cap = 77
	CapEnableCapVM      Cap = 98
	CapSplitIRQChip     Cap = 121
	CapImmediateExit    Cap = 136
	CapGetMSRFeatures   Cap = 153
	CapBinaryStatsFD    Cap = 203
)

var capNames = map[Cap]string{
	CapUserMemory:       "KVM_CAP_USER_MEMORY",
	CapExtCPUID:         "KVM_CAP_EXT_CPUID",
	CapUserNMI:          "KVM_CAP_USER_NMI",
	CapSetGuestDebug:    "KVM_CAP_SET_GUEST_DEBUG",
	CapIOEventFD:        "KVM_CAP_IOEVENTFD",
	CapTSCKHz:           "KVM_CAP_GET_TSC_KHZ",
	CapTSCDeadlineTimer: "KVM_CAP_TSC_DEADLINE_TIMER",
	CapSignalMSI:        "KVM_CAP_SIGNAL_MSI",
	CapEnableCapVM:      "KVM_CAP_ENABLE_CAP_VM",
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
