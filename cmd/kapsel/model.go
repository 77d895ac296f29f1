package main

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"kapsel/bench"
	"kapsel/bench/model"
)

// modelled boots the benchmark image once, with all that it executes in a log, has the cycles of each
// path modelled, and returns them; or the command's status and why not.
func (o *benchOptions) modelled(ctx context.Context, stderr io.Writer) (*bench.Run, int, error) {
	m, status, err := o.measurer(ctx, stderr)
	if err != nil {
		return nil, status, err
	}
	skip, skipEnd, err := delay(filepath.Dir(o.image))
	if err != nil {
		return nil, statusUsage, usageError{err}
	}
	version, err := model.Version(ctx)
	if err != nil {
		return nil, statusFailed, err
	}
	m.run.Config = append(m.run.Config, bench.Fact{Key: "model", Value: version})
	console, trace, status, err := m.trace(ctx, skip, skipEnd)
	if err != nil {
		return nil, status, err
	}
	if m.run.Results, err = figures(ctx, console.Medians(), trace); err != nil {
		return nil, failedStatus(ctx), fmt.Errorf("%q: %w", o.image, err)
	}
	return m.finish()
}

// trace boots the image and reads QEMU's log of it, without the addresses from skip up to skipEnd.
func (m *measurer) trace(ctx context.Context, skip, skipEnd uint64) (*bench.Console, *model.Trace, int, error) {
	log, written, err := os.Pipe()
	if err != nil {
		return nil, nil, statusFailed, err
	}
	defer log.Close()
	type end struct {
		trace *model.Trace
		err   error
	}
	ended := make(chan end, 1)
	go func() {
		trace, err := model.Read(log)
		log.Close() // QEMU does not wait for us
		ended <- end{trace, err}
	}()
	file := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), written.Fd())
	console, _, status, err := m.once(ctx, 0, "", nil, model.Options(file, skip, skipEnd)...)
	written.Close()
	read := <-ended
	if read.err != nil {
		return nil, nil, statusFailed, read.err
	}
	return console, read.trace, status, err
}

// delay returns the addresses of the function in which the task that measures lets time pass. Its symbols
// are beside the image.
func delay(dir string) (begin, end uint64, err error) {
	const name = "kapsel/guest/tasks/measure.Delay.abi0"
	path := filepath.Join(dir, "bench64.elf")
	f, err := elf.Open(path)
	if err != nil {
		return 0, 0, fmt.Errorf("%w: want the task with its symbols, which mkimage writes beside an image", err)
	}
	defer f.Close()
	symbols, err := f.Symbols()
	for _, s := range symbols {
		if s.Name == name {
			return s.Value, s.Value + s.Size, nil
		}
	}
	return 0, 0, fmt.Errorf("%q: %w", path, errors.Join(err, fmt.Errorf("no symbol %s", name)))
}

// figures are the results of all paths that can be modelled: of one sample its instructions, how many of these the model
// leaves out, and the cycles on each processor.
func figures(ctx context.Context, medians []bench.Median, trace *model.Trace) ([]bench.Result, error) {
	if len(medians) != len(trace.Paths) {
		return nil, fmt.Errorf("the image set %d pairs of marks for %d paths", len(trace.Paths), len(medians))
	}
	var operations []model.Operation
	var names []string
	for i, median := range medians {
		path := model.Path{Name: median.Name, Ticks: int(median.Ticks), Calls: median.Calls}
		if !path.Modelled() {
			continue
		}
		operation, err := path.Find(trace.Paths[i])
		if err != nil {
			return nil, err
		}
		operations, names = append(operations, operation), append(names, median.Name)
	}
	modelled, err := model.Cycles(ctx, operations)
	if err != nil {
		return nil, err
	}
	var results []bench.Result
	for i, f := range modelled {
		r := bench.Result{Name: names[i], Ops: 1, Metrics: []bench.Metric{
			{Unit: "traced-instructions/op", Value: f.Instructions}, {Unit: "left-out/op", Value: f.LeftOut}}}
		for n, processor := range model.Processors {
			r.Metrics = append(r.Metrics, bench.Metric{Unit: processor + "-cycles/op", Value: f.Cycles[n]})
		}
		results = append(results, r)
	}
	return results, nil
}
