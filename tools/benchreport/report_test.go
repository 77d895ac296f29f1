package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/bench"
)

// folder is one with these files, by name.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	return dir
}

// asJSON is what kapsel bench prints of results: name, unit, value.
func asJSON(t *testing.T, r bench.Run, results ...any) string {
	t.Helper()
	r.Version = bench.Version
	for i := 0; i < len(results); i += 3 {
		r.Results = append(r.Results, bench.Result{Name: results[i].(string), Ops: 1,
			Metrics: []bench.Metric{{Unit: results[i+1].(string), Value: results[i+2].(float64)}}})
	}
	text, err := json.Marshal(r)
	require.NoError(t, err)
	return string(text)
}

// counts are of all paths with a goal, some met, and skipped ones.
func counts(t *testing.T, skipped ...bench.Skip) string {
	return asJSON(t, bench.Run{Skipped: skipped},
		"BootMain", "instructions/op", 2645.0, "Empty", "instructions/op", 12.0, "NullCommand", "instructions/op", 157.0,
		"YieldNoWait", "instructions/op", 100.0, "Subscribe", "instructions/op", 302.0, "Memop", "instructions/op", 113.0,
		"UpcallRoundTrip", "instructions/op", 320.0, "TaskSwitch", "instructions/op", 551.0, "IPCBuffer", "instructions/op", 1857.0,
		"InterruptToCapsule", "instructions/op", 257.0, "InterruptToTask", "instructions/op", 1154.0,
		"AlarmLatency", "instructions/op", 998.0, "NullCommand32", "instructions/op", 202.0,
		"UpcallRoundTrip32", "instructions/op", 486.0, "VirtioConsoleWrite4096", "instructions/op", 3494.0, "ServiceCall", "instructions/op", 2500.0, "MinimalFirstTask", "instructions/op", 131752.0,
		"SmallestMemory", "KiB", 2984.0, "MinimalMemory", "KiB", 2568.0, "MinimalTextRodata", "bytes", 90112.0, "KernelPclntab", "bytes", 37666.0)
}

func underKVM(t *testing.T, warnings ...string) string {
	r := bench.Run{Config: []bench.Fact{{Key: "accel", Value: "kvm, direct door"}, {Key: "kvm", Value: "kvm_amd"}}, Warnings: warnings}
	return asJSON(t, r, "BootEntered", "cycles/op", 1286.0, "BootFirstOutput", "user-exits/op", 15.0,
		"NullCommand", "cycles/op", 320.5, "NullCommand", "p99-cycles", 400.0, "NullCommand", "exits/op", 0.003, "NullCommand", "user-exits/op", 0.0,
		"VirtioConsoleWrite4096", "user-exits/op", 3.0, "SmallestMemory", "KiB", 760.0, "MinimalMemory", "KiB", 632.0)
}

func report(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	require.NoError(t, run(&out, []string{dir}, ""))
	return out.String()
}

func TestPaths(t *testing.T) {
	assert.Equal(t, `| path                   | unit         |  count |  goal | met |
|------------------------|--------------|-------:|------:|----:|
| BootMain               | instructions |   2645 |       |     |
| Empty                  | instructions |     12 |       |     |
| NullCommand            | instructions |    157 |   110 |  no |
| YieldNoWait            | instructions |    100 |   100 | yes |
| Subscribe              | instructions |    302 |   310 | yes |
| Memop                  | instructions |    113 |   120 | yes |
| UpcallRoundTrip        | instructions |    320 |   320 | yes |
| TaskSwitch             | instructions |    551 |   550 |  no |
| IPCBuffer              | instructions |   1857 |  1700 |  no |
| InterruptToCapsule     | instructions |    257 |   300 | yes |
| InterruptToTask        | instructions |   1154 |  1000 |  no |
| AlarmLatency           | instructions |    998 |   850 |  no |
| NullCommand32          | instructions |    202 |   180 |  no |
| UpcallRoundTrip32      | instructions |    486 |   460 |  no |
| VirtioConsoleWrite4096 | instructions |   3494 |  3500 | yes |
| ServiceCall            | instructions |   2500 |  2500 | yes |
| MinimalFirstTask       | instructions | 131752 | 45000 |  no |
| SmallestMemory         | KiB          |   2984 |       |     |
| MinimalMemory          | KiB          |   2568 |   640 |  no |
| MinimalTextRodata      | bytes        |  90112 | 90112 | yes |
| KernelPclntab          | bytes        |  37666 | 66000 | yes |

9 of 18 goals are met.
`, report(t, folder(t, map[string]string{"counts.json": counts(t)})))
}

