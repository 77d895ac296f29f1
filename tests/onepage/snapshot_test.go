package onepage

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/vmm"
	"kapsel/vmm/snapshot"
)

// taken is a snapshot of a machine that is about to print a text and to end with status 7.
func taken(t *testing.T) *snapshot.Snapshot {
	code := movEDX(abi.PortCOM1)
	for _, c := range []byte("hello") {
		code = join(code, movEAX(uint32(c)), outDXAL)
	}
	code = join(code, exit(7))
	m := newMachine(t, code, vmm.Config{InStep: true})
	s, err := m.Snapshot()
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestSnapshotFromDisk: what was saved and loaded is a machine that goes on as the one that it was taken of, in this process and more than once.
func TestSnapshotFromDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "snapshot")
	require.NoError(t, taken(t).Save(dir))
	s, err := snapshot.Load(dir)
	require.NoError(t, err)
	defer s.Close()
	for range 3 {
		var r recorder
		m, err := vmm.Fork(t.Context(), s, vmm.Config{InStep: true, Console: &r}, vmm.StandStill)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		got, err := m.Run(ctx)
		require.NoError(t, err)
		require.NoError(t, m.Close())
		assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit, Status: 7}, got)
		assert.Equal(t, "hello", r.console.String())
	}
}

// TestSnapshotOfAnyState: a state with one value that is another one is a machine or an error of one line, and never a panic.
func TestSnapshotOfAnyState(t *testing.T) {
	s := taken(t)
	whole, err := json.MarshalIndent(s.State, "", "\t")
	require.NoError(t, err)
	lines := strings.Split(string(whole), "\n")
	seen := map[string]bool{} // fields, by their name and how deep they lie
	forked, refused := 0, 0
	for i, line := range lines {
		name, value, isField := strings.Cut(line, ": ")
		if !isField || seen[name] {
			continue
		}
		seen[name] = true
		for _, other := range []string{"0", "255", "4294967295", "18446744073709551615", "true", "[]", `"AAAA"`} {
			changed := append([]string{}, lines...)
			changed[i] = name + ": " + other
			if strings.HasSuffix(value, ",") {
				changed[i] += ","
			}
			var state snapshot.State
			if json.Unmarshal([]byte(strings.Join(changed, "\n")), &state) != nil {
				continue
			}
			m, err := vmm.Fork(t.Context(), &snapshot.Snapshot{State: state, Memory: s.Memory}, vmm.Config{InStep: true}, vmm.StandStill)
			if err != nil {
				refused++
				assert.NotContains(t, err.Error(), "\n", changed[i])
				continue
			}
			forked++
			var dump bytes.Buffer
			m.Dump(&dump)
			require.NoError(t, m.Close())
		}
	}
	t.Logf("%d machines, %d refused", forked, refused)
	assert.NotZero(t, forked)
	assert.NotZero(t, refused)
}
