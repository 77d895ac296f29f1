//go:build kapsel_kernel

package main

import (
	"kapsel/guest/arch/amd64/mitigation"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/format"
)

// options are what the command line can ask for, in words with spaces between.
type options struct {
	bootTicks  bool // say how long booting took
	console    bool // the process console is on, and the machine stays up without tasks
	noDump     bool // a fault is told in one line
	faultStop  bool // a fault stops the task
	faultPanic bool // a fault is the kernel's panic
}

// words are what the command line can say. Each sets what is not nil.
var words = [...]struct {
	text        string
	flag        *bool
	scheduler   kernel.Scheduler
	credentials kernel.CredentialsPolicy
	identity    kernel.IdentityPolicy
	mitigations mitigation.Level
}{
	{text: "boot-ticks", flag: &system.options.bootTicks},
	{text: "console", flag: &system.options.console},
	{text: "no-dump", flag: &system.options.noDump},
	{text: "fault=stop", flag: &system.options.faultStop},
	{text: "fault=panic", flag: &system.options.faultPanic},
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
	{text: "mitigations=off", mitigations: mitigation.Off},
	{text: "mitigations=auto", mitigations: mitigation.Auto},
	{text: "mitigations=full", mitigations: mitigation.Full},
}

// readCmdline sets the options, the scheduler and the policies. Words that it does not know
// it names.
func (b *board) readCmdline() {
	b.scheduler = &b.roundRobin
	b.credentials = &b.sha256Checked
	b.identity = &b.headerIdentity
	b.mitigations = mitigation.Auto
	line := b.machine.Cmdline()
	for len(line) > 0 {
		end := 0
		for end < len(line) && line[end] != ' ' {
			end++
		}
		if word := line[:end]; end > 0 && !b.obey(word) {
			format.Print(&b.debug, "command line: unknown word: ")
			format.Text(&b.debug, word)
			format.Print(&b.debug, " (want boot-ticks, console, no-dump, fault=stop, fault=panic, scheduler=roundrobin, cooperative, priority or mlfq, "+
				"credentials=none, checked or required, identity=header, name or none, mitigations=off, auto or full)\n")
		}
		line = line[min(end+1, len(line)):]
	}
	b.policy = b.options.faultPolicy()
	b.sha256Required.Require = true
}

// obey obeys one word, or reports false.
func (b *board) obey(text []byte) bool {
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
		if word.mitigations != 0 {
			b.mitigations = word.mitigations
		}
		return true
	}
	return false
}

// faultPolicy is what the options make of a task's fault.
func (o *options) faultPolicy() kernel.FaultLimit {
	policy := kernel.FaultLimit{Restarts: faultRestarts, Dump: !o.noDump && !benchmarking}
	if o.faultStop || o.faultPanic {
		policy.Restarts = 0
	}
	if o.faultPanic {
		policy.Then = kernel.PanicKernel
	}
	return policy
}
