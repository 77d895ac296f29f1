package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// defaultCPU is the smallest QEMU model with SVM that Go programs and KVM are happy
// with. What TCG cannot do is switched off, which silences QEMU's warnings.
const defaultCPU = "EPYC-v1,+svm,+npt,rdseed=off,sha-ni=off,fxsr-opt=off,misalignsse=off," +
	"3dnowprefetch=off,osvw=off,topoext=off,nrip-save=off,xsavec=off"

// options is what the command line asks for.
type options struct {
	rig      string        // folder with vmlinuz and KVM's modules
	cpu      string        // QEMU's -cpu
	mem      int           // MiB of memory
	icount   bool          // one instruction is one nanosecond, and every run is the same
	hostTime bool          // time is the host's
	timeout  time.Duration // end the machine after this
	console  string        // keep the machine's console in this file
	add      pathList      // files and folders the program needs
	out      string        // folder that comes back
	verbose  bool

	program string
	args    []string
}

// pathList is a flag that may be repeated; it makes its paths absolute.
type pathList []string

func (l *pathList) String() string { return fmt.Sprint([]string(*l)) }

func (l *pathList) Set(path string) error {
	abs, err := filepath.Abs(path)
	*l = append(*l, abs)
	return err
}

// parseOptions reads vmexec's command line without the command's own name. Help goes to w.
func parseOptions(args []string, w io.Writer) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("vmexec", flag.ContinueOnError)
	f.SetOutput(w)
	f.Usage = func() {
		fmt.Fprintln(w, "usage: vmexec [flags] PROGRAM [ARGUMENT...]\n\nflags:")
		f.PrintDefaults()
	}
	f.StringVar(&o.rig, "rig", "", "`folder` with vmlinuz, irqbypass.ko, kvm.ko and kvm-amd.ko (default: rig beside vmexec)")
	f.StringVar(&o.cpu, "cpu", defaultCPU, "QEMU's processor `model`")
	f.IntVar(&o.mem, "mem", 768, "memory in `MiB`; huge pages need 768")
	f.BoolVar(&o.icount, "icount", false, "repeat exactly: one instruction is one nanosecond and one TSC tick")
	f.BoolVar(&o.hostTime, "host-time", false, "let time pass as on the host: for a nested guest with a timer that ticks, which may lose interrupts all the same")
	f.DurationVar(&o.timeout, "timeout", 5*time.Minute, "end the machine after this `time`")
	f.StringVar(&o.console, "console", "", "keep the machine's console in this `file`")
	f.Var(&o.add, "add", "put this `file` or folder into the machine, at the same path (repeatable)")
	f.StringVar(&o.out, "out", "", "copy back what the program leaves in this `folder`, at the same path")
	f.BoolVar(&o.verbose, "v", false, "show QEMU's command line and the times")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() == 0 {
		return nil, errors.New("no program given: vmexec [flags] PROGRAM [ARGUMENT...]")
	}
	if o.mem < 128 || o.mem > 1<<20 {
		return nil, fmt.Errorf("-mem %d: want 128 to %d MiB", o.mem, 1<<20)
	}
	if o.icount && o.hostTime {
		return nil, errors.New("-icount and -host-time: time is either counted or the host's")
	}
	o.args = f.Args()[1:]
	return o, o.makeAbsolute(f.Arg(0))
}

// makeAbsolute turns every path of the command line into one that holds in the machine too.
func (o *options) makeAbsolute(program string) (err error) {
	if o.rig == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		o.rig = filepath.Join(filepath.Dir(self), "rig")
	}
	if o.out != "" {
		if o.out, err = filepath.Abs(o.out); err != nil {
			return err
		}
	}
	o.program, err = filepath.Abs(program)
	return err
}

// logf says on standard error what goes on, if -v asks for it.
func (o *options) logf(format string, args ...any) {
	if o.verbose {
		fmt.Fprintf(os.Stderr, "vmexec: "+format+"\n", args...)
	}
}