// A table that is not complete is shown, and is an error.
func TestPathsThatLack(t *testing.T) {
	var out strings.Builder
	err := run(&out, []string{folder(t, map[string]string{"counts.json": counts(t, bench.Skip{Name: "ExitMMIO", Reason: "no device"})})}, "")
	assert.ErrorContains(t, err, "not measured: ExitMMIO")
	assert.Contains(t, out.String(), "9 of 18 goals are met.\n\nNot measured: ExitMMIO: no device.\n")

	out.Reset()
	one := asJSON(t, bench.Run{}, "NullCommand", "instructions/op", 109.0)
	err = run(&out, []string{folder(t, map[string]string{"counts.json": one})}, "")
	assert.ErrorContains(t, err, "not measured: AlarmLatency, IPCBuffer, InterruptToCapsule, InterruptToTask, KernelPclntab, Memop, MinimalFirstTask, MinimalMemory, MinimalTextRodata, "+
		"NullCommand32, ServiceCall, Subscribe, TaskSwitch, UpcallRoundTrip, UpcallRoundTrip32, VirtioConsoleWrite4096, YieldNoWait")
	assert.Contains(t, out.String(), "1 of 1 goals are met.")
}

// Exits are shown of any KVM, cycles only where they are a processor's.
func TestPathsUnderKVM(t *testing.T) {
	timed := report(t, folder(t, map[string]string{"counts.json": counts(t), "kvm.json": underKVM(t, "turbo is on")}))
	assert.Regexp(t, `\| path +\| unit +\| +count \| cycles \| +99 % \| exits +\| to the monitor \| +goal \| met \|`, timed)
	assert.Regexp(t, `\| NullCommand +\| instructions +\| +157 \| +320\.5 \| +400 \| +0 \| +0 \| +110 \| +no \|`, timed)
	assert.Regexp(t, `\| Empty +\| instructions +\| +12 \| +- \| +- \| +- \| +- \| +\| +\|`, timed)

	assert.Regexp(t, `\| SmallestMemory +\| KiB +\| +760 \| .*- \| +\| +\|`, timed)
	assert.Regexp(t, `\| MinimalMemory +\| KiB +\| +632 \| .*\| +640 \| +yes \|`, timed)
	assert.Regexp(t, `\| VirtioConsoleWrite4096 .*\| +- \| +3 \| +3500, 2 to the monitor \| +no \|`, timed)
	assert.Contains(t, timed, "\n9 of 18 goals are met.\n")

	nested := report(t, folder(t, map[string]string{"counts.json": counts(t), "kvm.json": underKVM(t, "cycles mean nothing: nested")}))
	assert.NotContains(t, nested, "cycles")
	assert.Regexp(t, `\| NullCommand +\| instructions +\| +157 \| +0 \| +0 \| +110 \| +no \|`, nested)
}

// Modelled cycles stand beside the counts, with what they leave out.
func TestModelledCycles(t *testing.T) {
	modelled := asJSON(t, bench.Run{}, "NullCommand", "skylake-cycles/op", 53.0, "NullCommand", "znver3-cycles/op", 49.5, "NullCommand", "left-out/op", 2.0)
	text := report(t, folder(t, map[string]string{"counts.json": counts(t), "model.json": modelled}))
	assert.Regexp(t, `\| +count \| skylake, modelled \| znver3, modelled \| left out \|`, text)
	assert.Regexp(t, `\| NullCommand +\| instructions +\| +157 \| +53 \| +49\.5 \| +2 \| +110 \| +no \|`, text)
	assert.Regexp(t, `\| YieldNoWait +\| instructions +\| +100 \| +- \| +- \| +- \|`, text)
	assert.Contains(t, text, "Not in them: cache misses, mispredicted branches, changes of privilege level")

	assert.NotContains(t, report(t, folder(t, map[string]string{"counts.json": counts(t)})), "odelled", "not asked for")
	none := report(t, folder(t, map[string]string{"counts.json": counts(t), "facts.txt": "modelled cycles: none: there is no llvm-mca\n"}))
	assert.Contains(t, none, "\nModelled cycles: none: there is no llvm-mca.\n")
}

