package alarmmux

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
)

// user has a share and notes when it is called.
type user struct {
	Share
	fired []uint64
	again []uint64 // deadlines to be set when it is called
}

func (u *user) AlarmFired() {
	u.fired = append(u.fired, u.Now())
	if len(u.again) > 0 {
		u.SetAlarm(u.again[0])
		u.again = u.again[1:]
	}
}

// run sets alarms and lets a task wait until nothing is left to come.
func run(t *testing.T, set func(users []*user)) []*user {
	m := kerneltest.New(t, capability.Mint())
	mux := new(Mux)
	mux.Init(&m.Alarm)
	users := []*user{{}, {}, {}}
	for _, u := range users {
		u.Init(mux)
		u.SetAlarmClient(u)
	}
	set(users)
	m.AddTask("task", func(k *kerneltest.Task) { k.Wait() }, nil)
	assert.True(t, m.Run())
	return users
}

// near checks that alarms came at their times, or within what the fake processor's calls take.
func near(t *testing.T, want []float64, fired []uint64) {
	t.Helper()
	assert.InDeltaSlice(t, want, fired, 10)
}

func TestSharesFireAtTheirTimes(t *testing.T) {
	users := run(t, func(u []*user) {
		assert.EqualValues(t, 1_000_000, u[0].Frequency())
		u[0].SetAlarm(5000)
		u[1].SetAlarm(1000)
		u[2].SetAlarm(3000)
		u[1].again = []uint64{2000, 7000}
	})
	near(t, []float64{5000}, users[0].fired)
	near(t, []float64{1000, 2000, 7000}, users[1].fired)
	near(t, []float64{3000}, users[2].fired)
}

func TestLaterDeadlineReplacesEarlier(t *testing.T) {
	users := run(t, func(u []*user) {
		u[0].SetAlarm(1000)
		u[0].SetAlarm(4000)
		u[1].SetAlarm(2000)
		u[1].Disarm()
		u[2].SetAlarm(0)
	})
	near(t, []float64{4000}, users[0].fired)
	assert.Empty(t, users[1].fired)
	near(t, []float64{0}, users[2].fired)
}

// TestDeadlineSetWhileOthersFire: by a client for its own share, which is earlier than what the others wait for.
func TestDeadlineSetWhileOthersFire(t *testing.T) {
	users := run(t, func(u []*user) {
		u[2].SetAlarm(1000)
		u[2].again = []uint64{1500}
		u[0].SetAlarm(9000)
	})
	near(t, []float64{1000, 1500}, users[2].fired)
	near(t, []float64{9000}, users[0].fired)
}

func TestTooManyShares(t *testing.T) {
	m := kerneltest.New(t, capability.Mint())
	var mux Mux
	mux.Init(&m.Alarm)
	for range maxShares {
		new(Share).Init(&mux)
	}
	assert.PanicsWithValue(t, "alarmmux: more than 16 shares: raise maxShares", func() { new(Share).Init(&mux) })
}
