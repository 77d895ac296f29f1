package amd64

// features are what the CPU and the hypervisor offer (SDM vol. 2, CPUID).
type features struct {
	_ [0]func() // not comparable: no function is made for it

	pcid, x2apic, tscDeadline bool // leaf 1, ECX
	machineCheck              bool // leaf 1, EDX
	smep, smap, umip          bool // leaf 7
	gigabytePages             bool // leaf 0x8000_0001, EDX
	hypervisor                [12]byte
	tscKHz                    uint32 // as the hypervisor says, 0 if it does not
	kvmClock                  bool   // KVM tells how its clock goes with the counter
}

// cpuidFunc is the CPUID instruction, or a test's stand-in.
type cpuidFunc func(leaf, subleaf uint32) (a, b, c, d uint32)

func readFeatures(cpuid cpuidFunc) features {
	var f features
	basic, _, _, _ := cpuid(0, 0)
	_, _, c, d := cpuid(1, 0)
	f.pcid = bit(c, 17)
	f.x2apic = bit(c, 21)
	f.tscDeadline = bit(c, 24)
	f.machineCheck = bit(d, 7)
	if basic >= 7 {
		_, b, c, _ := cpuid(7, 0)
		f.smep = bit(b, 7)
		f.smap = bit(b, 20)
		f.umip = bit(c, 2)
	}
	if extended, _, _, _ := cpuid(0x8000_0000, 0); extended >= 0x8000_0001 {
		_, _, _, d := cpuid(0x8000_0001, 0)
		f.gigabytePages = bit(d, 26)
	}
	if bit(c, 31) {
		f.readHypervisor(cpuid)
	}
	return f
}

// readHypervisor reads the leaves that hypervisors agree on: the name, and the time-stamp
// counter's frequency where there is leaf 0x4000_0010.
func (f *features) readHypervisor(cpuid cpuidFunc) {
	last, b, c, d := cpuid(0x4000_0000, 0)
	for i, word := range [3]uint32{b, c, d} {
		for j := range 4 {
			f.hypervisor[4*i+j] = byte(word >> (8 * j))
		}
	}
	if last >= 0x4000_0010 {
		f.tscKHz, _, _, _ = cpuid(0x4000_0010, 0)
	}
	if f.accelerator() == "KVM" {
		have, _, _, _ := cpuid(0x4000_0001, 0)
		f.kvmClock = bit(have, 3) // KVM_FEATURE_CLOCKSOURCE2
	}
}

// accelerator names what runs the machine, for a person.
func (f *features) accelerator() string {
	switch string(f.hypervisor[:]) {
	case "KVMKVMKVM\x00\x00\x00":
		return "KVM"
	case "TCGTCGTCGTCG":
		return "QEMU TCG"
	case "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00":
		return "no hypervisor"
	}
	return "an unknown hypervisor"
}

// cr4 is the control register with every protection that the CPU has.
func (f *features) cr4() uint64 {
	return cr4PAE | cr4PGE | cr4OSFXSR | cr4OSXMMEXCPT |
		when(f.machineCheck, cr4MCE) | when(f.pcid, cr4PCIDE) | when(f.smep, cr4SMEP) | when(f.smap, cr4SMAP) | when(f.umip, cr4UMIP)
}

// when is bits if have is set, else 0.
func when(have bool, bits uint64) uint64 {
	if have {
		return bits
	}
	return 0
}

func bit(v uint32, n int) bool { return v>>n&1 != 0 }
