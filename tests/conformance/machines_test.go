package conformance

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/tbf"
	"kapsel/tests/machine"
	"kapsel/vmm"
)

// machines boot the tasks: several in one, where they do not disturb each other, of both sizes
// of words in most. What a 32-bit task is called begins with "32-" behind "behaviour".
var machines = []struct {
	name string
	run  func(t *testing.T, results *table)
}{
	{"calls", calls},
	{"yields and lives", yieldsAndLives},
	{"devices and registers", devicesAndRegisters},
	{"faults that restart", faultsThatRestart},
	{"faults that stop", faultsThatStop},
	{"control", control},
	{"loading", loading},
	{"IPC", interprocess},
	{"IPC from the first slot to the last", farApart},
	{"IPC between hostile tasks", hostilePeers},
	{"names", names},
	{"32-bit calls", calls32},
	{"32-bit yields and lives", yieldsAndLives32},
}

const image = "bare.elf"

// isOK asserts that a task found all as it should be, and ended with code 0.
func isOK(t *testing.T, out machine.Outcome, part string) {
	t.Helper()
	for _, line := range regexp.MustCompile(`(?m)^conformance: `+part+` FAILED: .*$`).FindAllString(out.Console, -1) {
		t.Error(line)
	}
	assert.True(t, strings.Contains(out.Console, "\nconformance: "+part+" ok\n"), "behaviour%s does not say that it is ok", part)
	assert.Equal(t, "exit with code 0", row(t, out, part).end)
}

// A taskRow is a line of the table of tasks that the kernel prints at its end.
type taskRow struct {
	pid, state                           string
	restarts, syscalls, dropped, expired string
	end                                  string
}

func row(t *testing.T, out machine.Outcome, part string) taskRow {
	t.Helper()
	columns := regexp.MustCompile(`(?m)^ *(\d+)  behaviour` + part + ` +(\w+) +(\d+) +(\d+) +(\d+) +(\d+)  (.*)$`)
	m := columns.FindStringSubmatch(out.Console)
	require.NotNil(t, m, "the table of tasks has no row of behaviour%s", part)
	return taskRow{m[1], m[2], m[3], m[4], m[5], m[6], m[7]}
}

func ended(t *testing.T, out machine.Outcome, status int) {
	t.Helper()
	assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit, Status: status}, out.Exit)
}

// numbers writes behaviours as parts: two digits.
func numbers(from, to int) []string {
	var parts []string
	for n := from; n <= to; n++ {
		parts = append(parts, fmt.Sprintf("%02d", n))
	}
	return parts
}

// calls: what tasks see of system calls by themselves.
func calls(t *testing.T, results *table) {
	parts := numbers(1, 15)
	out := machine.Boot(t, machine.Guest{Image: image, Modules: behaviourObjects(t, parts...)})
	ended(t, out, abi.ExitOK)
	for i, part := range parts {
		results.check(t, i+1, func(t *testing.T) { isOK(t, out, part) })
	}
	results.check(t, 6, func(t *testing.T) { assert.Contains(t, out.Console, "\n6: x\n") })
	results.check(t, 11, func(t *testing.T) { assert.Contains(t, out.Console, "\n11:x\n") })
}

// yieldsAndLives: upcalls, grants, and the ends of tasks.
func yieldsAndLives(t *testing.T, results *table) {
	out := machine.Boot(t, machine.Guest{
		Image: image, Modules: behaviourObjects(t, "16", "17", "18", "19", "20", "21", "23", "26"),
	})
	ended(t, out, abi.ExitOK)
	for _, number := range []int{16, 17, 18, 19, 20, 21, 23, 26} {
		results.check(t, number, func(t *testing.T) { isOK(t, out, fmt.Sprint(number)) })
	}
	results.check(t, 20, func(t *testing.T) { assert.Equal(t, "2", row(t, out, "20").dropped) })
	for _, number := range []int{23, 26} {
		results.check(t, number, func(t *testing.T) { restartedOnce(t, out, fmt.Sprint(number)) })
	}
}

