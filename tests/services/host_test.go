package services

import (
	"encoding/binary"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/tests/machine"
	"kapsel/vmm"
)

const image = "bare.elf"

// host is the host's end of the port: it calls tasks, and its services are called by tasks.
type host struct {
	t        testing.TB
	services map[string]func(request []byte) ([]byte, abi.ErrorCode)
	in       *io.PipeReader // from the guest
	out      *io.PipeWriter
	theirs   vmm.Port
	number   uint32
	stop     chan struct{}
	ended    chan machine.Outcome
	outcome  machine.Outcome
}

// frame is one of guest/abi/service.go.
type frame struct {
	kind, status byte
	number, last uint32
	name         string
	payload      []byte
}

// answer is how a call ended.
type answer struct {
	status  abi.ErrorCode
	reason  uint32
	payload string
}

func (f frame) bytes() []byte {
	b := []byte{abi.ServiceVersion, f.kind, f.status, byte(len(f.name))}
	for _, v := range []uint32{f.number, uint32(len(f.payload)), f.last} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return append(append(b, f.name...), f.payload...)
}

// boot boots a machine with those tasks, whose console the test ends with, and says Hello.
func boot(t testing.TB, console io.Writer, tasks ...[]byte) *host {
	h := &host{t: t, services: map[string]func([]byte) ([]byte, abi.ErrorCode){}, stop: make(chan struct{}), ended: make(chan machine.Outcome, 1)}
	input, out := io.Pipe()
	in, output := io.Pipe()
	h.in, h.out = in, out
	h.theirs = vmm.Port{Name: abi.PortService, Input: input, Output: output}
	go func() {
		defer close(h.ended)
		h.ended <- machine.Boot(t, machine.Guest{Image: image, Modules: tasks, Memory: 16 << 20, Stop: h.stop, Console: console, Devices: []vmm.Device{vmm.Ports{h.theirs}}})
		input.Close()
		in.Close()
	}()
	t.Cleanup(func() { h.close() })
	h.write(frame{kind: abi.ServiceHello})
	require.Equal(t, byte(abi.ServiceHello), h.read().kind)
	return h
}

// close ends the machine.
func (h *host) close() machine.Outcome {
	select {
	case <-h.stop:
	default:
		close(h.stop)
		h.out.Close()
		go io.Copy(io.Discard, h.in)
		h.outcome = <-h.ended
	}
	return h.outcome
}

func (h *host) write(f frame) {
	h.t.Helper()
	_, err := h.out.Write(f.bytes())
	require.NoError(h.t, err, "the machine has ended")
}

// read reads a frame, with what came of its payload in parts.
func (h *host) read() frame {
	h.t.Helper()
	var parts []byte
	var of uint32
	for {
		var b [abi.ServiceHeader]byte
		_, err := io.ReadFull(h.in, b[:])
		require.NoError(h.t, err, "the machine has ended")
		le := binary.LittleEndian
		f := frame{kind: b[1], status: b[2], number: le.Uint32(b[4:]), last: le.Uint32(b[12:])}
		require.EqualValues(h.t, abi.ServiceVersion, b[0])
		require.LessOrEqual(h.t, le.Uint32(b[8:])+uint32(len(parts)), uint32(abi.ServicePayload))
		rest := make([]byte, int(b[3])+int(le.Uint32(b[8:])))
		_, err = io.ReadFull(h.in, rest)
		require.NoError(h.t, err, "the machine has ended")
		f.name, f.payload = string(rest[:b[3]]), rest[b[3]:]
		if parts == nil || of != f.number {
			parts, of = nil, f.number
		}
		parts = append(parts, f.payload...)
		if f.kind == abi.ServicePart {
			continue
		}
		if f.kind == abi.ServiceCall || f.status == 0 {
			f.payload = parts
		}
		return f
	}
}

// begin sends a call.
func (h *host) begin(name, request string, most uint32) (number uint32) {
	h.number++
	h.write(frame{kind: abi.ServiceCall, number: h.number, last: most, name: name, payload: []byte(request)})
	return h.number
}

// call calls a task, and serves tasks until that has answered.
func (h *host) call(name, request string) answer {
	h.t.Helper()
	return h.await(h.begin(name, request, abi.ServicePayload))
}

// await serves tasks until a call is answered.
func (h *host) await(number uint32) answer {
	h.t.Helper()
	for {
		f := h.read()
		switch f.kind {
		case abi.ServiceAnswer:
			require.Equal(h.t, number, f.number)
			return answer{abi.ErrorCode(f.status), f.last, string(f.payload)}
		case abi.ServiceCall:
			h.serve(f)
		default:
			h.t.Fatalf("a frame of kind %d", f.kind)
		}
	}
}

// serve answers a task.
func (h *host) serve(f frame) {
	service := h.services[f.name]
	reply, e := []byte(nil), abi.NODEVICE
	if service != nil {
		reply, e = service(f.payload)
	}
	h.write(frame{kind: abi.ServiceAnswer, status: byte(e), number: f.number, payload: reply})
}

// settle waits until no task is ready.
func (h *host) settle() {
	h.t.Helper()
	h.write(frame{kind: abi.ServiceSettle})
	require.Equal(h.t, byte(abi.ServiceSettle), h.read().kind)
}
