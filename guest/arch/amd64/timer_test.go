//go:build !kapsel

package amd64

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const testHz = 1000 * microsecond // a tick is a nanosecond

// alarmClient counts its calls and sets the alarm again if again is not 0.
type alarmClient struct {
	timer *Timer
	fired int
	again uint64
}

func (c *alarmClient) AlarmFired() {
	c.fired++
	if c.again != 0 {
		c.timer.SetAlarm(c.again)
	}
}

// newTimer makes a started timer. In its machine all clocks have testHz.
func newTimer(t *testing.T, deadline bool) (*Timer, *alarmClient) {
	t.Helper()
	newHostCPU(t)
	timer := &Timer{apic: &localAPIC{}, deadline: deadline, hz: testHz}
	timer.start(testHz)
	client := &alarmClient{timer: timer}
	timer.SetAlarmClient(client)
	hostCPU.writes = nil
	return timer, client
}

// setTime makes the clock show a time: one tick behind its start, as the clock is a little slow.
func setTime(micros uint64) { hostCPU.tsc = micros*(testHz/microsecond) + 1 }

// serve does what the CPU and the board do at the timer's interrupt.
func serve(timer *Timer) {
	timer.stopSlice()
	if timer.interrupted() {
		timer.Interrupt()
	}
	timer.goOn()
}

const (
	addrTimer = uintptr(lapicBase + 0x320)
	addrCount = uintptr(lapicBase + 0x380)
)

// armedFor takes what the hardware was set to, in microseconds from boot rounded down;
// false if it was not set since the last call.
func armedFor(deadline bool) (micros uint64, set bool) {
	if deadline {
		n := len(hostCPU.writes)
		if n == 0 {
			return 0, false
		}
		last := hostCPU.writes[n-1]
		hostCPU.writes = nil
		return last.value / (testHz / microsecond), last.number == 0x6e0
	}
	count, set := hostCPU.device[addrCount]
	delete(hostCPU.device, addrCount)
	return (hostCPU.tsc + uint64(count)) / (testHz / microsecond), set
}

func TestTimerHardware(t *testing.T) {
	newTimer(t, false)
	assert.EqualValues(t, 32+24, hostCPU.device[addrTimer], "one-shot (mode 0), not masked, vector of line 24")
	assert.Zero(t, hostCPU.device[addrCount], "not running")
	newTimer(t, true)
	assert.EqualValues(t, 2<<17|56, hostCPU.device[addrTimer], "TSC-deadline mode (SDM vol. 3, 11.5.4)")
}

// The time-stamp counter deadline is not to be had in every emulator, so this is its proof.
func TestTimerIsSetToTheEarlierDeadline(t *testing.T) {
	for _, mode := range []struct {
		name     string
		deadline bool
	}{{"TSC deadline", true}, {"count", false}} {
		t.Run(mode.name, func(t *testing.T) {
			timer, client := newTimer(t, mode.deadline)
			expect := func(micros uint64, why string) {
				t.Helper()
				got, set := armedFor(mode.deadline)
				require.True(t, set, "not armed: %s", why)
				assert.Equal(t, micros, got, why)
			}
			quiet := func(why string) {
				t.Helper()
				_, set := armedFor(mode.deadline)
				assert.False(t, set, "armed: %s", why)
			}
			setTime(100)
			timer.setSlice(400)
			expect(500, "a slice")
			setTime(200)
			timer.setSlice(400)
			quiet("a later slice: the interrupt comes early enough")
			assert.False(t, timer.stopSlice())
			assert.InDelta(t, 400, timer.sliceLeft(), 1)
			timer.SetAlarm(700)
			quiet("an alarm behind it")
			timer.SetAlarm(300)
			expect(300, "an alarm before it")
			timer.Disarm()
			timer.setSlice(0)
			quiet("nothing to wait for")
			assert.Zero(t, timer.sliceLeft())

			setTime(300)
			serve(timer)
			quiet("an interrupt for nothing")
			assert.Zero(t, client.fired)
			assert.False(t, timer.stopSlice(), "there is none")

			timer.SetAlarm(1000)
			expect(1000, "after the interrupt the hardware is idle")
			timer.setSlice(1700)
			setTime(1000)
			serve(timer)
			assert.Equal(t, 1, client.fired)
			expect(2000, "the slice is left")
			assert.InDelta(t, 1000, timer.sliceLeft(), 1)
			timer.stopSlice()
			setTime(1300)
			from, to := timer.goOn()
			assert.Equal(t, ticks(300, testHz), to-from)
			quiet("a slice that stood still: the interrupt comes early enough")
			setTime(2000)
			serve(timer)
			expect(2300, "how long it stood still")
			assert.False(t, timer.stopSlice())
			setTime(2300)
			assert.True(t, timer.stopSlice(), "before its interrupt is served")
			assert.False(t, timer.stopSlice(), "there is none any more")
			serve(timer)
			quiet("both are over")
			assert.Equal(t, 1, client.fired, "an alarm fires once")
			assert.Zero(t, timer.sliceLeft())
			timer.stopSlice()
			timer.goOn()
			assert.Zero(t, timer.sliceLeft(), "there is none to go on")
			timer.setSlice(500)
			expect(2800, "the next slice")
			assert.False(t, timer.stopSlice())
			timer.setSlice(0)

			client.again = 4000
			setTime(2800)
			serve(timer)
			timer.SetAlarm(3000)
			expect(3000, "an alarm")
			setTime(3001)
			serve(timer)
			expect(4000, "its client set the next")
		})
	}
}