// restartedOnce asserts that a task restarted itself and got another PID by that.
func restartedOnce(t *testing.T, out machine.Outcome, part string) {
	t.Helper()
	last := row(t, out, part)
	assert.Equal(t, "1", last.restarts)
	assert.Equal(t, "Terminated", last.state)
	loaded := regexp.MustCompile(`(?m)^task (\d+) behaviour` + part + `: flash`).FindStringSubmatch(out.Console)
	require.NotNil(t, loaded, "the kernel does not say that it loaded behaviour%s", part)
	assert.NotEqual(t, loaded[1], last.pid, "the PID before and after the restart")
}

// devicesAndRegisters: tasks that write long lines, and tasks that watch their registers while
// they take the CPU from each other: two of 64 bits and two of 32.
func devicesAndRegisters(t *testing.T, results *table) {
	mixer := machine.Object(t, "test/mixer.tbf")
	modules := append(behaviourObjects(t, "28", "28a", "28b", "29"), mixer, mixer)
	modules = append(modules, behaviourObjects32(t, "28c", "28d", "29", "29a", "29b")...)
	out := machine.Boot(t, machine.Guest{Image: image, Modules: modules})
	ended(t, out, abi.ExitOK)
	results.check(t, 28, func(t *testing.T) {
		isOK(t, out, "28")
		isOK(t, out, "28a")
		isOK(t, out, "28b")
		wroteLongLines(t, out, "a", "b")
	})
	results.check32(t, 28, func(t *testing.T) {
		isOK32(t, out, "28c")
		isOK32(t, out, "28d")
		wroteLongLines(t, out, "c", "d")
	})
	const unproved = "it was never preempted: this proves nothing"
	results.check(t, 29, func(t *testing.T) {
		isOK(t, out, "29")
		assert.Equal(t, 2, strings.Count(out.Console, "mixer: unchanged\n"))
		assert.NotRegexp(t, `mixer +Terminated +0 +\d+ +0 +0 `, out.Console, unproved)
	})
	results.check32(t, 29, func(t *testing.T) {
		isOK32(t, out, "29")
		for _, part := range []string{"29a", "29b"} {
			isOK32(t, out, part)
			assert.NotEqual(t, "0", row(t, out, "32-"+part).expired, unproved)
		}
	})
}

// wroteLongLines asserts that the lines of these letters are whole.
func wroteLongLines(t *testing.T, out machine.Outcome, letters ...string) {
	t.Helper()
	for _, letter := range letters {
		assert.Len(t, regexp.MustCompile(`(?m)^`+letter+`{700}$`).FindAllString(out.Console, -1), 8, "whole lines of %s", letter)
	}
}

// The faults of behaviour 22's lives, in order.
const (
	noWrite = `page fault: write to a page that it may not write at `
	noPage  = `page fault: write where no page is at `
)

var faults = []string{
	`unknown system call class, code 0x8;`,
	`unknown system call class, code 0xff;`,
	`page fault: execute where no page is at 0x0, PC 0x0,`,
	noPage + `0x123456789000,`,
	noWrite + `0x400[0-9a-f]+,`,
	noWrite + `0x40000000,`,
	noPage + `0x[0-9a-f]+,`,
	noWrite + `0xffffffff80200000,`,
	noWrite + `0xffff800000400000,`,
	noPage + `0x80000000,`,
	`no writeable stack for an upcall;`,
	`no writeable stack for an upcall;`,
}

// greetings is what hello ends with: it goes on whatever the others do.
const greetings = "hello: greeting 10 of 10\n"

func hello(t *testing.T) []byte { return machine.Object(t, "hello.tbf") }

// faultsThatRestart: the board restarts a task 32 times, and then stops it.
func faultsThatRestart(t *testing.T, results *table) {
	modules := append(behaviourObjects(t, "22", "22s"), hello(t), behaviour32(t, "22s"))
	out := machine.Boot(t, machine.Guest{Image: image, Modules: modules, Cmdline: "no-dump"})
	ended(t, out, abi.ExitTaskFault)
	results.check(t, 22, func(t *testing.T) {
		isOK(t, out, "22")
		assertFaults(t, out, "22", faults)
		assert.Equal(t, fmt.Sprint(len(faults)), row(t, out, "22").restarts)
		assert.Contains(t, out.Console, greetings)
	})
	results.check(t, 25, func(t *testing.T) { reachedLimit(t, out, "22s") })
	results.check32(t, 25, func(t *testing.T) { reachedLimit(t, out, "32-22s") })
}

