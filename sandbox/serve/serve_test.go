package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/sandbox"
)

// fake is a pool whose sandboxes are functions.
type fake struct {
	slots chan struct{}
	call  func(ctx context.Context, service string, request []byte) ([]byte, error)
	calls atomic.Int32
	most  atomic.Int32 // that were at work at a time
	now   atomic.Int32
	puts  atomic.Int32
}

func (f *fake) get(ctx context.Context) (callee, error) {
	select {
	case f.slots <- struct{}{}:
		return f, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("sandbox: all are in use: %w", context.Cause(ctx))
	}
}

func (f *fake) put(callee) error {
	f.puts.Add(1)
	<-f.slots
	return nil
}

func (f *fake) Stats() sandbox.PoolStats {
	return sandbox.PoolStats{Busy: len(f.slots), Idle: cap(f.slots) - len(f.slots), Started: 2, Resets: uint64(f.puts.Load())}
}

func (f *fake) Call(ctx context.Context, service string, request []byte) ([]byte, error) {
	f.calls.Add(1)
	now := f.now.Add(1)
	defer f.now.Add(-1)
	for most := f.most.Load(); now > most && !f.most.CompareAndSwap(most, now); most = f.most.Load() {
	}
	return f.call(ctx, service, request)
}

// serviceErrors are services by the error that they end with.
var serviceErrors = map[string]*sandbox.Error{
	"nobody":    {Kind: sandbox.ErrNoService, Code: abi.NODEVICE},
	"refuses":   {Kind: sandbox.ErrAnswer, Code: abi.NOACK},
	"busy":      {Kind: sandbox.ErrAnswer, Code: abi.BUSY},
	"narrow":    {Kind: sandbox.ErrTooLarge, Code: abi.SIZE},
	"huge":      {Kind: sandbox.ErrTooLarge, Cause: errors.New("an answer of 1048576 bytes")},
	"late":      {Kind: sandbox.ErrTime, Poisoned: true},
	"faults":    {Kind: sandbox.ErrFault, Poisoned: true, Console: "a secret of the task's\n"},
	"glutton":   {Kind: sandbox.ErrMemory, Poisoned: true},
	"ends":      {Kind: sandbox.ErrEnded, Poisoned: true},
	"floods":    {Kind: sandbox.ErrOutput, Poisoned: true},
	"asks":      {Kind: sandbox.ErrCalls, Poisoned: true},
	"unhandled": {Kind: sandbox.ErrHandler, Poisoned: true},
	"breaks":    {Kind: sandbox.ErrProtocol, Poisoned: true},
	"closed":    {Kind: sandbox.ErrClosed},
	"deep":      {Kind: sandbox.ErrDepth},
}

// services are those of the fake sandboxes.
func services(ctx context.Context, service string, request []byte) ([]byte, error) {
	if err := serviceErrors[service]; err != nil {
		return nil, err
	}
	switch service {
	case "echo":
		return request, nil
	case "spins":
		<-ctx.Done()
		return nil, &sandbox.Error{Kind: sandbox.ErrTime, Cause: context.Cause(ctx), Poisoned: true}
	}
	return nil, errors.New("no memory for a fork")
}

// start serves a pool of two fake sandboxes, after change of its configuration, and returns the server's address.
func start(t *testing.T, change ...func(*Config)) (*fake, *Server, string) {
	t.Helper()
	f := &fake{slots: make(chan struct{}, 2), call: services}
	c := Config{Concurrent: 2, Body: 1000, Log: t.Logf}
	for _, each := range change {
		each(&c)
	}
	s, err := newServer(f, c)
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, leave := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l, 10*time.Second) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		leave()
		<-ended
	})
	return f, s, l.Addr().String()
}

// post calls a service.
func post(t *testing.T, address, service, request string) (int, http.Header, string) {
	t.Helper()
	answer, err := http.Post("http://"+address+"/call/"+service, "", strings.NewReader(request))
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, answer.Header, string(body)
}

