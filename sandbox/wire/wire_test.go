package wire_test

import (
	"bytes"
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/sandbox/wire"
	"kapsel/vmm/virtio"
)

var _ virtio.End = (*wire.Link)(nil)

const limit = 100

// link is a Link, with how often it said that a frame is there.
type link struct {
	*wire.Link
	whole int
}

func newLink() *link {
	l := &link{}
	l.Link = wire.New(limit, func() { l.whole++ })
	return l
}

// receive returns the next frame, which must be there.
func (l *link) receive(t *testing.T) wire.Frame {
	t.Helper()
	f, _, ok := l.Receive(nil)
	require.True(t, ok, "a frame is there")
	return plain(f)
}

// plain is a frame with nil for what is empty.
func plain(f wire.Frame) wire.Frame {
	if len(f.Name) == 0 {
		f.Name = nil
	}
	if len(f.Payload) == 0 {
		f.Payload = nil
	}
	return f
}

func call(name, payload string) wire.Frame {
	return plain(wire.Frame{Kind: abi.ServiceCall, Number: 7, Most: 9, Name: []byte(name), Payload: []byte(payload)})
}

func answer(payload string) wire.Frame {
	return plain(wire.Frame{Kind: abi.ServiceAnswer, Number: 0xfffffffe, Payload: []byte(payload)})
}

func refusal() wire.Frame {
	return wire.Frame{Kind: abi.ServiceAnswer, Status: abi.FAIL, Number: 0xfffffffe, Reason: abi.ServiceMemory}
}

// part is bytes of a payload before the rest of it.
func part(number uint32, payload string) wire.Frame {
	return wire.Frame{Kind: abi.ServicePart, Number: number, Payload: []byte(payload)}
}

// frames of each kind, as they are told of by Receive.
func frames() map[string]wire.Frame {
	return map[string]wire.Frame{
		"hello":          {Kind: abi.ServiceHello, Number: 1},
		"settle":         {Kind: abi.ServiceSettle, Number: 2},
		"call":           call("greeter", "hello"),
		"empty call":     call("g", ""),
		"longest name":   call(string(bytes.Repeat([]byte("n"), abi.ServiceName)), "x"),
		"answer":         answer("yes"),
		"refusal":        refusal(),
		"empty answer":   answer(""),
		"longest answer": answer(string(bytes.Repeat([]byte("y"), limit))),
	}
}

func TestLayout(t *testing.T) {
	assert.Equal(t, []byte{1, 2, 0, 2, 7, 0, 0, 0, 3, 0, 0, 0, 9, 0, 0, 0, 'a', 'b', 'x', 'y', 'z'}, wire.Append(nil, call("ab", "xyz")))
	assert.Equal(t, []byte{1, 3, 0, 0, 0xfe, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0, 'x'}, wire.Append(nil, answer("x")))
	assert.Equal(t, []byte{1, 3, 1, 0, 0xfe, 0xff, 0xff, 0xff, 0, 0, 0, 0, 3, 0, 0, 0}, wire.Append(nil, refusal()))
}

// TestPieces: a frame comes however it is cut, and a Link takes nothing of the next one before it is received.
func TestPieces(t *testing.T) {
	for name, f := range frames() {
		t.Run(name, func(t *testing.T) {
			b := wire.Append(nil, f)
			for _, piece := range []int{1, 2, 15, 16, 17, len(b), len(b) + 30} {
				l := newLink()
				stream := append(bytes.Clone(b), b...)
				for range 2 {
					for taken := 0; taken < len(b); {
						assert.Zero(t, l.whole)
						n := l.Offer(stream[:min(piece, len(stream))])
						require.Positive(t, n)
						stream = stream[n:]
						taken += n
					}
					assert.Equal(t, 1, l.whole)
					assert.Zero(t, l.Offer([]byte{1}), "the frame is not received yet")
					assert.False(t, l.AtRest())
					assert.Equal(t, f, l.receive(t))
					assert.True(t, l.AtRest())
					l.whole = 0
				}
				assert.Empty(t, stream)
			}
		})
	}
}