// reachedLimit asserts that a task that always faults was restarted as often as the board's
// policy has it.
func reachedLimit(t *testing.T, out machine.Outcome, part string) {
	t.Helper()
	fault := " behaviour" + part + " faulted: unknown system call class, code 0x8; "
	assert.Equal(t, 32, strings.Count(out.Console, fault+"restarting\n"))
	assert.Equal(t, 1, strings.Count(out.Console, fault+"stopped\n"))
	last := row(t, out, part)
	assert.Equal(t, "Faulted", last.state)
	assert.Equal(t, "32", last.restarts)
}

// assertFaults asserts that a task faulted in these ways, in order, and was restarted each time.
func assertFaults(t *testing.T, out machine.Outcome, part string, faults []string) {
	t.Helper()
	found := regexp.MustCompile(`(?m)^task \d+ behaviour`+part+` faulted: .*$`).FindAllString(out.Console, -1)
	require.Len(t, found, len(faults))
	for i, want := range faults {
		assert.Regexp(t, ` faulted: `+want+`.*restarting$`, found[i])
	}
}

// faultsThatStop: the same tasks where the policy is to stop.
func faultsThatStop(t *testing.T, results *table) {
	modules := append(behaviourObjects(t, "22", "22s"), hello(t), behaviour32(t, "22"))
	out := machine.Boot(t, machine.Guest{Image: image, Modules: modules, Cmdline: "no-dump fault=stop"})
	ended(t, out, abi.ExitTaskFault)
	results.check(t, 22, func(t *testing.T) {
		stoppedAtOnce(t, out, "22")
		stoppedAtOnce(t, out, "22s")
		assert.Contains(t, out.Console, greetings)
	})
	results.check32(t, 22, func(t *testing.T) { stoppedAtOnce(t, out, "32-22") })
}

// stoppedAtOnce asserts that a task was not restarted after its first fault.
func stoppedAtOnce(t *testing.T, out machine.Outcome, part string) {
	t.Helper()
	last := row(t, out, part)
	assert.Equal(t, "Faulted", last.state)
	assert.Equal(t, "0", last.restarts)
	assert.Equal(t, "unknown system call class, code 0x8", last.end)
}

// The states that the parts of behaviour 25 are stopped in.
var states = []struct{ part, state string }{{"25r", "Running"}, {"25y", "Yielded"}, {"25f", "YieldedFor"}}

// control: the process console stops and starts tasks in each state, beside two that spin.
func control(t *testing.T, results *table) {
	const prompt = "kapsel$ "
	steps := []machine.Step{{On: greetings, Keys: "list\r"}}
	for _, command := range []string{"stop", "start"} {
		for _, s := range states {
			steps = append(steps,
				machine.Step{On: prompt, Keys: command + " behaviour" + s.part + "\r"},
				machine.Step{On: prompt, Keys: command + " behaviour32-" + s.part + "\r"})
		}
		steps = append(steps, machine.Step{On: prompt, Keys: "list\r"})
	}
	steps = append(steps, machine.Step{On: prompt, Keys: "reset\r"})
	typist := machine.NewTypist(steps...)
	parts := []string{"24", "25r", "25y", "25f"}
	modules := append(behaviourObjects(t, parts...), behaviourObjects32(t, parts...)...)
	out := machine.Boot(t, machine.Guest{
		Image: image, Modules: append(modules, hello(t)),
		Cmdline: "console no-dump", Input: typist.Keys, Console: typist,
	})
	ended(t, out, abi.ExitOK)
	lists := strings.Split(out.Console, " PID    ShortID    Name ")
	require.Len(t, lists, 4, "the console shows three lists")
	spins := func(t *testing.T, part string) {
		inOrder(t, out.Console, "hello: greeting 2 of 10\n", greetings)
		_, quanta := listed(t, lists[1], part)
		assert.NotEqual(t, "0", quanta)
	}
	results.check(t, 24, func(t *testing.T) { spins(t, "24") })
	results.check32(t, 24, func(t *testing.T) { spins(t, "32-24") })
	results.check(t, 25, func(t *testing.T) { wereStopped(t, lists[1:], "") })
	results.check32(t, 25, func(t *testing.T) { wereStopped(t, lists[1:], "32-") })
}

