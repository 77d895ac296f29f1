package bench

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/vmm"
)

// recorded is a console with what an image printed.
func recorded(t *testing.T) *Console {
	t.Helper()
	text, err := os.ReadFile("testdata/console.txt")
	require.NoError(t, err)
	return console(string(text))
}

func console(text string) *Console {
	c := new(Console)
	c.Write([]byte(text))
	return c
}

func TestConsole(t *testing.T) {
	text, err := os.ReadFile("testdata/console.txt")
	require.NoError(t, err)
	var progress []string
	c := &Console{Progress: func(name string) { progress = append(progress, name) }}
	for i, b := range []byte(strings.ReplaceAll(string(text), "\n", "\r\n")) { // as a UART has it
		assert.False(t, c.Done(), "before byte %d", i)
		c.Write([]byte{b})
	}
	require.NoError(t, c.Err())
	assert.True(t, c.Done())
	assert.True(t, c.Booted())
	assert.Equal(t, []string{"Empty", "Empty32", "NullCommand", "NullCommand32", "ConsoleWrite1", "FaultToDeadTask", "ExitIOEventFD", "TaskSwitch"}, progress)
	assert.Equal(t, boot{entered: 12000, main: 60500, loaded: 171000, firstTask: 190250, stages: true, task: true}, c.boot)
	assert.Equal(t, path{name: "NullCommand", ops: 1000, samples: []Sample{{172, 100}, {176, 800}, {187, 90}, {9000, 10}}}, c.paths[2])
	assert.True(t, c.paths[4].noBase)
	assert.Equal(t, path{name: "ExitIOEventFD", skipped: "no monitor answers"}, c.paths[6])
}

func TestConsoleErrors(t *testing.T) {
	long := "bench Empty 1 unit=ticks " + strings.Repeat("1*1 ", maxLine)
	for _, tt := range []struct {
		name string
		text string
		want string
	}{
		{"nothing", "", `ended before "bench done", after 0 paths`},
		{"no end", "bench Empty 1 unit=ticks 1*1\n", "after 1 paths"},
		{"the end without its line's end", "bench done", "ended before"},
		{"no name", "bench \n", "want the name of a path"},
		{"a path of files", "bench ../../etc 1 unit=ticks 1*1\n", "want the name of a path"},
		{"no operations", "bench Empty\n", "want the number of operations"},
		{"operations in words", "bench Empty many unit=ticks 1*1\n", `found "many"`},
		{"0 operations", "bench Empty 0 unit=ticks 1*1\n", "at least one operation"},
		{"no unit", "bench Empty 1 1*1\n", "want unit=ticks"},
		{"another unit", "bench Empty 1 unit=ns 1*1\n", `found "unit=ns"`},
		{"no samples", "bench Empty 1 unit=ticks\n", "want samples"},
		{"a sample without a count", "bench Empty 1 unit=ticks 5\n", `found "5"`},
		{"a count of 0", "bench Empty 1 unit=ticks 5*0\n", "want a count"},
		{"a negative sample", "bench Empty 1 unit=ticks -5*1\n", `found "-5"`},
		{"a huge sample", "bench Empty 1 unit=ticks 18446744073709551615*1\n", "up to 2^53"},
		{"operations that change", "bench Empty 1 unit=ticks 1*1\nbench Empty 2 unit=ticks 1*1\n", `line 2 of the console, "bench Empty 2 unit=ticks 1*1": 2 operations, but 1 above`},
		{"a path twice", "bench Empty 1 unit=ticks 1*1\nbench Memop 1 unit=ticks 1*1\nbench Empty 1 unit=ticks 1*1\n", "measured before"},
		{"skipped and measured", "bench Memop skipped: why\nbench Memop 1 unit=ticks 1*1\n", "but it was skipped"},
		{"measured and skipped", "bench Memop 1 unit=ticks 1*1\nbench Memop skipped: why\n", "but it was measured"},
		{"boot without a number", "bench-boot entered 1 main x loaded 3\n", `found "x"`},
		{"boot of another kind", "bench-boot started 1\n", "first-task T"},
		{"a line without end", long + "\n", "longer than 65536 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.ErrorContains(t, console(tt.text).Err(), tt.want)
		})
	}
}

func TestConsoleIgnoresTheRest(t *testing.T) {
	c := console("benches\n bench Empty 1\n# bench\nbench: no\n\n\xff\xfe\nbenchmark 5\nbench done\nlater\n")
	assert.NoError(t, c.Err())
	assert.Empty(t, c.paths)
}

