package mitigation

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A fake is a processor's answers: EAX to EDX by leaf and subleaf, and IA32_ARCH_CAPABILITIES.
type fake struct {
	vendor string
	leaves map[[2]uint32][4]uint32
	has    uint64
}

func (f *fake) cpuid(leaf, subleaf uint32) (a, b, c, d uint32) {
	r := f.leaves[[2]uint32{leaf, subleaf}]
	if leaf == 0 {
		word := func(i int) uint32 {
			return uint32(f.vendor[i]) | uint32(f.vendor[i+1])<<8 | uint32(f.vendor[i+2])<<16 | uint32(f.vendor[i+3])<<24
		}
		return r[0], word(0), word(8), word(4)
	}
	return r[0], r[1], r[2], r[3]
}

// plan makes the plan, and fails if a register is read that CPUID does not have.
func (f *fake) plan(t *testing.T, level Level) Plan {
	t.Helper()
	p := ReadProcessor(f.cpuid, func(msr uint32) uint64 {
		assert.EqualValues(t, 0x10a, msr)
		assert.NotZero(t, f.leaves[[2]uint32{7, 0}][3]>>29&1, "a read of a register that CPUID does not have is #GP")
		return f.has
	})
	return p.Plan(level)
}

// Bits of CPUID, by their places in the manuals (SDM vol. 2, CPUID; APM vol. 3, appendix E).
const (
	ebxSMEP, ebxRTM                                    = 1 << 7, 1 << 11
	edxMDClear, edxIBRS, edxSTIBP, edxArchCap, edxSSBD = 1 << 10, 1 << 26, 1 << 27, 1 << 29, 1 << 31
	edxRRSBA, edxBHI                                   = 1 << 2, 1 << 4
	amdIBPB, amdIBRS, amdSTIBP, amdSSBD, amdSSBNo      = 1 << 12, 1 << 14, 1 << 15, 1 << 24, 1 << 26
	amdVERWClear, amdAutomaticIBRS                     = 1 << 5, 1 << 8
	amdTSANo                                           = 1<<1 | 1<<2
)

func intel(ebx, edx, edx2 uint32, has uint64) *fake {
	return &fake{"GenuineIntel", map[[2]uint32][4]uint32{
		{0, 0}: {0x20}, {7, 0}: {2, ebx, 0, edx}, {7, 2}: {3: edx2},
	}, has}
}

func amd(ebx8, eax21, ecx21 uint32) *fake {
	return &fake{"AuthenticAMD", map[[2]uint32][4]uint32{
		{0, 0}: {0x10}, {7, 0}: {0, ebxSMEP, 0, 0}, {0x8000_0000, 0}: {0x8000_0021},
		{0x8000_0008, 0}: {1: ebx8}, {0x8000_0021, 0}: {eax21, 0, ecx21, 0},
	}, 0}
}

const (
	controls = edxIBRS | edxSTIBP | edxSSBD
	newIntel = edxMDClear | controls | edxArchCap
	amdAll   = amdIBPB | amdIBRS | amdSTIBP | amdSSBD
)

