// Package computing boots the image with tasks that have the drivers for checksums, digests, HMACs and ciphers compute, which are there on
// every machine.
package computing

import (
	_ "embed"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
	"kapsel/tests/machine"
	"kapsel/vmm"
)

//go:embed testdata/computing32.bin
var computing32 []byte

// TestCallsAsLibtockC: each command with its answers, in a task of 64 bits (tests/guest/computes) and one of 32 (testdata/computing32) that use
// the drivers at the same time.
func TestCallsAsLibtockC(t *testing.T) {
	const header = 0x80
	object32, err := tbfbuild.Build(tbfbuild.Spec{
		Name: "computing32", Binary: computing32, BinaryOffset: header, MinimumRAM: 0x8000,
		FixedAddresses: &tbf.FixedAddresses{Flash: 0x15_0000 + header, RAM: 0x21_0000},
	})
	require.NoError(t, err)
	o := machine.Boot(t, machine.Guest{Image: "bare.elf", Modules: [][]byte{machine.Object(t, "test/computes.tbf"), object32}})
	assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit}, o.Exit)
	assert.Contains(t, o.Console, "computes: all is as it should be\n")
	assert.NotContains(t, o.Console, "FAILED")
	assert.Regexp(t, `(?m)^ *\d+  computing32 .*  exit with code 0$`, o.Console,
		"another code is the line of testdata/computing32/main.c whose check failed")
}
