package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"

	"kapsel/guest/abi"
	"kapsel/sandbox"
	"kapsel/vmm"
	"kapsel/vmm/confine"
	"kapsel/vmm/snapshot"
)

// sandboxOptions is the command line of "kapsel call", of "kapsel snapshot" and of "kapsel serve": that of a machine, of which there is less than of run's, and
// what is done with it.
type sandboxOptions struct {
	runOptions
	service string   // that is called; of snapshot "" for none
	payload byteSize // a limit of a request and of an answer
	output  byteSize // a limit of what is printed in a call

	directory string // of snapshot: where it goes
	serveOptions
}

// sandboxForms are what the commands want on their lines.
var sandboxForms = map[string]string{
	"call":     "kapsel call [flags] --service NAME IMAGE [TASK...]",
	"snapshot": "kapsel snapshot [flags] -o DIR IMAGE [TASK...]",
	"serve":    "kapsel serve [flags] --listen unix:PATH IMAGE [TASK...]",
}

// parseSandbox reads the arguments of one of the commands.
func parseSandbox(command string, args []string) (*sandboxOptions, error) {
	o := &sandboxOptions{runOptions: runOptions{memory: vmm.DefaultMemory}, payload: sandbox.DefaultPayload, output: sandbox.DefaultOutput, serveOptions: defaultServe}
	f := newFlags(command)
	f.StringVar(&o.from, "from", "", "")
	f.Var(&o.memory, "mem", "")
	f.StringVar(&o.cmdline, "cmdline", "", "")
	f.Var(rngFlag{&o.devices}, "rng", "")
	f.Var(diskFlag{&o.devices}, "disk", "")
	f.DurationVar(&o.timeout, "timeout", sandbox.DefaultCallTime, "")
	f.Var(&o.payload, "payload", "")
	f.Var(&o.output, "output", "")
	f.BoolVar(&o.verbose, "v", false, "")
	if command == "serve" {
		o.serveOptions.define(f)
	} else {
		f.StringVar(&o.service, "service", "", "")
		f.Var(&o.net, "net", "")
	}
	f.Var(&o.confine, "confine", "")
	if command == "snapshot" {
		f.StringVar(&o.directory, "o", "", "")
	} else {
		f.Var(&o.clock, "clock", "")
	}
	files, err := o.parseTasks(f, args)
	if err != nil {
		return nil, err
	}
	return o, o.check(command, f, files)
}

// check looks at the options of a command, and takes its files.
func (o *sandboxOptions) check(command string, f *flag.FlagSet, files []string) error {
	needed := map[string]struct{ name, value string }{"call": {"--service", o.service}, "snapshot": {"-o", o.directory}, "serve": {"--listen", o.listen}}[command]
	if err := o.forSnapshot(f, files); err != nil {
		return err
	}
	if command != "call" { // which may have a machine that no snapshot is taken of
		if err := o.devices.notWritten(); err != nil {
			return err
		}
	}
	switch {
	case len(files) == 0 && o.from == "":
		return errors.New("no image given: " + sandboxForms[command] + ", or --from DIR in the place of the image")
	case needed.value == "":
		return fmt.Errorf("no %s given: %s", needed.name, sandboxForms[command])
	case len(o.service) > abi.ServiceName:
		return fmt.Errorf("--service of %d bytes: a name has at most %d", len(o.service), abi.ServiceName)
	case o.timeout <= 0:
		return fmt.Errorf("--timeout %s: want a positive time, as 10s", o.timeout)
	case o.memory > vmm.MaxMemory:
		return fmt.Errorf("--mem %s: a machine can have at most %dG", &o.memory, vmm.MaxMemory>>30)
	case o.payload > abi.ServicePayload:
		return fmt.Errorf("--payload %s: a payload has at most %dK", &o.payload, abi.ServicePayload>>10)
	}
	if o.net.Config != nil {
		o.devices = append(o.devices, vmm.Network{Connection: *o.net.Config})
	}
	if o.from == "" {
		o.image, o.tasks = files[0], files[1:]
	}
	with := append(devices{vmm.Ports{{Name: abi.PortService}}}, o.devices...)
	if err := vmm.CheckDevices(with); err != nil {
		return err
	}
	return vmm.CheckCmdline(o.cmdline, len(with))
}

