// Package services boots the image with tasks that serve the host and call it, by the port that the monitor or QEMU carries.
package services

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
	"kapsel/tests/machine"
)

// TestGreeter: a task in Go answers, refuses, and is asked again.
func TestGreeter(t *testing.T) {
	h := boot(t, nil, machine.Object(t, "test/greeter.tbf"))
	for range 3 {
		assert.Equal(t, answer{payload: "Hello, host!"}, h.call("greeter", "greet host"))
		assert.Equal(t, answer{}, h.call("greeter", ""))
		assert.Equal(t, answer{status: abi.NOACK}, h.call("greeter", "refuse"))
		assert.Equal(t, answer{status: abi.NOSUPPORT}, h.call("greeter", "what?"))
		assert.Equal(t, answer{status: abi.NODEVICE}, h.call("nobody", "greet"))
		h.settle()
	}
}

// greeter32 is the object of the 32-bit program (testdata/greeter32).
func greeter32(t *testing.T) []byte {
	t.Helper()
	const header = 0x80
	binary, err := os.ReadFile("testdata/greeter32.bin")
	require.NoError(t, err)
	object, err := tbfbuild.Build(tbfbuild.Spec{
		Name: "greeter32", Binary: binary, BinaryOffset: header, MinimumRAM: 0x10000,
		FixedAddresses: &tbf.FixedAddresses{Flash: 0x0015_0000 + header, RAM: 0x0021_0000},
	})
	require.NoError(t, err)
	return object
}

// TestGreeter32: so does a task in C, of 32 bits, and is called from within its calls of the host.
func TestGreeter32(t *testing.T) {
	h := boot(t, nil, greeter32(t))
	depth := 0
	h.services["nest"] = func(b []byte) ([]byte, abi.ErrorCode) {
		if depth++; depth == 3 {
			return append(b, " bottom"...), abi.OK
		}
		a := h.call("greeter32", "nest "+string(b)+string(rune('0'+depth)))
		return []byte(a.payload + string(rune('0'+depth))), a.status
	}
	for i := range 3 {
		depth = 0
		assert.Equal(t, answer{payload: "Hello, host!"}, h.call("greeter32", "greet host"))
		assert.Equal(t, answer{}, h.call("greeter32", ""))
		assert.Equal(t, answer{status: abi.NOACK}, h.call("greeter32", "refuse"))
		assert.Equal(t, answer{status: abi.SIZE}, h.call("greeter32", "much"))
		assert.Equal(t, answer{status: abi.SIZE}, h.call("greeter32", strings.Repeat("x", 3001)))
		long := "echo " + strings.Repeat("x", 2995)
		assert.Equal(t, answer{payload: long}, h.call("greeter32", long))
		assert.Equal(t, answer{payload: "x12 bottom33"}, h.call("greeter32", "nest x"))
		assert.Equal(t, answer{payload: fmt.Sprintf("%04d", 9*i+9)}, h.call("greeter32", "count"))
	}
	h.services["nest"] = func(b []byte) ([]byte, abi.ErrorCode) {
		a := h.call("greeter32", "nest")
		return nil, a.status
	}
	assert.Equal(t, answer{status: abi.SIZE}, h.call("greeter32", "nest"), "it has buffers for 4")
	assert.Equal(t, answer{status: abi.FAIL, reason: abi.ServiceFaulted}, h.call("greeter32", "fault"))
	assert.Equal(t, answer{payload: "0001"}, h.call("greeter32", "count"), "it was started anew")
	assert.Equal(t, answer{status: abi.FAIL, reason: abi.ServiceMemory}, h.call("greeter32", "exhaust"))
	assert.Equal(t, answer{status: abi.NODEVICE}, h.call("greeter32", "count"))
}

// TestPayloads: of all lengths, up to the longest.
func TestPayloads(t *testing.T) {
	h := boot(t, nil, machine.Object(t, "test/porter.tbf"))
	h.services["mirror"] = func(b []byte) ([]byte, abi.ErrorCode) { return turned(b), abi.OK }
	h.settle() // it serves: what is long does not wait
	for _, n := range []int{0, 1, 1007, 1008, 1009, 2993, 2994, 3056, 3057, 4096, 10_000, abi.ServicePayload - 1, abi.ServicePayload} {
		request := bytes.Repeat([]byte("0123456789\n"), n/11+1)[:n]
		got := h.call("porter", string(request))
		assert.Equal(t, abi.OK, got.status, n)
		assert.True(t, string(turned(request)) == got.payload, n)
		if n != 0 {
			request[0] = 1
			got = h.call("porter", string(request))
			assert.Equal(t, abi.OK, got.status, n)
			assert.True(t, string(request) == got.payload, "%d bytes, by the host", n)
		}
	}
}

func turned(b []byte) []byte {
	n := len(b)
	r := make([]byte, n)
	for i, c := range b {
		r[n-1-i] = c
	}
	return r
}