// TestDropped: a payload that is too long is not kept, and what is behind it is understood.
func TestDropped(t *testing.T) {
	for _, length := range []int{limit + 1, abi.ServicePayload} {
		for _, piece := range []int{7, 1000, abi.ServicePayload * 2} {
			l := newLink()
			f := call("greeter", string(make([]byte, length)))
			stream := wire.Append(wire.Append(nil, f), answer("next"))
			for len(stream) > 0 && l.whole == 0 {
				stream = stream[l.Offer(stream[:min(piece, len(stream))]):]
			}
			got, memory, ok := l.Receive(nil)
			require.True(t, ok)
			assert.Equal(t, wire.Frame{Kind: abi.ServiceCall, Number: 7, Most: 9, Name: []byte("greeter"), Dropped: length}, plain(got))
			assert.Less(t, cap(memory), 3*limit)
			assert.Equal(t, len(stream), l.Offer(stream))
			assert.Equal(t, answer("next"), l.receive(t))
		}
	}
}

// TestParts: a payload that comes in parts is one, and parts of what does not follow are void.
func TestParts(t *testing.T) {
	for name, c := range map[string]struct {
		before []wire.Frame
		frame  wire.Frame
		want   string
	}{
		"of an answer":            {[]wire.Frame{part(0xfffffffe, "a"), part(0xfffffffe, ""), part(0xfffffffe, "bc")}, answer("d"), "abcd"},
		"of a call":               {[]wire.Frame{part(7, "abc")}, call("greeter", ""), "abc"},
		"of another":              {[]wire.Frame{part(8, "abc")}, call("greeter", "d"), "d"},
		"of two":                  {[]wire.Frame{part(7, "abc"), part(8, "d"), part(7, "e")}, call("greeter", "f"), "ef"},
		"of what became an error": {[]wire.Frame{part(0xfffffffe, "abc")}, refusal(), ""},
		"none before":             {nil, answer("d"), "d"},
		"as long as can be":       {[]wire.Frame{part(7, string(make([]byte, limit)))}, call("g", ""), string(make([]byte, limit))},
	} {
		t.Run(name, func(t *testing.T) {
			for _, piece := range []int{1, 10, 1000} {
				l := newLink()
				var stream []byte
				for _, f := range c.before {
					stream = wire.Append(stream, f)
				}
				stream = wire.Append(wire.Append(stream, c.frame), answer("next"))
				for l.whole == 0 {
					stream = stream[l.Offer(stream[:min(piece, len(stream))]):]
				}
				got := l.receive(t)
				assert.Equal(t, c.want, string(got.Payload))
				assert.Equal(t, string(c.frame.Name), string(got.Name))
				for len(stream) > 0 {
					stream = stream[l.Offer(stream[:min(piece, len(stream))]):]
				}
				assert.Equal(t, answer("next"), l.receive(t))
				assert.True(t, l.AtRest())
			}
		})
	}
}

// TestPartsDropped: parts that are together too long are not kept; those over what the protocol allows end it.
func TestPartsDropped(t *testing.T) {
	l := newLink()
	l.Offer(wire.Append(nil, part(7, string(make([]byte, limit)))))
	assert.False(t, l.AtRest())
	l.Offer(wire.Append(nil, call("g", "x")))
	assert.Equal(t, wire.Frame{Kind: abi.ServiceCall, Number: 7, Most: 9, Name: []byte("g"), Dropped: limit + 1}, l.receive(t))
	for range abi.ServicePayload / 1024 {
		l.Offer(wire.Append(nil, part(7, string(make([]byte, 1024)))))
		require.NoError(t, l.Err())
	}
	l.Offer(wire.Append(nil, part(7, "x")))
	assert.ErrorContains(t, l.Err(), "a payload of 1 bytes and 1048576 before them")
}

// header returns a good header of a call with one byte of name, after change.
func header(change func(h []byte)) []byte {
	h := wire.Append(nil, call("a", ""))
	change(h)
	return h
}