// prepare reads image and tasks, or the snapshot, and returns what makes sandboxes. made is done once before anything runs in them.
func (o *sandboxOptions) prepare(ctx context.Context, std stdio, made func(vmm.Config) error) (*maker, error) {
	c, err := o.config(ctx, std)
	if err != nil {
		return nil, usageError{err}
	}
	if o.from == "" {
		if err := accelKVM.fits(c); err != nil {
			return nil, usageError{fmt.Errorf("%q: %w", o.image, err)}
		}
	} else if c.Devices, err = arrangeSandbox(o.taken.State.Devices, c.Devices); err != nil {
		o.closeTaken()
		return nil, usageError{fmt.Errorf("--from %s: %w", o.from, err)}
	}
	config := sandbox.Config{
		Image: c.Image, Tasks: c.Modules, Arguments: c.Arguments, Environment: c.Environment, Memory: c.Memory, Cmdline: c.Cmdline, Devices: c.Devices, Clock: vmm.Time(o.clock), Log: c.Log,
		StartTime: max(sandbox.DefaultStartTime, o.timeout), CallTime: o.timeout, OutputLimit: int(o.output), Payload: int(o.payload),
	}
	if made != nil {
		config.Made = func() error { return made(c) }
	}
	if o.verbose {
		config.Output = std.err
	}
	return &maker{config, o.taken}, nil
}

// maker makes sandboxes of an image, or from a snapshot.
type maker struct {
	config sandbox.Config
	taken  *snapshot.Snapshot // nil: of the image
}

// start makes a sandbox.
func (m *maker) start(ctx context.Context) (*sandbox.Sandbox, error) {
	if m.taken == nil {
		return sandbox.New(ctx, m.config)
	}
	s, err := m.snapshot()
	if err != nil {
		return nil, err
	}
	defer s.Close() // what has started keeps what it needs of it
	return s.Start(ctx)
}

// snapshot returns the snapshot that there is.
func (m *maker) snapshot() (*sandbox.Snapshot, error) {
	c := m.config
	c.Memory, c.Cmdline = 0, ""
	return sandbox.From(m.taken, c)
}

// arrangeSandbox is arrange for a sandbox, whose first device is its own.
func arrangeSandbox(taken []snapshot.Device, given []vmm.Device) ([]vmm.Device, error) {
	if len(taken) == 0 || kindTaken(&taken[0]) != kindPorts || taken[0].Name != (vmm.Ports{{Name: abi.PortService}}).String() {
		return nil, errors.New("the snapshot is of a machine without services: want one that kapsel snapshot has made")
	}
	return arrange(taken[1:], given)
}

// callCommand is "kapsel call": standard input is the request, and the reply goes to standard output.
func callCommand(args []string, std stdio) (int, error) {
	o, err := parseSandbox("call", args)
	if err != nil {
		return statusUsage, usageError{err}
	}
	return untilTold(0, nil, std, func(ctx context.Context, _ context.CancelCauseFunc) (int, error) {
		reply, err := o.call(ctx, std)
		if err != nil {
			return callStatus(err), plainly(err)
		}
		if _, err := within(ctx, func() (int, error) { return std.out.Write(reply) }); err != nil {
			return statusFailed, fmt.Errorf("the service has answered, but the reply is lost: %w", err)
		}
		return 0, nil
	})
}

// call starts a sandbox, confined, and calls its service.
func (o *sandboxOptions) call(ctx context.Context, std stdio) ([]byte, error) {
	m, err := o.prepare(ctx, std, func(c vmm.Config) error { return o.confineTo(o.needs(std.in), c) })
	if err != nil {
		return nil, err
	}
	return o.callOnce(ctx, std, m, func(*sandbox.Sandbox) error { return nil })
}

