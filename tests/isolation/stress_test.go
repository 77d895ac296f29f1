package isolation

import (
	"encoding/binary"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/tbf"
	"kapsel/tests/machine"
	"kapsel/vmm"
)

// TestStress: two tasks make random system calls and compare every answer with the ABI,
// in many lives, while a third watches its memory. KAPSEL_STRESS says how many calls.
func TestStress(t *testing.T) {
	record(t)
	calls := uint64(200_000)
	if text := os.Getenv("KAPSEL_STRESS"); text != "" {
		var err error
		calls, err = strconv.ParseUint(text, 0, 64)
		require.NoError(t, err, "KAPSEL_STRESS is a number of system calls")
	}
	const tasks = 2
	modules := [][]byte{machine.Object(t, "test/witness.tbf")}
	for i := range uint64(tasks) {
		modules = append(modules, stress(t, calls/tasks, calls+i))
	}
	const ended = " upcalls\n" // the last word of a task
	typist := machine.NewTypist(machine.Step{On: ended}, machine.Step{On: ended, Keys: "q"})
	started := time.Now()
	out := machine.Boot(t, machine.Guest{
		Image: "bare.elf", Modules: modules, Cmdline: "no-dump", Input: typist.Keys, Console: typist,
		Timeout: machine.Timeout + time.Duration(calls)*100*time.Microsecond,
	})
	assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit, Status: abi.ExitOK}, out.Exit)
	assert.NotContains(t, out.Console, "WRONG")
	assert.NotContains(t, out.Console, "kernel panic")
	assert.Regexp(t, `witness: \d+ checksums right\n`, out.Console)
	assert.Equal(t, tasks, strings.Count(out.Console, " in 25 lives, "))
	for line := range strings.SplitSeq(out.Console, "\n") {
		if strings.Contains(line, " calls in ") || strings.Contains(line, " checksums right") {
			t.Log(line[max(0, strings.LastIndex(line, ": ")-10):])
		}
	}
	t.Logf("%d calls in %v under %s", calls, time.Since(started).Round(time.Second), machine.Accelerator(t))
}

// stress is the task tests/guest/stress, told how many calls to make.
func stress(t *testing.T, calls, seed uint64) []byte {
	t.Helper()
	b := machine.Object(t, "test/stress.tbf")
	object, refusal := tbf.Parse(b)
	require.True(t, refusal.OK())
	region, ok := object.WriteableRegion(0)
	require.True(t, ok, "stress has a flash region")
	program, _ := object.Program()
	for i, word := range []uint64{calls, seed, uint64(program.ProtectedSize)} {
		binary.LittleEndian.PutUint64(b[int(region.Offset)+8*i:], word)
	}
	return b
}