func TestBrokenFrames(t *testing.T) {
	le := binary.LittleEndian
	for name, c := range map[string]struct {
		bytes []byte
		says  string
	}{
		"version 0":              {header(func(h []byte) { h[0] = 0 }), "a frame of version 0, want 1: the image's kernel is of another release"},
		"version 2":              {header(func(h []byte) { h[0] = 2 }), "a frame of version 2"},
		"kind 0":                 {header(func(h []byte) { h[1] = 0 }), "a frame of kind 0, want 1 to 5"},
		"kind 6":                 {header(func(h []byte) { h[1] = 6 }), "a frame of kind 6"},
		"part with a name":       {header(func(h []byte) { h[1] = 5 }), "a frame of kind 5 with a name of 1 bytes"},
		"call without a name":    {header(func(h []byte) { h[3] = 0 }), "a name of 0 bytes"},
		"call of a long name":    {header(func(h []byte) { h[3] = 64 }), "a name of 64 bytes"},
		"answer with a name":     {header(func(h []byte) { h[1] = 3 }), "a frame of kind 3 with a name of 1 bytes"},
		"call with a status":     {header(func(h []byte) { h[2] = 1 }), "a frame of kind 2 with status 1, want 0"},
		"settle with a status":   {header(func(h []byte) { h[1], h[2], h[3] = 4, 1, 0 }), "a frame of kind 4 with status 1"},
		"settle with a payload":  {header(func(h []byte) { h[1], h[3], h[8] = 4, 0, 1 }), "a frame of kind 4 and status 0 with a payload of 1 bytes, want none"},
		"hello with a payload":   {header(func(h []byte) { h[1], h[3], h[8] = 1, 0, 1 }), "a frame of kind 1 and status 0 with a payload of 1 bytes"},
		"error with a payload":   {header(func(h []byte) { h[1], h[2], h[3], h[8] = 3, 1, 0, 1 }), "a frame of kind 3 and status 1 with a payload of 1 bytes"},
		"payload over the limit": {header(func(h []byte) { le.PutUint32(h[8:], abi.ServicePayload+1) }), "a payload of 1048577 bytes"},
		"payload of 4 GiB":       {header(func(h []byte) { le.PutUint32(h[8:], 1<<32-1) }), "a payload of 4294967295 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLink()
			assert.Equal(t, len(c.bytes), l.Offer(c.bytes), "the rest is dropped")
			assert.Equal(t, 1, l.whole)
			assert.ErrorContains(t, l.Err(), c.says)
			assert.False(t, l.AtRest())
			assert.Equal(t, 1000, l.Offer(make([]byte, 1000)))
			_, _, ok := l.Receive(nil)
			assert.False(t, ok)
			l.Reset()
			assert.True(t, l.AtRest())
			l.Offer(wire.Append(nil, answer("whole again")))
			assert.Equal(t, answer("whole again"), l.receive(t))
		})
	}
}

// TestSend: what the host sends comes to the guest in order, in whatever pieces it takes, and wakes it.
func TestSend(t *testing.T) {
	l := newLink()
	woken := 0
	require.NoError(t, l.Send(call("a", "before the driver is up")))
	l.Attach(func() { woken++ })
	require.NoError(t, l.Send(answer("b")))
	want := append(wire.Append(nil, call("a", "before the driver is up")), wire.Append(nil, answer("b"))...)
	var got []byte
	for p := make([]byte, 7); ; {
		n := l.Fetch(p)
		if n == 0 {
			break
		}
		assert.Equal(t, len(got)+n == len(want), l.AtRest())
		got = append(got, p[:n]...)
	}
	assert.Equal(t, want, got)
	assert.Equal(t, 1, woken)
	assert.False(t, l.Ended())
	l.Attach(nil)
	require.NoError(t, l.Send(answer("c")))
}

// TestWakeBehindReceive: the device is woken for what Offer did not take.
func TestWakeBehindReceive(t *testing.T) {
	l := newLink()
	woken := 0
	l.Attach(func() { woken++ })
	l.Offer(wire.Append(nil, answer("a")))
	assert.Zero(t, woken)
	l.receive(t)
	assert.Equal(t, 1, woken)
}

// TestUnread: a guest that takes nothing does not fill the host's memory.
func TestUnread(t *testing.T) {
	l := newLink()
	f := answer(string(make([]byte, limit)))
	sent := 0
	for ; sent < 1000; sent++ {
		if err := l.Send(f); err != nil {
			assert.ErrorIs(t, err, wire.ErrUnread)
			break
		}
	}
	assert.GreaterOrEqual(t, sent, abi.ServiceDepth+2)
	assert.Less(t, sent, 100)
	l.Fetch(make([]byte, 1<<16))
	assert.NoError(t, l.Send(f))
}

// TestNoAllocations: of a call and its answer in either direction, once there is room for them.
func TestNoAllocations(t *testing.T) {
	l := newLink()
	l.Attach(func() {})
	request, reply := call("greeter", "request"), wire.Append(nil, answer("reply"))
	taken := make([]byte, 1000)
	var buffer []byte
	assert.Zero(t, testing.AllocsPerRun(1000, func() {
		if l.Send(request) != nil {
			t.Error("the guest takes all")
		}
		l.Fetch(taken)
		l.Offer(reply)
		_, buffer, _ = l.Receive(buffer)
	}))
}

