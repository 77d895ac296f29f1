package kerneltest

import (
	"strings"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/hil"
)

// lineLine is the interrupt line of the serial line.
const lineLine = 4

// transmitTime is how long a transmission takes, in microseconds.
const transmitTime = 50

// Line is a hil.UART: it sends everything in one interrupt, and receives what a test types.
type Line struct {
	Sent []string // one for each transmission
	// Refuse is what Transmit and Receive answer, if it is not abi.OK.
	Refuse abi.ErrorCode
	// Polled is what TransmitPolling sent.
	Polled string

	cpu            *CPU
	transmitClient hil.TransmitClient
	out            []byte
	outN           int
	sent           uint64 // when the transmission is done
	receiveClient  hil.ReceiveClient
	in             []byte
	inN, inDone    int
	typed          []byte
	cancel         bool
}

// Type makes bytes arrive.
func (l *Line) Type(s string) {
	l.typed = append(l.typed, s...)
	l.cpu.Raise(lineLine)
}

// SetTransmitClient implements hil.Transmitter.
func (l *Line) SetTransmitClient(c hil.TransmitClient) { l.transmitClient = c }

// SetReceiveClient implements hil.Receiver.
func (l *Line) SetReceiveClient(c hil.ReceiveClient) { l.receiveClient = c }

// Transmit implements hil.Transmitter.
func (l *Line) Transmit(buf []byte, n int) abi.ErrorCode {
	switch {
	case l.Refuse != abi.OK:
		return l.Refuse
	case l.out != nil:
		return abi.BUSY
	case n <= 0 || n > len(buf):
		return abi.SIZE
	}
	l.out, l.outN = buf, n
	l.sent = l.cpu.clock + transmitTime
	l.cpu.raiseAt(lineLine, l.sent)
	return abi.OK
}

// Receive implements hil.Receiver.
func (l *Line) Receive(buf []byte, n int) abi.ErrorCode {
	switch {
	case l.Refuse != abi.OK:
		return l.Refuse
	case l.in != nil:
		return abi.BUSY
	case n <= 0 || n > len(buf):
		return abi.SIZE
	}
	l.in, l.inN, l.inDone = buf, n, 0
	l.cpu.Raise(lineLine)
	return abi.OK
}

// AbortReceive implements hil.Receiver.
func (l *Line) AbortReceive() abi.ErrorCode {
	if l.in == nil {
		return abi.ALREADY
	}
	l.cancel = true
	l.cpu.Raise(lineLine)
	return abi.OK
}

// TransmitPolling implements hil.PollingTransmitter.
func (l *Line) TransmitPolling(buf []byte) {
	if l.out != nil {
		l.Polled += string(l.out[:l.outN])
		l.out = nil
	}
	l.Polled += string(buf)
}

// MidLine implements hil.PollingTransmitter.
func (l *Line) MidLine() bool {
	last := l.Polled
	if last == "" && len(l.Sent) != 0 {
		last = l.Sent[len(l.Sent)-1]
	}
	return last != "" && !strings.HasSuffix(last, "\n")
}

// serve is the line's interrupt.
func (l *Line) serve() {
	if buf, n := l.out, l.outN; buf != nil && l.cpu.clock >= l.sent {
		l.Sent = append(l.Sent, string(buf[:n]))
		l.out = nil
		l.transmitClient.Transmitted(buf, n, abi.OK)
	}
	if l.in != nil && l.cancel {
		l.received(abi.CANCEL)
	}
	for l.in != nil && len(l.typed) > 0 {
		n := copy(l.in[l.inDone:l.inN], l.typed)
		l.typed = l.typed[n:]
		l.inDone += n
		if l.inDone == l.inN {
			l.received(abi.OK)
		}
	}
}

func (l *Line) received(e abi.ErrorCode) {
	buf := l.in
	l.in, l.cancel = nil, false
	l.receiveClient.Received(buf, l.inDone, e)
}
