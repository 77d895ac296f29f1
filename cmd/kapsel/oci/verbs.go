package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"kapsel/cmd/kapsel/oci/cgroup"
)

// startVerb is "kapsel oci start ID".
func (r *call) startVerb(args []string) (int, error) {
	return r.about(newFlags("start"), args, 0, r.runc, func(id string, _ []string) error { return r.start(id) })
}

// start has a created container's process execute kapsel run. If a hook fails, or that, the container is removed.
func (r *call) start(id string) error {
	c, l, err := r.lockAndLoad(id)
	if err != nil {
		return err
	}
	defer l.Close()
	switch status := c.lockedStatus(); {
	case status != specs.StateCreated:
		return fmt.Errorf("container %q is %s: want one that is created", id, status)
	case !c.HasProcess:
		return fmt.Errorf("container %q has no process to start: want process in config.json before create", id)
	}
	warnings, err := c.release()
	for _, w := range warnings {
		r.log.warn("container %q: %s", id, w)
	}
	if err == nil {
		err = runHooks("poststart", c.Hooks.Poststart, c.state(specs.StateRunning))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("start container %q: %w", id, err), r.destroy(c))
	}
	return nil
}

// release opens the FIFO at which the process waits, and waits until it is kapsel run.
func (c *container) release() (warnings []string, err error) {
	pid, err := c.Process.open()
	if err != nil {
		return nil, err
	}
	defer unix.Close(pid)
	path := filepath.Join(c.dir, startFIFO)
	fifo, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", path, err)
	}
	defer unix.Close(fifo)
	said, err := readUntilExec(fifo, pid)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", path, err)
	}
	a, err := parseAnswers(said)
	if err == nil {
		err = os.Remove(path)
	}
	return a.Warnings, err
}

// parseAnswers reads what the process said, one answer behind another, and returns all of it as one.
func parseAnswers(said string) (a answer, err error) {
	for decoder := json.NewDecoder(strings.NewReader(said)); err == nil; {
		err = decoder.Decode(&a) // what an answer does not have stays
	}
	switch {
	case a.Error != "":
		return a, a.err()
	case err != io.EOF || !a.Ready:
		return a, errors.New("its process ended before it was kapsel run: the last words on the container's standard error say why")
	}
	return a, nil
}

// maxSaid is the most that a container's process says to start, in bytes.
const maxSaid = 64 << 10

// readUntilExec reads what the process says until it has executed kapsel run, which closes the FIFO, or has ended.
func readUntilExec(fifo, pid int) (said string, err error) {
	var buffer [4096]byte
	opened := false // by the process: before that there is nothing to read, and no end
	for len(said) < maxSaid {
		polled := []unix.PollFd{{Fd: int32(fifo), Events: unix.POLLIN}, {Fd: int32(pid), Events: unix.POLLIN}}
		if _, err := unix.Poll(polled, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return said, err
		}
		opened = opened || polled[0].Revents != 0
		ended := polled[1].Revents != 0
		if !opened && !ended {
			continue
		}
		n, err := unix.Read(fifo, buffer[:])
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
		case err != nil:
			return said, err
		case n == 0:
			return said, nil
		default:
			said += string(buffer[:n])
		}
	}
	return said, fmt.Errorf("want at most %d bytes from the container's process, found more", maxSaid)
}

// stateVerb is "kapsel oci state ID".
func (r *call) stateVerb(args []string) (int, error) {
	return r.about(newFlags("state"), args, 0, r.runc, func(id string, _ []string) error {
		c, err := r.load(id)
		if err != nil {
			return err
		}
		return r.print(c.report())
	})
}

// A report is a container's state with what engines read besides.
type report struct {
	specs.State
	Rootfs  string    `json:"rootfs"`
	Created time.Time `json:"created"`
}

func (c *container) report() report { return report{c.state(c.status()), c.Rootfs, c.Created} }

// print prints JSON for people.
func (r *call) print(v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		_, err = r.std.Out.Write(append(text, '\n'))
	}
	return err
}

// killVerb is "kapsel oci kill ID [SIGNAL]". It takes no lock: it is to reach a container whose hooks do not end, too.
func (r *call) killVerb(args []string) (int, error) {
	f := newFlags("kill")
	var all bool
	boolFlag(f, &all, "all", "a")
	return r.about(f, args, 1, r.runc, func(id string, rest []string) (err error) {
		signal := unix.SIGTERM
		if len(rest) > 0 {
			if signal, err = parseSignal(rest[0]); err != nil {
				return err
			}
		}
		c, err := r.load(id)
		if err != nil {
			return err
		}
		if err := c.kill(signal, all); err != nil {
			return fmt.Errorf("kill container %q: %w", id, err)
		}
		return nil
	})
}

// errNotRunning says that there is no process for a signal. Engines look for the words.
var errNotRunning = errors.New("container not running")

// kill sends a signal to the container's process, or to all processes of its cgroup.
func (c *container) kill(signal unix.Signal, all bool) error {
	var processes []process
	if status := c.status(); status == specs.StateCreated || status == specs.StateRunning {
		processes = append(processes, c.Process)
	}
	if all && c.HasCgroup {
		g, err := cgroup.Open(c.Cgroup, c.Systemd)
		if err != nil {
			return err
		}
		pids, err := g.Pids()
		if err != nil {
			return err
		}
		for _, pid := range pids {
			if p, err := identify(pid); err == nil && p != c.Process {
				processes = append(processes, p)
			}
		}
	}
	reached := false
	for _, p := range processes {
		switch err := p.signal(signal); {
		case err == nil:
			reached = true
		case !errors.Is(err, errGone):
			return err
		}
	}
	if !reached {
		return fmt.Errorf("%w: it is %s", errNotRunning, c.status())
	}
	return nil
}