// FuzzHostile has the guest send anything, in any pieces, and the host receive and send meanwhile: what is understood is what
// another reading of the bytes finds, nothing panics, and memory stays within the limit.
func FuzzHostile(f *testing.F) {
	for _, frame := range frames() {
		f.Add(wire.Append(wire.Append(nil, frame), frame), uint8(3))
	}
	f.Add(wire.Append(nil, call("a", string(make([]byte, 300)))), uint8(20))
	f.Add(header(func(h []byte) { h[8] = 200 }), uint8(1))
	f.Add(wire.Append(wire.Append(wire.Append(nil, part(7, "ab")), part(8, "c")), call("a", "d")), uint8(9))
	f.Fuzz(func(t *testing.T, stream []byte, piece uint8) {
		l := newLink()
		var got []wire.Frame
		for rest := stream; len(rest) > 0; {
			n := l.Offer(rest[:min(len(rest), 1+int(piece))])
			rest = rest[n:]
			frame, memory, ok := l.Receive(nil)
			if ok {
				got = append(got, plain(frame))
			} else if n == 0 {
				t.Fatal("the link takes nothing, and has no frame")
			}
			if cap(memory) > 4*(limit+abi.ServiceHeader+abi.ServiceName) {
				t.Fatalf("%d bytes for a frame", cap(memory))
			}
			_ = l.Send(answer("more")) // the guest never takes it
		}
		want, broken := parse(stream)
		assert.Equal(t, want, got)
		assert.Equal(t, broken, l.Err() != nil)
	})
}

// parse reads a stream at once: the whole frames, and whether it breaks the protocol behind them.
func parse(b []byte) (all []wire.Frame, broken bool) {
	le := binary.LittleEndian
	parts, of := []byte{}, uint32(0)
	for len(b) >= 16 {
		kind, status, name, length, number := b[1], b[2], int(b[3]), uint64(le.Uint32(b[8:])), le.Uint32(b[4:])
		good, carries := b[0] == 1 && status == 0 && name == 0, true
		switch kind {
		case 1, 4:
			carries = false
		case 2:
			good = b[0] == 1 && status == 0 && name >= 1 && name <= 63
		case 3:
			good, carries = b[0] == 1 && name == 0, status == 0
		case 5:
		default:
			good = false
		}
		if number != of || !carries {
			parts, of = []byte{}, number
		}
		if !good || length > 0 && !carries || length+uint64(len(parts)) > 1<<20 {
			return all, true
		}
		end := 16 + uint64(name) + length
		if uint64(len(b)) < end {
			return all, false
		}
		payload := append(parts, b[16+name:end]...)
		f := wire.Frame{Kind: kind, Status: abi.ErrorCode(status), Number: number, Name: b[16 : 16+name], Payload: payload}
		if kind == 3 {
			f.Reason = le.Uint32(b[12:])
		} else {
			f.Most = le.Uint32(b[12:])
		}
		b = b[end:]
		if kind == 5 {
			parts = payload
			continue
		}
		if len(payload) > limit {
			f.Payload, f.Dropped = nil, len(payload)
		}
		all = append(all, plain(f))
		parts = []byte{}
	}
	return all, false
}

// TestMillionFrames: a million frames of a hostile guest, sound and damaged, in pieces: none panics, and a Link that has seen them is no larger.
func TestMillionFrames(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	l := newLink()
	l.Attach(func() {})
	var buffer, stream []byte
	sound, broken := 0, 0
	kinds := slices.Sorted(maps.Keys(frames()))
	all := frames()
	run := func(n int) {
		for range n {
			stream = wire.Append(stream[:0], all[kinds[r.IntN(len(kinds))]])
			if r.IntN(4) == 0 {
				stream = wire.Append(stream, part(r.Uint32N(3), "some more"))
			}
			if r.IntN(4) == 0 {
				stream[r.IntN(len(stream))] = byte(r.Uint32())
			}
			for rest := stream; len(rest) > 0; {
				rest = rest[l.Offer(rest[:1+r.IntN(len(rest))]):]
				var ok bool
				if _, buffer, ok = l.Receive(buffer); ok {
					sound++
				}
			}
			_ = l.Send(answer("which the guest does not take")) // until it is told that there is too much
			if l.Err() != nil {
				broken++
			}
			if l.Err() != nil || r.IntN(50) == 0 { // one that was told to be long ends at some time
				l.Reset()
			}
		}
	}
	run(100_000)
	before := heap()
	run(900_000)
	t.Logf("%d frames were received, %d conversations ended by one that is none; %d bytes on the heap before, %d behind", sound, broken, before, heap())
	assert.Less(t, heap(), before+64<<10)
	assert.Greater(t, sound, 250_000)
	assert.Greater(t, broken, 10_000)
	runtime.KeepAlive(l)
}

// heap is how many bytes are in use on the heap.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
