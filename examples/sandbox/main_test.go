package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/tests/machine"
)

// TestExample: 10,000 calls of each task, each answered; between them whatever goes wrong, which is told and outlived. In the rig by day it is a few calls.
func TestExample(t *testing.T) {
	if machine.Accelerator(t) != "kvm" {
		t.Skip("a sandbox needs KVM")
	}
	calls := 10_000
	if machine.InRig() && !machine.Nightly() {
		calls = 20
	}
	survived := []struct{ request, outcome string }{
		{"greeter spin", `"", sandbox: call of "greeter": out of time`},
		{"greeter fault", `"", sandbox: call of "greeter": the task faulted`},
		{"greeter exhaust", `"", sandbox: call of "greeter": the task is out of memory`},
		{"greeter flood", `"", sandbox: call of "greeter": too much output`},
		{"greeter much", `"", sandbox: call of "greeter": the request or the answer is too large`},
		{"greeter nest .", `"the bottom", <nil>`},
		{"greeter exit", `"", sandbox: call of "greeter": the task ended`},
		{"greeter32 fault", `"", sandbox: call of "greeter32": the task faulted`},
		{"greeter32 exhaust", `"", sandbox: call of "greeter32": the task is out of memory`},
		{"greeter32 much", `"", sandbox: call of "greeter32": the request or the answer is too large`},
		{"greeter32 nest .", `"the bottom", <nil>`},
		{"greeter32 exit", `"", sandbox: call of "greeter32": the task ended`},
		{"greeter32 count", `"0001", <nil>`}, // nothing is left of all those before
	}
	var requests, want []string
	expect := func(request, outcome string) {
		requests, want = append(requests, request), append(want, request+": "+outcome)
	}
	for range calls / 2 {
		expect("greeter greet world", `"Hello, world!", <nil>`)
		expect("greeter32 greet world", `"Hello, world!", <nil>`)
	}
	for _, s := range survived {
		expect(s.request, s.outcome)
	}
	for range calls / 2 {
		expect("greeter32 greet world", `"Hello, world!", <nil>`)
		expect("greeter greet world", `"Hello, world!", <nil>`)
	}
	lines := strings.Split(output(t, strings.Join(requests, "\n"), machine.File(t, "bare.elf"), machine.File(t, "test/greeter.tbf"), machine.File(t, "test/greeter32.tbf")), "\n")
	require.Len(t, lines, len(want)+1, "a line for each call")
	spurious := 0
	for n := range want {
		if endedByRig(lines[n]) {
			spurious++
			continue
		}
		assert.Condition(t, func() bool { return strings.HasPrefix(lines[n], want[n]) }, "call %d: %s; want %s", n, lines[n], want[n])
		if n >= calls && n < calls+len(survived) {
			t.Log(lines[n])
		}
	}
	t.Logf("the rig ended %d calls by an interrupt of its own", spurious)
	assert.LessOrEqual(t, spurious, 2+calls/1000)
}

// endedByRig reports whether the nested machine ended a call by an interrupt of its own (tests/machine), which the program outlives as all else. A guest that prints much is
// ended so at times.
func endedByRig(line string) bool {
	return machine.InRig() && strings.Contains(line, "the task ended: ") && (strings.Contains(line, "KVM_EXIT_FAIL_ENTRY") || strings.Contains(line, "double fault"))
}

// output runs the program with an input and returns what it printed.
func output(t *testing.T, input string, arguments ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "input")
	require.NoError(t, os.WriteFile(path, []byte(input), 0o600))
	in, err := os.Open(path)
	require.NoError(t, err)
	out, err := os.Create(filepath.Join(t.TempDir(), "output"))
	require.NoError(t, err)
	args, stdin, stdout := os.Args, os.Stdin, os.Stdout
	defer func() { os.Args, os.Stdin, os.Stdout = args, stdin, stdout }()
	os.Args, os.Stdin, os.Stdout = append([]string{"sandbox"}, arguments...), in, out
	main()
	require.NoError(t, in.Close())
	require.NoError(t, out.Close())
	text, err := os.ReadFile(out.Name())
	require.NoError(t, err)
	return string(text)
}