// wereStopped asserts that the tasks are in their states in the first of three lists, stopped
// in the second, and as they were in the third.
func wereStopped(t *testing.T, lists []string, prefix string) {
	t.Helper()
	for _, s := range states {
		for i, want := range []string{s.state, "Stopped(" + s.state + ")", s.state} {
			state, _ := listed(t, lists[i], prefix+s.part)
			assert.Equal(t, want, state, "behaviour%s%s in list %d", prefix, s.part, i+1)
		}
	}
}

// listed reads a task's row of the process console's list.
func listed(t *testing.T, list, part string) (state, quanta string) {
	t.Helper()
	m := regexp.MustCompile(`(?m)^.* behaviour` + part + ` +(\d+) +\d+ +\d+ +\S+  (\S+)$`).FindStringSubmatch(list)
	require.NotNil(t, m, "the list has no row of behaviour%s", part)
	return m[2], m[1]
}

// inOrder asserts that the texts are on the console one behind another.
func inOrder(t *testing.T, console string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		_, behind, found := strings.Cut(console, text)
		require.True(t, found, "%q is missing on the console, or out of order", text)
		console = behind
	}
}

// listOf27 is what part p of behaviour 27 may command.
var listOf27 = []tbf.Permission{
	{Driver: abi.DriverAlarm, Mask: 0b1111},
	{Driver: abi.DriverConsole, Mask: 1 << 1},
}

// loading: objects that are not to run are skipped, one of another format ends the list.
func loading(t *testing.T, results *table) {
	good, good32 := behaviour(t, "27"), behaviour32(t, "27")
	modules := append(spoil(t, good, spoilers), spoil(t, good32, spoilers32)...)
	other := bytes.Clone(good)
	le.PutUint16(other[tbf.OffsetVersion:], tbf.Version+1)
	modules = append(modules, good, good32, restricted(t, behaviour(t, "27p"), listOf27...),
		behaviour32(t, "27p", listOf27...), other, behaviour(t, "01"))

	out := machine.Boot(t, machine.Guest{Image: image, Modules: modules})
	ended(t, out, abi.ExitOK)
	skipped := regexp.MustCompile(`(?m)^task object at offset 0x[0-9a-f]+ skipped: .*$`).FindAllString(out.Console, -1)
	require.Len(t, skipped, len(spoilers)+len(spoilers32))
	results.check(t, 27, func(t *testing.T) {
		assertSpoiled(t, spoilers, skipped[:len(spoilers)])
		assert.Equal(t, 1, strings.Count(out.Console, " behaviour27: flash "), "the sound object, once")
		isOK(t, out, "27")
		isOK(t, out, "27p")
		assert.NotContains(t, out.Console, "behaviour01", "behind an object of another format")
	})
	results.check32(t, 27, func(t *testing.T) {
		assertSpoiled(t, spoilers32, skipped[len(spoilers):])
		assert.Equal(t, 1, strings.Count(out.Console, " behaviour32-27: flash "), "the sound object, once")
		isOK32(t, out, "27")
		isOK32(t, out, "27p")
	})
}

// interprocess: services that find what a client lends to them, and fault where it is not lent.
// Parts s serve parts c, parts t serve parts d of the other size of words. Slots are in the
// order of the objects.
func interprocess(t *testing.T, results *table) {
	parts := []string{"30s", "30c", "30t", "30d"}
	modules := append(behaviourObjects(t, parts...), behaviourObjects32(t, parts...)...)
	out := machine.Boot(t, machine.Guest{Image: image, Modules: modules, Cmdline: "no-dump"})
	ended(t, out, abi.ExitOK)
	results.check(t, 30, func(t *testing.T) {
		for _, part := range parts {
			isOK(t, out, part)
		}
		notWholePages(t, out, "30c", "30s")
		lentTwice(t, out, "30s", 1)
		lentTwice(t, out, "30t", 7)
	})
	results.check32(t, 30, func(t *testing.T) {
		for _, part := range parts {
			isOK32(t, out, part)
		}
		notWholePages(t, out, "32-30c", "32-30s")
		lentTwice(t, out, "32-30s", 5)
		lentTwice(t, out, "32-30t", 3)
	})
}

