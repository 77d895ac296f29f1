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

// TestExample: each outcome of each task, in the rig of a few calls.
func TestExample(t *testing.T) {
	if machine.Accelerator(t) != "kvm" {
		t.Skip("a sandbox needs KVM")
	}
	calls := "10000"
	if machine.InRig() {
		calls = "20"
	}
	lines := strings.Split(output(t, filepath.Dir(machine.File(t, "bare.elf")), calls), "\n")
	t.Log(strings.Join(lines, "\n"))
	for _, want := range []string{
		"greeter, " + calls + ` times: greet world: "Hello, world!", <nil>`,
		`greeter, 1 times: spin: "", sandbox: call of "greeter": out of time`,
		`greeter, 1 times: fault: "", sandbox: call of "greeter": the task faulted`,
		`greeter, 1 times: exhaust: "", sandbox: call of "greeter": the task is out of memory`,
		`greeter, 1 times: flood: "", sandbox: call of "greeter": too much output`,
		`greeter, 1 times: much: "", sandbox: call of "greeter": the request or the answer is too large`,
		`greeter, 1 times: nest .: "the bottom", <nil>`,
		`greeter, 1 times: exit: "", sandbox: call of "greeter": the task ended`,
		"greeter32, " + calls + ` times: greet world: "Hello, world!", <nil>`,
		`greeter32, 1 times: fault: "", sandbox: call of "greeter32": the task faulted`,
		`greeter32, 1 times: exhaust: "", sandbox: call of "greeter32": the task is out of memory`,
		`greeter32, 1 times: much: "", sandbox: call of "greeter32": the request or the answer is too large`,
		`greeter32, 1 times: nest .: "the bottom", <nil>`,
		`greeter32, 1 times: exit: "", sandbox: call of "greeter32": the task ended`,
	} {
		assert.Condition(t, func() bool {
			for _, line := range lines {
				if strings.HasPrefix(line, want) {
					return true
				}
			}
			return false
		}, want)
	}
}

// output runs the program and returns what it printed.
func output(t *testing.T, arguments ...string) string {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "output"))
	require.NoError(t, err)
	args, stdout := os.Args, os.Stdout
	defer func() { os.Args, os.Stdout = args, stdout }()
	os.Args, os.Stdout = append([]string{"sandbox"}, arguments...), file
	main()
	require.NoError(t, file.Close())
	text, err := os.ReadFile(file.Name())
	require.NoError(t, err)
	return string(text)
}
