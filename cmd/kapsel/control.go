package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"kapsel/guest/abi"
	"kapsel/vmm"
	"kapsel/vmm/confine"
	"kapsel/vmm/control"
)

// controlFlag is a flag of run: the socket at which other processes load and unload the machine's tasks, and look after them.
type controlFlag struct{ ports *namedPorts }

func (f controlFlag) String() string { return "" }

// Set reads unix:PATH, or PATH.
func (f controlFlag) Set(text string) error {
	path, err := controlPath(text)
	if err != nil {
		return err
	}
	return f.ports.add(abi.PortLoad, confine.Options{Sockets: true, Remove: []string{path}}, func(ctx context.Context, std stdio) (vmm.Port, io.Closer, error) {
		s, err := control.Listen(ctx, path, func(format string, args ...any) {
			fmt.Fprintf(std.err, "kapsel: "+format+"\n", args...)
		})
		err = socketError(path, err)
		return vmm.Port{Input: s, Output: s}, s, err
	})
}

// socketError is why there is no socket at a path, with what to do.
func socketError(path string, err error) error {
	switch {
	case !errors.Is(err, syscall.EADDRINUSE):
		return err
	case !isSocket(path):
		return fmt.Errorf("%q is there, and is no socket: choose another path", path)
	}
	return fmt.Errorf("%w: another machine listens there, or one that was killed has left the socket: remove it, or choose another path", err)
}

func isSocket(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode()&os.ModeSocket != 0
}

// maxSocketPath is how many bytes a unix socket's path can have, behind which a zero stands (unix(7)).
const maxSocketPath = len(unix.RawSockaddrUnix{}.Path) - 1

func controlPath(text string) (string, error) {
	path := strings.TrimPrefix(text, "unix:")
	switch {
	case path == "":
		return "", errors.New("want unix:PATH, or PATH")
	case len(path) > maxSocketPath:
		return "", fmt.Errorf("a path of %d bytes: that of a socket has at most %d", len(path), maxSocketPath)
	}
	return path, nil
}

// controlOptions is the command line of "kapsel load" and its like.
type controlOptions struct {
	path  string
	names []string
}

// parseControl reads the arguments of a command, which wants names, as many as a form says: "NAME..." is one or more.
func parseControl(command string, args []string, wanted string) (*controlOptions, error) {
	o := &controlOptions{}
	f := newFlags(command)
	f.Func("control", "", func(text string) (err error) {
		o.path, err = controlPath(text)
		return err
	})
	var err error
	if o.names, err = parseMixed(f, args); err != nil {
		return nil, err
	}
	usage := strings.TrimSpace("kapsel " + command + " --control PATH " + wanted)
	count := len(strings.Fields(wanted))
	switch {
	case o.path == "":
		return nil, fmt.Errorf("no --control given: %s, with the path that kapsel run --control has", usage)
	case len(o.names) > count && !strings.HasSuffix(wanted, "..."):
		return nil, fmt.Errorf("unexpected argument %q: %s", o.names[count], usage)
	case len(o.names) == 0 && count > 0:
		return nil, fmt.Errorf("nothing named: %s", usage)
	case len(o.names) < count:
		return nil, fmt.Errorf("no file named: %s", usage)
	}
	return o, nil
}

// controlForms are what the commands that ask a running machine want on their lines.
var controlForms = map[string]string{"load": "TASK...", "unload": "NAME...", "tasks": "", "pause": "NAME...", "resume": "NAME...", "kill": "NAME...",
	"save": "NAME FILE", "restore": "NAME FILE"}

// controlCommand is one of the commands that ask a running machine.
func controlCommand(command string, args []string, std stdio) (int, error) {
	o, err := parseControl(command, args, controlForms[command])
	if err != nil {
		return statusUsage, usageError{err}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ask, err := prepare(ctx, command, o.names, std.out) // what cannot be read is found out before anything is done
	if err != nil {
		return statusUsage, usageError{err}
	}
	client, err := control.Connect(ctx, o.path)
	if err != nil {
		return statusFailed, fmt.Errorf("--control %s: %w: want the path that kapsel run --control has, while its machine runs", o.path, err)
	}
	defer client.Close()
	if err := ask(client); err != nil {
		return refusal(err), err
	}
	return 0, nil
}

// prepare reads the files of a command, and returns what it asks of a machine.
func prepare(ctx context.Context, command string, names []string, out io.Writer) (func(*control.Client) error, error) {
	switch command {
	case "load":
		objects := map[string][]byte{}
		for _, path := range names {
			var err error
			if objects[path], err = readObjects(ctx, path); err != nil {
				return nil, err
			}
		}
		return func(c *control.Client) error {
			return forEach(names, func(path string) error { return loadTasks(c, path, objects[path], out) })
		}, nil
	case "tasks":
		return func(c *control.Client) error { return listTasks(c, out) }, nil
	case "save":
		return func(c *control.Client) error { return saveTask(c, names[0], names[1]) }, nil
	case "restore":
		state, err := readState(names[1])
		return func(c *control.Client) error { return restoreTask(c, names[0], state, out) }, err
	}
	does := map[string]func(*control.Client, string) error{"unload": (*control.Client).Unload, "pause": (*control.Client).Pause,
		"resume": (*control.Client).Resume, "kill": (*control.Client).Kill}[command]
	return func(c *control.Client) error {
		return forEach(names, func(name string) error { return does(c, name) })
	}, nil
}

// forEach calls f with each name, until one fails.
func forEach(names []string, f func(string) error) error {
	for _, name := range names {
		if err := f(name); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
	return nil
}

// refusal is the status for an error: the kernel's answer, or that there was none.
func refusal(err error) int {
	if _, answered := errors.AsType[abi.ErrorCode](err); answered {
		return statusRefused
	}
	return statusFailed
}

// loadTasks loads the tasks of a file.
func loadTasks(client *control.Client, path string, objects []byte, out io.Writer) error {
	for len(objects) > 0 {
		object, rest := firstObject(objects)
		pid, err := client.Load(object)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "PID %d: %q\n", pid, path)
		objects = rest
	}
	return nil
}

// listTasks writes a line for each task.
func listTasks(client *control.Client, out io.Writer) error {
	tasks, err := client.Tasks()
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "  PID  ShortID     Restarts  State       Name")
	for _, t := range tasks {
		short := "-"
		if t.ShortID != 0 {
			short = fmt.Sprintf("0x%08x", t.ShortID)
		}
		fmt.Fprintf(out, "%5d  %-10s  %8d  %-10s  %s\n", t.PID, short, t.Restarts, t.State, printable(t.Name))
	}
	return nil
}

// printable is text of the guest's with anything that is not shown as itself made visible.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
}
