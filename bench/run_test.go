package bench

import (
	"encoding/xml"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with the file in testdata, or writes it with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(want), got)
}

// testRun is a run as kapsel bench makes it of the recorded console.
func testRun(t *testing.T) *Run {
	t.Helper()
	results, skips, err := recorded(t).Results(Cycles, spansOf())
	require.NoError(t, err)
	results = append(results,
		Result{Name: "BootFirstOutput", Ops: 1, Metrics: []Metric{{"ns/op", 812345}, {"user-exits/op", 42}, {"pages/op", 77}}},
		Result{Name: "SmallestMemory", Ops: 1, Metrics: []Metric{{"KiB", 2752}}})
	return &Run{
		Config:   Host{CPU: "AMD EPYC 7B13", Kernel: "6.1.0", KVM: "kvm_amd", Mitigations: "meltdown=PTI"}.Facts("kvm", true),
		Warnings: []string{"the governor is powersave"},
		Results:  results, Skipped: skips,
	}
}

// written is what a method of Run writes.
func written(t *testing.T, write func(io.Writer) error) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, write(&b))
	return b.String()
}

func TestText(t *testing.T) {
	r := testRun(t)
	text := written(t, r.WriteText)
	golden(t, "run.txt", text)

	back, err := Read([]byte(text)) // by benchstat's own reader
	require.NoError(t, err)
	assert.Equal(t, r.Config, back.Config)
	require.Len(t, back.Results, len(r.Results))
	for i := range r.Results {
		want := r.Results[i]
		want.SampleUnit, want.Samples = "", nil
		assert.Equal(t, want, back.Results[i])
	}
}

func TestJSON(t *testing.T) {
	r := testRun(t)
	text := written(t, r.WriteJSON)
	golden(t, "run.json", text)
	back, err := Read([]byte(text))
	require.NoError(t, err)
	assert.Equal(t, r, back)
}

func TestTable(t *testing.T) {
	r := testRun(t)
	second := testRun(t)
	second.Results[6].Metrics[0].Value = 160 // NullCommand's median, of a second boot
	second.Results[6].Metrics[4].Value = 0.0003
	r.Results[6].Metrics[4].Value = 0.0088 // a mean that is not exact in binary
	r.Results = append(r.Results, second.Results...)
	golden(t, "table.golden", written(t, r.WriteTable))
}

func TestReadRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, text, want string
	}{
		{"nothing", "", "no results in it"},
		{"other text", "hello, this is a letter\n", "no results in it"},
		{"JSON of something else", `{"name": "x"}`, "version 0 of the JSON form, this kapsel reads version 1"},
		{"a newer version", `{"version": 2, "results": []}`, "version 2"},
		{"cut JSON", `{"version": 1, "results": [`, "unexpected end"},
		{"a benchmark line without figures", "BenchmarkX 1 fast\n", `line 1: parsing measurement: invalid syntax in "BenchmarkX 1 fast"`},
		{"a value that is no number", "accel: kvm\nBenchmarkA 1 NaN cycles/op\n", `line 2: want a finite number, at most 1e+300, found NaN in "BenchmarkA 1 NaN cycles/op"`},
		{"a value without end", "BenchmarkA 1 2 B/op +Inf ns/op\n", `line 1: want a finite number, at most 1e+300, found +Inf in "BenchmarkA 1 2 B/op +Inf ns/op"`},
		{"a negative one", "\nBenchmarkA 1 -inf cycles/op\n", `line 2: want a finite number, at most 1e+300, found -Inf in `},
		{"a value that no float64 holds", "BenchmarkA 1 1e309 cycles/op\n", `line 1: parsing measurement: value out of range in "BenchmarkA 1 1e309 cycles/op"`},
		{"a value whose median may not fit", "BenchmarkA 1 1e308 cycles/op\n", `line 1: want a finite number, at most 1e+300, found 1e+308 in `},
		{"JSON with a value that no float64 holds", "{\"version\": 1,\n\"results\": [{\"metrics\": [{\"value\": 1e309}]}]}", `line 2: want a finite number, at most 1e+300, found "1e309"`},
		{"JSON with one whose median may not fit", "{\"version\": 1,\n\n\"results\": [{\"metrics\": [{\"value\": -1e308}]}]}", `line 3: want a finite number, at most 1e+300, found "-1e308"`},
		{"JSON with one that is no number", "{\"version\": 1,\n\"results\": [{\"metrics\": [{\"value\": NaN}]}]}", `line 2: invalid character 'N'`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Read([]byte(tt.text))
			assert.ErrorContains(t, err, tt.want)
		})
	}
	_, err := ReadFile(filepath.Join(t.TempDir(), "missing"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// What Go's own benchmarks print can be compared too.
func TestReadGoBenchmarks(t *testing.T) {
	r, err := Read([]byte("goos: linux\nBenchmarkBoot-8   \t 100\t  12345 ns/op\t 5 B/op\nPASS\nok  \tkapsel\t1.2s\n"))
	require.NoError(t, err)
	assert.Equal(t, []float64{12345}, r.Values("Boot-8", "ns/op"))
	assert.Equal(t, []float64{5}, r.Values("Boot-8", "B/op"))
	assert.Empty(t, r.Values("Boot-8", "cycles/op"))
	assert.Equal(t, "linux", r.Fact("goos"))
}

// FuzzRead: no file makes the reader, or what shows its runs, panic.
func FuzzRead(f *testing.F) {
	for _, name := range []string{"run.txt", "run.json"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		require.NoError(f, err)
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		r, err := Read(content)
		if err != nil {
			return
		}
		require.NoError(t, r.WriteTable(io.Discard))
		require.NoError(t, WriteComparison(io.Discard, r, r))
	})
}

func TestFigure(t *testing.T) {
	r := runOf("kvm", boots("P", 7, 3, 5)...)
	median, ok := r.Figure("P", "cycles/op")
	assert.True(t, ok)
	assert.Equal(t, 5.0, median)
	for _, other := range [][2]string{{"P", "ns/op"}, {"Q", "cycles/op"}} {
		_, ok = r.Figure(other[0], other[1])
		assert.False(t, ok, other)
	}
}

func TestTimed(t *testing.T) {
	for _, tt := range []struct {
		name string
		host Host
		kvm  bool
		want bool
	}{
		{"hardware", Host{KVM: "kvm_amd"}, true, true},
		{"a virtual machine", Host{KVM: "kvm_amd", Virtual: true}, true, false},
		{"QEMU", Host{KVM: "kvm_amd"}, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &Run{Config: tt.host.Facts("x", tt.kvm), Warnings: tt.host.Warnings(nil)}
			assert.Equal(t, tt.want, r.Timed())
		})
	}
}

