package serve

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// buckets are those of the histogram of a call's time, in seconds.
var buckets = []float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}

// metrics count calls. What is called is no label: callers choose it, and memory would grow with their choices.
type metrics struct {
	mu       sync.Mutex // holds the rest
	calls    map[string]uint64
	times    []uint64 // calls by bucket; the last are above all
	seconds  float64
	requests uint64 // bytes
	replies  uint64
}

func newMetrics() *metrics {
	m := &metrics{calls: map[string]uint64{}, times: make([]uint64, len(buckets)+1)}
	for _, o := range outcomes() {
		m.calls[o.word] = 0
	}
	return m
}

// count counts a call.
func (m *metrics) count(o outcome, took time.Duration, request, reply int) {
	bucket := 0
	for bucket < len(buckets) && took.Seconds() > buckets[bucket] {
		bucket++
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls[o.word]++
	m.times[bucket]++
	m.seconds += took.Seconds()
	m.requests += uint64(request)
	m.replies += uint64(reply)
}

// showMetrics serves GET /metrics, in Prometheus' text format 0.0.4.
func (s *Server) showMetrics(w http.ResponseWriter, _ *http.Request) {
	var t text
	s.metrics.write(&t)
	pool := s.backend.Stats()
	t.metric("kapsel_places_used", "gauge", "Calls that are at work or wait for a sandbox.", float64(len(s.places)))
	t.family("kapsel_sandboxes", "gauge", "Sandboxes of the pool, by state.")
	t.sample(`kapsel_sandboxes{state="busy"}`, float64(pool.Busy))
	t.sample(`kapsel_sandboxes{state="idle"}`, float64(pool.Idle))
	t.metric("kapsel_sandboxes_started_total", "counter", "Sandboxes that were started from the snapshot.", float64(pool.Started))
	t.metric("kapsel_sandbox_resets_total", "counter", "Sandboxes that were reset behind a call.", float64(pool.Resets))
	t.metric("kapsel_sandboxes_lost_total", "counter", "Sandboxes that could not be reset.", float64(pool.Lost))
	t.metric("kapsel_sandbox_waits_total", "counter", "Calls that found all sandboxes in use.", float64(pool.Waited))
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.Write(t.Bytes())
}

// write writes what was counted.
func (m *metrics) write(t *text) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t.family("kapsel_calls_total", "counter", "Calls by how they ended.")
	for _, o := range outcomes() {
		t.sample(fmt.Sprintf("kapsel_calls_total{outcome=%q}", o.word), float64(m.calls[o.word]))
	}
	t.family("kapsel_call_seconds", "histogram", "Time of calls, from the end of the request's header to the answer.")
	var sum uint64
	for i, limit := range buckets {
		sum += m.times[i]
		t.sample(fmt.Sprintf("kapsel_call_seconds_bucket{le=\"%v\"}", limit), float64(sum))
	}
	sum += m.times[len(buckets)]
	t.sample(`kapsel_call_seconds_bucket{le="+Inf"}`, float64(sum))
	t.sample("kapsel_call_seconds_sum", m.seconds)
	t.sample("kapsel_call_seconds_count", float64(sum))
	t.metric("kapsel_request_bytes_total", "counter", "Bytes of requests.", float64(m.requests))
	t.metric("kapsel_reply_bytes_total", "counter", "Bytes of replies.", float64(m.replies))
}

// text is Prometheus' text format.
type text struct{ bytes.Buffer }

// family begins a metric with several samples.
func (t *text) family(name, kind, help string) {
	fmt.Fprintf(t, "# HELP %s %s\n# TYPE %[1]s %[3]s\n", name, help, kind)
}

func (t *text) sample(name string, value float64) {
	fmt.Fprintf(t, "%s %s\n", name, strconv.FormatFloat(value, 'g', -1, 64))
}

// metric writes a metric of one sample.
func (t *text) metric(name, kind, help string, value float64) {
	t.family(name, kind, help)
	t.sample(name, value)
}