// farApart: a service in the first slot and its client in the last one, of 64 bits and of 32.
func farApart(t *testing.T, results *table) {
	const last = kernel.MaxTasks - 1
	between := slices.Repeat([][]byte{machine.Code(t, "between", exits)}, last-1)
	run := func(service, client []byte) machine.Outcome {
		modules := slices.Concat([][]byte{service}, between, [][]byte{client})
		out := machine.Boot(t, machine.Guest{Image: image, Modules: modules, Cmdline: "no-dump"})
		ended(t, out, abi.ExitOK)
		return out
	}
	results.check(t, 30, func(t *testing.T) {
		out := run(behaviour(t, "30s"), behaviour(t, "30c"))
		isOK(t, out, "30s")
		isOK(t, out, "30c")
		lentTwice(t, out, "30s", last)
	})
	results.check32(t, 30, func(t *testing.T) {
		out := run(behaviour32(t, "30s"), behaviour32(t, "30c"))
		isOK32(t, out, "30s")
		isOK32(t, out, "30c")
		lentTwice(t, out, "32-30s", last)
	})
}

// exits is a task that ends at once.
var exits = []byte{
	0x31, 0xff, // XOR EDI, EDI: terminate
	0x31, 0xf6, // XOR ESI, ESI
	0xb8, 0x06, 0x00, 0x00, 0x00, // MOV EAX, Exit
	0x0f, 0x05, // SYSCALL
}

// lentTwice asserts that a service faulted twice where it finds what the client in that
// slot lends to it.
func lentTwice(t *testing.T, out machine.Outcome, service string, client uint64) {
	t.Helper()
	fault := regexp.MustCompile(fmt.Sprintf(`(?m)^task \d+ behaviour%s faulted: page fault: (read|write) where no page is at %#x,.*$`,
		service, abi.LoanStart+client*abi.LoanSize))
	assert.Len(t, fault.FindAllString(out.Console, -1), 2, fault)
	assert.Equal(t, "2", row(t, out, service).restarts)
}

// notWholePages asserts that the kernel said once why it refused to lend a part of a page.
func notWholePages(t *testing.T, out machine.Outcome, client, service string) {
	t.Helper()
	message := regexp.MustCompile(fmt.Sprintf(`(?m)^task \d+ behaviour%s did not notify behaviour%s: the buffer to lend, 0x[0-9a-f]+ with 100 bytes, does not begin and end on pages of 4096 bytes$`,
		client, service))
	assert.Len(t, message.FindAllString(out.Console, -1), 1, message)
}

// schedulers are the words that choose them.
var schedulers = []string{"roundrobin", "cooperative", "priority", "mlfq"}

// hostilePeers: clients that take back, flood, and come too early, under each scheduler, in front
// of their services and behind them.
func hostilePeers(t *testing.T, results *table) {
	for number := 31; number <= 33; number++ {
		for i, scheduler := range schedulers {
			parts := []string{"s", "c", "t", "d"}
			if i%2 == 1 {
				parts = []string{"c", "s", "d", "t"}
			}
			for i := range parts {
				parts[i] = fmt.Sprint(number) + parts[i]
			}
			modules := append(behaviourObjects(t, parts...), behaviourObjects32(t, parts...)...)
			out := machine.Boot(t, machine.Guest{Image: image, Modules: modules, Cmdline: "no-dump scheduler=" + scheduler})
			ended(t, out, abi.ExitOK)
			assert.NotContains(t, out.Console, "faulted")
			for _, part := range parts {
				results.check(t, number, func(t *testing.T) { isOK(t, out, part) })
				results.check32(t, number, func(t *testing.T) { isOK32(t, out, part) })
			}
		}
	}
}

// names: the first and the last of the tasks have one name, and the others cannot find it.
func names(t *testing.T, results *table) {
	modules := [][]byte{behaviour(t, "34x"), behaviour32(t, "34x"), behaviour(t, "34"), behaviour32(t, "34"), behaviour(t, "34x"), behaviour32(t, "34x")}
	out := machine.Boot(t, machine.Guest{Image: image, Modules: modules})
	ended(t, out, abi.ExitOK)
	const message = "behaviour%[1]s34 asks for a task named behaviour%[1]s34x: not found, because several have that name, the first two in slots %d and %d\n"
	results.check(t, 34, func(t *testing.T) {
		isOK(t, out, "34")
		assert.Equal(t, 1, strings.Count(out.Console, fmt.Sprintf(message, "", 0, 4)))
	})
	results.check32(t, 34, func(t *testing.T) {
		isOK32(t, out, "34")
		assert.Equal(t, 1, strings.Count(out.Console, fmt.Sprintf(message, "32-", 1, 5)))
	})
}