func get(t *testing.T, address, path string) (int, string) {
	t.Helper()
	answer, err := http.Get("http://" + address + path)
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(body)
}

// TestCall: the reply is the answer, as bytes that no browser takes for something else.
func TestCall(t *testing.T) {
	_, _, address := start(t)
	for _, request := range []string{"", "hello", strings.Repeat("<", 1000)} {
		status, header, reply := post(t, address, "echo", request)
		assert.Equal(t, http.StatusOK, status)
		assert.Equal(t, request, reply)
		assert.Equal(t, "application/octet-stream", header.Get("Content-Type"))
		assert.Equal(t, "nosniff", header.Get("X-Content-Type-Options"))
	}
	status, body := get(t, address, "/healthz")
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, "ok\n", body)
}

// TestStatuses: each error of a call has a status of HTTP, a word and a text of one line, without what the guest printed.
func TestStatuses(t *testing.T) {
	f, _, address := start(t)
	for _, test := range []struct {
		service string
		status  int
		kind    string
		text    string
	}{
		{"nobody", 404, "no_service", "no task serves under this name: NODEVICE"},
		{"refuses", 422, "answer", "the task answered with an error: NOACK"},
		{"busy", 503, "busy", "all sandboxes are in use: come again later"},
		{"narrow", 413, "too_large", "the request or the answer is too large"},
		{"huge", 502, "large_reply", "the task's answer is too large"},
		{"late", 504, "time", "out of time"},
		{"faults", 502, "fault", "the task faulted"},
		{"glutton", 502, "memory", "the task is out of memory"},
		{"ends", 502, "ended", "the task ended"},
		{"floods", 502, "output", "too much output"},
		{"asks", 502, "calls", "too many calls of host services"},
		{"unhandled", 502, "handler", "a handler of the host's failed"},
		{"breaks", 502, "protocol", "the guest broke the protocol"},
		{"closed", 503, "closed", "the server ends"},
		{"deep", 500, "failed", "no sandbox could be started"},
		{"other", 500, "failed", "no sandbox could be started"},
	} {
		t.Run(test.service, func(t *testing.T) {
			status, header, body := post(t, address, test.service, "x")
			assert.Equal(t, test.status, status)
			assert.Equal(t, "application/json", header.Get("Content-Type"))
			assert.Equal(t, test.status == 503, header.Get("Retry-After") != "")
			assert.Equal(t, 1, strings.Count(body, "\n"))
			var said map[string]string
			require.NoError(t, json.Unmarshal([]byte(body), &said))
			assert.Equal(t, map[string]string{"kind": test.kind, "error": test.text}, said)
		})
	}
	assert.Equal(t, f.calls.Load(), f.puts.Load(), "each sandbox was given back")
}

// TestOtherRequests: what is no call is not taken for one.
func TestOtherRequests(t *testing.T) {
	f, _, address := start(t)
	for _, test := range []struct {
		method, path string
		header       [2]string
		status       int
	}{
		{"GET", "/call/echo", [2]string{}, 405},
		{"PUT", "/call/echo", [2]string{}, 405},
		{"POST", "/metrics", [2]string{}, 405},
		{"POST", "/", [2]string{}, 404},
		{"POST", "/calls/echo", [2]string{}, 404},
		{"POST", "/call/echo", [2]string{"Origin", "http://evil.example"}, 403},
		{"POST", "/call/echo", [2]string{"Sec-Fetch-Site", "cross-site"}, 403},
	} {
		r, err := http.NewRequest(test.method, "http://"+address+test.path, strings.NewReader("x"))
		require.NoError(t, err)
		if test.header[0] != "" {
			r.Header.Set(test.header[0], test.header[1])
		}
		answer, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		answer.Body.Close()
		assert.Equal(t, test.status, answer.StatusCode, "%s %s %s", test.method, test.path, test.header)
	}
	assert.Zero(t, f.calls.Load())
}

