// Package alarmmux lets several capsules share one hardware alarm: each has a Share, which is a hil.Alarm like the hardware's.
package alarmmux

import "kapsel/guest/kernel/hil"

// maxShares is how many capsules can share an alarm.
const maxShares = 16

// never is a deadline that does not come.
const never = ^uint64(0)

// Mux shares one alarm.
type Mux struct {
	_        [0]func() // not comparable: no function is made for it
	hardware hil.Alarm
	shares   [maxShares]*Share
	count    int
	next     uint64 // what the hardware is set to
	firing   bool
}

// Init ties the mux to the alarm that it shares, of which it is the only client.
func (m *Mux) Init(hardware hil.Alarm) {
	m.hardware = hardware
	m.next = never
	hardware.SetAlarmClient(m)
}

// Share is one capsule's alarm.
type Share struct {
	_        [0]func() // not comparable: no function is made for it
	mux      *Mux
	client   hil.AlarmClient
	deadline uint64
}

// Init makes the alarm one of m's. More than 16 are a wiring error.
func (s *Share) Init(m *Mux) {
	if m.count == maxShares {
		panic("alarmmux: more than 16 shares: raise maxShares")
	}
	s.mux, s.deadline = m, never
	m.shares[m.count] = s
	m.count++
}

// Now implements hil.Time.
func (s *Share) Now() uint64 { return s.mux.hardware.Now() }

// Frequency implements hil.Time.
func (s *Share) Frequency() uint32 { return s.mux.hardware.Frequency() }

// SetAlarmClient implements hil.Alarm.
func (s *Share) SetAlarmClient(client hil.AlarmClient) { s.client = client }

// SetAlarm implements hil.Alarm.
func (s *Share) SetAlarm(deadline uint64) {
	s.deadline = deadline
	s.mux.arm(deadline)
}

// Disarm implements hil.Alarm. The hardware may still fire for it, which is harmless.
func (s *Share) Disarm() { s.deadline = never }

// arm sets the hardware, if it is not set to an earlier deadline.
func (m *Mux) arm(deadline uint64) {
	if deadline < m.next {
		m.next = deadline
		if !m.firing {
			m.hardware.SetAlarm(deadline)
		}
	}
}

// AlarmFired implements hil.AlarmClient: it calls the clients whose deadlines have come, each once, and sets the hardware to
// the next.
func (m *Mux) AlarmFired() {
	m.next, m.firing = never, true
	now := m.hardware.Now()
	for _, s := range m.shares[:m.count] {
		if s.deadline <= now {
			s.deadline = never
			s.client.AlarmFired()
		}
		m.arm(s.deadline)
	}
	m.firing = false
	if m.next != never {
		m.hardware.SetAlarm(m.next)
	}
}
