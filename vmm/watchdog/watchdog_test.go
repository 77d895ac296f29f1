package watchdog

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// A step is what a fake kernel does from a time on, until the next step.
type step struct {
	from    time.Duration
	beats   bool // the heartbeat goes on between any two ticks
	posture Posture
}

// watch runs a Watch with a period of 8 s over a kernel on a fake clock, until 100 s are
// over or it is hung. It returns what the Watch said and when, and how often it looked.
func watch(kernel []step) (said string, looks int) {
	w := New(8 * time.Second)
	beat := uint64(1)
	for clock := w.Pause(); clock < 100*time.Second; clock += w.Pause() {
		now := kernel[0]
		for _, s := range kernel {
			if clock >= s.from {
				now = s
			}
		}
		if now.beats {
			beat++
		}
		if !w.Tick(beat) {
			continue
		}
		looks++
		switch w.Look(now.posture) {
		case Warn:
			said += clock.String() + " warn "
		case Hung:
			return said + clock.String() + " hung", looks
		}
	}
	return said, looks
}

func TestWatch(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		name   string
		kernel []step
		said   string
		looks  int
	}{
		{"a kernel that is busy", []step{{0, true, Kernel}}, "", 0},
		{"a task that computes and never calls", []step{{0, false, Away}}, "", 11},
		{"a machine that sleeps", []step{{0, false, Away}}, "", 11},
		{"a processor that is held up", []step{{0, false, Unknown}}, "", 11},
		{"a kernel that hangs", []step{{0, false, Kernel}}, "18s warn 25.8s hung", 22},
		{"one that hangs later", []step{{0, true, Kernel}, {20 * s, false, Kernel}}, "26s warn 33.8s hung", 22},
		{"one that goes on after the NMI", []step{{0, false, Kernel}, {20 * s, true, Kernel}}, "18s warn ", 11},
		{"one that hangs again", []step{{0, false, Kernel}, {20 * s, true, Kernel}, {50 * s, false, Kernel}}, "18s warn 54s warn 1m1.8s hung", 33},
		{"one that halts at the NMI", []step{{0, false, Kernel}, {20 * s, false, Away}}, "18s warn 25.8s hung", 22},
		{"one whose panic nobody reads", []step{{0, false, Kernel}, {20 * s, false, Unknown}}, "18s warn ", 21},
		{"an interrupt of a long sleep, just when we look", []step{{0, false, Away}, {24 * s, false, Kernel}, {25 * s, true, Away}}, "", 2},
		{"a call of a task that computes, just when we look", []step{{0, false, Away}, {24 * s, false, Kernel}, {25 * s, false, Away}}, "", 12},
		{"a kernel found, then held up by its console", []step{{0, false, Kernel}, {17 * s, false, Unknown}}, "", 12},
	} {
		t.Run(tt.name, func(t *testing.T) {
			said, looks := watch(tt.kernel)
			assert.Equal(t, tt.said, said)
			assert.Equal(t, tt.looks, looks, "looks: one in a period, another for a suspicion, and one for each NMI but the first")
		})
	}
}

func TestPauseAndLate(t *testing.T) {
	w := New(8 * time.Second)
	assert.Equal(t, 8*time.Second, w.Pause())
	assert.True(t, w.Tick(0), "the heartbeat begins at 0")
	w.Look(Kernel)
	assert.Equal(t, 2*time.Second, w.Pause(), "soon, to confirm the suspicion")
	w.Look(Kernel)
	assert.Equal(t, 200*time.Millisecond, w.Pause(), "to the next NMI")
	w.Look(Unknown)
	assert.Equal(t, 8*time.Second, w.Pause(), "time to panic")
	assert.False(t, w.Late(4*time.Second))
	assert.True(t, w.Late(4*time.Second+1))
}
