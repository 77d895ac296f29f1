//go:build !kapsel

package amd64

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// A timerModel says what a timer owes its two users. Times are counts of the counter; 0 is
// none.
type timerModel struct {
	timer    *Timer
	client   *alarmClient
	slice    uint64 // the end of the slice
	rest     uint64 // the end of the kernel's rest
	alarm    uint64 // when the alarm fires
	delayed  bool   // one was due, and a resting kernel has not served it
	fired    int    // alarms
	ended    int    // slices
	rested   int    // alarms that waited
	hardware uint64 // when it interrupts
	waits    bool   // an interrupt
}

// TestTimerAtRandom: whatever is set, in whatever order, the hardware is set to interrupt by the
// time that the slice or the alarm is due.
func TestTimerAtRandom(t *testing.T) {
	for _, deadline := range []bool{false, true} {
		for seed := range uint64(50) {
			t.Run(fmt.Sprintf("deadline %t, seed %d", deadline, seed), func(t *testing.T) {
				timer, client := newTimer(t, deadline)
				m := &timerModel{timer: timer, client: client}
				m.run(t, rand.New(rand.NewPCG(seed, 0)))
				require.NotZero(t, m.fired, "no alarm fired")
				require.NotZero(t, m.ended, "no slice ended")
				require.NotZero(t, m.rested, "no alarm waited for the end of a rest")
			})
		}
	}
}

// run does random things, and serves interrupts now or later.
func (m *timerModel) run(t *testing.T, random *rand.Rand) {
	for range 600 {
		if m.waits && random.IntN(2) == 0 {
			m.interrupt(t, uint64(random.IntN(2)*random.IntN(1<<24)))
		} else if m.delayed && random.IntN(2) == 0 {
			m.serveAlarm(t)
		} else {
			m.act(random)
		}
		m.look()
		m.check(t)
	}
}

func (m *timerModel) act(random *rand.Rand) {
	switch random.IntN(9) {
	case 0:
		micros := []uint64{0, 1, 10, 500, 10_000}[random.IntN(5)]
		m.timer.setSlice(micros)
		m.slice = 0
		if micros != 0 {
			m.slice = hostCPU.tsc + ticks(micros, testHz)
		}
	case 1:
		at := m.timer.Now() + random.Uint64N(1<<random.IntN(24)) - min(m.timer.Now(), 100)
		m.timer.SetAlarm(at)
		m.alarm = m.timer.clock.tsc(at)
	case 2:
		m.timer.Disarm()
		m.alarm = 0
	case 3:
		m.client.again = []uint64{0, m.timer.Now() + 1 + random.Uint64N(20_000)}[random.IntN(2)]
	case 4:
		still := random.Uint64N(1 << 24)
		if m.timer.stopSlice() {
			m.slice = 0
			m.ended++
		}
		hostCPU.tsc += still
		m.timer.goOn()
		if m.slice != 0 {
			m.slice += still
		}
	case 5:
		m.rest = hostCPU.tsc + random.Uint64N(1<<24)
		m.timer.now = hostCPU.tsc
		m.timer.startRest(m.rest)
	default:
		hostCPU.tsc += random.Uint64N(1 << (16 + random.IntN(18)))
	}
}

// look follows what the hardware was set to, and lets it interrupt.
func (m *timerModel) look() {
	for _, w := range hostCPU.writes {
		m.hardware = w.value
		if !m.timer.deadline {
			m.hardware += hostCPU.tsc
		}
	}
	hostCPU.writes = nil
	if m.hardware != 0 && m.hardware <= hostCPU.tsc {
		m.hardware, m.waits = 0, true
	}
}

// check asserts that nothing will be late, and that the timer knows how its slice stands.
func (m *timerModel) check(t *testing.T) {
	now := hostCPU.tsc
	m.checkDue(t, "slice", m.slice)
	if m.rest > now {
		m.checkDue(t, "end of the rest", m.rest)
	}
	m.checkDue(t, "alarm", m.alarm)
	require.InDelta(t, (max(m.slice, now)-now)/(testHz/microsecond), m.timer.sliceLeft(), 1)
	over := m.slice != 0 && m.slice <= now
	require.Equal(t, over, m.timer.stopSlice())
	if over {
		m.slice = 0
		m.ended++
	}
}

// checkDue allows for the tick by which the timer that counts rounds up.
func (m *timerModel) checkDue(t *testing.T, what string, due uint64) {
	if due != 0 && !m.waits {
		require.NotZero(t, m.hardware, "the %s is due at %d, and no interrupt", what, due)
		require.LessOrEqual(t, m.hardware, max(due, hostCPU.tsc)+2, "the interrupt for the %s", what)
	}
}

// interrupt serves the interrupt, and an alarm that is due, unless the kernel rests. The rest that was begun
// before goes on; with an alarm another begins.
func (m *timerModel) interrupt(t *testing.T, rest uint64) {
	m.waits = false
	due := m.alarm != 0 && m.alarm <= hostCPU.tsc
	m.timer.now = hostCPU.tsc
	require.Equal(t, due, m.timer.interrupted(), "the alarm is due")
	if due {
		m.alarm, m.delayed = 0, true
		m.rest = hostCPU.tsc + rest
	}
	rests := m.timer.startRest(m.rest)
	require.Equal(t, m.rest > hostCPU.tsc, rests, "the rest goes on")
	switch {
	case !rests && due:
		m.serveAlarm(t)
	case !rests:
		m.timer.goOn()
	case due:
		m.rested++
	}
}

// serveAlarm fires the alarm, which is due, or was before it was set anew.
func (m *timerModel) serveAlarm(t *testing.T) {
	m.delayed = false
	m.fired++
	if m.client.again != 0 {
		m.alarm = m.timer.clock.tsc(m.client.again)
	}
	m.timer.Interrupt()
	m.timer.goOn()
	require.Equal(t, m.fired, m.client.fired, "alarms")
}