func TestDocument(t *testing.T) {
	dir := folder(t, map[string]string{
		"counts.json":     counts(t),
		"kvm.json":        underKVM(t, "cycles mean nothing: nested"),
		"facts.txt":       "date: 2026-01-02\nsystem: Debian: 12\nno fact\n",
		"host.txt":        "kvm: /dev/kvm of Linux 6.1\nBenchmarkExit/port-2 \t 9 \t 13419 ns/op \t 0 B/op \t 0 allocs/op\n",
		"peers/linux.txt": "BenchmarkLinux/getpid 1001 314.00 instructions/op\nBenchmarkLinux/fault 1001 2607 instructions/op\n",
		"peers/box.txt":   "BenchmarkCall-2 100 12345 ns/op 2.000 exits/op 0 B/op 0 allocs/op\n",
		"peers/ours.txt":  "kvm: nested\nBenchmarkExit/port 9 4020 ns/op\n",
		"timed/floor.txt": "BenchmarkFloor/exit 9 2000.5 ns/op\n",
		"doc.md":          "# Title\n" + markBegin + "old\n" + markEnd + "end\n",
	})
	doc := filepath.Join(dir, "doc.md")
	written := func() string {
		require.NoError(t, run(nil, []string{dir}, doc))
		text, err := os.ReadFile(doc)
		require.NoError(t, err)
		return string(text)
	}
	text := written()
	assert.True(t, strings.HasPrefix(text, "# Title\n"+markBegin+"\n- date: 2026-01-02\n- system: Debian: 12\n\n### Paths"), text)
	assert.True(t, strings.HasSuffix(text, "\n\n"+markEnd+"end\n"), text)
	for _, want := range []string{
		`\nExits: kvm, direct door; kvm_amd\.\n`,
		`\n!\[[^]]+\]\(doc/paths\.svg\)\n`, `\n!\[[^]]+\]\(doc/peers\.svg\)\n`,
		`\| guest's first instruction +\| BootEntered +\| +- \| +1286 \| +- \| +- \| +- \| +- \|`,
		`\| kernel's main function +\| BootMain +\| +2645 \| +- \| +- \| +- \| +- \| +- \|`,
		`\| first byte of output +\| BootFirstOutput +\| +- \| +- \| +- \| +15 \| +- \| +- \|`,
		`2984 KiB by the PVH door, 760 KiB by the direct one\.\n\nThe minimal board's: 2568 KiB by the PVH door, 632 KiB by the direct one\.\n`,
		`This host's KVM: /dev/kvm of Linux 6\.1\.\n`,
		`\| exit of a port, and back +\| ns +\| +13419 \| +4020 \|`,
		`\| allocations for it +\| +\| +0 \| +- \|`,
		`\| system call that does nothing +\| Linux: getpid +\| instructions \| +314 \| +157 \| +2\.00 \|`,
		`### A sandbox, counted\n\n\| what +\|.*\n.*\n\| a call and its answer +\| ticks +\| +12345 \| +\| +\| +- \|\n\| a call and its answer +\| exits +\| +2 \| +4 \| yes \|`,
		`\| page fault to handler +\| Linux: SIGSEGV +\| instructions \| +2607 \| +- \| +- \|`,
		`### Peers, timed on this host's KVM\n\n\| what +\|.*\n.*\n\| exit to the monitor and back +\| C, least of KVM \| ns +\| +2000 \|`,
	} {
		assert.Regexp(t, want, text)
	}
	assert.NotContains(t, text, "tasks loaded", "a stage that was not measured")
	assert.Equal(t, text, written(), "once more")

	svg, err := os.ReadFile(filepath.Join(dir, "doc", "paths.svg"))
	require.NoError(t, err)
	assert.Contains(t, string(svg), ">NullCommand<")
	assert.NotContains(t, string(svg), "BootMain")
	assert.FileExists(t, filepath.Join(dir, "doc", "peers.svg"))
}