// known is a count that is known.
func known(n uint64) vmm.Count { return vmm.Count{N: n} }

var errUnknown = errors.New("no such counter here")

func TestSpans(t *testing.T) {
	begin := vmm.Mark{Value: abi.MarkBegin, UserExits: 10, Exits: known(100), Instructions: known(5000)}
	end := vmm.Mark{Value: abi.MarkEnd, UserExits: 31, Exits: known(131), Instructions: known(9000)}
	spans, err := Spans([]vmm.Mark{begin, end})
	require.NoError(t, err)
	assert.Equal(t, []Span{{UserExits: 20, Exits: known(30), Instructions: known(4000)}}, spans, "the end's own exit is not counted")

	unknown := end
	unknown.Exits = vmm.Count{Err: errUnknown}
	unknown.Instructions = known(1)
	spans, err = Spans([]vmm.Mark{begin, unknown})
	require.NoError(t, err)
	assert.ErrorIs(t, spans[0].Exits.Err, errUnknown)
	assert.ErrorContains(t, spans[0].Instructions.Err, "fell from 5000 to 1")

	together := end
	together.UserExits = begin.UserExits
	spans, err = Spans([]vmm.Mark{begin, together})
	require.NoError(t, err)
	assert.Zero(t, spans[0].UserExits, "a string instruction that sets both")

	for name, marks := range map[string][]vmm.Mark{
		"two begins": {begin, begin}, "an end first": {end, begin},
		"no end": {begin, end, begin}, "another value": {begin, {Value: 7}},
	} {
		_, err := Spans(marks)
		assert.Error(t, err, name)
	}
	none, err := Spans(nil)
	assert.NoError(t, err)
	assert.Empty(t, none)
}

// spansOf is a span for each path of the recorded console that was measured.
func spansOf() []Span {
	empty := Span{UserExits: 0, Exits: known(3), Instructions: known(20_000)}
	spans := []Span{empty, empty}
	for i := range 5 {
		spans = append(spans, Span{UserExits: uint64(i), Exits: known(uint64(100 * i)), Instructions: known(168_000)})
	}
	return spans
}

func TestResults(t *testing.T) {
	results, skips, err := recorded(t).Results(Cycles, spansOf())
	require.NoError(t, err)
	assert.Equal(t, []Skip{{"ExitIOEventFD", "no monitor answers"}}, skips)
	byName := map[string]Result{}
	for _, r := range results {
		byName[r.Name] = r
	}
	for _, tt := range []struct {
		name    string
		metrics []Metric
	}{
		{"BootEntered", []Metric{{"cycles/op", 12000}}},
		{"BootMain", []Metric{{"cycles/op", 48500}}},
		{"BootLoaded", []Metric{{"cycles/op", 159000}}},
		{"BootFirstTask", []Metric{{"cycles/op", 178250}}},
		{"Empty", []Metric{{"cycles/op", 24}, {"min-cycles", 24}, {"p99-cycles", 26}, {"instructions/op", 20}, {"exits/op", 0.003}, {"user-exits/op", 0}}},
		{"NullCommand", []Metric{{"cycles/op", 152}, {"min-cycles", 148}, {"p99-cycles", 163}, {"instructions/op", 148}, {"exits/op", 0}, {"user-exits/op", 0}}},
		{"NullCommand32", []Metric{{"cycles/op", 400}, {"min-cycles", 400}, {"p99-cycles", 400}, {"instructions/op", 148}, {"exits/op", 0.1}, {"user-exits/op", 0.001}}},
		{"ConsoleWrite1", []Metric{{"cycles/op", 100000}, {"min-cycles", 100000}, {"p99-cycles", 100000}, {"instructions/op", 33600}, {"exits/op", 40}, {"user-exits/op", 0.4}}},
		{"FaultToDeadTask", []Metric{{"cycles/op", 21000}, {"min-cycles", 21000}, {"p99-cycles", 21100}, {"instructions/op", 820}, {"exits/op", 1.5}, {"user-exits/op", 0.015}}},
	} {
		assert.Equal(t, tt.metrics, byName[tt.name].Metrics, tt.name)
	}
	assert.Equal(t, Distribution{{148, 100}, {152, 800}, {163, 90}, {8976, 10}}, byName["NullCommand"].Samples)
	assert.Equal(t, "cycles", byName["NullCommand"].SampleUnit)
}

