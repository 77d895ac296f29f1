package oci

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"kapsel/cmd/kapsel/oci/bundle"
	"kapsel/cmd/kapsel/oci/cgroup"
	"kapsel/cmd/kapsel/oci/namespace"
)

// createOptions are the flags of create, and of run.
type createOptions struct {
	bundle, console, pidFile string
	noPivot, noNewKeyring    bool // there is no root to pivot to, and no keyring
	preserve                 int  // files that a program would have; a guest cannot
}

func (o *createOptions) parse(verb string, args []string, more func(*flag.FlagSet)) (id string, err error) {
	f := newFlags(verb)
	o.bundle = "."
	stringFlag(f, &o.bundle, "bundle", "b")
	f.StringVar(&o.console, "console-socket", "", "")
	f.StringVar(&o.pidFile, "pid-file", "", "")
	f.BoolVar(&o.noPivot, "no-pivot", false, "")
	f.BoolVar(&o.noNewKeyring, "no-new-keyring", false, "")
	f.IntVar(&o.preserve, "preserve-fds", 0, "")
	if more != nil {
		more(f)
	}
	id, _, err = parseID(f, args, 0)
	return id, err
}

// readBundle reads the bundle of a new container, and says whether that is runc's.
func (r *call) readBundle(id string, o createOptions) (b *bundle.Bundle, foreign bool, err error) {
	if b, err = bundle.Read(o.bundle); err != nil {
		return nil, false, err
	}
	foreign, reason, err := b.Foreign()
	if foreign {
		r.log.say("container %q is runc's: %s", id, reason)
	}
	return b, foreign, err
}

// createVerb is "kapsel oci create ID".
func (r *call) createVerb(args []string) (int, error) {
	var o createOptions
	id, err := o.parse("create", args, nil)
	if err != nil {
		return statusFailed, err
	}
	b, foreign, err := r.readBundle(id, o)
	switch {
	case err != nil:
		return statusFailed, err
	case foreign:
		return r.createForeign(id)
	}
	if _, err := r.create(id, b, o); err != nil {
		return statusFailed, err
	}
	return statusDone, nil
}

// A creation is a container in the making. What it has done is undone in reverse order, if a later step fails.
type creation struct {
	*call
	*container
	options  createOptions
	bundle   *bundle.Bundle
	spec     *specs.Spec
	spaces   *namespace.Set
	birth    birth
	group    *cgroup.Group
	terminal *console
	init     *exec.Cmd
	socket   *os.File // to init
	undo     []func() error
}

// create creates a container, whose process waits for start then. After an error nothing of it is left.
func (r *call) create(id string, b *bundle.Bundle, o createOptions) (process, error) {
	c := &creation{call: r, options: o, bundle: b, spec: b.Spec}
	c.container = &container{Version: specs.Version, ID: id, Bundle: b.Dir, Rootfs: b.Root, Annotations: b.Spec.Annotations, Created: time.Now().UTC(),
		HasProcess: b.Spec.Process != nil, Systemd: r.systemd, dir: r.dirOf(id)}
	err := c.check()
	if err != nil {
		return process{}, err
	}
	l, err := r.reserve(id)
	if err != nil {
		return process{}, err
	}
	defer l.Close()
	c.undo = append(c.undo, func() error { return os.RemoveAll(c.dir) })
	if err := c.complete(); err != nil {
		return process{}, errors.Join(err, c.abandon())
	}
	return c.Process, nil
}

// check checks the configuration, before there is anything of the container.
func (c *creation) check() (err error) {
	if err := checkHooks(c.spec.Hooks); err != nil {
		return err
	}
	if err := checkConsole(c.spec.Process, c.options.console); err != nil {
		return err
	}
	if c.spaces, err = namespace.Parse(c.spec.Linux); err != nil {
		return err
	}
	if err := c.spaces.FindMappings(); err != nil {
		return err
	}
	var warnings []string
	if c.birth.Settings, warnings, err = parseSettings(c.spec, c.spaces); err != nil {
		return err
	}
	for _, w := range warnings {
		c.log.warn("container %q: %s", c.ID, w)
	}
	if c.spec.Hooks != nil {
		c.Hooks = *c.spec.Hooks
	}
	c.Cgroup = cgroupPath(c.spec.Linux, c.ID, c.systemd)
	return nil
}