func TestDocumentOfCountsAlone(t *testing.T) {
	dir := folder(t, map[string]string{"counts.json": counts(t), "doc.md": markBegin + markEnd})
	doc := filepath.Join(dir, "doc.md")
	require.NoError(t, run(nil, []string{dir}, doc))
	text, err := os.ReadFile(doc)
	require.NoError(t, err)
	assert.NotContains(t, string(text), "peers.svg")
	assert.NotContains(t, string(text), "### The monitor")
	assert.NotContains(t, string(text), "### Peers")
	assert.NotContains(t, string(text), "### A sandbox")
	assert.NoFileExists(t, filepath.Join(dir, "doc", "peers.svg"))
}

// Growth has the paths of which all machines have a count, by number and not by name.
func TestGrowth(t *testing.T) {
	machine := func(results ...any) string { return asJSON(t, bench.Run{}, results...) }
	dir := folder(t, map[string]string{
		"counts.json":           counts(t),
		"growth/tasks-3.json":   machine("BootLoaded", instructions, 1000.0, "Empty", instructions, 12.0, "NullCommand", instructions, 110.0, "Preemption", instructions, 791.0, "AlarmLatency", instructions, 900.0),
		"growth/tasks-16.json":  machine("BootLoaded", instructions, 14000.0, "NullCommand", instructions, 110.0, "Preemption", instructions, 790.0, "AlarmLatency", instructions, 950.0),
		"growth/tasks-64.json":  machine("BootLoaded", instructions, 62003.0, "NullCommand", instructions, 110.0, "Preemption", instructions, 790.0, "AlarmLatency", instructions, 880.0, "KernelText", "bytes", 1.0),
		"growth/memory-64.json": machine("BootLoaded", instructions, 1000.0),
		"doc.md":                markBegin + markEnd,
	})
	doc := filepath.Join(dir, "doc.md")
	require.NoError(t, run(nil, []string{dir}, doc))
	text, err := os.ReadFile(doc)
	require.NoError(t, err)
	assert.Contains(t, string(text), `
### Growth with tasks

Tasks in the image, all loaded: three that measure, the others wait.

| path         |    3 |    16 |    64 | for each more |
|--------------|-----:|------:|------:|--------------:|
| BootLoaded   | 1000 | 14000 | 62003 |          1000 |
| NullCommand  |  110 |   110 |   110 |             0 |
| Preemption   |  791 |   790 |   790 |             0 |
| AlarmLatency |  900 |   950 |   880 |          -0.3 |
`)
	assert.NotContains(t, string(text), "Growth with memory", "one machine does not grow")
}

func TestPeerTable(t *testing.T) {
	const instructions = "instructions/op"
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
		t.Run(tt.name, func(t *testing.T) {
			got := peerTable(tt.found, tt.icount)
			assert.Equal(t, len(tt.want) == 0, got.empty())
			assert.ElementsMatch(t, tt.want, got.rows[1:])
		})
	}
}