// exchange sends text as it is, and returns all that comes until the server ends the connection.
func exchange(t *testing.T, address, text string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	_, err = io.WriteString(conn, text)
	require.NoError(t, err)
	b, err := io.ReadAll(conn)
	if !errors.Is(err, syscall.ECONNRESET) { // as where the server has not read all that was sent
		require.NoError(t, err, "%s", b)
	}
	return string(b)
}

// TestHugeRequests: what is over the limit is refused, if it was announced before it is read, and no sandbox is taken for it.
func TestHugeRequests(t *testing.T) {
	f, _, address := start(t, func(c *Config) { c.ReadTime = time.Second }) // for as long the server reads on, so that a client gets its answer
	status, _, _ := post(t, address, "echo", strings.Repeat("x", 1001))
	assert.Equal(t, 413, status)
	head := "POST /call/echo HTTP/1.1\r\nHost: x\r\n"
	assert.Contains(t, exchange(t, address, head+"Content-Length: 1099511627776\r\nExpect: 100-continue\r\n\r\n"), "HTTP/1.1 413 ")
	assert.Contains(t, exchange(t, address, head+"Transfer-Encoding: chunked\r\n\r\n3e9\r\n"+strings.Repeat("x", 1001)+"\r\n"), "HTTP/1.1 413 ")
	assert.Contains(t, exchange(t, address, head+"X: "+strings.Repeat("x", 64<<10)+"\r\n\r\n"), "HTTP/1.1 431 ")
	assert.Zero(t, f.calls.Load())
}

// TestSlowRequests: a request that does not come in time takes neither a sandbox nor a connection for ever, whichever part of it is missing.
func TestSlowRequests(t *testing.T) {
	f, _, address := start(t, func(c *Config) { c.ReadTime = 100 * time.Millisecond })
	head := "POST /call/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n"
	assert.Contains(t, exchange(t, address, head+"\r\nhalf"), "HTTP/1.1 408 ")
	assert.Empty(t, exchange(t, address, head))
	assert.Contains(t, exchange(t, address, strings.Replace(head, "/call/echo", "/nowhere", 1)+"\r\nhalf"), "HTTP/1.1 404 ")
	assert.Contains(t, exchange(t, address, head+"Transfer-Encoding: chunked\r\n\r\nzzz\r\n"), "HTTP/1.1 400 ")
	assert.Zero(t, f.calls.Load())
	status, _, _ := post(t, address, "echo", "a whole one")
	assert.Equal(t, 200, status)
}

// TestCallOutlivesReadTime: the time of a request that has come is the call's, not that of reading.
func TestCallOutlivesReadTime(t *testing.T) {
	f, _, address := start(t, func(c *Config) { c.ReadTime = 50 * time.Millisecond })
	f.call = func(ctx context.Context, _ string, _ []byte) ([]byte, error) {
		select {
		case <-ctx.Done():
			return nil, &sandbox.Error{Kind: sandbox.ErrTime}
		case <-time.After(300 * time.Millisecond):
			return []byte("late"), nil
		}
	}
	status, _, reply := post(t, address, "x", "request")
	assert.Equal(t, 200, status)
	assert.Equal(t, "late", reply)
}

// TestTime: a call that takes longer than it may is ended, and so is the call of a caller that goes.
func TestTime(t *testing.T) {
	f, s, address := start(t, func(c *Config) { c.CallTime = 50 * time.Millisecond })
	status, _, body := post(t, address, "spins", "")
	assert.Equal(t, 504, status)
	assert.Contains(t, body, `"out of time"`)

	s.config.CallTime = time.Hour
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "POST", "http://"+address+"/call/spins", strings.NewReader("x"))
	require.NoError(t, err)
	go func() {
		for f.now.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
		leave()
	}()
	_, err = http.DefaultClient.Do(r)
	assert.ErrorIs(t, err, context.Canceled)
	require.Eventually(t, func() bool { return f.puts.Load() == 2 }, time.Minute, time.Millisecond)
	require.Eventually(t, func() bool { return value(t, address, `kapsel_calls_total{outcome="gone"}`) == 1 }, time.Minute, time.Millisecond)
}