// maxSignal is the highest signal of Linux.
const maxSignal = 64

// parseSignal reads a signal's number or name, with or without SIG.
func parseSignal(text string) (unix.Signal, error) {
	if n, err := strconv.Atoi(text); err == nil && 0 < n && n <= maxSignal {
		return unix.Signal(n), nil
	}
	name := strings.ToUpper(text)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if s := unix.SignalNum(name); s != 0 {
		return s, nil
	}
	return 0, fmt.Errorf("signal %s: want a number from 1 to %d or a name, as TERM or SIGKILL", short(text), maxSignal)
}

// deleteVerb is "kapsel oci delete ID".
func (r *call) deleteVerb(args []string) (int, error) {
	f := newFlags("delete")
	var force bool
	boolFlag(f, &force, "force", "f")
	return r.about(f, args, 0,
		func(id string) (int, error) { return r.deleteForeign(id, force) },
		func(id string, _ []string) error { return r.delete(id, force) })
}

// delete removes a stopped container, by force any, and what is left of one.
func (r *call) delete(id string, force bool) error {
	if force {
		r.killNow(id)
	}
	l, err := r.lock(id, force)
	if errors.Is(err, fs.ErrNotExist) {
		if force {
			return nil
		}
		return errNoContainer(id)
	}
	if err != nil {
		return fmt.Errorf("container %q: %w", id, err)
	}
	defer l.Close()
	c, err := r.load(id)
	if err != nil && !force {
		return err
	}
	if err != nil { // nobody knows what it was
		r.log.warn("%v", err)
		c = &container{Version: specs.Version, ID: id, dir: r.dirOf(id)}
	}
	if status := c.lockedStatus(); status != specs.StateStopped && !force {
		return fmt.Errorf("container %q is %s: want one that is stopped: kill it before, or delete it by --force", id, status)
	}
	return r.destroy(c)
}

// killNow kills the container's process, whatever other calls do with it now: create and start fail then.
func (r *call) killNow(id string) {
	if c, err := r.load(id); err == nil {
		c.Process.signal(unix.SIGKILL)
	}
}

// destroy removes all that there is of a container whose lock the caller has: processes, cgroup, files, which frees the ID, and then runs the hooks poststop. If
// a step fails, the others are done, but the state stays, for the next attempt.
func (r *call) destroy(c *container) error {
	errs := []error{c.Process.end()}
	if c.Cgroup != "" {
		errs = append(errs, c.removeGroup())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove container %q: %w", c.ID, err)
	}
	if err := os.RemoveAll(c.dir); err != nil {
		return fmt.Errorf("remove container %q: %w", c.ID, err)
	}
	r.warnHooks("poststop", c.Hooks.Poststop, c.state(specs.StateStopped))
	return nil
}

// removeGroup removes the container's cgroup with the processes in it. If create has ended before the group was known to be the container's, processes in it are another's.
func (c *container) removeGroup() error {
	g, err := cgroup.Open(c.Cgroup, c.Systemd)
	if err != nil {
		return err
	}
	if c.HasCgroup {
		if err := g.Kill(); err != nil {
			return err
		}
	} else if pids, err := g.Pids(); err != nil || len(pids) > 0 {
		return err
	}
	return g.Remove()
}

// listVerb is "kapsel oci list".
func (r *call) listVerb(args []string) (int, error) {
	f := newFlags("list")
	format := "table"
	var quiet bool
	stringFlag(f, &format, "format", "f")
	boolFlag(f, &quiet, "quiet", "q")
	if err := f.Parse(args); err != nil {
		return statusFailed, flagError(f, err)
	}
	switch {
	case f.NArg() > 0:
		return statusFailed, fmt.Errorf("list: unexpected argument %q", f.Arg(0))
	case format != "table" && format != "json":
		return statusFailed, fmt.Errorf("list: --format %s: want table or json", short(format))
	}
	entries, err := os.ReadDir(r.containers())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return statusFailed, err
	}
	reports := []report{}
	for _, e := range entries {
		if checkID(e.Name()) != nil || r.isForeign(e.Name()) { // runc list lists those
			continue
		}
		c, err := r.load(e.Name())
		if err != nil {
			r.log.warn("%v", err)
			continue
		}
		reports = append(reports, c.report())
	}
	if err := r.printList(reports, format, quiet); err != nil {
		return statusFailed, err
	}
	return statusDone, nil
}

func (r *call) printList(reports []report, format string, quiet bool) error {
	switch {
	case quiet:
		for _, p := range reports {
			if _, err := fmt.Fprintln(r.std.Out, p.ID); err != nil {
				return err
			}
		}
		return nil
	case format == "json":
		return r.print(reports)
	}
	w := tabwriter.NewWriter(r.std.Out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tPID\tSTATUS\tBUNDLE\tCREATED")
	for _, p := range reports {
		fmt.Fprintf(w, "%s\t%d\t%s\t%q\t%s\n", p.ID, p.Pid, p.Status, p.Bundle, p.Created.Format(time.RFC3339))
	}
	return w.Flush()
}
