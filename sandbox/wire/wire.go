// Package wire is the host's end of the port of services (abi.PortService): it makes frames of what the host says, and takes those of the guest.
//
// The guest is hostile. A frame is looked at when its header is there, and a header that breaks the protocol ends the Link with an error. Memory of
// a Link is bounded by the limit it was made with, whatever the guest does, and it grows with bytes that came, not with those that were announced.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"

	"kapsel/guest/abi"
)

// Frame is what one side says to the other (abi.PortService).
type Frame struct {
	Kind   uint8         // abi.ServiceHello, ServiceCall, ServiceAnswer or ServiceSettle
	Status abi.ErrorCode // of an answer
	Number uint32        // of the call, by which its answer is known
	Most   uint32        // of a call: the most bytes of payload that its answer may have
	Reason uint32        // of an answer: abi.ServiceFaulted, ServiceEnded, ServiceMemory, or 0
	Name   []byte        // of a call
	// Payload is nil, and Dropped its length in bytes, if it is longer than the Link's limit.
	Payload []byte
	Dropped int
}

// maxHead is how long a header with a name can be.
const maxHead = abi.ServiceHeader + abi.ServiceName

// maxFrames is how many frames can be on their way to the guest: a call or an answer for each call that can be open, a hello, and a settle.
const maxFrames = abi.ServiceDepth + 2

// ErrUnread is Send's error when the guest leaves too much of what was sent before.
var ErrUnread = errors.New("the guest does not take what the host sends")

// Link is the outer end of the port, a virtio.End. Its calls come one at a time: the device's and the host's from the processor's thread, while the
// device is in step.
type Link struct {
	limit int    // bytes of a payload
	whole func() // a frame is there, or err is
	wake  func() // the device's; nil: it has no session

	out  []byte // frames to the guest
	sent int    // bytes of out that it has

	in     []byte // header, name, and the payload unless it is dropped, as far as they came
	want   int    // bytes that in is to have: of the header, then of all
	head   int    // bytes of header and name; 0: not known yet
	length int    // bytes of the payload
	drop   int    // bytes of a dropped payload that have not come
	err    error
}

// New returns a Link for payloads of up to limit bytes, at most abi.ServicePayload, either way. It calls whole, on the caller's thread, from within
// Offer when a frame is complete or the guest has broken the protocol.
func New(limit int, whole func()) *Link {
	return &Link{limit: limit, whole: whole, want: abi.ServiceHeader}
}

// Reset forgets all that is on its way in either direction, and an error.
func (l *Link) Reset() {
	l.out, l.sent, l.err = l.out[:0], 0, nil
	l.next()
}

// AtRest reports whether nothing is on its way in either direction.
func (l *Link) AtRest() bool { return len(l.out) == 0 && len(l.in) == 0 && l.err == nil }

// Err returns how the guest broke the protocol, or nil. Then nothing more comes until Reset.
func (l *Link) Err() error { return l.err }

// Send has the guest get a frame, which it copies. Payload is at most the limit, Name at most abi.ServiceName bytes.
func (l *Link) Send(f Frame) error {
	size := abi.ServiceHeader + len(f.Name) + len(f.Payload)
	l.out = l.out[:copy(l.out, l.out[l.sent:])]
	l.sent = 0
	if len(l.out)+size > maxFrames*(maxHead+l.limit) {
		return ErrUnread
	}
	l.out = Append(l.out, f)
	if l.wake != nil {
		l.wake()
	}
	return nil
}

// Append appends the bytes of a frame to b, and returns that.
func Append(b []byte, f Frame) []byte {
	word := f.Most
	if f.Kind == abi.ServiceAnswer {
		word = f.Reason
	}
	b = append(b, abi.ServiceVersion, f.Kind, uint8(f.Status), uint8(len(f.Name)))
	b = binary.LittleEndian.AppendUint32(b, f.Number)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(f.Payload)))
	b = binary.LittleEndian.AppendUint32(b, word)
	b = append(b, f.Name...)
	return append(b, f.Payload...)
}

