package machine

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

const panicOfSpuriousInterrupt = `task 1 restarted faulted: invalid instruction, PC 0x400020b3, vector 6, code 0x0; restarting

kapsel: kernel panic: double fault
  vector 8, error code 0x0, address 0x80000fe8 (no stack to push a fault on)
  kapsel/guest/arch/amd64.syscallEntry
      kapsel/guest/arch/amd64/trap_amd64.s:164
  RAX 0x0000000000000004  RBX 0x0000000000000000  RCX 0x00000000400022d7  RDX 0x0000000080000100
  RSI 0x0000000000000001  RDI 0x0000000000000001  RBP 0x0000000000000000  RSP 0x0000000080000ff0
  R12 0x0000000000000000  R13 0x0000000000000000  R14 0x0000000000000000  R15 0x0000000000000000
  RIP 0xffffffff802108ee  CS  0x0000000000000008  RFL 0x0000000000000002  SS  0x0000000000000010
`

func TestEndedBySpuriousInterrupt(t *testing.T) {
	replaced := func(old, new string) string {
		return strings.Replace(panicOfSpuriousInterrupt, old, new, 1)
	}
	for _, tt := range []struct {
		name, rig, console string
		want               bool
	}{
		{"at the entry", "1", panicOfSpuriousInterrupt, true},
		{"on the way out", "1", replaced("syscallEntry", "switchTo"), true},
		{"not in the rig", "", panicOfSpuriousInterrupt, false},
		{"in other code", "1", replaced("syscallEntry", "interruptEntry"), false},
		{"interrupts on", "1", replaced("RFL 0x0000000000000002", "RFL 0x0000000000000202"), false},
		{"an address that no push has", "1", replaced("0x80000fe8", "0x80000ff0"), false},
		{"another fault", "1", replaced("double fault", "page fault"), false},
		{"no panic", "1", "hello\n", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(rigVariable, tt.rig)
			assert.Equal(t, tt.want, endedBySpuriousInterrupt(tt.console))
		})
	}
}
