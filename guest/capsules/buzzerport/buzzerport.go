// Package buzzerport is a buzzer at the other end of a port. Each tone is sent as a line of its frequency in hertz and its length in
// milliseconds (package lines), and a tone that is stopped before its end as "0 0". The time is kept here.
package buzzerport

import (
	"kapsel/guest/abi"
	"kapsel/guest/capsules/lines"
	"kapsel/guest/kernel/hil"
)

// maxMilliseconds is how long a tone is at the most, as Tock has it (capsules/extra/src/buzzer_pwm.rs).
const maxMilliseconds = 5000

// Buzzer implements hil.Buzzer.
type Buzzer struct {
	port     hil.Port
	alarm    hil.Alarm
	client   hil.BuzzerClient
	on       bool // a tone goes on, or its last line is being sent
	over     bool // its time is
	deadline uint64
	sending  bool
	line     lines.Line // that is being sent
	waits    bool
	next     lines.Line // that is to be sent behind it, while waits
}

// Init ties the driver to its port and its alarm, of which it is the only client.
func (b *Buzzer) Init(port hil.Port, alarm hil.Alarm) {
	b.port, b.alarm = port, alarm
	port.SetPortClient(b)
	alarm.SetAlarmClient(b)
}

// SetBuzzerClient implements hil.Buzzer.
func (b *Buzzer) SetBuzzerClient(client hil.BuzzerClient) { b.client = client }

// Buzz implements hil.Buzzer.
func (b *Buzzer) Buzz(frequency, milliseconds uint32) abi.ErrorCode {
	if frequency == 0 {
		return abi.INVAL
	}
	milliseconds = min(milliseconds, maxMilliseconds)
	if e := b.say(frequency, milliseconds); e != abi.OK {
		return e
	}
	b.until(b.alarm.Now() + uint64(milliseconds)*uint64(b.alarm.Frequency())/1000)
	return abi.OK
}

// until has the tone go on until a time.
func (b *Buzzer) until(deadline uint64) {
	b.on, b.over, b.deadline = true, false, deadline
	b.alarm.SetAlarm(deadline)
}

// Stop implements hil.Buzzer.
func (b *Buzzer) Stop() abi.ErrorCode {
	if !b.on {
		return abi.OFF
	}
	if !b.over {
		b.say(0, 0)
		b.until(b.alarm.Now())
	}
	return abi.OK
}

// say sends a line, behind the one that is being sent and in the place of one that waits for that.
func (b *Buzzer) say(frequency, milliseconds uint32) abi.ErrorCode {
	b.next.Write(frequency, milliseconds)
	if b.sending {
		b.waits = true
		return abi.OK
	}
	return b.send()
}

// send sends the next line.
func (b *Buzzer) send() abi.ErrorCode {
	b.waits = false
	b.line = b.next
	line := b.line.Bytes()
	e := b.port.Send(line, len(line))
	b.sending = e == abi.OK
	return e
}

// Sent implements hil.PortClient.
func (b *Buzzer) Sent([]byte, int, abi.ErrorCode) {
	b.sending = false
	if b.waits {
		b.send()
	}
	b.end()
}

// AlarmFired implements hil.AlarmClient.
func (b *Buzzer) AlarmFired() {
	if !b.on || b.over {
		return
	}
	if b.alarm.Now() < b.deadline {
		b.alarm.SetAlarm(b.deadline)
		return
	}
	b.over = true
	b.end()
}

// end ends a tone whose time is over and of which all lines were sent, as far as the port can be used.
func (b *Buzzer) end() {
	if b.on && b.over && !b.sending {
		b.on = false
		b.client.BuzzerDone(abi.OK)
	}
}

// Received implements hil.PortClient: nothing is asked for.
func (b *Buzzer) Received([]byte, int, abi.ErrorCode) {}

// PortChanged implements hil.PortClient.
func (b *Buzzer) PortChanged() {}