// TestMany: of many calls at once as many are at work as there are sandboxes, as many wait as may, and the others are told to come again.
func TestMany(t *testing.T) {
	f, s, address := start(t, func(c *Config) { c.Queue, c.Wait = 3, time.Minute })
	release := make(chan struct{})
	f.call = func(context.Context, string, []byte) ([]byte, error) {
		<-release
		return nil, nil
	}
	var mu sync.Mutex
	statuses := map[int]int{}
	var callers sync.WaitGroup
	for range 40 {
		callers.Go(func() {
			answer, err := http.Post("http://"+address+"/call/x", "", nil)
			if !assert.NoError(t, err) {
				return
			}
			answer.Body.Close()
			mu.Lock()
			defer mu.Unlock()
			statuses[answer.StatusCode]++
			if answer.StatusCode == 503 && statuses[503] == 35 {
				close(release)
			}
		})
	}
	callers.Wait()
	assert.Equal(t, map[int]int{200: 5, 503: 35}, statuses)
	assert.EqualValues(t, 2, f.most.Load())
	assert.Empty(t, s.places)
}

// TestWait: a call does not wait for a sandbox for ever.
func TestWait(t *testing.T) {
	f, _, address := start(t, func(c *Config) { c.Wait = 20 * time.Millisecond })
	f.slots <- struct{}{}
	f.slots <- struct{}{}
	status, _, body := post(t, address, "echo", "")
	assert.Equal(t, 503, status)
	assert.Contains(t, body, `"busy"`)
	<-f.slots
	status, _, _ = post(t, address, "echo", "")
	assert.Equal(t, 200, status)
	<-f.slots
}

// TestConnections: there are never more connections than may be.
func TestConnections(t *testing.T) {
	_, _, address := start(t, func(c *Config) { c.Connections, c.ReadTime = 1, 200*time.Millisecond })
	first, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer first.Close()
	_, err = io.WriteString(first, "GET /heal")
	require.NoError(t, err)
	status, _ := get(t, address, "/healthz") // when the first has been given up
	assert.Equal(t, 200, status)
}

// TestEnd: when the server is told to end, calls that are open end, and no further ones begin; the time that they have is bounded.
func TestEnd(t *testing.T) {
	for _, test := range []struct {
		name    string
		release bool
		err     string
	}{
		{"a call that ends", true, ""},
		{"a call that does not", false, "serve: connections had not ended after 100ms, with 1 calls: they were cut off"},
	} {
		t.Run(test.name, func(t *testing.T) {
			begun, release := make(chan struct{}), make(chan struct{})
			f := &fake{slots: make(chan struct{}, 1), call: func(ctx context.Context, _ string, _ []byte) ([]byte, error) {
				close(begun)
				select {
				case <-release:
					return []byte("whole"), nil
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}}
			s, err := newServer(f, Config{Concurrent: 1})
			require.NoError(t, err)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			grace := 100 * time.Millisecond
			if test.release {
				grace = time.Minute
			}
			ctx, leave := context.WithCancel(context.Background())
			defer leave()
			ended := make(chan error, 1)
			go func() { ended <- s.Serve(ctx, l, grace) }()
			replies := make(chan string, 1)
			go func() {
				answer, err := http.Post("http://"+l.Addr().String()+"/call/x", "", nil)
				if err != nil {
					replies <- ""
					return
				}
				body, _ := io.ReadAll(answer.Body)
				replies <- string(body)
			}()
			<-begun
			leave()
			require.Eventually(t, s.leaving.Load, time.Minute, time.Millisecond)
			w := httptest.NewRecorder()
			s.ServeHTTP(w, httptest.NewRequest("GET", "/healthz", nil))
			assert.Equal(t, http.StatusServiceUnavailable, w.Code)
			if test.release {
				close(release)
				assert.Equal(t, "whole", <-replies)
				assert.NoError(t, <-ended)
				return
			}
			assert.EqualError(t, <-ended, test.err)
			assert.Empty(t, <-replies)
		})
	}
}

// TestListenerFails: is an error, not silence.
func TestListenerFails(t *testing.T) {
	s, err := newServer(&fake{}, Config{Concurrent: 1})
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l.Close()
	assert.ErrorContains(t, s.Serve(t.Context(), l, time.Minute), "serve: ")
}

func TestConfig(t *testing.T) {
	for _, test := range []struct {
		config Config
		want   string
	}{
		{Config{}, "serve: 0 calls at a time: want at least one"},
		{Config{Concurrent: 1, Body: -1}, "serve: a limit below 0: want a positive one, or 0 for the default"},
		{Config{Concurrent: 1, Wait: -1}, "serve: a limit below 0: want a positive one, or 0 for the default"},
	} {
		_, err := New(nil, test.config)
		assert.EqualError(t, err, test.want)
	}
	c, err := Config{Concurrent: 3, Queue: -1}.withDefaults()
	require.NoError(t, err)
	assert.Zero(t, c.Queue)
	assert.Equal(t, sandbox.DefaultPayload, c.Body)
}

// value is a metric's, as a line of GET /metrics has it.
func value(t *testing.T, address, name string) (v float64) {
	_, text := get(t, address, "/metrics")
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			_, err := fmt.Sscan(rest, &v)
			require.NoError(t, err)
			return v
		}
	}
	t.Fatalf("no %s in:\n%s", name, text)
	return 0
}

