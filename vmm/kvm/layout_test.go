package kvm

import (
	"testing"
	"unsafe"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
	"github.com/stretchr/testify/assert"
)

// The right-hand numbers are what a C compiler says about the headers linux/kvm.h and
// asm/kvm.h of Linux 6.1 on x86-64 (sizeof, offsetof, and the macros of the requests).

func TestSizes(t *testing.T) {
	for _, tt := range []struct {
		name      string
		got, want uintptr
	}{
		{"kvm_regs", unsafe.Sizeof(Regs{}), 144},
		{"kvm_sregs", unsafe.Sizeof(Sregs{}), 312},
		{"kvm_segment", unsafe.Sizeof(Segment{}), 24},
		{"kvm_dtable", unsafe.Sizeof(Descriptor{}), 16},
		{"kvm_userspace_memory_region", unsafe.Sizeof(MemoryRegion{}), 32},
		{"kvm_cpuid_entry2", unsafe.Sizeof(CPUIDEntry{}), 40},
		{"kvm_cpuid2 without entries", cpuidHeader, 8},
		{"kvm_enable_cap", unsafe.Sizeof(capability{}), 104},
		{"kvm_msi", unsafe.Sizeof(MSI{}), 32},
		{"kvm_ioeventfd", unsafe.Sizeof(ioEvent{}), 64},
		{"kvm_stats_header", unsafe.Sizeof(statsHeader{}), 24},
		{"kvm_stats_desc without its name", unsafe.Sizeof(statsDescriptor{}), 16},
		{"kvm_irq_routing without entries", routingHeader, 8},
		{"kvm_irq_routing_entry", unsafe.Sizeof(route{}), 48},
		{"kvm_translation", unsafe.Sizeof(Translation{}), 24},
		{"kvm_msrs without entries", msrHeader, 8},
		{"kvm_msr_entry", unsafe.Sizeof(MSR{}), 16},
		{"kvm_lapic_state", lapicSize, 1024},
		{"kvm_xsave", minXSave, 4096},
		{"kvm_xcrs", unsafe.Sizeof(XCRs{}), 392},
		{"kvm_debugregs", unsafe.Sizeof(DebugRegs{}), 128},
		{"kvm_vcpu_events", unsafe.Sizeof(Events{}), 64},
		{"kvm_dirty_log", unsafe.Sizeof(dirtyLog{}), 16},
		{"kvm_msr_filter", unsafe.Sizeof(msrFilter{}), 392},
		{"kvm_msr_filter_range", unsafe.Sizeof(msrFilterRange{}), 24},
		{"kvm_device_attr", unsafe.Sizeof(deviceAttr{}), 24},
		{"kvm_guest_debug", unsafe.Sizeof(guestDebug{}), 72},
		{"kvm_run up to its union's end", unsafe.Sizeof(runHeader{}), 32 + 256},
	} {
		assert.Equal(t, tt.want, tt.got, tt.name)
	}
}

