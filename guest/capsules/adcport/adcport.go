// Package adcport is an analog-to-digital converter at the other end of a port. It answers each line with a line (package lines): an
// empty one with channels, bits of a conversion, 1 to 16, and millivolts of the reference voltage, 0 if that is not known; the
// number of a channel with what a conversion of it gives. One that does not answer for 10 seconds is not used any more.
package adcport

import (
	"kapsel/guest/abi"
	"kapsel/guest/capsules/lines"
	"kapsel/guest/kernel/hil"
)

// answerSeconds is how long an answer is waited for.
const answerSeconds = 10

// ADC implements hil.ADC.
type ADC struct {
	port   hil.Port
	alarm  hil.Alarm
	client hil.ADCClient
	phase  phase
	until  uint64    // when an answer is too late
	facts  [3]uint32 // channels, bits, millivolts; 0 until they are known
	asked  lines.Line
	answer lines.Line
	piece  [lines.Size]byte // of what comes
}

// phase is what the converter does.
type phase uint8

const (
	closed phase = iota // the port is, or what came made no sense
	asking              // what the converter can do
	ready
	sampling
)

// Init ties the driver to its port and its alarm, of which it is the only client.
func (a *ADC) Init(port hil.Port, alarm hil.Alarm) {
	a.port, a.alarm = port, alarm
	port.SetPortClient(a)
	alarm.SetAlarmClient(a)
	a.PortChanged()
}

// SetADCClient implements hil.ADC.
func (a *ADC) SetADCClient(client hil.ADCClient) { a.client = client }

// Channels implements hil.ADC.
func (a *ADC) Channels() uint32 { return a.facts[0] }

// ResolutionBits implements hil.ADC.
func (a *ADC) ResolutionBits() uint32 { return a.facts[1] }

// ReferenceMillivolts implements hil.ADC.
func (a *ADC) ReferenceMillivolts() uint32 { return a.facts[2] }

// Settled reports whether nothing is awaited before the converter can be used.
func (a *ADC) Settled() bool { return a.phase != asking }

// Sample implements hil.ADC.
func (a *ADC) Sample(channel uint32) abi.ErrorCode {
	switch {
	case a.phase == sampling:
		return abi.BUSY
	case a.phase != ready:
		return abi.NODEVICE
	case channel >= a.facts[0]:
		return abi.INVAL
	}
	a.asked.Write(channel)
	return a.ask(sampling)
}

// ask sends a line, and begins a phase if that can be sent.
func (a *ADC) ask(p phase) abi.ErrorCode {
	line := a.asked.Bytes()
	e := a.port.Send(line, len(line))
	if e == abi.OK {
		a.phase = p
		a.until = a.alarm.Now() + answerSeconds*uint64(a.alarm.Frequency())
		a.alarm.SetAlarm(a.until)
	}
	return e
}

// Sent implements hil.PortClient: an answer may come.
func (a *ADC) Sent(_ []byte, _ int, e abi.ErrorCode) {
	if e == abi.OK && (a.phase == asking || a.phase == sampling) {
		a.listen()
	}
}

// AlarmFired implements hil.AlarmClient.
func (a *ADC) AlarmFired() {
	switch {
	case a.phase != asking && a.phase != sampling:
	case a.alarm.Now() < a.until:
		a.alarm.SetAlarm(a.until)
	default:
		a.close()
	}
}

// listen waits for a line, or for the rest of one.
func (a *ADC) listen() {
	if a.port.Receive(a.piece[:]) != abi.OK {
		a.close()
	}
}

// Received implements hil.PortClient. More than what was asked for makes no sense.
func (a *ADC) Received(buf []byte, n int, e abi.ErrorCode) {
	if e != abi.OK {
		return
	}
	for rest := buf[:n]; len(rest) != 0; {
		taken, whole := a.answer.Fill(rest)
		rest = rest[taken:]
		switch {
		case a.phase != asking && a.phase != sampling || taken == 0:
			a.close()
			return
		case whole:
			a.answered()
		}
	}
	if a.phase == asking || a.phase == sampling {
		a.listen()
	}
}

// answered has an answer.
func (a *ADC) answered() {
	if a.phase == asking {
		a.learned()
	} else {
		a.sampled()
	}
}

// learned has the answer about the converter. A number alone answers somebody who asked before.
func (a *ADC) learned() {
	var facts [3]uint32
	switch {
	case a.answer.Read(facts[:1]):
		a.answer.Clear()
	case !a.answer.Read(facts[:]) || facts[0] == 0 || facts[1] == 0 || facts[1] > 16:
		a.close()
	default:
		a.end(ready)
		a.facts = facts
	}
}

// end ends a question that is answered.
func (a *ADC) end(next phase) {
	a.answer.Clear()
	a.alarm.Disarm()
	a.phase = next
}

// sampled has an answer, and makes the conversion's bits a sample's uppermost.
func (a *ADC) sampled() {
	var v [1]uint32
	bits := a.facts[1] & 31
	if !a.answer.Read(v[:]) || v[0]>>bits != 0 {
		a.close()
		return
	}
	a.end(ready)
	a.client.Sampled(uint16(v[0]<<(16-bits&31)), abi.OK)
}

// close ends the use of the converter, until its port is opened anew.
func (a *ADC) close() {
	was := a.phase
	a.end(closed)
	a.facts = [3]uint32{}
	if was == sampling {
		a.client.Sampled(0, abi.FAIL)
	}
}

// PortChanged implements hil.PortClient. A converter that is not made, or not made anew yet, does nothing.
func (a *ADC) PortChanged() {
	if a.port == nil {
		return
	}
	a.close()
	if a.port.State() == abi.OK {
		a.asked.Write()
		a.ask(asking)
	}
}
