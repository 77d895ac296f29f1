package conformance

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
	"kapsel/tests/machine"
)

// behaviour32 is a task object of the 32-bit program (testdata/conformance32), for the
// behaviour and part that its name has behind "behaviour32-". It is made as the program's
// linker script has it, with a page of writeable flash behind the program; or, if there are
// permissions, with those: the header has no room for both.
func behaviour32(t *testing.T, part string, permissions ...tbf.Permission) []byte {
	t.Helper()
	const header = 0x80
	binary, err := os.ReadFile("testdata/conformance32.bin")
	require.NoError(t, err)
	spec := tbfbuild.Spec{
		Name: "behaviour32-" + part, Binary: binary, BinaryOffset: header, MinimumRAM: 0x8000,
		FixedAddresses: &tbf.FixedAddresses{Flash: 0x0015_0000 + header, RAM: 0x0021_0000},
		Permissions:    permissions,
	}
	if len(permissions) == 0 {
		region := (header+len(binary)+abi.PageSize-1)&^(abi.PageSize-1) - header
		spec.Binary = append(binary, make([]byte, region+abi.PageSize-len(binary))...)
		spec.Writeable = []tbf.Region{{Offset: uint32(region), Size: abi.PageSize}}
	}
	object, err := tbfbuild.Build(spec)
	require.NoError(t, err)
	return object
}

// behaviourObjects32 are the objects of several parts.
func behaviourObjects32(t *testing.T, parts ...string) [][]byte {
	t.Helper()
	var objects [][]byte
	for _, part := range parts {
		objects = append(objects, behaviour32(t, part))
	}
	return objects
}

// isOK32 asserts that a 32-bit task found all as it should be.
func isOK32(t *testing.T, out machine.Outcome, part string) {
	t.Helper()
	assert.Equal(t, "exit with code 0", row(t, out, "32-"+part).end,
		"of part %s; another code is the line of testdata/conformance32/main.c whose check failed", part)
}

// tasks32 runs a machine of 32-bit tasks, one for each behaviour.
func tasks32(t *testing.T, results *table, parts ...string) machine.Outcome {
	t.Helper()
	out := machine.Boot(t, machine.Guest{Image: image, Modules: behaviourObjects32(t, parts...), Cmdline: "no-dump"})
	ended(t, out, abi.ExitOK)
	for _, part := range parts {
		number, err := strconv.Atoi(part)
		require.NoError(t, err)
		results.check32(t, number, func(t *testing.T) { isOK32(t, out, part) })
	}
	return out
}

// calls32: what 32-bit tasks see of system calls by themselves.
func calls32(t *testing.T, results *table) {
	tasks32(t, results, numbers(1, 15)...)
}

// The faults of behaviour 22's lives as a 32-bit task, in order.
var faults32 = []string{
	`unknown system call class, code 0x8;`,
	`page fault: execute where no page is at 0x0, PC 0x0,`,
	noPage + `0x12345678,`,
	noWrite + `0x15[0-9a-f]{4},`,
	noWrite + `0x150000,`,
	noPage + `0x218[0-9a-f]{3},`,
	noPage + `0xfffffff0,`,
	`no writeable stack for an upcall;`,
}

// yieldsAndLives32: upcalls, faults, grants and ends of 32-bit tasks.
func yieldsAndLives32(t *testing.T, results *table) {
	out := tasks32(t, results, "16", "17", "18", "19", "20", "21", "22", "23", "26", "28")
	results.check32(t, 20, func(t *testing.T) { assert.Equal(t, "2", row(t, out, "32-20").dropped) })
	results.check32(t, 22, func(t *testing.T) {
		assertFaults(t, out, "32-22", faults32)
		assert.Equal(t, fmt.Sprint(len(faults32)), row(t, out, "32-22").restarts)
	})
	for _, number := range []int{23, 26} {
		results.check32(t, number, func(t *testing.T) { restartedOnce(t, out, fmt.Sprintf("32-%d", number)) })
	}
}