func TestOffsets(t *testing.T) {
	for _, tt := range []struct {
		name      string
		got, want uintptr
	}{
		{"kvm_regs.rsp", unsafe.Offsetof(Regs{}.RSP), 48},
		{"kvm_regs.rdi", unsafe.Offsetof(Regs{}.RDI), 40},
		{"kvm_regs.rip", unsafe.Offsetof(Regs{}.RIP), 128},
		{"kvm_regs.rflags", unsafe.Offsetof(Regs{}.RFLAGS), 136},
		{"kvm_sregs.ldt", unsafe.Offsetof(Sregs{}.LDT), 168},
		{"kvm_sregs.gdt", unsafe.Offsetof(Sregs{}.GDT), 192},
		{"kvm_sregs.idt", unsafe.Offsetof(Sregs{}.IDT), 208},
		{"kvm_sregs.cr0", unsafe.Offsetof(Sregs{}.CR0), 224},
		{"kvm_sregs.cr4", unsafe.Offsetof(Sregs{}.CR4), 248},
		{"kvm_sregs.efer", unsafe.Offsetof(Sregs{}.EFER), 264},
		{"kvm_sregs.apic_base", unsafe.Offsetof(Sregs{}.ApicBase), 272},
		{"kvm_sregs.interrupt_bitmap", unsafe.Offsetof(Sregs{}.InterruptBitmap), 280},
		{"kvm_segment.limit", unsafe.Offsetof(Segment{}.Limit), 8},
		{"kvm_segment.selector", unsafe.Offsetof(Segment{}.Selector), 12},
		{"kvm_segment.type", unsafe.Offsetof(Segment{}.Typ), 14},
		{"kvm_segment.l", unsafe.Offsetof(Segment{}.L), 19},
		{"kvm_segment.unusable", unsafe.Offsetof(Segment{}.Unusable), 22},
		{"kvm_dtable.limit", unsafe.Offsetof(Descriptor{}.Limit), 8},
		{"kvm_userspace_memory_region.guest_phys_addr", unsafe.Offsetof(MemoryRegion{}.GuestPhysAddr), 8},
		{"kvm_userspace_memory_region.userspace_addr", unsafe.Offsetof(MemoryRegion{}.UserspaceAddr), 24},
		{"kvm_cpuid_entry2.flags", unsafe.Offsetof(CPUIDEntry{}.Flags), 8},
		{"kvm_cpuid_entry2.eax", unsafe.Offsetof(CPUIDEntry{}.Eax), 12},
		{"kvm_cpuid_entry2.edx", unsafe.Offsetof(CPUIDEntry{}.Edx), 24},
		{"kvm_cpuid2.entries", unsafe.Offsetof(cpuidTable{}.Entries), 8},
		{"kvm_enable_cap.args", unsafe.Offsetof(capability{}.Args), 8},
		{"kvm_msi.address_lo", unsafe.Offsetof(MSI{}.AddressLow), 0},
		{"kvm_msi.address_hi", unsafe.Offsetof(MSI{}.AddressHigh), 4},
		{"kvm_msi.data", unsafe.Offsetof(MSI{}.Data), 8},
		{"kvm_msi.flags", unsafe.Offsetof(MSI{}.Flags), 12},
		{"kvm_ioeventfd.addr", unsafe.Offsetof(ioEvent{}.Address), 8},
		{"kvm_ioeventfd.len", unsafe.Offsetof(ioEvent{}.Length), 16},
		{"kvm_ioeventfd.fd", unsafe.Offsetof(ioEvent{}.FD), 20},
		{"kvm_ioeventfd.flags", unsafe.Offsetof(ioEvent{}.Flags), 24},
		{"kvm_stats_header.name_size", unsafe.Offsetof(statsHeader{}.NameSize), 4},
		{"kvm_stats_header.num_desc", unsafe.Offsetof(statsHeader{}.Descriptors), 8},
		{"kvm_stats_header.desc_offset", unsafe.Offsetof(statsHeader{}.DescriptorOffset), 16},
		{"kvm_stats_header.data_offset", unsafe.Offsetof(statsHeader{}.DataOffset), 20},
		{"kvm_stats_desc.size", unsafe.Offsetof(statsDescriptor{}.Size), 6},
		{"kvm_stats_desc.offset", unsafe.Offsetof(statsDescriptor{}.Offset), 8},
		{"kvm_irq_routing.entries", unsafe.Offsetof(routeTable{}.Entries), 8},
		{"kvm_irq_routing_entry.type", unsafe.Offsetof(route{}.Type), 4},
		{"kvm_irq_routing_entry.u.msi.address_lo", unsafe.Offsetof(route{}.AddressLow), 16},
		{"kvm_irq_routing_entry.u.msi.address_hi", unsafe.Offsetof(route{}.AddressHigh), 20},
		{"kvm_irq_routing_entry.u.msi.data", unsafe.Offsetof(route{}.Data), 24},
		{"kvm_translation.physical_address", unsafe.Offsetof(Translation{}.PhysicalAddress), 8},
		{"kvm_translation.valid", unsafe.Offsetof(Translation{}.Valid), 16},
		{"kvm_msrs.entries", unsafe.Offsetof(msrTable{}.Entries), 8},
		{"kvm_msr_entry.data", unsafe.Offsetof(MSR{}.Data), 8},
		{"kvm_xcrs.xcrs", unsafe.Offsetof(XCRs{}.Registers), 8},
		{"kvm_xcrs.xcrs[0].value", unsafe.Offsetof(XCR{}.Value), 8},
		{"kvm_debugregs.dr6", unsafe.Offsetof(DebugRegs{}.DR6), 32},
		{"kvm_debugregs.flags", unsafe.Offsetof(DebugRegs{}.Flags), 48},
		{"kvm_vcpu_events.interrupt", unsafe.Offsetof(Events{}.Interrupt), 8},
		{"kvm_vcpu_events.nmi", unsafe.Offsetof(Events{}.NMI), 12},
		{"kvm_vcpu_events.sipi_vector", unsafe.Offsetof(Events{}.SIPIVector), 16},
		{"kvm_vcpu_events.flags", unsafe.Offsetof(Events{}.Flags), 20},
		{"kvm_vcpu_events.smi", unsafe.Offsetof(Events{}.SMI), 24},
		{"kvm_vcpu_events.triple_fault", unsafe.Offsetof(Events{}.TripleFault), 28},
		{"kvm_vcpu_events.exception_has_payload", unsafe.Offsetof(Events{}.HasPayload), 55},
		{"kvm_vcpu_events.exception_payload", unsafe.Offsetof(Events{}.Payload), 56},
		{"kvm_dirty_log.dirty_bitmap", unsafe.Offsetof(dirtyLog{}.Bitmap), 8},
		{"kvm_msr_filter.ranges", unsafe.Offsetof(msrFilter{}.Ranges), 8},
		{"kvm_msr_filter_range.base", unsafe.Offsetof(msrFilterRange{}.Base), 8},
		{"kvm_msr_filter_range.bitmap", unsafe.Offsetof(msrFilterRange{}.Bitmap), 16},
		{"kvm_device_attr.attr", unsafe.Offsetof(deviceAttr{}.Attr), 8},
		{"kvm_device_attr.addr", unsafe.Offsetof(deviceAttr{}.Address), 16},
		{"kvm_guest_debug.arch.debugreg[0]", unsafe.Offsetof(guestDebug{}.Registers), 8},
		{"kvm_run.immediate_exit", unsafe.Offsetof(runHeader{}.ImmediateExit), 1},
		{"kvm_run.exit_reason", offReason, 8},
		{"kvm_run.io.direction", offIODirection, 32},
		{"kvm_run.io.size", offIOSize, 33},
		{"kvm_run.io.port", offIOPort, 34},
		{"kvm_run.io.count", offIOCount, 36},
		{"kvm_run.io.data_offset", offIOData, 40},
		{"kvm_run.mmio.phys_addr", offMMIOAddress, 32},
		{"kvm_run.mmio.data", offMMIOData, 40},
		{"kvm_run.mmio.len", offMMIOLength, 48},
		{"kvm_run.mmio.is_write", offMMIOWrite, 52},
		{"kvm_run.debug.arch.exception", offDebugException, 32},
		{"kvm_run.debug.arch.pc", offDebugPC, 40},
		{"kvm_run.debug.arch.dr6", offDebugDR6, 48},
		{"kvm_run.hw.hardware_exit_reason", offHardwareReason, 32},
		{"kvm_run.fail_entry.cpu", offFailCPU, 40},
		{"kvm_run.eoi.vector", offEOIVector, 32},
		{"kvm_run.system_event.type", offEventType, 32},
		{"kvm_run.internal.suberror", offSuberror, 32},
		{"kvm_run.internal.ndata", offNData, 36},
		{"kvm_run.emulation_failure.flags", offFlags, 40},
		{"kvm_run.emulation_failure.insn_size", offInsnSize, 48},
		{"kvm_run.emulation_failure.insn_bytes", offInsnBytes, 49},
	} {
		assert.Equal(t, tt.want, tt.got, tt.name)
	}
	assert.EqualValues(t, immediateExit, 1<<(8*unsafe.Offsetof(runHeader{}.ImmediateExit)), "the bit that Kick sets")
}