var processors = []struct {
	name            string
	processor       *fake
	off, auto, full string
	specAuto        uint64 // IA32_SPEC_CTRL
	specFull        uint64
}{
	{
		"Haswell without new microcode", intel(ebxSMEP|ebxRTM, 0, 0, 0),
		"; not against Meltdown (no RDCL_NO); not against MDS",
		"; not against Meltdown (no RDCL_NO); not against MDS (no MD_CLEAR)",
		"; not against Meltdown (no RDCL_NO); not against MDS (no MD_CLEAR)" +
			"; not against branches that other tasks trained (no IBPB)",
		0, 0,
	},
	{
		"Skylake", intel(ebxSMEP, newIntel, 0, 0),
		"; not against Meltdown (no RDCL_NO); not against MDS",
		", VERW; not against Meltdown (no RDCL_NO)",
		", VERW, IBPB between applications, STIBP, SSBD; not against Meltdown (no RDCL_NO)",
		0, 1<<1 | 1<<2,
	},
	{
		"Cascade Lake with TSX", intel(ebxSMEP|ebxRTM, newIntel, 0, capRDCLNo|capIBRSAll|capMDSNo),
		"; not against MDS",
		", enhanced IBRS, VERW",
		", enhanced IBRS, VERW, IBPB between applications, STIBP, SSBD",
		1, 1 | 1<<1 | 1<<2,
	},
	{
		"Cascade Lake with TSX hidden that may still be there", intel(ebxSMEP, newIntel, 0, capRDCLNo|capIBRSAll|capMDSNo),
		"; not against MDS",
		", enhanced IBRS, VERW",
		", enhanced IBRS, VERW, IBPB between applications, STIBP, SSBD",
		1, 1 | 1<<1 | 1<<2,
	},
	{
		"Cascade Lake with TSX off", intel(ebxSMEP, newIntel, 0, capRDCLNo|capIBRSAll|capMDSNo|capTSXCtrl),
		"",
		", enhanced IBRS",
		", enhanced IBRS, VERW, IBPB between applications, STIBP, SSBD",
		1, 1 | 1<<1 | 1<<2,
	},
	{
		"Cascade Lake without SMEP", intel(0, newIntel, 0, capRDCLNo|capIBRSAll|capMDSNo|capTAANo),
		"",
		", enhanced IBRS",
		", enhanced IBRS, VERW, IBPB between applications, STIBP, SSBD",
		1, 1 | 1<<1 | 1<<2,
	},
	{
		"Sapphire Rapids", intel(ebxSMEP|ebxRTM, newIntel, edxRRSBA|edxBHI, capRDCLNo|capIBRSAll|capMDSNo|capTAANo|capSSBNo),
		"",
		", enhanced IBRS, RRSBA_DIS_S, BHI_DIS_S",
		", enhanced IBRS, RRSBA_DIS_S, BHI_DIS_S, VERW, IBPB between applications, STIBP",
		1 | 1<<6 | 1<<10, 1 | 1<<1 | 1<<6 | 1<<10,
	},
	{
		"Gracemont", intel(ebxSMEP, newIntel, 0, capRDCLNo|capIBRSAll|capMDSNo|capTAANo|capRFDSClear),
		"",
		", enhanced IBRS, VERW",
		", enhanced IBRS, VERW, IBPB between applications, STIBP, SSBD",
		1, 1 | 1<<1 | 1<<2,
	},
	{
		"IA32_ARCH_CAPABILITIES hidden", intel(ebxSMEP, newIntel&^edxArchCap, 0, ^uint64(0)),
		"; not against Meltdown (no RDCL_NO); not against MDS",
		", VERW; not against Meltdown (no RDCL_NO)",
		", VERW, IBPB between applications, STIBP, SSBD; not against Meltdown (no RDCL_NO)",
		0, 1<<1 | 1<<2,
	},
	{
		"Zen 2", amd(amdAll, 0, 0),
		"",
		"",
		", IBPB between applications, STIBP, SSBD",
		0, 1<<1 | 1<<2,
	},
	{
		"Zen 4", amd(amdAll, amdAutomaticIBRS|amdVERWClear, 0),
		"",
		", automatic IBRS, VERW",
		", automatic IBRS, VERW, IBPB between applications, STIBP, SSBD",
		0, 1<<1 | 1<<2,
	},
	{
		"Zen 5", amd(amdAll|amdSSBNo, amdAutomaticIBRS|amdVERWClear, amdTSANo),
		"",
		", automatic IBRS",
		", automatic IBRS, IBPB between applications, STIBP",
		0, 1 << 1,
	},
	{
		"QEMU's emulator", amd(0, 0, 0),
		"",
		"",
		"; not against branches that other tasks trained (no IBPB)",
		0, 0,
	},
	{
		"no leaf but the first", &fake{"CentaurHauls", map[[2]uint32][4]uint32{{0, 0}: {1}, {7, 0}: {2, ^uint32(0), 0, ^uint32(0)}}, 0},
		"; not against Meltdown (no RDCL_NO); not against MDS",
		"; not against Meltdown (no RDCL_NO); not against MDS (no MD_CLEAR)",
		"; not against Meltdown (no RDCL_NO); not against MDS (no MD_CLEAR)" +
			"; not against branches that other tasks trained (no IBPB)",
		0, 0,
	},
}

type line struct{ strings.Builder }

func (l *line) WriteString(s string) { l.Builder.WriteString(s) }

func (l *line) WriteChars(chars uint64, n int) {
	l.Builder.Write(binary.LittleEndian.AppendUint64(nil, chars)[:n])
}

// What is done on each processor, by the line that says it: it is made of the plan alone.
func TestMitigationsByProcessor(t *testing.T) {
	for _, tt := range processors {
		t.Run(tt.name, func(t *testing.T) {
			for level, want := range map[Level]string{Off: "off" + base + tt.off, Auto: "auto" + base + tt.auto, Full: "full" + base + tt.full} {
				plan := tt.processor.plan(t, level)
				var out line
				plan.Print(&out)
				assert.Equal(t, "Mitigations: "+want+"\n", out.String())
			}
			assert.Zero(t, tt.processor.plan(t, Off).SpecCtrl)
			assert.Equal(t, tt.specAuto, tt.processor.plan(t, Auto).SpecCtrl)
			assert.Equal(t, tt.specFull, tt.processor.plan(t, Full).SpecCtrl)
		})
	}
}

const base = ": index masks, retpolines, return stack refilled"

// The line does not say more than the plan does.
func TestLineSaysWhatThePlanDoes(t *testing.T) {
	for _, tt := range processors {
		for _, level := range []Level{Off, Auto, Full} {
			plan := tt.processor.plan(t, level)
			var out line
			plan.Print(&out)
			for text, done := range map[string]bool{
				", enhanced IBRS":  plan.SpecCtrl>>0&1 == 1,
				", STIBP":          plan.SpecCtrl>>1&1 == 1,
				", SSBD":           plan.SpecCtrl>>2&1 == 1,
				", RRSBA_DIS_S":    plan.SpecCtrl>>6&1 == 1,
				", BHI_DIS_S":      plan.SpecCtrl>>10&1 == 1,
				", automatic IBRS": plan.AutomaticIBRS,
				", VERW":           plan.ClearBuffers,
				", IBPB":           plan.Barrier,
			} {
				assert.Equal(t, done, strings.Contains(out.String(), text), "%s: %s: %s", tt.name, out.String(), text)
			}
		}
	}
}

// KVM on AMD's processors gives the controls by Intel's leaf as well.
func TestControlsByEitherLeaf(t *testing.T) {
	f := amd(0, 0, 0)
	f.leaves[[2]uint32{7, 0}] = [4]uint32{0, ebxSMEP, 0, controls}
	plan := f.plan(t, Full)
	assert.True(t, plan.Barrier)
	assert.EqualValues(t, 1<<1|1<<2, plan.SpecCtrl)
}

func TestHygonIsAsAMD(t *testing.T) {
	f := amd(amdAll, 0, 0)
	f.vendor = "HygonGenuine"
	plan := f.plan(t, Auto)
	assert.False(t, plan.MeltdownOpen)
}