// TestMetrics: what Prometheus' own parser reads is what was done.
func TestMetrics(t *testing.T) {
	_, _, address := start(t)
	for range 3 {
		post(t, address, "echo", "12345")
	}
	post(t, address, "faults", "1234567")
	post(t, address, "echo", strings.Repeat("x", 2000))
	post(t, address, "unknown", "")
	answer, err := http.Get("http://" + address + "/metrics")
	require.NoError(t, err)
	defer answer.Body.Close()
	assert.Equal(t, expfmt.FmtText, expfmt.ResponseFormat(answer.Header))
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	require.NoError(t, err, "%s", text)

	calls := map[string]float64{}
	for _, m := range families["kapsel_calls_total"].Metric {
		calls[m.Label[0].GetValue()] = m.Counter.GetValue()
	}
	assert.Len(t, calls, len(outcomes()))
	assert.EqualValues(t, 3, calls["ok"])
	assert.EqualValues(t, 1, calls["fault"])
	assert.EqualValues(t, 1, calls["too_large"])
	assert.EqualValues(t, 1, calls["failed"])
	h := families["kapsel_call_seconds"].Metric[0].Histogram
	assert.EqualValues(t, 6, h.GetSampleCount())
	assert.Len(t, h.Bucket, len(buckets)+1)
	before := uint64(0)
	for _, b := range h.Bucket {
		assert.LessOrEqual(t, before, b.GetCumulativeCount())
		before = b.GetCumulativeCount()
	}
	assert.EqualValues(t, 22, families["kapsel_request_bytes_total"].Metric[0].Counter.GetValue())
	assert.EqualValues(t, 15, families["kapsel_reply_bytes_total"].Metric[0].Counter.GetValue())
	assert.EqualValues(t, 5, families["kapsel_sandbox_resets_total"].Metric[0].Counter.GetValue())
	assert.Len(t, families["kapsel_sandboxes"].Metric, 2)
	for name, f := range families {
		assert.NotEmpty(t, f.GetHelp(), name)
	}
}

// TestSandboxHasNoHTTP: who imports package sandbox alone links no server.
func TestSandboxHasNoHTTP(t *testing.T) {
	list, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "kapsel/sandbox").Output()
	require.NoError(t, err)
	assert.Contains(t, string(list), "kapsel/vmm\n")
	assert.NotContains(t, string(list), "net/http")
}