// cgroupPath is where the container's cgroup is: where the configuration says, or a place for its ID.
func cgroupPath(l *specs.Linux, id string, systemd bool) string {
	switch {
	case l != nil && l.CgroupsPath != "":
		return l.CgroupsPath
	case systemd:
		return ":kapsel:" + id
	}
	return "/kapsel-" + id
}

// complete does all of create behind the reservation of the ID.
func (c *creation) complete() error {
	path, err := os.Executable()
	if err != nil {
		return err
	}
	command, err := c.bundle.Command(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer command.Close()
	for _, note := range command.Notes {
		c.log.warn("container %q: %s", c.ID, note)
	}
	if err := c.checkLimits(command.Memory); err != nil {
		return err
	}
	if err := c.save(); err != nil {
		return err
	}
	steps := []func() error{c.makeGroup, c.makeFIFO, c.openTerminal, func() error { return c.startInit(command) }, c.enterGroup, c.sendTerminal, c.instruct}
	for _, step := range append(steps, c.runCreateHooks, c.finish) {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// checkLimits checks the limits of the process.
func (c *creation) checkLimits(memory uint64) error {
	if c.spec.Process == nil {
		return nil
	}
	uid, _, err := c.spaces.HostUser(c.spec.Process.User.UID, c.spec.Process.User.GID)
	if err != nil {
		return err
	}
	return checkLimits(c.birth.Settings.Limits, memory, uid)
}

// abandon undoes what was done.
func (c *creation) abandon() error {
	var errs []error
	for _, undo := range slices.Backward(c.undo) {
		if err := undo(); err != nil {
			errs = append(errs, fmt.Errorf("undoing it: %w", err))
		}
	}
	return errors.Join(errs...)
}

func (c *creation) makeGroup() (err error) {
	var limits *specs.LinuxResources
	if c.spec.Linux != nil {
		limits = c.spec.Linux.Resources
	}
	if c.group, err = cgroup.Make(c.Cgroup, c.systemd, limits); err != nil {
		return err
	}
	c.undo = append(c.undo, c.group.Remove)
	c.HasCgroup = true
	return c.save()
}

// makeFIFO makes the pipe that the container's process waits at for start. Whoever the container's user is may write to it: its directory keeps others away.
func (c *creation) makeFIFO() error {
	path := filepath.Join(c.dir, startFIFO)
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return fmt.Errorf("%q: %w", path, err)
	}
	return os.Chmod(path, 0o622)
}

func (c *creation) openTerminal() (err error) {
	p := c.spec.Process
	if p == nil || !p.Terminal {
		return nil
	}
	uid, _, err := c.spaces.HostUser(p.User.UID, p.User.GID)
	if err != nil {
		return err
	}
	c.terminal, err = openConsole(p.ConsoleSize, uid)
	return err
}

// startInit starts the container's process, in its namespaces.
func (c *creation) startInit(command *bundle.Command) error {
	ours, theirs, err := socketpair()
	if err != nil {
		return err
	}
	defer theirs.Close()
	c.socket = ours
	fifo, err := os.OpenFile(filepath.Join(c.dir, startFIFO), unix.O_PATH, 0)
	if err != nil {
		return err
	}
	defer fifo.Close()
	cmd := &exec.Cmd{
		Path:       self,
		Args:       append(slices.Clone(initArgs), strconv.Itoa(bundle.FirstFile+len(command.Files))),
		Stdin:      c.std.In,
		Stdout:     c.std.Out,
		Stderr:     c.std.Err,
		ExtraFiles: append(slices.Clone(command.Files), theirs, fifo),

		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if c.terminal != nil {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = c.terminal.slave, c.terminal.slave, c.terminal.slave
		cmd.SysProcAttr.Setctty = true // of descriptor 0
	}
	if fd, ok := c.group.FD(); ok {
		defer unix.Close(fd)
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, fd
	}
	if err := c.spaces.Start(cmd, kvmGroups()); err != nil {
		return fmt.Errorf("start the container's process: %w", err)
	}
	c.init = cmd
	c.undo = append(c.undo, func() error {
		err := reap(cmd) // before the socket is closed, at which the process would say that create has ended
		c.socket.Close()
		return errors.Join(err, c.group.Kill())
	})
	c.Process, err = identify(cmd.Process.Pid)
	c.birth.Args, c.birth.Files, c.birth.TakeInterface = command.Args, len(command.Files), command.TakeInterface
	c.birth.Settings.Capabilities.grant(monitorCapabilities(command.Args))
	return err
}

// socketpair returns the ends of a socket.
func socketpair() (a, b *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "socket to init"), os.NewFile(uintptr(fds[1]), "socket to create"), nil
}

// enterGroup puts the process into the cgroup, if it was not started there, and saves who it is.
func (c *creation) enterGroup() error {
	if !c.init.SysProcAttr.UseCgroupFD {
		if err := c.group.Add(c.Process.PID); err != nil {
			return err
		}
	}
	return c.save()
}

func (c *creation) sendTerminal() error {
	if c.terminal == nil {
		return nil
	}
	return c.terminal.send(c.options.console)
}

// instruct tells the process what it is to be, and has it apply that.
func (c *creation) instruct() error {
	c.birth.State = c.state(specs.StateCreating)
	c.birth.CreateContainer, c.birth.StartContainer = c.Hooks.CreateContainer, c.Hooks.StartContainer
	return c.ask(c.birth)
}

// ask has the process do its next step.
func (c *creation) ask(message any) error {
	if err := json.NewEncoder(c.socket).Encode(message); err != nil {
		return c.lost()
	}
	var a answer
	if err := json.NewDecoder(c.socket).Decode(&a); err != nil { // it says one thing at a time
		return c.lost()
	}
	return a.err()
}

// lost is how the container's process has ended, which says nothing any more.
func (c *creation) lost() error {
	if err := reap(c.init); err != nil {
		return err
	}
	why := "the last words on its standard error say why"
	if s, ok := c.init.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		why = "a delete --force, or the host for want of memory (linux.resources.memory, dmesg), does that"
	}
	return fmt.Errorf("the container's process ended before it was made: %v: %s", c.init.ProcessState, why)
}

// reap kills a child and waits for its end, which lets it keep its status if it has ended by itself.
func reap(cmd *exec.Cmd) error {
	cmd.Process.Kill()
	ended := make(chan struct{})
	go func() {
		cmd.Wait() // an error, if somebody has waited for it before
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-time.After(endPatience):
		return errEndless(cmd.Process.Pid)
	}
}

// runCreateHooks runs the hooks of create. From the first on the container counts as one that was there, so that the hooks poststop are due.
func (c *creation) runCreateHooks() error {
	c.undo = slices.Insert(c.undo, 0, func() error {
		c.warnHooks("poststop", c.Hooks.Poststop, c.state(specs.StateStopped))
		return nil
	})
	s := c.state(specs.StateCreating)
	if err := runHooks("prestart", prestart(&c.Hooks), s); err != nil {
		return err
	}
	if err := runHooks("createRuntime", c.Hooks.CreateRuntime, s); err != nil {
		return err
	}
	return c.ask(answer{})
}

// warnHooks runs hooks, of which one that fails is a warning, and keeps none of the others from running.
func (r *call) warnHooks(kind string, hooks []specs.Hook, s specs.State) {
	for i, h := range hooks {
		if err := runHook(h, s); err != nil {
			r.log.warn("container %q: hook %s[%d], %q: %v", s.ID, kind, i, h.Path, err)
		}
	}
}

// finish makes the container one that start can start.
func (c *creation) finish() error {
	c.Complete = true
	if err := c.save(); err != nil {
		return err
	}
	if path := c.options.pidFile; path != "" {
		if err := c.replace(path, strconv.AppendInt(nil, int64(c.Process.PID), 10), 0o644); err != nil {
			return fmt.Errorf("--pid-file: %w", err)
		}
		c.undo = append(c.undo, func() error { return os.Remove(path) })
	}
	if err := json.NewEncoder(c.socket).Encode(answer{}); err != nil {
		return c.lost()
	}
	return c.socket.Close()
}
