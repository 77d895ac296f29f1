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
	Kind   uint8         // abi.ServiceHello, ServiceCall, ServiceAnswer or ServiceSettle; parts of a payload are put together
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
	came  func() // a frame has come, or err is set
	wake  func() // the device's; nil: it has no session

	out  []byte // frames to the guest
	sent int    // bytes of out that it has

	head   [maxHead]byte // header and name of a frame
	have   int           // bytes of head that came
	want   int           // and that are to come: of the header, then of the name as well
	left   int           // bytes of the frame's payload that have not come
	in     []byte        // the payload, with parts that came before, unless it is dropped
	length int           // bytes of it, dropped or not, as far as they were announced
	part   uint32        // the number that the parts have; if length is not 0
	whole  bool          // all of a frame came
	err    error
}

// New returns a Link for payloads of up to limit bytes, at most abi.ServicePayload, either way. It calls came, on the caller's thread, from within
// Offer when a frame is complete or the guest has broken the protocol.
func New(limit int, came func()) *Link {
	return &Link{limit: limit, came: came, want: abi.ServiceHeader}
}

// Reset forgets all that is on its way in either direction, and an error.
func (l *Link) Reset() {
	l.out, l.sent, l.err = l.out[:0], 0, nil
	l.nextPayload()
	l.nextFrame()
}

// AtRest reports whether nothing is on its way in either direction.
func (l *Link) AtRest() bool { return len(l.out) == 0 && l.have == 0 && l.length == 0 && l.err == nil }

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
	if !l.whole {
		return Frame{}, buffer, false
	}
	f = l.frame()
	memory = l.in
	l.in = buffer
	l.nextPayload()
	l.nextFrame()
	if l.wake != nil {
		l.wake() // for what Offer did not take
	}
	return f, memory, true
}

// frame is the one that is whole. Its name goes behind its payload, into the same memory.
func (l *Link) frame() Frame {
	h := &l.head
	kind, size := h[1], len(l.in)
	l.in = append(l.in, h[abi.ServiceHeader:l.have]...)
	f := Frame{Kind: kind, Status: abi.ErrorCode(h[2]), Number: binary.LittleEndian.Uint32(h[4:]), Name: l.in[size:]}
	word := binary.LittleEndian.Uint32(h[12:])
	if kind == abi.ServiceAnswer {
		f.Reason = word
	} else {
		f.Most = word
	}
	if l.length > l.limit {
		f.Dropped = l.length
	} else {
		f.Payload = l.in[:size:size]
	}
	return f
}

// nextFrame waits for another frame, which may go on with the payload of the last.
func (l *Link) nextFrame() { l.have, l.want, l.left, l.whole = 0, abi.ServiceHeader, 0, false }

// nextPayload forgets what came of one.
func (l *Link) nextPayload() { l.in, l.length = l.in[:0], 0 }

// Offer implements virtio.End: it takes a frame, and nothing more until that is received. What comes behind an error is dropped.
func (l *Link) Offer(p []byte) (taken int) {
	for taken < len(p) && !l.whole {
		if l.err != nil {
			return len(p)
		}
		taken += l.take(p[taken:])
		if l.err != nil || l.whole {
			l.came()
		}
	}
	return taken
}

// take takes some bytes of the frame, and returns how many.
func (l *Link) take(p []byte) (n int) {
	if l.have < l.want {
		n = copy(l.head[l.have:l.want], p)
		l.have += n
		if l.have == abi.ServiceHeader && l.want == abi.ServiceHeader {
			if l.err = l.begin(); l.err != nil {
				return n
			}
		}
	} else {
		n = min(len(p), l.left)
		l.left -= n
		if l.length <= l.limit {
			l.in = append(l.in, p[:n]...)
		}
	}
	if l.have == l.want && l.left == 0 {
		l.end()
	}
	return n
}

// end ends a frame that came as a whole.
func (l *Link) end() {
	if l.head[1] == abi.ServicePart {
		l.nextFrame()
		return
	}
	l.whole = true
}

// begin looks at a header, which is there, and knows from it what comes with the frame.
func (l *Link) begin() error {
	le := binary.LittleEndian
	h := &l.head
	version, kind, status, name := h[0], h[1], h[2], int(h[3])
	number, size := le.Uint32(h[4:]), le.Uint32(h[8:])
	carries := kind == abi.ServiceCall || kind == abi.ServicePart || kind == abi.ServiceAnswer && status == 0
	switch {
	case version != abi.ServiceVersion:
		return fmt.Errorf("a frame of version %d, want %d: the image's kernel is of another release", version, abi.ServiceVersion)
	case kind < abi.ServiceHello || kind > abi.ServicePart:
		return fmt.Errorf("a frame of kind %d, want %d to %d", kind, abi.ServiceHello, abi.ServicePart)
	case (kind == abi.ServiceCall) != (name > 0) || name > abi.ServiceName:
		return fmt.Errorf("a frame of kind %d with a name of %d bytes, want 1 to %d in a call, and none in another", kind, name, abi.ServiceName)
	case status != 0 && kind != abi.ServiceAnswer:
		return fmt.Errorf("a frame of kind %d with status %d, want 0", kind, status)
	case size > 0 && !carries:
		return fmt.Errorf("a frame of kind %d and status %d with a payload of %d bytes, want none", kind, status, size)
	}
	if !carries || l.part != number {
		l.nextPayload() // parts of another, or of an answer that is an error now, are void
	}
	l.part = number
	if uint64(l.length)+uint64(size) > abi.ServicePayload {
		return fmt.Errorf("a payload of %d bytes and %d before them, want at most %d", size, l.length, abi.ServicePayload)
	}
	l.length += int(size)
	if l.length > l.limit {
		l.in = l.in[:0]
	}
	l.want, l.left = abi.ServiceHeader+name, int(size)
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
