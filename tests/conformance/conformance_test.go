// Package conformance shows, behaviour by behaviour, that tasks find what docs/abi.md and
// Tock promise them. What a task can see itself, tests/guest/conformance checks in ring 3;
// testdata/conformance32 does so with 32-bit tasks, and the rest is looked for on the console:
// faults, the table of tasks, which of them were loaded. The list of behaviours and how each
// fared, with tasks of 64 and of 32 bits, is in the log of TestConformance.
package conformance

import (
	"fmt"
	"strings"
	"testing"

	"kapsel/tests/machine"
)

// behaviours in words, by number.
var behaviours = [...]string{
	1:  "command 0 asks for a driver; an absent one is NODEVICE for every class",
	2:  "unknown command, subscribe and allow numbers are NOSUPPORT",
	3:  "Subscribe answers with the pair before; function 0 unsubscribes",
	4:  "a function outside of RAM and flash is INVAL; the one before stays",
	5:  "a new subscription drops upcalls that wait for the old one",
	6:  "userdata and arguments are exact; upcalls run in order of events",
	7:  "Allow answers with the buffer before; a failed one with the passed",
	8:  "flash is shared to read only, the object's header not at all",
	9:  "an empty buffer may have any address and comes back as it was",
	10: "a buffer that wraps, crosses the break or meets grants is INVAL",
	11: "buffers may overlap and be the same",
	12: "read-write and read-only numbers are counted apart",
	13: "the break stays above what was ever shared",
	14: "a moved break exposes zeroes; a bad one is NOMEM and changes nothing",
	15: "memory operations are consistent; unknown ones are NOSUPPORT",
	16: "Yield-NoWait runs one upcall or none, tells which, never sleeps",
	17: "Yield-Wait is not woken by an event without a function",
	18: "Yield-WaitFor returns the event's arguments and calls nobody",
	19: "Yield-WaitFor leaves other upcalls in order",
	20: "of upcalls beyond ten the newest waits; WaitFor works all the same",
	21: "upcalls that yield are nested; the stack is as it was",
	22: "a fault ends the task by the board's policy; others go on",
	23: "Exit terminates or restarts with fresh memory and a new PID",
	24: "a task that spins does not stop the others; its slices are counted",
	25: "restarts have a limit; stop and start keep a task's state",
	26: "without room for a grant NOMEM; a restart frees grants",
	27: "bad objects are skipped; permissions hide commands",
	28: "alarms wrap and fire late ones at once; console writes are whole",
	29: "registers are kept across system calls and preemption",
	30: "tasks find and notify each other and share memory",
	31: "memory that is taken back is zeroes until the borrower is told",
	32: "a flood of notifications keeps no alarm from a task",
	33: "a notification waits until the service subscribes",
	34: "a name that several tasks have finds none",
}

// A result is how a behaviour fared, over all parts of its test.
type result struct{ ran, failed bool }

func (r result) String() string {
	switch {
	case !r.ran:
		return "-"
	case r.failed:
		return "FAILED"
	}
	return "ok"
}

// A table has the results by behaviour, of tasks of each size of words.
type table struct{ bits64, bits32 [len(behaviours)]result }

// check runs a test of a behaviour, or of a part of it, with 64-bit tasks.
func (r *table) check(t *testing.T, number int, f func(t *testing.T)) {
	t.Helper()
	r.bits64[number].check(t, fmt.Sprintf("%02d", number), f)
}

// check32 does so with 32-bit tasks.
func (r *table) check32(t *testing.T, number int, f func(t *testing.T)) {
	t.Helper()
	r.bits32[number].check(t, fmt.Sprintf("32-%02d", number), f)
}

func (r *result) check(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	passed := t.Run(name, f)
	r.ran = true
	r.failed = r.failed || !passed
}

func (r *table) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%2s  %-72s %-6s  %s\n", "", "behaviour", "64-bit", "32-bit")
	for number := 1; number < len(behaviours); number++ {
		fmt.Fprintf(&b, "%2d  %-72s %-6v  %v\n", number, behaviours[number], r.bits64[number], r.bits32[number])
	}
	return b.String()
}

func TestConformance(t *testing.T) {
	var results table
	for _, m := range machines {
		t.Run(m.name, func(t *testing.T) { m.run(t, &results) })
	}
	t.Logf("on %s:\n%s", machine.Accelerator(t), &results)
	for number := 1; number < len(behaviours); number++ {
		if !results.bits64[number].ran {
			t.Errorf("behaviour %d (%s) was not tested with 64-bit tasks", number, behaviours[number])
		}
		if !results.bits32[number].ran {
			t.Errorf("behaviour %d (%s) was not tested with 32-bit tasks", number, behaviours[number])
		}
	}
}
