package boot

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/tests/machine"
)

// mitigations is the line that says what the kernel does against transient execution.
func mitigations(console string) string {
	return regexp.MustCompile(`(?m)^Mitigations: .*$`).FindString(console)
}

// TestMitigations: tasks run as ever at each level, and the kernel says what is on.
func TestMitigations(t *testing.T) {
	const compiled = `: index masks, retpolines, return stack refilled`
	for _, tt := range []struct{ cmdline, want string }{
		{"mitigations=off", `^Mitigations: off` + compiled},
		{"mitigations=auto", `^Mitigations: auto` + compiled},
		{"mitigations=full", `^Mitigations: full` + compiled},
		{"", `^Mitigations: auto`},
	} {
		t.Run(tt.cmdline, func(t *testing.T) {
			out := machine.Boot(t, machine.Guest{Image: "two.elf", Cmdline: tt.cmdline})
			ended(t, out, abi.ExitOK)
			assert.Regexp(t, tt.want, mitigations(out.Console))
			assert.Contains(t, out.Console, "hello: greeting 10 of 10\n")
		})
	}
}

func TestUnknownMitigations(t *testing.T) {
	out := machine.Boot(t, machine.Guest{Image: "bare.elf", Cmdline: "mitigations=some"})
	ended(t, out, abi.ExitNoTask)
	assert.Contains(t, out.Console, "command line: unknown word: mitigations=some (want ")
	assert.Regexp(t, `^Mitigations: auto`, mitigations(out.Console))
}

// TestMitigationsByProcessor: processors of QEMU's emulator that say different things of themselves.
func TestMitigationsByProcessor(t *testing.T) {
	if machine.Accelerator(t) != "qemu" {
		t.Skip("the processor is chosen for QEMU's emulator")
	}
	for _, tt := range []struct{ name, cpu, want string }{
		{"AMD's", "max,la57=off", ""},
		{"Intel's", "max,la57=off,vendor=GenuineIntel",
			"; not against Meltdown (no RDCL_NO); not against MDS (no MD_CLEAR)"},
		{"AMD's without SMEP", "max,la57=off,smep=off", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out := machine.Boot(t, machine.Guest{Image: "kapsel.elf", Options: []string{"-cpu", tt.cpu}})
			ended(t, out, abi.ExitOK)
			assert.Equal(t, "Mitigations: auto: index masks, retpolines, return stack refilled"+tt.want, mitigations(out.Console))
			assert.Contains(t, out.Console, "hello: greeting 10 of 10\n")
		})
	}
}