func TestTimerInterruptBeforeTheDeadline(t *testing.T) {
	for _, deadline := range []bool{false, true} {
		timer, client := newTimer(t, deadline)
		setTime(10)
		timer.SetAlarm(500)
		_, _ = armedFor(deadline)
		setTime(499)
		serve(timer)
		assert.Zero(t, client.fired)
		at, set := armedFor(deadline)
		assert.True(t, set, "armed again")
		assert.EqualValues(t, 500, at)
	}
}

func TestTimerDeadlineInThePast(t *testing.T) {
	for _, deadline := range []bool{false, true} {
		timer, client := newTimer(t, deadline)
		setTime(1000)
		for _, when := range []uint64{0, 1, 999, 1000} {
			timer.SetAlarm(when)
			assert.Zero(t, client.fired, "not from within SetAlarm")
			at, set := armedFor(deadline)
			require.True(t, set)
			assert.LessOrEqual(t, at, uint64(1000), "at once")
			if !deadline {
				assert.Greater(t, at*1000+1000, hostCPU.tsc, "a count of 0 would stop the timer")
			}
			serve(timer)
			require.Equal(t, 1, client.fired)
			client.fired = 0
		}
	}
}

func TestTimerFarDeadlines(t *testing.T) {
	timer, client := newTimer(t, false)
	setTime(1)
	timer.SetAlarm(3600 * microsecond)
	assert.EqualValues(t, 1<<32-1, hostCPU.device[addrCount], "as long as it can")
	setTime(4_294_000)
	serve(timer)
	assert.Zero(t, client.fired)
	assert.EqualValues(t, 1<<32-1, hostCPU.device[addrCount], "and again")

	timer, _ = newTimer(t, true)
	const year = 365 * 86_400 * microsecond
	setTime(year)
	timer.SetAlarm(year + 50)
	at, _ := armedFor(true)
	assert.InDelta(t, float64(year+50), float64(at), year/1e9, "after a year it is still in the future")
	timer.armed = 0
	timer.SetAlarm(^uint64(0))
	at, _ = armedFor(true)
	assert.Greater(t, at, uint64(100*year), "never")
}

func TestTimerMeasuresTheCounter(t *testing.T) {
	for _, hz := range []uint64{24 * microsecond, 2_893_437_001, 5_000_000_000} {
		newHostCPU(t)
		timer := &Timer{apic: &localAPIC{}, deadline: true, hz: testHz}
		addrNow := uintptr(lapicBase + 0x390)
		nanos := uint64(0)
		hostCPU.device[addrNow] = 1<<32 - 1
		hostCPU.timeRead = func() { // each look takes a microsecond
			nanos += 1000
			hostCPU.tsc = nanos * hz / 1e9
			hostCPU.device[addrNow] = uint32(1<<32 - 1 - nanos)
		}
		timer.startMeasuring()
		assert.EqualValues(t, 1<<32-1, hostCPU.device[addrCount])
		timer.SetAlarm(50_000) // before anyone asked for the time
		assert.InEpsilon(t, hz, timer.clock.hz, 0.04)
		assert.EqualValues(t, 2<<17|56, hostCPU.device[addrTimer], "the timer is started")
		at := hostCPU.msr[msrTSCDeadline]
		assert.InEpsilon(t, hz/20, at, 0.04, "the alarm is set by the measured clock")
	}
}

func TestTimerMeasuresAnewIfTheCountRanOut(t *testing.T) {
	newHostCPU(t)
	timer := &Timer{apic: &localAPIC{}, hz: testHz}
	addrNow := uintptr(lapicBase + 0x390)
	hostCPU.device[addrNow] = 1<<32 - 1
	timer.startMeasuring()
	hostCPU.tsc, hostCPU.device[addrNow] = 1e12, 0
	hostCPU.device[addrCount] = 0
	hostCPU.timeRead = func() {
		hostCPU.tsc += 1000
		if hostCPU.device[addrCount] != 0 { // it was started again
			hostCPU.device[addrNow] = uint32(1<<32 - 1 - (hostCPU.tsc - 1e12))
		}
	}
	assert.InEpsilon(t, testHz, timer.measure(), 0.04)
}

// The cycle counter's view of a deadline is the counter at which the clock shows it.
func TestTimerCountsCycles(t *testing.T) {
	timer, _ := newTimer(t, true)
	hostCPU.tsc = 12345
	assert.EqualValues(t, 12345, timer.Cycles())
	for _, micros := range []uint64{0, 1, 999, 1_000_000, 1 << 30} {
		hostCPU.tsc = timer.CyclesAt(micros)
		assert.Equal(t, micros, timer.Now(), "%d", micros)
	}
}

// A rest begins behind the end of the interrupt, which takes a virtual machine as long as its monitor likes. What comes first is the only
// thing that the hardware is set to.
func TestTimerRestIsNotLate(t *testing.T) {
	for _, deadline := range []bool{false, true} {
		for _, tt := range []struct{ slice, rest, want uint64 }{{0, 1000, 1000}, {500, 1000, 500}, {1000, 500, 500}} {
			timer, _ := newTimer(t, deadline)
			setTime(100)
			if tt.slice != 0 {
				timer.setSlice(tt.slice - 100)
			}
			timer.stopSlice()
			timer.interrupted()
			setTime(150)
			hostCPU.writes = nil
			require.True(t, timer.startRest(timer.clock.tsc(tt.rest)))
			assert.Len(t, hostCPU.writes, 1)
			at, _ := armedFor(deadline)
			assert.Equal(t, tt.want, at, "TSC deadline: %t", deadline)
		}
	}
}
