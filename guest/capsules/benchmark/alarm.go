package benchmark

import "kapsel/guest/kernel/hil"

// Alarm stands between an alarm and its client, and notes when the client's handler is
// entered and what deadline was set last. Otherwise it is the alarm.
type Alarm struct {
	hil.Alarm
	cycles   hil.CycleCounter
	client   hil.AlarmClient
	fired    uint64 // cycles
	deadline uint64 // ticks
}

// Init ties the Alarm to the one that it stands for, of which it is the only client.
func (a *Alarm) Init(hardware hil.Alarm, cycles hil.CycleCounter) {
	a.Alarm, a.cycles = hardware, cycles
}

// SetAlarmClient implements hil.Alarm.
func (a *Alarm) SetAlarmClient(client hil.AlarmClient) {
	a.client = client
	a.Alarm.SetAlarmClient(a)
}

// SetAlarm implements hil.Alarm.
func (a *Alarm) SetAlarm(deadline uint64) {
	a.deadline = deadline
	a.Alarm.SetAlarm(deadline)
}

// AlarmFired implements hil.AlarmClient.
func (a *Alarm) AlarmFired() {
	a.fired = a.cycles.Cycles()
	a.client.AlarmFired()
}