// Receive returns the frame that came, and false if none is whole. The frame lies in memory, which is the caller's from then on; the Link has
// buffer in its place, whose contents it overwrites.
func (l *Link) Receive(buffer []byte) (f Frame, memory []byte, ok bool) {
	if !l.complete() {
		return Frame{}, buffer, false
	}
	f = l.frame()
	memory = l.in
	l.in = buffer
	l.next()
	if l.wake != nil {
		l.wake() // for what Offer did not take
	}
	return f, memory, true
}

// frame is the complete one, in l.in.
func (l *Link) frame() Frame {
	h := l.in
	f := Frame{Kind: h[1], Status: abi.ErrorCode(h[2]), Number: binary.LittleEndian.Uint32(h[4:]), Name: h[abi.ServiceHeader:l.head]}
	word := binary.LittleEndian.Uint32(h[12:])
	if f.Kind == abi.ServiceAnswer {
		f.Reason = word
	} else {
		f.Most = word
	}
	if l.length > l.limit {
		f.Dropped = l.length
	} else {
		f.Payload = h[l.head : l.head+l.length]
	}
	return f
}

// next waits for another frame.
func (l *Link) next() {
	l.in, l.want, l.head, l.length, l.drop = l.in[:0], abi.ServiceHeader, 0, 0, 0
}

// complete reports whether all of a frame came.
func (l *Link) complete() bool { return l.head > 0 && len(l.in) == l.want && l.drop == 0 }

// Offer implements virtio.End: it takes a frame, and nothing more until that is received. What comes behind an error is dropped.
func (l *Link) Offer(p []byte) (taken int) {
	for taken < len(p) && !l.complete() {
		if l.err != nil {
			return len(p)
		}
		taken += l.take(p[taken:])
		if l.err != nil || l.complete() {
			l.whole()
		}
	}
	return taken
}

// take takes some bytes of the frame, and returns how many.
func (l *Link) take(p []byte) int {
	if len(l.in) == l.want {
		n := min(len(p), l.drop)
		l.drop -= n
		return n
	}
	n := min(len(p), l.want-len(l.in))
	l.in = append(l.in, p[:n]...)
	if l.head == 0 && len(l.in) == l.want {
		l.err = l.begin()
	}
	return n
}

// begin looks at a header, which is there, and knows from it how long the frame is.
func (l *Link) begin() error {
	h := l.in
	version, kind, status, name := h[0], h[1], h[2], int(h[3])
	length := binary.LittleEndian.Uint32(h[8:])
	switch {
	case version != abi.ServiceVersion:
		return fmt.Errorf("a frame of version %d, want %d: the image's kernel is of another release", version, abi.ServiceVersion)
	case kind < abi.ServiceHello || kind > abi.ServiceSettle:
		return fmt.Errorf("a frame of kind %d, want %d to %d", kind, abi.ServiceHello, abi.ServiceSettle)
	case (kind == abi.ServiceCall) != (name > 0) || name > abi.ServiceName:
		return fmt.Errorf("a frame of kind %d with a name of %d bytes, want 1 to %d in a call, and none in another", kind, name, abi.ServiceName)
	case status != 0 && kind != abi.ServiceAnswer:
		return fmt.Errorf("a frame of kind %d with status %d, want 0", kind, status)
	case length > abi.ServicePayload || length > 0 && (kind == abi.ServiceHello || kind == abi.ServiceSettle):
		return fmt.Errorf("a frame of kind %d with a payload of %d bytes, want at most %d in calls and answers, and none in another", kind, length, abi.ServicePayload)
	}
	l.head, l.length = abi.ServiceHeader+name, int(length)
	l.want = l.head + l.length
	if l.length > l.limit {
		l.want, l.drop = l.head, l.length
	}
	return nil
}

// Fetch implements virtio.End.
func (l *Link) Fetch(p []byte) int {
	n := copy(p, l.out[l.sent:])
	l.sent += n
	if l.sent == len(l.out) {
		l.out, l.sent = l.out[:0], 0
	}
	return n
}

// Ended implements virtio.End: the host has always more to say.
func (l *Link) Ended() bool { return false }

// Attach implements virtio.End.
func (l *Link) Attach(wake func()) { l.wake = wake }