func TestRequests(t *testing.T) {
	want := map[request]uintptr{
		getAPIVersion:       0xae00,
		createVM:            0xae01,
		checkExtension:      0xae03,
		getVCPUMmapSize:     0xae04,
		getSupportedCPUID:   0xc008ae05,
		createVCPU:          0xae41,
		setUserMemoryRegion: 0x4020ae46,
		setTSSAddr:          0xae47,
		ioeventfd:           0x4040ae79,
		setGSIRouting:       0x4008ae6a,
		runVCPU:             0xae80,
		getRegs:             0x8090ae81,
		setRegs:             0x4090ae82,
		getSregs:            0x8138ae83,
		setSregs:            0x4138ae84,
		translate:           0xc018ae85,
		getMSRs:             0xc008ae88,
		setMSRs:             0x4008ae89,
		setCPUID2:           0x4008ae90,
		getMPState:          0x8004ae98,
		getTSCKHz:           0xaea3,
		injectNMI:           0xae9a,
		setGuestDebug:       0x4048ae9b,
		enableCap:           0x4068aea3,
		signalMSI:           0x4020aea5,
		getStatsFD:          0xaece,
		getDirtyLog:         0x4010ae42,
		getLAPIC:            0x8400ae8e,
		setLAPIC:            0x4400ae8f,
		setMPState:          0x4004ae99,
		getEvents:           0x8040ae9f,
		setEvents:           0x4040aea0,
		getDebugRegs:        0x8080aea1,
		setDebugRegs:        0x4080aea2,
		getXSave:            0x9000aea4,
		setXSave:            0x5000aea5,
		getXSave2:           0x9000aecf,
		getXCRs:             0x8188aea6,
		setXCRs:             0x4188aea7,
		setMSRFilter:        0x4188aec6,
		setDeviceAttr:       0x4018aee1,
		getDeviceAttr:       0x4018aee2,
	}
	assert.Len(t, requestNames, len(want), "every request has a name and a number to compare with")
	for r, number := range want {
		assert.Equal(t, number, uintptr(r), r.String())
	}
}

// gokvm lays out some structures differently from the kernel: those we must not share.
// When this test fails because gokvm was corrected, types.go may use its definition.
func TestGokvmTypesThatDiffer(t *testing.T) {
	assert.EqualValues(t, 24, unsafe.Sizeof(gokvm.IRQRoutingEntry{}), "kvm_irq_routing_entry has 48 bytes")
	assert.NotEqual(t, unsafe.Sizeof(routeTable{}.Entries[0]), unsafe.Sizeof(gokvm.IRQRoutingEntry{}))
	assert.EqualValues(t, 32, unsafe.Sizeof(gokvm.CPUID{}), "its entries are a slice: kvm_cpuid2 has them in place")
}
