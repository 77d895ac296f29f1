package amd64

import (
	"kapsel/guest/arch/amd64/mitigation"
	"kapsel/guest/kernel"
)

// Mitigate does against transient execution what the level asks for and the processor offers. It
// is called once, before a task runs.
func (m *Machine) Mitigate(level mitigation.Level) {
	processor := mitigation.ReadProcessor(cpuid, rdmsr)
	plan := processor.Plan(level)
	m.CPU.plan = plan
	if plan.SpecCtrl != 0 {
		wrmsr(msrSpecCtrl, plan.SpecCtrl)
	}
	if plan.AutomaticIBRS {
		wrmsr(msrEFER, efer|eferAutomaticIBRS)
	}
	if plan.ClearBuffers {
		uncleared = 0
	}
}

// PrintMitigations writes in one line what Mitigate did.
func (m *Machine) PrintMitigations(w kernel.Writer) { m.CPU.plan.Print(w) }

// ibpb is the barrier of IA32_PRED_CMD (SDM vol. 4, table 2-2).
const ibpb = 1 << 0

// separate keeps from the task with context x, which is to run, what another one taught the
// predictors of branches. A task of the application that ran last needs no barrier.
func (c *CPU) separate(x *context) {
	if x.shortID == 0 || x.shortID != c.application {
		wrmsr(msrPredCmd, ibpb)
	}
	c.application = x.shortID
}
