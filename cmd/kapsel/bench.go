package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"kapsel/bench"
	"kapsel/vmm"
	"kapsel/vmm/image"
	"kapsel/vmm/qemu"
)

// benchTimeout ends a boot of the benchmark image that does not come to its end: under
// QEMU on a slow and busy host it takes a few minutes.
const benchTimeout = 10 * time.Minute

// smallImage is the image with two tasks where --small names none.
const smallImage = "two.elf"

// minimalImage is the image of the minimal board that tells how long it boots.
const minimalImage = "minimal/boot.elf"

// minimalSmallImage is the image of the minimal board with two tasks.
const minimalSmallImage = "minimal/minimal.elf"

// benchOptions is the command line of "kapsel bench".
type benchOptions struct {
	image        string
	small        string // image with two tasks
	minimal      string // image of the minimal board
	minimalSmall string // and one with two tasks
	accel        accelerator
	count        int
	memory       byteSize // of the benchmark image's machine
	run          *regexp.Regexp
	json         bool
	table        bool
	plot         string // folder, "" for none
	out          string // file, "" for standard output
	golden       string // file, "" for none
	update       bool
	model        bool // have the cycles modelled, in place of measuring
	timeout      time.Duration
	verbose      bool

	compare  bool
	old, new string // files to compare
}

// parseBench reads the arguments of "kapsel bench". Images that are not named are in the
// folder dir.
func parseBench(args []string, dir string) (*benchOptions, error) {
	o := &benchOptions{accel: accelAuto, memory: vmm.DefaultMemory}
	f := newFlags("bench")
	f.Var(&o.accel, "accel", "")
	f.IntVar(&o.count, "count", 1, "")
	f.Var(&o.memory, "mem", "")
	run := f.String("run", "", "")
	f.BoolVar(&o.json, "json", false, "")
	f.BoolVar(&o.table, "table", false, "")
	f.StringVar(&o.plot, "plot", "", "")
	f.StringVar(&o.out, "o", "", "")
	f.StringVar(&o.small, "small", "", "")
	f.StringVar(&o.golden, "golden", "", "")
	f.BoolVar(&o.update, "update", false, "")
	f.BoolVar(&o.model, "model", false, "")
	f.DurationVar(&o.timeout, "timeout", benchTimeout, "")
	f.BoolVar(&o.compare, "compare", false, "")
	f.BoolVar(&o.verbose, "v", false, "")
	files, err := parseMixed(f, args)
	if err != nil {
		return nil, err
	}
	if o.run, err = regexp.Compile(*run); err != nil {
		return nil, fmt.Errorf("--run: %w", err)
	}
	if o.compare {
		return o, o.checkCompare(f, files)
	}
	if err := o.check(files, dir); err != nil {
		return nil, err
	}
	return o, o.checkSmall(dir)
}

// checkCompare takes the two files; no other flag goes with --compare.
func (o *benchOptions) checkCompare(f *flag.FlagSet, files []string) error {
	if len(files) != 2 {
		return fmt.Errorf("--compare wants two files, the old results and the new ones, found %d", len(files))
	}
	o.old, o.new = files[0], files[1]
	var err error
	f.Visit(func(used *flag.Flag) {
		if used.Name != "compare" {
			err = fmt.Errorf("--compare runs nothing: %s has no meaning with it", spell(used.Name))
		}
	})
	return err
}

