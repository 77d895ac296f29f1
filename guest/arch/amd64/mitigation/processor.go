// Package mitigation decides what the kernel does against transient execution, from what the
// processor says of itself. It touches no hardware: the machine layer carries a Plan out, and
// "kapsel doctor" makes the same Plan for the processor that KVM would give the kernel.
// docs/security.md has the table of threats.
package mitigation

// CPUID is the CPUID instruction, or a stand-in.
type CPUID func(leaf, subleaf uint32) (a, b, c, d uint32)

// ReadMSR reads a model-specific register, or stands in for it.
type ReadMSR func(msr uint32) uint64

// MSRArchCapabilities is IA32_ARCH_CAPABILITIES (SDM vol. 4), the one register that ReadProcessor
// reads, where CPUID has it.
const MSRArchCapabilities = 0x10a

// Bits of IA32_ARCH_CAPABILITIES (SDM vol. 4, table 2-2).
const (
	capRDCLNo    = 1 << 0 // not affected by Meltdown, nor by L1TF
	capIBRSAll   = 1 << 1 // enhanced IBRS
	capSSBNo     = 1 << 4
	capMDSNo     = 1 << 5
	capTSXCtrl   = 1 << 7 // who hides TSX can switch it off as well
	capTAANo     = 1 << 8
	capRFDSNo    = 1 << 27
	capRFDSClear = 1 << 28 // VERW clears what RFDS would show
)

// A Processor is what CPUID and IA32_ARCH_CAPABILITIES say about transient execution (SDM vol. 2,
// CPUID; APM vol. 3, appendix E). What a hypervisor hides counts as missing, and the processor
// as affected.
type Processor struct {
	_ [0]func() // not comparable: no function is made for it

	enhancedIBRS, automaticIBRS   bool // Intel's and AMD's: set once, they hold in ring 0
	ibpb, stibp, ssbd             bool // what can be asked for by IA32_SPEC_CTRL and IA32_PRED_CMD
	rrsbaControl, bhiControl      bool // RRSBA_DIS_S, BHI_DIS_S
	mdsAffected, mdClear          bool // MDS or TAA; VERW clears buffers
	otherAffected                 bool // RFDS or TSA, and VERW clears what they would show
	meltdownAffected, ssbAffected bool
}

// ReadProcessor asks the processor.
func ReadProcessor(cpuid CPUID, rdmsr ReadMSR) Processor {
	var p Processor
	basic, b, c, d := cpuid(0, 0)
	amd := b == 0x68747541 && d == 0x69746e65 && c == 0x444d4163 || // AuthenticAMD
		b == 0x6f677948 && d == 0x6e65476e && c == 0x656e6975 // HygonGenuine
	p.meltdownAffected, p.mdsAffected, p.ssbAffected = !amd, !amd, true
	if basic >= 7 {
		p.readLeaf7(cpuid, rdmsr)
	}
	if amd {
		p.readAMD(cpuid)
	}
	return p
}

// readLeaf7 reads what Intel's processors say, and what hypervisors on AMD's say in Intel's way.
func (p *Processor) readLeaf7(cpuid CPUID, rdmsr ReadMSR) {
	subleaves, b, _, d := cpuid(7, 0)
	p.mdClear = bit(d, 10)
	ibrs := bit(d, 26)
	p.ibpb, p.stibp, p.ssbd = ibrs, bit(d, 27), bit(d, 31)
	if subleaves >= 2 {
		_, _, _, d2 := cpuid(7, 2)
		p.rrsbaControl, p.bhiControl = bit(d2, 2), bit(d2, 4)
	}
	if !bit(d, 29) {
		return
	}
	has := rdmsr(MSRArchCapabilities)
	rtm := bit(b, 11)
	p.enhancedIBRS = ibrs && has&capIBRSAll != 0
	p.meltdownAffected = p.meltdownAffected && has&capRDCLNo == 0
	taa := has&capTAANo == 0 && (rtm || has&capTSXCtrl == 0)
	p.mdsAffected = p.mdsAffected && (has&capMDSNo == 0 || taa)
	p.ssbAffected = has&capSSBNo == 0
	p.otherAffected = has&capRFDSNo == 0 && has&capRFDSClear != 0
}

// readAMD reads the leaves of AMD's processors.
func (p *Processor) readAMD(cpuid CPUID) {
	last, _, _, _ := cpuid(0x8000_0000, 0)
	if last >= 0x8000_0008 {
		_, b, _, _ := cpuid(0x8000_0008, 0)
		p.ibpb = p.ibpb || bit(b, 12)
		p.stibp = p.stibp || bit(b, 15)
		p.ssbd = p.ssbd || bit(b, 24)
		p.ssbAffected = p.ssbAffected && !bit(b, 26)
	}
	if last >= 0x8000_0021 {
		a, _, c, _ := cpuid(0x8000_0021, 0)
		p.automaticIBRS = bit(a, 8)
		p.otherAffected = p.otherAffected || bit(a, 5) && c>>1&3 != 3 // VERW_CLEAR; TSA_SQ_NO, TSA_L1_NO
	}
}

func bit(v uint32, n int) bool { return v>>n&1 != 0 }