// wellFormed checks that a picture is one.
// picture asserts that an SVG picture is that of the golden file, and is well-formed.
func picture(t *testing.T, file string, write func(io.Writer) error) {
	t.Helper()
	svg := written(t, write)
	golden(t, file, svg)
	wellFormed(t, svg)
}

func wellFormed(t *testing.T, svg string) {
	t.Helper()
	decoder := xml.NewDecoder(strings.NewReader(svg))
	var err error
	for err == nil {
		_, err = decoder.Token()
	}
	assert.Equal(t, io.EOF, err, "well-formed XML")
	assert.NotContains(t, svg, "NaN")
	assert.NotContains(t, svg, "Inf")
}

func TestPlots(t *testing.T) {
	for _, tt := range []struct {
		file string
		d    Distribution
	}{
		{"plot-linear.svg", Distribution{{148, 100}, {150, 300}, {152, 400}, {155, 120}, {163, 75}, {181, 5}}},
		{"plot-log.svg", Distribution{{600, 400}, {620, 500}, {900, 80}, {5000, 12}, {1_000_000, 8}}},
		{"plot-one-value.svg", Distribution{{148, 1000}}},
		{"plot-negative.svg", Distribution{{-4, 10}, {0, 80}, {6, 9}, {2000, 1}}},
	} {
		t.Run(tt.file, func(t *testing.T) {
			picture(t, tt.file, func(w io.Writer) error { return WritePlot(w, "NullCommand", Cycles, tt.d) })
		})
	}
}

func TestAxis(t *testing.T) {
	for _, tt := range []struct {
		name  string
		d     Distribution
		log   bool
		ticks []int64
	}{
		{"one value", Distribution{{7, 1}}, false, []int64{6, 7, 8}},
		{"two values", Distribution{{7, 1}, {8, 1}}, false, []int64{7, 8}},
		{"round steps", Distribution{{103, 1}, {187, 1}}, false, []int64{100, 110, 120, 130, 140, 150, 160, 170, 180, 190}},
		{"around 0", Distribution{{-12, 1}, {25, 1}}, false, []int64{-15, -10, -5, 0, 5, 10, 15, 20, 25}},
		{"a hundred times is linear", Distribution{{10, 1}, {1000, 1}}, false, []int64{0, 200, 400, 600, 800, 1000}},
		{"more is logarithmic", Distribution{{10, 1}, {1001, 1}}, true, []int64{10, 100, 1000, 10000}},
		{"from 0", Distribution{{0, 1}, {101, 1}}, true, []int64{1, 10, 100, 1000}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newAxis(tt.d)
			assert.Equal(t, tt.log, a.log)
			assert.Equal(t, tt.ticks, a.ticks)
			assert.GreaterOrEqual(t, a.at(tt.d.Min()), float64(plotLeft))
			assert.LessOrEqual(t, a.at(tt.d.Max()), float64(plotRight))
		})
	}
}

func TestWritePlots(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "plots")
	n, err := testRun(t).WritePlots(dir)
	require.NoError(t, err)
	assert.Equal(t, 7, n, "paths with samples")
	assert.FileExists(t, filepath.Join(dir, "NullCommand.svg"))
	assert.NoFileExists(t, filepath.Join(dir, "BootMain.svg"))
}

func TestGrouped(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1 000", -12345: "-12 345", 1234567: "1 234 567"} {
		assert.Equal(t, want, grouped(n))
	}
}