// check takes the image and refuses flags that contradict each other.
func (o *benchOptions) check(files []string, dir string) error {
	o.image = filepath.Join(dir, "bench.elf")
	switch {
	case len(files) > 1:
		return fmt.Errorf("unexpected argument %q: kapsel bench [flags] [IMAGE]", files[1])
	case len(files) == 1:
		o.image = files[0]
	}
	switch {
	case o.count < 1:
		return fmt.Errorf("--count %d: want 1 or more", o.count)
	case o.memory > vmm.MaxMemory:
		return fmt.Errorf("--mem %s: a machine can have at most %dG", &o.memory, vmm.MaxMemory>>30)
	case o.timeout <= 0:
		return fmt.Errorf("--timeout %s: want a positive time, as 30s", o.timeout)
	case o.json && o.table:
		return errors.New("--json and --table: want one of them")
	case o.update && o.golden == "":
		return errors.New("--update writes the file that --golden names")
	case o.model && (o.golden != "" || o.plot != "" || o.count != 1):
		return errors.New("--model measures nothing: --golden, --plot and --count have no meaning with it")
	case o.model && o.accel == accelKVM:
		return errors.New("--model wants a log of QEMU's emulator: --accel kvm has none")
	case o.golden != "" && o.accel == accelKVM:
		return errors.New("--golden compares counts of QEMU's emulator: --accel kvm has none")
	case o.golden != "" && o.memory != vmm.DefaultMemory:
		return errors.New("--golden compares counts with the default memory: --mem sets another")
	case o.golden != "" && o.run.String() != "":
		return errors.New("--golden compares all paths: --run leaves some out")
	}
	if o.golden != "" || o.model {
		o.accel = accelQEMU
	}
	return nil
}

// checkSmall refuses an image with two tasks that is asked for and cannot be used. The one
// in dir may be missing.
func (o *benchOptions) checkSmall(dir string) error {
	o.minimal, o.minimalSmall = filepath.Join(dir, minimalImage), filepath.Join(dir, minimalSmallImage)
	if o.small == "" {
		o.small = filepath.Join(dir, smallImage)
		return nil
	}
	if _, err := openImage(context.Background(), o.small, smallImage); err != nil {
		return fmt.Errorf("--small: %w", err)
	}
	return nil
}

// benchCommand is "kapsel bench": it boots a benchmark image and writes what it measured.
func benchCommand(args []string, std stdio) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return statusFailed, err
	}
	o, err := parseBench(args, filepath.Dir(self))
	if err != nil {
		return statusUsage, usageError{err}
	}
	if o.compare {
		return o.compareFiles(std.out)
	}
	kept, err := o.openGolden()
	if err != nil {
		return statusUsage, usageError{err}
	}
	out, err := o.openOutputs(std.out)
	if err != nil {
		return statusUsage, usageError{err}
	}
	ctx, leave := context.WithCancelCause(context.Background())
	defer leave(nil)
	stop := leaveOnSignals(leave)
	defer stop()
	defer context.AfterFunc(ctx, std.hurry)()

	take := o.measure
	if o.model {
		take = o.modelled
	}
	run, status, err := take(ctx, std.err)
	if err != nil {
		return status, err
	}
	if o.plot != "" {
		n, err := run.WritePlots(o.plot)
		if err != nil {
			return statusFailed, err
		}
		fmt.Fprintf(std.err, "kapsel: %d plots in %q\n", n, o.plot)
	}
	if o.golden == "" || o.out != "" {
		if err := out.write(o.writer(run)); err != nil {
			return statusFailed, err
		}
	}
	if o.golden != "" {
		return o.checkGolden(kept, run, std.out)
	}
	return 0, nil
}

// writer returns what writes the run in the form asked for.
func (o *benchOptions) writer(run *bench.Run) func(io.Writer) error {
	switch {
	case o.json:
		return run.WriteJSON
	case o.table:
		return run.WriteTable
	}
	return run.WriteText
}

// openOutputs opens what is written to, but for the golden file.
func (o *benchOptions) openOutputs(stdout io.Writer) (output, error) {
	if o.plot != "" {
		if err := os.MkdirAll(o.plot, 0o777); err != nil {
			return output{}, fmt.Errorf("--plot: %w", err)
		}
	}
	return openOutput(o.out, stdout)
}

// An output is where results go. A file is opened before anything is measured, and emptied
// only when there is something to write.
type output struct {
	file *os.File // nil: w
	w    io.Writer
}

