package mitigation

import "kapsel/guest/kernel/format"

// A Level is how much is done, as the kernel's command line says: mitigations=off, auto or full.
type Level uint8

// Levels.
const (
	Off  Level = iota + 1 // nothing beyond what is compiled in
	Auto                  // what this processor needs against tasks that attack the kernel
	Full                  // also against tasks that attack each other, whatever it costs
)

var levelNames = [...]string{Off: "off", Auto: "auto", Full: "full"}

// Bits of IA32_SPEC_CTRL (SDM vol. 4, table 2-2; APM vol. 2, 3.2.9).
const (
	specIBRS     = 1 << 0
	specSTIBP    = 1 << 1
	specSSBD     = 1 << 2
	specRRSBADis = 1 << 6
	specBHIDis   = 1 << 10
)

// A Plan is what the machine layer does on one processor.
type Plan struct {
	_ [0]func() // not comparable

	// SpecCtrl is the value of IA32_SPEC_CTRL, the same in both rings. 0: it is not written.
	SpecCtrl uint64
	// AutomaticIBRS says to set EFER.AIBRSE.
	AutomaticIBRS bool
	// ClearBuffers says to execute VERW on the way to ring 3 and before sleep.
	ClearBuffers bool
	// Barrier says to write IBPB between tasks of different applications.
	Barrier bool

	// MeltdownOpen says that a task may read all memory by Meltdown: the plan does nothing against
	// it, and the processor does not say that it is not affected.
	MeltdownOpen bool

	level              Level
	mdsOpen, tasksOpen bool // likewise MDS, and branches that other tasks trained
}

// Plan makes the plan for a level.
func (p *Processor) Plan(level Level) Plan {
	plan := Plan{level: level, MeltdownOpen: p.meltdownAffected}
	if level == Off {
		plan.mdsOpen = p.mdsAffected
		return plan
	}
	full := level == Full
	for _, x := range [...]struct {
		set bool
		bit uint64
	}{
		{p.enhancedIBRS, specIBRS},
		{p.rrsbaControl, specRRSBADis},
		{p.bhiControl, specBHIDis},
		{full && p.stibp, specSTIBP},
		{full && p.ssbd && p.ssbAffected, specSSBD},
	} {
		if x.set {
			plan.SpecCtrl |= x.bit
		}
	}
	plan.AutomaticIBRS = p.automaticIBRS
	plan.ClearBuffers = p.mdsAffected && p.mdClear || p.otherAffected || full && p.mdClear
	plan.mdsOpen = p.mdsAffected && !p.mdClear
	plan.Barrier = full && p.ibpb
	plan.tasksOpen = full && !p.ibpb
	return plan
}

// Print writes the plan in one line.
func (p *Plan) Print(w format.Writer) {
	w.WriteString("Mitigations: ")
	w.WriteString(levelNames[p.level])
	w.WriteString(": index masks, retpolines, return stack refilled")
	for _, x := range [...]struct {
		done bool
		text string
	}{
		{p.SpecCtrl&specIBRS != 0, ", enhanced IBRS"},
		{p.AutomaticIBRS, ", automatic IBRS"},
		{p.SpecCtrl&specRRSBADis != 0, ", RRSBA_DIS_S"},
		{p.SpecCtrl&specBHIDis != 0, ", BHI_DIS_S"},
		{p.ClearBuffers, ", VERW"},
		{p.Barrier, ", IBPB between applications"},
		{p.SpecCtrl&specSTIBP != 0, ", STIBP"},
		{p.SpecCtrl&specSSBD != 0, ", SSBD"},
		{p.MeltdownOpen, "; not against Meltdown (no RDCL_NO)"},
		{p.mdsOpen && p.level != Off, "; not against MDS (no MD_CLEAR)"},
		{p.mdsOpen && p.level == Off, "; not against MDS"},
		{p.tasksOpen, "; not against branches that other tasks trained (no IBPB)"},
	} {
		if x.done {
			w.WriteString(x.text)
		}
	}
	w.WriteString("\n")
}
