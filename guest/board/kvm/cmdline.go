//go:build kapsel_kernel

package main

import (
	"kapsel/guest/arch/amd64/mitigation"
	"kapsel/guest/board/base"
	"kapsel/guest/kernel"
)

// management is which tasks may look at others, control, load and unload them.
type management uint8

const (
	byListed management = 1 + iota // those whose objects list the driver among those that they may use
	byAll
	byNone
)

// words are what the command line can say on this board alone. Each sets what is not nil.
var words = [...]struct {
	text        string
	flag        *bool
	scheduler   kernel.Scheduler
	credentials kernel.CredentialsPolicy
	identity    kernel.IdentityPolicy
	management  management
	capsules    *kernel.FailurePolicy
}{
	{text: "console", flag: &system.hasConsole},
	{text: "scheduler=roundrobin", scheduler: &system.roundRobin},
	{text: "scheduler=cooperative", scheduler: &system.cooperative},
	{text: "scheduler=priority", scheduler: &system.priority},
	{text: "scheduler=mlfq", scheduler: &system.feedbackQueue},
	{text: "credentials=none", credentials: &system.noCredentials},
	{text: "credentials=checked", credentials: &system.sha256Checked},
	{text: "credentials=required", credentials: &system.sha256Required},
	{text: "identity=header", identity: &system.headerIdentity},
	{text: "identity=name", identity: &system.nameIdentity},
	{text: "identity=none", identity: &system.noIdentity},
	{text: "management=listed", management: byListed},
	{text: "management=all", management: byAll},
	{text: "management=none", management: byNone},
	{text: "capsules=restart", capsules: &failurePolicies[kernel.RestartCapsule]},
	{text: "capsules=stop", capsules: &failurePolicies[kernel.StopCapsule]},
	{text: "capsules=panic", capsules: &failurePolicies[kernel.PanicOnFailure]},
}

// capsuleRestarts is how often a capsule that fails is made anew.
const capsuleRestarts = 3

// failurePolicies are what the command line can say of capsules that fail.
var failurePolicies = [...]kernel.FailurePolicy{kernel.RestartCapsule, kernel.StopCapsule, kernel.PanicOnFailure}

// readCmdline sets the options, the scheduler and the policies. Words that it does not know
// it names.
func (b *board) readCmdline() {
	b.scheduler = &b.roundRobin
	b.components.SetPolicy(kernel.RestartCapsule, capsuleRestarts)
	b.credentials = &b.sha256Checked
	b.identity = &b.headerIdentity
	b.management = byListed
	b.options = base.Options{Mitigations: mitigation.Auto, NoDump: benchmarking}
	base.ReadCmdline(b.machine.Cmdline(), b, &b.debug, "console, scheduler=roundrobin, cooperative, priority or mlfq, "+
		"credentials=none, checked or required, identity=header, name or none, management=listed, all or none, "+
		"capsules=restart, stop or panic, "+base.Words)
	b.policy = b.options.FaultPolicy()
	b.sha256Required.Require = true
}

// Obey implements base.Commanded.
func (b *board) Obey(text []byte) bool {
	for i := range words {
		word := &words[i]
		if string(text) != word.text {
			continue
		}
		if word.flag != nil {
			*word.flag = true
		}
		if word.scheduler != nil {
			b.scheduler = word.scheduler
		}
		if word.credentials != nil {
			b.credentials = word.credentials
		}
		if word.identity != nil {
			b.identity = word.identity
		}
		if word.management != 0 {
			b.management = word.management
		}
		if word.capsules != nil {
			b.components.SetPolicy(*word.capsules, capsuleRestarts)
		}
		return true
	}
	return b.devices.windows.Obey(text, &b.debug) || b.instruments.obey(text) || b.injection.obey(text) || obeyTest(text) || b.options.Obey(text)
}
