package bench

import (
	"fmt"
	"strings"
)

// MinimalNames are the results of the minimal board (guest/board/minimal): MinimalBoot and MinimalSize.
var MinimalNames = []string{"MinimalFirstTask", "MinimalTextRodata"}

// MinimalMemory is the result of an image of the minimal board with two tasks: the least memory in which both run to their ends.
const MinimalMemory = "MinimalMemory"

// MinimalBoot returns how long an image of the minimal board took from the kernel's first instruction to its
// first task's, in ticks of that unit. The first task is guest/tasks/first, the command line has boot-ticks.
func MinimalBoot(console, unit string) (Result, error) {
	var entered, loaded, high, low uint64
	for _, line := range []struct {
		prefix, format string
		words          []any
	}{
		{"boot: entered at tick ", "%d, tasks loaded at tick %d", []any{&entered, &loaded}},
		{"LowLevelDebug: App 0x1 prints ", "0x%x 0x%x", []any{&high, &low}},
	} {
		_, rest, found := strings.Cut(console, line.prefix)
		if !found {
			return Result{}, fmt.Errorf("the console has no line with %q", line.prefix)
		}
		if _, err := fmt.Sscanf(rest, line.format, line.words...); err != nil {
			return Result{}, fmt.Errorf("%q is followed by %.40q: %w", line.prefix, rest, err)
		}
	}
	first := high<<32 | low&0xffffffff
	if entered > loaded || loaded > first || first-entered > maxTicks {
		return Result{}, fmt.Errorf("want ticks that go up: entered at %d, loaded at %d, first task at %d", entered, loaded, first)
	}
	return Result{Name: MinimalNames[0], Ops: 1, Metrics: []Metric{{unit + "/op", float64(first - entered)}}}, nil
}

// MinimalSize is KernelTextRodata of the sizes of the minimal board's kernel.
func MinimalSize(sizes []Result) []Result {
	for _, r := range sizes {
		if r.Name == "KernelTextRodata" {
			r.Name = MinimalNames[1]
			return []Result{r}
		}
	}
	return nil
}