// confineTo confines the command to what it needs, unless it is not to be confined.
func (o *sandboxOptions) confineTo(needs confine.Options, c vmm.Config) error {
	if o.confine == confineOff {
		return nil
	}
	return confined(o.confine.telling(needs, c))
}

// callOnce reads the request, starts a sandbox, calls its service if one is named, and does more with it.
func (o *sandboxOptions) callOnce(ctx context.Context, std stdio, m *maker, more func(*sandbox.Sandbox) error) (reply []byte, err error) {
	defer o.closeTaken()
	var request []byte
	if o.service != "" {
		if request, err = o.request(ctx, std.in); err != nil {
			return nil, err
		}
	}
	s, err := m.start(ctx)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if o.service != "" {
		if reply, err = s.Call(ctx, o.service, request); err != nil {
			return nil, err
		}
	}
	return reply, more(s)
}

// request reads the request, to the end of the input.
func (o *sandboxOptions) request(ctx context.Context, in io.Reader) ([]byte, error) {
	request, err := within(ctx, func() ([]byte, error) { return io.ReadAll(io.LimitReader(in, int64(o.payload)+1)) })
	if err == nil && len(request) > int(o.payload) {
		err = usageError{fmt.Errorf("a request of more than %s: --payload has the limit", &o.payload)}
	}
	return request, err
}

// snapshotCommand is "kapsel snapshot": it has a sandbox settle, calls a service if one is named, and saves it.
func snapshotCommand(args []string, std stdio) (int, error) {
	o, err := parseSandbox("snapshot", args)
	if err != nil {
		return statusUsage, usageError{err}
	}
	return untilTold(0, nil, std, func(ctx context.Context, _ context.CancelCauseFunc) (int, error) {
		if err := o.saveOnce(ctx, std); err != nil {
			return callStatus(err), plainly(err)
		}
		return 0, nil
	})
}

// saveOnce makes the place for the snapshot first, as the command is confined to it, and then what is saved there.
func (o *sandboxOptions) saveOnce(ctx context.Context, std stdio) (err error) {
	place, err := snapshot.Prepare(o.directory)
	if err != nil {
		return usageError{err}
	}
	defer func() { err = errors.Join(err, place.Close()) }()
	needs := o.needs(std.in)
	needs.Add(confine.Options{Snapshots: true, Write: place.Written(), Rename: []string{place.Above()}})
	m, err := o.prepare(ctx, std, func(c vmm.Config) error { return o.confineTo(needs, c) })
	if err != nil {
		return err
	}
	_, err = o.callOnce(ctx, std, m, func(s *sandbox.Sandbox) error { return save(ctx, s, place) })
	return err
}

// save takes the snapshot, and writes it.
func save(ctx context.Context, s *sandbox.Sandbox, place *snapshot.Place) error {
	_, err := within(ctx, func() (struct{}, error) {
		taken, err := s.Snapshot()
		if err != nil {
			return struct{}{}, err
		}
		defer taken.Close()
		return struct{}{}, taken.SaveIn(place)
	})
	return err
}

// callStatus is the command's exit status for an error of a call, or of what is before it.
func callStatus(err error) int {
	if errors.As(err, &usageError{}) {
		return statusUsage
	}
	if _, ok := errors.AsType[*vmm.DeviceError](err); ok {
		return statusUsage
	}
	e, ok := errors.AsType[*sandbox.Error](err)
	if !ok {
		return statusFailed
	}
	switch e.Kind {
	case sandbox.ErrNoService, sandbox.ErrAnswer, sandbox.ErrTooLarge:
		return statusRefused
	case sandbox.ErrTime:
		return statusTimeout
	}
	if slices.Contains([]error{sandbox.ErrFault, sandbox.ErrMemory, sandbox.ErrEnded, sandbox.ErrOutput}, e.Kind) {
		return statusCutOff
	}
	return statusFailed
}

// plainly is an error without the advice that is for programs.
func plainly(err error) error {
	if e, ok := errors.AsType[*sandbox.Error](err); ok {
		return e.Plain()
	}
	return err
}