// TestCallsHost: a task calls services of the host's, from within a call.
func TestCallsHost(t *testing.T) {
	h := boot(t, nil, machine.Object(t, "test/greeter.tbf"))
	h.services["time"] = func(b []byte) ([]byte, abi.ErrorCode) { return []byte("12:00 " + string(b)), abi.OK }
	h.services["no"] = func([]byte) ([]byte, abi.ErrorCode) { return nil, abi.RESERVE }
	h.services["long"] = func([]byte) ([]byte, abi.ErrorCode) { return make([]byte, 64<<10+1), abi.OK }
	for range 3 {
		assert.Equal(t, answer{payload: "12:00 UTC"}, h.call("greeter", "ask time UTC"))
		assert.Equal(t, answer{status: abi.RESERVE}, h.call("greeter", "ask no"))
		assert.Equal(t, answer{status: abi.NODEVICE}, h.call("greeter", "ask nothing"))
		assert.Equal(t, answer{status: abi.SIZE}, h.call("greeter", "ask long"))
		assert.Equal(t, answer{status: abi.INVAL}, h.call("greeter", "ask "+strings.Repeat("x", 64)))
	}
}

// TestNests: the host's service calls the task again, 8 deep; each has its own request and answer.
func TestNests(t *testing.T) {
	h := boot(t, nil, machine.Object(t, "test/greeter.tbf"))
	depth := 0
	h.services["nest"] = func(b []byte) ([]byte, abi.ErrorCode) {
		if depth++; depth == 8 {
			return append(b, " bottom"...), abi.OK
		}
		a := h.call("greeter", "nest "+string(b)+string(rune('0'+depth)))
		return []byte(a.payload + string(rune('0'+depth))), a.status
	}
	for range 3 {
		depth = 0
		assert.Equal(t, answer{payload: "x1234567 bottom8888888"}, h.call("greeter", "nest x"))
	}
	h.services["nest"] = func(b []byte) ([]byte, abi.ErrorCode) {
		a := h.call("greeter", "nest deeper")
		return nil, a.status
	}
	assert.Equal(t, answer{status: abi.BUSY}, h.call("greeter", "nest for ever"), "16 calls are open at most")
	assert.Equal(t, answer{payload: "Hello, again!"}, h.call("greeter", "greet again"))
}

// TestTooMuch: an answer that the caller does not take.
func TestTooMuch(t *testing.T) {
	h := boot(t, nil, machine.Object(t, "test/greeter.tbf"))
	h.settle()
	assert.Equal(t, answer{status: abi.SIZE}, h.await(h.begin("greeter", "greet host", 11)))
	assert.Equal(t, answer{payload: "Hello, host!"}, h.await(h.begin("greeter", "greet host", 12)))
	assert.Equal(t, answer{status: abi.SIZE}, h.call("greeter", "much"))
	assert.Equal(t, answer{status: abi.SIZE}, h.call("greeter", "echo "+strings.Repeat("x", 64<<10)), "a request that it has no room for")
	assert.Equal(t, answer{payload: "echo"}, h.call("greeter", "echo"))
}

// TestEnds: the host is told why a task does not answer, in whatever state the call is, and another run is called.
func TestEnds(t *testing.T) {
	for _, tt := range []struct {
		what   string
		reason uint32
	}{
		{"fault", abi.ServiceFaulted}, {"panic", abi.ServiceEnded}, {"exhaust", abi.ServiceMemory}, {"exit", abi.ServiceEnded}, {"restart", abi.ServiceEnded},
	} {
		t.Run(tt.what, func(t *testing.T) {
			h := boot(t, nil, machine.Object(t, "test/greeter.tbf"), machine.Object(t, "test/porter.tbf"))
			failed := answer{status: abi.FAIL, reason: tt.reason}
			assert.Equal(t, failed, h.call("greeter", tt.what))
			want := answer{status: abi.NODEVICE}
			if tt.what == "restart" || tt.what == "fault" {
				want = answer{payload: "Hello, host!"}
			}
			assert.Equal(t, want, h.call("greeter", "greet host"))
			assert.Equal(t, answer{payload: "321"}, h.call("porter", "123"), "another task is as it was")
			h.settle()
		})
	}
}

// TestEndsWithin: a task ends that works on a request within a call of the host's within a request.
func TestEndsWithin(t *testing.T) {
	h := boot(t, nil, machine.Object(t, "test/greeter.tbf"))
	failed := answer{status: abi.FAIL, reason: abi.ServiceFaulted}
	var inner, outer answer
	h.services["nest"] = func([]byte) ([]byte, abi.ErrorCode) {
		first := h.number
		number := h.begin("greeter", "fault", 0)
		got := map[uint32]answer{}
		for len(got) < 2 {
			f := h.read()
			got[f.number] = answer{abi.ErrorCode(f.status), f.last, string(f.payload)}
		}
		outer, inner = got[first], got[number]
		return nil, abi.OK
	}
	h.begin("greeter", "nest", 0)
	h.serve(h.read())
	assert.Equal(t, failed, inner)
	assert.Equal(t, failed, outer)
	assert.Equal(t, answer{payload: "Hello, host!"}, h.call("greeter", "greet host"), "what the host answered to a run that is over is dropped")
	h.settle()
}

// TestSpins: a task that does not answer keeps nobody else from it, nor does one that floods the console; neither settles.
func TestSpins(t *testing.T) {
	for _, what := range []string{"spin", "flood"} {
		h := boot(t, nil, machine.Object(t, "test/greeter.tbf"), machine.Object(t, "test/porter.tbf"))
		h.settle() // both serve
		h.begin("greeter", what, 0)
		for range 20 {
			assert.Equal(t, answer{payload: "321"}, h.call("porter", "123"))
		}
		h.close()
	}
}
