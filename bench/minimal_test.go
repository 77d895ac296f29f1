package bench

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMinimalBoot(t *testing.T) {
	const boot, first = "boot: entered at tick 100, tasks loaded at tick 4000\n", "LowLevelDebug: App 0x1 prints 0x0 0x1388\n"
	r, err := MinimalBoot("Kapsel\n"+first+"hello\n"+boot, Instructions)
	require.NoError(t, err)
	assert.Equal(t, Result{Name: "MinimalFirstTask", Ops: 1, Metrics: []Metric{{"instructions/op", 4900}}}, r)
	r, err = MinimalBoot("LowLevelDebug: App 0x1 prints 0x1 0x0\n"+"boot: entered at tick 4294967000, tasks loaded at tick 4294967200\n", Instructions)
	require.NoError(t, err)
	assert.Equal(t, 296.0, r.Metrics[0].Value, "both halves count")

	for _, tt := range []struct{ name, console, want string }{
		{"nothing", "", `no line with "boot: entered at tick "`},
		{"no first task", boot, `no line with "LowLevelDebug: App 0x1 prints "`},
		{"no number", "boot: entered at tick early\n" + first, `is followed by "early\n`},
		{"the first task ran before it was loaded", "boot: entered at tick 100, tasks loaded at tick 6000\n" + first, "want ticks that go up: entered at 100, loaded at 6000, first task at 5000"},
		{"entered behind that", "boot: entered at tick 5000, tasks loaded at tick 4000\n" + first, "want ticks that go up"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := MinimalBoot(tt.console, Instructions)
			assert.ErrorContains(t, err, tt.want)
		})
	}
}

func TestMinimalSize(t *testing.T) {
	size := Result{Name: "KernelTextRodata", Ops: 1, Metrics: []Metric{{"bytes", 90_000}}}
	got := MinimalSize([]Result{{Name: "KernelText"}, size, {Name: "KernelBSS"}})
	assert.Equal(t, []Result{{Name: "MinimalTextRodata", Ops: 1, Metrics: size.Metrics}}, got)
	assert.Empty(t, MinimalSize(nil))
}
