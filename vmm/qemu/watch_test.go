package qemu

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/vmm"
	"kapsel/vmm/image"
	"kapsel/vmm/watchdog"
)

// What QEMU 7.2 answers, in part.
const (
	inTask     = `{"return": "RIP=0000000040002a10 RFL=00000202 [-------] CPL=3 II=0 A20=1 SMM=0 HLT=0\r\nES =0000"}`
	inKernel   = `{"return": "RIP=ffffffff80201000 RFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0\r\nES =0000"}`
	inFirmware = `{"return": "EIP=000f3a10 EFL=00000006 [-----P-] CPL=0 II=0 A20=1 SMM=0 HLT=0\r\nES =0010"}`
	atTheDoor  = `{"return": "EIP=00200007 EFL=00000006 [-----P-] CPL=0 II=0 A20=1 SMM=0 HLT=0\r\nES =0010"}`
	asleep     = `{"return": "RIP=ffffffff80201000 RFL=00000202 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=1\r\nES =0000"}`
	done       = `{"return": {}}`
)

func word(v uint64) string { return fmt.Sprintf(`{"return": "0000000000200008: 0x%016x\r\n"}`, v) }

func TestWatcher(t *testing.T) {
	const human = "human-monitor-command"
	for _, tt := range []struct {
		name     string
		answers  []string // to the commands of as many ticks as there are verdicts
		verdicts []watchdog.Verdict
		commands []string
	}{
		{"a busy kernel", []string{word(5), word(6)}, []watchdog.Verdict{0, 0}, []string{human, human}},
		{"a task that computes", []string{word(5), word(5), inTask, word(5), inTask}, []watchdog.Verdict{0, 0, 0}, []string{human, human, human, human, human}},
		{"a machine that sleeps", []string{word(5), word(5), asleep, word(5), asleep}, []watchdog.Verdict{0, 0, 0}, []string{human, human, human, human, human}},
		{"a kernel that hangs", append([]string{word(5)}, slices.Concat(
			slices.Repeat([]string{word(5), inKernel}, 2), []string{done},
			slices.Repeat([]string{word(5), inKernel, done}, abi.WatchdogNMIs-1), []string{word(5), inKernel})...),
			slices.Concat([]watchdog.Verdict{0, 0, watchdog.Warn}, slices.Repeat([]watchdog.Verdict{watchdog.WarnAgain}, abi.WatchdogNMIs-1),
				[]watchdog.Verdict{watchdog.Hung}),
			slices.Concat([]string{human, human, human}, slices.Repeat([]string{human, human, "inject-nmi"}, abi.WatchdogNMIs), []string{human, human})},
		{"a kernel that hangs, and another QEMU's registers", []string{word(5), word(5), `{"return": "RIP=0"}`, word(5), `{"return": "RIP=0"}`},
			[]watchdog.Verdict{0, 0, 0}, []string{human, human, human, human, human}},
		{"firmware that takes its time, then a kernel that hangs at its first instructions",
			[]string{word(0), inFirmware, word(0), inFirmware, word(0), inFirmware, word(0), atTheDoor, word(0), atTheDoor, done},
			[]watchdog.Verdict{0, 0, 0, 0, watchdog.Warn}, []string{human, human, human, human, human, human, human, human, human, human, "inject-nmi"}},
		{"memory that cannot be read", []string{`{"return": "Cannot access memory\r\n"}`}, []watchdog.Verdict{0}, []string{human}},
		{"an NMI that cannot be sent", []string{word(5), word(5), inKernel, word(5), inKernel, `{"error": {"desc": "no"}}`},
			[]watchdog.Verdict{0, 0, watchdog.Warn}, []string{human, human, human, human, human, "inject-nmi"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, commands := fakeQEMU("", tt.answers...)
			w := &watcher{monitor: m, log: t.Logf, image: flat(t, codeSpin), beat: 0x200008, period: time.Second, watch: watchdog.New(time.Second)}
			for i, want := range tt.verdicts {
				assert.Equal(t, want, w.tick(), "tick %d", i+1)
			}
			assert.Equal(t, tt.commands, commands())
		})
	}
}

// Fragments for guests that are watched.
var (
	// mov dword [0xfee000f0], 0x1ff; mov dword [0xfee00360], 0x400: the local APIC is on, and LINT1 is the NMI's
	codeNMI = []byte{0xc7, 0x05, 0xf0, 0, 0xe0, 0xfe, 0xff, 1, 0, 0, 0xc7, 0x05, 0x60, 3, 0xe0, 0xfe, 0, 4, 0, 0}
	// mov dword [0xfee00360], 0x10000: LINT1 is masked
	codeNoNMI = []byte{0xc7, 0x05, 0x60, 0x03, 0xe0, 0xfe, 0, 0, 1, 0}
	// mov ecx, 1 << 28; l: inc dword [0x201000]; loop l
	codeBeat = []byte{0xb9, 0, 0, 0, 0x10, 0xff, 0x05, 0, 0x10, 0x20, 0, 0xe2, 0xf8}
)

// TestRunWatched: a machine's watchdog, with a heartbeat in the page behind the code.
func TestRunWatched(t *testing.T) {
	for _, tt := range []struct {
		name string
		code [][]byte
		want vmm.Exit
		dump string
	}{
		{"a guest without a heart, which the NMI kills", [][]byte{codeNMI, codeSpin}, vmm.Exit{Reason: vmm.Shutdown}, ""},
		{"one that the NMI does not reach", [][]byte{codeNoNMI, codeSpin}, vmm.Exit{Reason: vmm.Hung}, "EAX=1234abcd"},
		{"one whose heartbeat goes on", [][]byte{codeBeat, codeExit5}, vmm.Exit{Reason: vmm.GuestExit, Status: 5}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			needQEMU(t)
			img := parse(t, image.FlatWatched(bytes.Join(tt.code, nil), 2*abi.PageSize, abi.KernelBase+image.FlatAddress+abi.PageSize))
			m, err := New(t.Context(), vmm.Config{Image: img, Watchdog: time.Second, Log: t.Logf})
			require.NoError(t, err)
			defer m.Close()
			exit, err := m.Run(testContext(t))
			assert.NoError(t, err)
			assert.Equal(t, tt.want, exit)
			assert.Contains(t, m.dump, tt.dump)
		})
	}
}
