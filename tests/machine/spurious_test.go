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

// stoppedInRig is the dump of a guest that the processor refused to enter, as seen in the rig.
const stoppedInRig = `The processor is running in 64-bit mode, ring 0, interrupts off.
  rax 0000000000000000  rbx 0000000000000002  rcx 000000004000316a  rdx 0000000000000000
  rsi 00000000000b2448  rdi 0000000000000081  rbp 000000004000b948  rsp 000000004000b8f8
  r8  0000000000000000  r9  0000000000000000  r10 0000000000000000  r11 0000000000000202
  r12 0000000000000011  r13 0000000040006000  r14 00000000400067a0  r15 000000004001d000
  rip ffffffff80242dc9  cr2 000000004000b8e8  fs  0000000000000000  gs  0000000000000000
  gdt ffffffff80286620  idt ffffffff802a6d00  tss ffffffff802a6880  cr8 0000000000000000
  rflags 6 (PF)
`

func TestStoppedBySpuriousInterrupt(t *testing.T) {
	for _, tt := range []struct {
		name, rig, old, new string
		want                bool
	}{
		{"as seen", "1", "", "", true},
		{"not in the rig", "", "", "", false},
		{"another address", "1", "cr2 000000004000b8e8", "cr2 000000004000b8f0", false},
		{"interrupts on", "1", "rflags 6 (PF)", "rflags 206 (PF IF)", false},
		{"no dump", "1", stoppedInRig, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(rigVariable, tt.rig)
			assert.Equal(t, tt.want, Outcome{Dump: strings.Replace(stoppedInRig, tt.old, tt.new, 1)}.Spurious())
		})
	}
}