// A sandbox's figures stand beside the floor's, if they were measured, with what they should be at most.
func TestSandboxTable(t *testing.T) {
	found := results{
		"Floor/exit":   {passed: 2000},
		"Floor":        {passed: 3000},
		"Call":         {passed: 15000, "exits/op": 2, "allocs/op": 1},
		"ServiceCall":  {instructions: 2869},
		"Reset16Pages": {passed: 150_000, "copied-bytes/op": 65536, "ioctls/op": 31},
	}
	assert.Equal(t, [][]string{
		{"the floor: an exit and back, in C", "ticks", "2000", "", "", "1.00"},
		{"the same in Go", "ticks", "3000", "", "", "1.50"},
		{"a call and its answer", "ticks", "15000", "", "", "7.50"},
		{"a call and its answer", "exits", "2", "4", "yes", ""},
		{"a call and its answer", "allocations", "1", "0", "no", ""},
		{"of it in the guest, without a byte", "instructions", "2869", "", "", ""},
		{"a reset of 16 pages", "ticks", "150000", "", "", "75.00"},
		{"a reset of 16 pages", "bytes copied", "65536", "65536", "yes", ""},
		{"a reset of 16 pages", "calls of KVM", "31", "30", "no", ""},
	}, sandboxTable(found, true).rows[1:])
	delete(found, "Floor/exit")
	assert.Equal(t, []string{"the same in Go", "ns", "3000", "", "", "-"}, sandboxTable(found, false).rows[1], "timed, without the program in C")
	delete(found, "Call")
	assert.True(t, sandboxTable(found, true).empty(), "the rest is not the sandbox's own")
}

func TestStartTable(t *testing.T) {
	found := results{"Start/runc": {passed: 60241569, used: 53944000}, "Start/run": {passed: 21448815.4}}
	assert.Equal(t, [][]string{{"what", "ticks", "instructions"}, {"`runc run`", "60241569", "53944000"}, {"`kapsel run`", "21448815", "-"}}, startTable(found, true).rows)
	assert.Equal(t, []string{"what", "ns", "ns of processor"}, startTable(found, false).rows[0])
	assert.True(t, startTable(nil, true).empty())
}

func TestBenchmarkName(t *testing.T) {
	for name, want := range map[string]string{
		"Exit/port-16": "Exit/port", "Exit/port": "Exit/port", "Floor/first-exit": "Floor/first-exit", "Linux/pipe-and-back": "Linux/pipe-and-back",
	} {
		assert.Equal(t, want, benchmarkName(name))
	}
}

// Of two results of the same benchmark and unit the later one stays.
func TestReadResults(t *testing.T) {
	dir := folder(t, map[string]string{
		"a.txt": "BenchmarkA 1 1 ns/op\nBenchmarkA-2 1 2 ns/op 3 B/op\n", "b.txt": "BenchmarkB 1 7.5 ticks/reset\n", "c.md": "no results"})
	got, err := readResults(filepath.Join(dir, "*.txt"))
	require.NoError(t, err)
	assert.Equal(t, results{"A": {"ns/op": 2, "B/op": 3}, "B": {"ticks/reset": 7.5}}, got)
}

func TestRefuses(t *testing.T) {
	good := counts(t)
	for _, tt := range []struct {
		name  string
		files map[string]string
		doc   string
		want  string
	}{
		{"nothing", nil, "", "counts.json\": no such file"},
		{"counts that are none", map[string]string{"counts.json": "hello"}, "", "counts.json\": no results in it"},
		{"a bad run under KVM", map[string]string{"counts.json": good, "kvm.json": "{"}, "", "kvm.json\": line 1: unexpected end of JSON"},
		{"bad results of the monitor", map[string]string{"counts.json": good, "host.txt": "BenchmarkA 1 x ns/op\n"}, "", "host.txt\": line 1"},
		{"a bad peer", map[string]string{"counts.json": good, "peers/linux.txt": "ok\n"}, "", "linux.txt\": no results in it"},
		{"growth by no number", map[string]string{"counts.json": good, "growth/tasks-many.json": good}, "", "tasks-many.json\": want a number behind \"tasks-\""},
		{"growth that is none", map[string]string{"counts.json": good, "growth/tasks-3.json": "{"}, "", "tasks-3.json\": line 1"},
		{"no document", map[string]string{"counts.json": good}, "none.md", "none.md: no such file"},
		{"a document without marks", map[string]string{"counts.json": good, "doc.md": markBegin}, "doc.md", "doc.md: want the lines"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := folder(t, tt.files)
			doc := ""
			if tt.doc != "" {
				doc = filepath.Join(dir, tt.doc)
			}
			assert.ErrorContains(t, run(nil, []string{dir}, doc), tt.want)
		})
	}
	assert.ErrorContains(t, run(nil, nil, ""), "want one folder of results")
}