func openOutput(path string, w io.Writer) (output, error) {
	if path == "" {
		return output{w: w}, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o666)
	return output{file: f}, err
}

func (o output) write(write func(io.Writer) error) error {
	if o.file == nil {
		return write(o.w)
	}
	return errors.Join(o.file.Truncate(0), write(o.file), o.file.Close())
}

// compareFiles writes what changed between two files of results.
func (o *benchOptions) compareFiles(w io.Writer) (int, error) {
	old, err := bench.ReadFile(o.old)
	if err != nil {
		return statusUsage, usageError{err}
	}
	new, err := bench.ReadFile(o.new)
	if err != nil {
		return statusUsage, usageError{err}
	}
	return 0, bench.WriteComparison(w, old, new)
}

// openGolden reads the golden file that the run is to be compared with, or looks if the one
// to write can be written; nil if there is none to compare with.
func (o *benchOptions) openGolden() (*bench.Golden, error) {
	switch {
	case o.golden == "":
		return nil, nil
	case o.update:
		f, err := os.OpenFile(o.golden, os.O_WRONLY|os.O_CREATE, 0o666)
		if err != nil {
			return nil, fmt.Errorf("--golden: %w", err)
		}
		return nil, f.Close()
	}
	content, err := image.ReadFile(context.Background(), o.golden)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: make it with --update", err)
	}
	if err != nil {
		return nil, fmt.Errorf("--golden: %w", err)
	}
	kept, err := bench.ReadGolden(bytes.NewReader(content))
	if err == nil && len(kept.Rows) == 0 {
		err = errors.New("no counts in it: make them with --update")
	}
	if err != nil {
		return nil, fmt.Errorf("--golden %q: %w", o.golden, err)
	}
	return kept, nil
}

// checkGolden compares the run's counts with those kept, or writes the golden file.
func (o *benchOptions) checkGolden(kept *bench.Golden, run *bench.Run, w io.Writer) (int, error) {
	now, err := bench.NewGolden(run)
	if err != nil {
		return statusFailed, err
	}
	if kept != nil {
		return o.verdict(w, kept, now)
	}
	f, err := os.Create(o.golden)
	if err != nil {
		return statusFailed, err
	}
	return 0, errors.Join(now.Write(f), f.Close())
}

// verdict says how the counts stand, and what to do.
func (o *benchOptions) verdict(w io.Writer, golden, now *bench.Golden) (int, error) {
	counts := len(now.Rows)
	failures, notes := golden.Check(now)
	if len(failures)+len(notes) > 0 && golden.Accel != now.Accel {
		fmt.Fprintf(w, "counted on %s, the file on %s: what boots, prints or waits for a timer may differ\n", now.Accel, golden.Accel)
	}
	for _, line := range failures {
		fmt.Fprintf(w, "FAIL %s\n", line)
	}
	for _, line := range notes {
		fmt.Fprintf(w, "note %s\n", line)
	}
	howTo := fmt.Sprintf("kapsel bench --golden %q --update", o.golden)
	switch {
	case len(failures) > 0:
		return statusWorse, fmt.Errorf("%d of %d counts do not stand as in %q: mend them, or change the file in the same commit: %s", len(failures), counts, o.golden, howTo)
	case len(notes) > 0:
		fmt.Fprintf(w, "%d of %d counts became better: let the file follow: %s\n", len(notes), counts, howTo)
	default:
		fmt.Fprintf(w, "%d counts, all within %.0f %% of %q\n", counts, 100*bench.Tolerance, o.golden)
	}
	return 0, nil
}

// accelName is the accelerator in the header.
func accelName(ctx context.Context, a accelerator) (string, error) {
	if a == accelKVM {
		return "kvm, direct door", nil
	}
	version, err := qemu.Version(ctx)
	return "qemu " + version + ", one instruction a tick, PVH door", err
}
