package snapshot

import (
	"bytes"
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/tests/machine"
	"kapsel/vmm"
	"kapsel/vmm/snapshot"
)

// TestContinuationAtAnyInstant: a snapshot is taken at an instant that nothing has chosen, in a task, in the kernel, in the middle of a line or asleep. The machine goes on
// as if there had been none, and so it does once more when it was reset, and so does a fork. In the rig by day there are 30 instants, else 1000.
func TestContinuationAtAnyInstant(t *testing.T) {
	instants := 1000
	if machine.InRig() && !machine.Nightly() {
		instants = 30
	}
	c := kernel(t, "counter.tbf")
	c.Memory = 8 << 20
	g := start(t, c)
	g.runUntil(t, "hello: greeting 1 of 10")
	first := g.snapshot(t)
	exit, ok := g.runInRig(t)
	for ; !ok; exit, ok = g.runInRig(t) {
		g.reset(t, first)
		g.console.take()
	}
	require.Equal(t, vmm.Exit{Reason: vmm.GuestExit}, exit, "the console:\n%s", &g.console.text)
	all := sorted(g.console.take())
	length := len(strings.Join(all, ""))
	r := rand.New(rand.NewPCG(1, 2))
	taken, tries, spurious := 0, 0, 0
	for ; taken < instants; tries++ {
		require.Less(t, tries, 3*instants, "%d instants, %d ends by the rig's own interrupts", taken, spurious)
		g.reset(t, first)
		before, paused := g.runToInstant(t, all, 1+r.IntN(length), time.Duration(r.IntN(300))*time.Microsecond)
		if !paused {
			continue
		}
		s, err := g.Snapshot()
		require.NoError(t, err)
		right := g.goesOn(t, before, all)
		g.reset(t, s)
		right = right && g.goesOn(t, before, all)
		if right && taken%10 == 0 {
			right = forkGoesOn(t, s, before, all)
		}
		require.NoError(t, s.Close())
		if right {
			taken++
		} else {
			spurious++
		}
		if taken%100 == 0 && right {
			t.Logf("%d instants", taken)
		}
	}
	t.Logf("%d instants of %d tries; the rig ended %d by an interrupt of its own", taken, tries, spurious)
}

// runToInstant runs the guest until some time behind the byte of that number that it prints. It returns what was printed, and false if the guest
// ended before.
func (g *guest) runToInstant(t *testing.T, all []string, count int, behind time.Duration) (string, bool) {
	t.Helper()
	paused := make(chan struct{})
	timer := time.AfterFunc(time.Hour, func() {
		g.Pause()
		close(paused)
	})
	g.console.behind = func(n int) {
		if count -= n; count <= 0 && count+n > 0 {
			timer.Reset(behind)
		}
	}
	exit, ok := g.runInRig(t)
	g.console.behind = nil
	if !timer.Stop() {
		<-paused // or it would pause what runs next
	}
	text := g.console.take()
	if ok && exit.Reason != vmm.Paused {
		require.Equal(t, all, sorted(text), "it ended before")
	}
	return text, ok && exit.Reason == vmm.Paused
}

// goesOn runs the guest to its end, and checks that it prints what is left to print. It returns false if the rig ended the guest.
func (g *guest) goesOn(t *testing.T, before string, all []string) bool {
	t.Helper()
	exit, ok := g.runInRig(t)
	text := before + g.console.take()
	if ok {
		require.Equal(t, vmm.Exit{Reason: vmm.GuestExit}, exit, "the console:\n%s", text)
		require.Equal(t, all, sorted(text), "behind %q", before)
	}
	return ok
}

// runInRig runs the guest until it ends or is paused. It returns false if the rig ended it by an interrupt of its own.
func (g *guest) runInRig(t *testing.T) (vmm.Exit, bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	exit, err := g.Run(ctx)
	var dump bytes.Buffer
	if err != nil {
		g.Dump(&dump)
	}
	if text := strings.ReplaceAll(g.console.text.String(), "\r", ""); (machine.Outcome{Console: text, Dump: dump.String()}).Spurious() {
		return exit, false
	}
	require.NoError(t, err, "%s\nthe console:\n%s", &dump, &g.console.text)
	return exit, true
}

// forkGoesOn is goesOn of another machine.
func forkGoesOn(t *testing.T, s *snapshot.Snapshot, before string, all []string) bool {
	t.Helper()
	f := new(guest)
	m, err := vmm.Fork(t.Context(), s, f.config(t, vmm.Config{}), vmm.GoOn)
	require.NoError(t, err)
	f.Machine = m
	defer func() { assert.NoError(t, f.Close()) }()
	return f.goesOn(t, before, all)
}
