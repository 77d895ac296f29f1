package kvm

import "github.com/bobuhiro11/gokvm/kvm"

// Structures of linux/uapi/linux/kvm.h and asm/kvm.h. Those that gokvm lays out like the
// kernel are gokvm's (a test compares each offset); the others are ours. Only type
// definitions are shared: gokvm's calls are not used.
type (
	// Regs are the general registers (struct kvm_regs).
	Regs = kvm.Regs
	// Sregs are the segment, control and descriptor-table registers (struct kvm_sregs).
	Sregs = kvm.Sregs
	// Segment is a segment register with its hidden part (struct kvm_segment).
	Segment = kvm.Segment
	// Descriptor is a descriptor-table register (struct kvm_dtable).
	Descriptor = kvm.Descriptor
	// MemoryRegion is a slot of guest memory (struct kvm_userspace_memory_region).
	MemoryRegion = kvm.UserspaceMemoryRegion
	// CPUIDEntry is one CPUID leaf (struct kvm_cpuid_entry2).
	CPUIDEntry = kvm.CPUIDEntry2
	// Translation is a question about an address and its answer (struct kvm_translation).
	Translation = kvm.Translation
)

// MSI is a message-signalled interrupt (struct kvm_msi): a write of Data to Address, as in
// Intel SDM vol. 3, section 12.11.
type MSI struct {
	AddressLow  uint32
	AddressHigh uint32
	Data        uint32
	Flags       uint32
	DevID       uint32
	_           [12]byte
}

// capability is struct kvm_enable_cap.
type capability struct {
	Cap   uint32
	Flags uint32
	Args  [4]uint64
	_     [64]byte
}

// ioEvent is struct kvm_ioeventfd.
type ioEvent struct {
	DataMatch uint64
	Address   uint64
	Length    uint32
	FD        int32
	Flags     uint32
	_         [36]byte
}

// Flags of an ioEvent (KVM_IOEVENTFD_FLAG_*).
const (
	ioEventMatch = 1 << 0 // only a write of DataMatch is one
	ioEventPort  = 1 << 1 // the address is an I/O port
)

// cpuidHeader is the size of struct kvm_cpuid2 without its entries.
const cpuidHeader = 8

// maxCPUID is the most leaves that the host's kernel handles (KVM_MAX_CPUID_ENTRIES).
const maxCPUID = 256

// cpuidTable is struct kvm_cpuid2 with room for all entries.
type cpuidTable struct {
	Count   uint32
	_       uint32
	Entries [maxCPUID]CPUIDEntry
}

// msrHeader is the size of struct kvm_msrs without its entries.
const msrHeader = 8

// maxMSRs is the most model-specific registers of one call here.
const maxMSRs = 32

// msrTable is struct kvm_msrs with room for all entries.
type msrTable struct {
	Count   uint32
	_       uint32
	Entries [maxMSRs]MSR
}

// memoryLog is the flag of a MemoryRegion that has a dirty log (KVM_MEM_LOG_DIRTY_PAGES).
const memoryLog = 1 << 0

// dirtyLog is struct kvm_dirty_log.
type dirtyLog struct {
	Slot   uint32
	_      uint32
	Bitmap uint64 // an address
}

// maxFilterRanges is how many ranges a filter has (KVM_MSR_FILTER_MAX_RANGES).
const maxFilterRanges = 16

// msrFilter is struct kvm_msr_filter.
type msrFilter struct {
	Flags  uint32
	_      uint32
	Ranges [maxFilterRanges]msrFilterRange
}

// msrFilterRange is struct kvm_msr_filter_range.
type msrFilterRange struct {
	Flags  uint32
	Count  uint32
	Base   uint32
	_      uint32
	Bitmap uint64 // an address
}

// Flags of a filter and of its ranges (KVM_MSR_FILTER_*).
const (
	filterDefaultDeny = 1 << 0
	filterRead        = 1 << 0
	filterWrite       = 1 << 1
)

// deviceAttr is struct kvm_device_attr.
type deviceAttr struct {
	Flags   uint32
	Group   uint32
	Attr    uint64
	Address uint64 // of the value
}

// The time-stamp counter's offset is attribute KVM_VCPU_TSC_OFFSET of group KVM_VCPU_TSC_CTRL.
const (
	groupTSC      = 0
	attrTSCOffset = 0
)

// routingHeader is the size of struct kvm_irq_routing without its entries.
const routingHeader = 8

// routingMSI is the type of a route to a message (KVM_IRQ_ROUTING_MSI).
const routingMSI = 2

// route is struct kvm_irq_routing_entry for a message.
type route struct {
	GSI         uint32
	Type        uint32
	Flags       uint32
	_           uint32
	AddressLow  uint32
	AddressHigh uint32
	Data        uint32
	_           [20]byte
}

// MaxRoutes is the most interrupt routes a VM can be given here: an I/O APIC's pins.
const MaxRoutes = 24

// routeTable is struct kvm_irq_routing with room for all routes.
type routeTable struct {
	Count   uint32
	Flags   uint32
	Entries [MaxRoutes]route
}
