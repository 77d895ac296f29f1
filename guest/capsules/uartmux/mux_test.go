package uartmux

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
)

// user is a capsule on the line.
type user struct {
	Device
	sent, received []string
	errors         []abi.ErrorCode
	again          int // transmissions to begin from callbacks
}

func (u *user) Transmitted(buf []byte, n int, e abi.ErrorCode) {
	u.sent = append(u.sent, string(buf[:n]))
	u.errors = append(u.errors, e)
	if u.again > 0 {
		u.again--
		u.Transmit(buf, len(buf))
	}
}

func (u *user) Received(buf []byte, n int, e abi.ErrorCode) {
	u.received = append(u.received, string(buf[:n]))
	u.errors = append(u.errors, e)
}

func newUsers(t *testing.T) (*kerneltest.Machine, *Mux, *[3]user) {
	m := kerneltest.New(t, capability.Mint())
	mux, users := new(Mux), new([3]user)
	mux.Init(&m.Kernel, &m.Line)
	for i := range users {
		u := &users[i]
		u.Init(mux)
		u.SetTransmitClient(u)
		u.SetReceiveClient(u)
	}
	return m, mux, users
}

// run lets the machine serve interrupts and deferred calls, with a task that waits.
func run(m *kerneltest.Machine) {
	m.AddTask("task", func(k *kerneltest.Task) { k.Wait() }, nil)
	m.Run()
}

func TestTransmissionsTakeTurns(t *testing.T) {
	m, _, users := newUsers(t)
	a, b, c := &users[0], &users[1], &users[2]
	assert.Equal(t, abi.SIZE, a.Transmit([]byte("x"), 2))
	a.again = 2
	assert.Equal(t, abi.OK, a.Transmit([]byte("a"), 1))
	assert.Equal(t, abi.BUSY, a.Transmit([]byte("a"), 1))
	assert.Equal(t, abi.OK, c.Transmit([]byte("c"), 1))
	assert.Equal(t, abi.OK, b.Transmit([]byte("b"), 1))
	assert.Empty(t, b.sent)
	run(m)
	assert.Equal(t, []string{"a", "b", "c", "a", "a"}, m.Line.Sent)
	assert.Equal(t, []string{"a", "a", "a"}, a.sent)
	assert.Equal(t, []string{"b"}, b.sent)
	assert.Equal(t, []abi.ErrorCode{abi.OK}, c.errors)
}

func TestLineThatRefuses(t *testing.T) {
	m, _, users := newUsers(t)
	users[0].Transmit([]byte("a"), 1)
	users[1].Transmit([]byte("b"), 1)
	m.Line.Refuse = abi.OFF
	run(m)
	assert.Equal(t, []abi.ErrorCode{abi.OFF}, users[1].errors, "told when its turn came")
	assert.Equal(t, abi.OFF, users[2].Transmit([]byte("c"), 1))
	assert.Equal(t, abi.OFF, users[2].Receive(make([]byte, 1), 1))
}

func TestEveryReceiverGetsEveryByte(t *testing.T) {
	m, _, users := newUsers(t)
	a, b := &users[0], &users[1]
	buf := make([]byte, 3)
	assert.Equal(t, abi.SIZE, a.Receive(buf, 4))
	assert.Equal(t, abi.OK, a.Receive(buf, 3))
	assert.Equal(t, abi.BUSY, a.Receive(buf, 3))
	assert.Equal(t, abi.OK, b.Receive(make([]byte, 5), 5))
	m.Line.Type("abcdefg")
	run(m)
	assert.Equal(t, []string{"abc"}, a.received)
	assert.Equal(t, []string{"abcde"}, b.received)
}

func TestAbortReceive(t *testing.T) {
	m, _, users := newUsers(t)
	a := &users[0]
	assert.Equal(t, abi.ALREADY, a.AbortReceive())
	a.Receive(make([]byte, 3), 3)
	assert.Equal(t, abi.OK, a.AbortReceive())
	assert.Empty(t, a.received, "no callback from within the call")
	run(m)
	assert.Equal(t, []string{""}, a.received)
	assert.Equal(t, []abi.ErrorCode{abi.CANCEL}, a.errors)
	a.Receive(make([]byte, 2), 2)
	m.Line.Type("xy")
	m.Continue()
	assert.Equal(t, []string{"", "xy"}, a.received)
}

func TestDrain(t *testing.T) {
	m, mux, users := newUsers(t)
	users[1].Transmit([]byte("under way, "), 11)
	users[0].Transmit([]byte("waiting"), 7)
	mux.Drain(&m.Line)
	assert.Equal(t, "under way, waiting", m.Line.Polled)
}

func TestTooManyDevices(t *testing.T) {
	_, mux, _ := newUsers(t)
	assert.Panics(t, func() {
		for range maxDevices {
			new(Device).Init(mux)
		}
	})
}