func TestResultsWithoutMarks(t *testing.T) {
	results, _, err := recorded(t).Results(Instructions, nil)
	require.NoError(t, err)
	assert.Equal(t, "BootMain", results[0].Name)
	assert.Equal(t, []Metric{{"instructions/op", 152}, {"min-instructions", 148}, {"p99-instructions", 163}}, results[5].Metrics)
}

func TestUnknownCountsAreLeftOut(t *testing.T) {
	spans := spansOf()
	for i := range spans {
		spans[i].Exits, spans[i].Instructions = vmm.Count{Err: errUnknown}, vmm.Count{Err: errUnknown}
	}
	results, _, err := recorded(t).Results(Cycles, spans)
	require.NoError(t, err)
	assert.Equal(t, []Metric{{"cycles/op", 152}, {"min-cycles", 148}, {"p99-cycles", 163}, {"user-exits/op", 0}}, results[6].Metrics)
}

func TestResultsErrors(t *testing.T) {
	for _, tt := range []struct {
		name string
		text string
		want string
	}{
		{"no base", "bench Memop 1 unit=ticks 1*1\nbench done\n", "Memop needs the path Empty"},
		{"no base of 32 bits", "bench Empty 1 unit=ticks 1*1\nbench Memop32 1 unit=ticks 1*1\nbench done\n", "Memop32 needs the path Empty32"},
		{"the base was skipped", "bench Empty skipped: why\nbench Memop 1 unit=ticks 1*1\nbench done\n", "needs the path Empty"},
		{"time goes backwards", "bench-boot entered 5 main 4 loaded 9\nbench done\n", "BootMain at tick 4, before the first instruction at 5"},
		{"not at its end", "bench Empty 1 unit=ticks 1*1\n", "ended before"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := console(tt.text).Results(Cycles, nil)
			assert.ErrorContains(t, err, tt.want)
		})
	}
	_, _, err := recorded(t).Results(Cycles, spansOf()[1:])
	assert.ErrorContains(t, err, "6 pairs of marks for 7 paths")
}

// An image may set marks around a path before it finds that it must skip it.
func TestMarksOfASkippedPath(t *testing.T) {
	spans := spansOf()
	all := append(append(append([]Span{}, spans[:6]...), Span{UserExits: 9999}), spans[6:]...)
	want, _, err := recorded(t).Results(Cycles, spans)
	require.NoError(t, err)
	got, _, err := recorded(t).Results(Cycles, all)
	require.NoError(t, err)
	assert.Equal(t, want, got)
}

func TestBootWithoutATask(t *testing.T) {
	results, _, err := console("bench-boot entered 5 main 6 loaded 9\nbench done\n").Results(Cycles, nil)
	require.NoError(t, err)
	assert.Len(t, results, 3, "entered, main, loaded")
}

// FuzzConsole: whatever a guest prints, nothing panics, and what makes results is written
// and read again.
func FuzzConsole(f *testing.F) {
	text, err := os.ReadFile("testdata/console.txt")
	require.NoError(f, err)
	f.Add(text)
	f.Add([]byte("bench Empty 1 unit=ticks 9007199254740992*4294967296 0*1\nbench A 1 unit=ticks 0*1\nbench done\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c := new(Console)
		c.Write(text)
		results, skips, err := c.Results(Cycles, nil)
		if err != nil || len(results) == 0 {
			return
		}
		r := Run{Results: results, Skipped: skips}
		var asText, asJSON, table strings.Builder
		require.NoError(t, r.WriteText(&asText))
		require.NoError(t, r.WriteJSON(&asJSON))
		require.NoError(t, r.WriteTable(&table))
		for _, name := range r.Names() {
			if d, unit := r.Samples(name); len(d) > 0 {
				require.NoError(t, WritePlot(&strings.Builder{}, name, unit, d))
			}
		}
		back, err := Read([]byte(asText.String()))
		require.NoError(t, err)
		require.Len(t, back.Results, len(results))
		back, err = Read([]byte(asJSON.String()))
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(results), fmt.Sprint(back.Results))
	})
}

// Medians are what the samples say, with what measuring takes.
func TestMedians(t *testing.T) {
	c := new(Console)
	c.Write([]byte("bench Empty 2 unit=ticks 12*2\nbench Memop 3 unit=ticks 150*2 152*1\nbench Preemption skipped: no timer\n" +
		"bench TaskSwitch 1 unit=ticks base=none 700*1\nbench done\n"))
	require.NoError(t, c.Err())
	assert.Equal(t, []Median{{"Empty", 12, false}, {"Memop", 150, true}, {"TaskSwitch", 700, false}}, c.Medians())
}
