package buzzerport

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/kerneltest"
)

type rig struct {
	Buzzer
	port  kerneltest.Port
	timer kerneltest.Timer
	ends  []abi.ErrorCode
}

func (r *rig) BuzzerDone(e abi.ErrorCode) { r.ends = append(r.ends, e) }

func newRig() *rig {
	r := &rig{}
	r.Init(&r.port, &r.timer)
	r.SetBuzzerClient(r)
	return r
}

func TestBuzz(t *testing.T) {
	r := newRig()
	assert.Equal(t, abi.INVAL, r.Buzz(0, 100))
	assert.Equal(t, abi.OFF, r.Stop())
	assert.Equal(t, abi.OK, r.Buzz(440, 100))
	assert.Equal(t, "440 100\n", r.port.Take())
	r.timer.Pass(99)
	r.AlarmFired()
	assert.Empty(t, r.ends, "an alarm that is early")
	r.timer.Pass(1)
	assert.Equal(t, []abi.ErrorCode{abi.OK}, r.ends)
	assert.Equal(t, abi.OK, r.Buzz(440, 5001))
	assert.Equal(t, "440 5000\n", r.port.Take())
	r.timer.Pass(5000)
	assert.Len(t, r.ends, 2)
	r.AlarmFired()
	r.Sent(nil, 0, abi.OK)
	assert.Len(t, r.ends, 2, "late callbacks")
}

// TestStop: the host is told, and the end is an alarm's.
func TestStop(t *testing.T) {
	r := newRig()
	r.Buzz(440, 100)
	r.port.Take()
	r.timer.Pass(50)
	assert.Equal(t, abi.OK, r.Stop())
	assert.Empty(t, r.ends, "no callback from within the call")
	r.timer.Pass(0)
	assert.Empty(t, r.ends, "the host is not told yet")
	assert.Equal(t, "0 0\n", r.port.Take())
	assert.Equal(t, []abi.ErrorCode{abi.OK}, r.ends)
	assert.Equal(t, abi.OFF, r.Stop())
}

// TestReplace: another tone in the place of one that goes on has one end, and of what waits for a slow host the newest is told.
func TestReplace(t *testing.T) {
	r := newRig()
	r.Buzz(440, 100)
	r.Buzz(500, 100)
	r.Buzz(600, 200)
	r.timer.Pass(100)
	assert.Equal(t, "440 100\n", r.port.Take())
	assert.Equal(t, "600 200\n", r.port.Take())
	assert.Empty(t, r.port.Take())
	assert.Empty(t, r.ends)
	r.timer.Pass(100)
	assert.Equal(t, []abi.ErrorCode{abi.OK}, r.ends)
}

// TestPortCloses: a tone that goes on ends in its time, and there is no other.
func TestPortCloses(t *testing.T) {
	r := newRig()
	r.Buzz(440, 100)
	r.port.Change(abi.OFF)
	assert.Equal(t, abi.OFF, r.Buzz(440, 100))
	assert.Equal(t, abi.OK, r.Stop())
	r.timer.Pass(0)
	assert.Equal(t, []abi.ErrorCode{abi.OK}, r.ends)
}
