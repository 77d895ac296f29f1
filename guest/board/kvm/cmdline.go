//go:build kapsel_kernel

package main

import (
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/format"
)

// options are what the command line can ask for, in words with spaces between.
type options struct {
	bootTicks bool // say how long booting took
	console   bool // the process console is on, and the machine stays up without tasks
}

// readCmdline sets the options, the scheduler and the policies. Words that it does not know
// it names.
func (b *board) readCmdline() {
	b.policy = kernel.FaultLimit{Restarts: faultRestarts, Dump: !benchmarking}
	b.scheduler = &b.roundRobin
	b.credentials = &b.sha256
	b.identity = &b.headerIdentity
	line := b.machine.Cmdline()
	for len(line) > 0 {
		end := 0
		for end < len(line) && line[end] != ' ' {
			end++
		}
		if word := line[:end]; end > 0 && !b.option(word) {
			b.debug.WriteString("command line: unknown word: ")
			format.Text(&b.debug, word)
			b.debug.WriteString(" (want boot-ticks, console, no-dump, fault=stop, fault=panic, scheduler=roundrobin, cooperative, priority or mlfq, " +
				"credentials=none, checked or required, identity=header, name or none)\n")
		}
		line = line[min(end+1, len(line)):]
	}
}

// option obeys one word, or reports false.
func (b *board) option(word []byte) bool {
	switch string(word) {
	case "boot-ticks":
		b.options.bootTicks = true
	case "console":
		b.options.console = true
	case "no-dump":
		b.policy.Dump = false
	case "fault=stop":
		b.policy.Restarts = 0
	case "fault=panic":
		b.policy.Restarts, b.policy.Then = 0, kernel.PanicKernel
	case "scheduler=roundrobin":
		b.scheduler = &b.roundRobin
	case "scheduler=cooperative":
		b.scheduler = &b.cooperative
	case "scheduler=priority":
		b.scheduler = &b.priority
	case "scheduler=mlfq":
		b.scheduler = &b.feedbackQueue
	case "credentials=none":
		b.credentials = &b.noCredentials
	case "credentials=checked":
		b.credentials, b.sha256.Require = &b.sha256, false
	case "credentials=required":
		b.credentials, b.sha256.Require = &b.sha256, true
	case "identity=header":
		b.identity = &b.headerIdentity
	case "identity=name":
		b.identity = &b.nameIdentity
	case "identity=none":
		b.identity = &b.noIdentity
	default:
		return false
	}
	return true
}
