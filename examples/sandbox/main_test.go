package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/tests/machine"
)

// TestExample: a task in Go and one in C greet.
func TestExample(t *testing.T) {
	if machine.Accelerator(t) != "kvm" {
		t.Skip("a sandbox needs KVM")
	}
	var out bytes.Buffer
	files := []string{machine.File(t, "test/bare.elf"), machine.File(t, "test/greeter.tbf"), machine.File(t, "test/greeter32.tbf")}
	require.NoError(t, run(t.Context(), files, &out))
	assert.Equal(t, "greeter: Hello, greeter!\ngreeter32: Hello, greeter32!\n", out.String())
}

// TestArguments: what cannot be run.
func TestArguments(t *testing.T) {
	assert.EqualError(t, run(t.Context(), nil, nil), "0 arguments: want an image and tasks")
	assert.ErrorContains(t, run(t.Context(), []string{"main.go", "main.go"}, nil), "main.go")
}
