package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRead(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       results
		err        string
	}{
		{"nothing", "", results{}, ""},
		{"one", "BenchmarkA 10 1.50 ns/op\n", results{"A": {"ns/op": 1.5}}, ""},
		{"go test", "goos: linux\npkg: x\nBenchmarkB/c-d-16         \t 20\t 5.5e3 ns/op\t  7 cpu-ns/op\nPASS\n",
			results{"B/c-d": {"ns/op": 5500, "cpu-ns/op": 7}}, ""},
		{"a name that ends with a word", "BenchmarkB/first-exit 1 2 ns/op", results{"B/first-exit": {"ns/op": 2}}, ""},
		{"the later counts", "BenchmarkA 1 1 ns/op\nBenchmarkA 1 2 ns/op 3 B/op", results{"A": {"ns/op": 2, "B/op": 3}}, ""},
		{"text that starts alike", "Benchmark figures are in here\nBenchmarkA\nBenchmarkA 5 7", results{}, ""},
		{"JSON", "\n" + `{"version": 1, "results": [{"name": "A", "ops": 9, "metrics": [{"unit": "instructions/op", "value": 7.5}]}, {"name": "B"}]}`,
			results{"A": {"instructions/op": 7.5}}, ""},
		{"other JSON", `{"version": 1}`, nil, `no "results" in it`},
		{"cut JSON", `{"results": [`, nil, "unexpected end of JSON"},
		{"no number", "\nBenchmarkA 1 many ns/op", nil, `line 2: benchmark A: want a value, found "many"`},
		{"not a number", "BenchmarkA 1 NaN ns/op", nil, `want a value, found "NaN"`},
		{"no unit", "BenchmarkA 1 2 ns/op 3", nil, `line 1: benchmark A: value "3" has no unit`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := results{}
			err := got.read([]byte(tt.text))
			if tt.err != "" {
				assert.ErrorContains(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestTable(t *testing.T) {
	for _, tt := range []struct {
		name   string
		found  results
		icount bool
		want   [][]string
	}{
		{"a ratio", results{"Linux/getpid": {instructions: 300}, "NullCommand": {instructions: 200}}, true,
			[][]string{{"system call that does nothing", "Linux: getpid", "instructions", "300", "200", "1.50"}}},
		{"without ours", results{"Linux/getpid": {instructions: 300}}, true,
			[][]string{{"system call that does nothing", "Linux: getpid", "instructions", "300", "-", "-"}}},
		{"ours in another unit", results{"Linux/getpid": {instructions: 300}, "NullCommand": {"ns/op": 200}}, true,
			[][]string{{"system call that does nothing", "Linux: getpid", "instructions", "300", "-", "-"}}},
		{"ours is nothing", results{"Linux/getpid": {instructions: 30.5}, "NullCommand": {instructions: 0}}, true,
			[][]string{{"system call that does nothing", "Linux: getpid", "instructions", "30.5", "0", "-"}}},
		{"no peer", results{"NullCommand": {instructions: 200}}, true, nil},
		{"counted", results{"Floor/exit": {passed: 2793.31}, "Exit/port": {passed: 3924}}, true,
			[][]string{{"exit to the monitor and back", "C, least of KVM", "ticks", "2793", "3924", "0.71"}}},
		{"timed", results{"Floor/exit": {passed: 2793.31}, "Exit/port": {passed: 3924}}, false,
			[][]string{{"exit to the monitor and back", "C, least of KVM", "ns", "2793", "3924", "0.71"}}},
		{"one against two", results{"Linux/pipe": {instructions: 400}, "Linux/futex": {instructions: 100}, "TaskSwitch": {instructions: 200}}, true,
			[][]string{
				{"to another task that waits, one way", "Linux: futex", "instructions", "100", "200", "0.50"},
				{"to another task that waits, one way", "Linux: pipe", "instructions", "400", "200", "2.00"},
			}},
	} {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want, table(tt.found, tt.icount)) })
	}
}

func TestRun(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		return path
	}
	peers := write("peers", "BenchmarkLinux/getpid 1001 311.00 instructions/op\nBenchmarkFloor/exit 9 50 ns/op\n")
	ours := write("ours", "BenchmarkNullCommand-2 1000 622 instructions/op\n")
	for _, tt := range []struct {
		name  string
		files []string
		ours  string
		want  string
		err   string
	}{
		{"both", []string{peers}, ours, `
| what                          | peer            | unit         | peer's | ours | peer's : ours |
|-------------------------------|-----------------|--------------|-------:|-----:|--------------:|
| system call that does nothing | Linux: getpid   | instructions |    311 |  622 |          0.50 |
| exit to the monitor and back  | C, least of KVM | ticks        |     50 |    - |             - |
`, ""},
		{"no file", nil, ours, "", "no file of results given"},
		{"a file that is not there", []string{filepath.Join(dir, "none")}, "", "", "no such file"},
		{"no results", []string{write("empty", "ok\n")}, ours, "", "no result of a peer"},
		{"a bad file", []string{write("bad", "BenchmarkA 1 x ns/op\n")}, "", "", "bad: line 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			err := run(&out, tt.files, tt.ours, true)
			if tt.err != "" {
				assert.ErrorContains(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, strings.TrimPrefix(tt.want, "\n"), out.String())
		})
	}
}
