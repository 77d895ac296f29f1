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
	"kapsel/vmm/control"
)

// controlFlag is a flag of run: the socket at which other processes load and unload the machine's tasks.
type controlFlag struct{ ports *namedPorts }

func (f controlFlag) String() string { return "" }

// Set reads unix:PATH, or PATH.
func (f controlFlag) Set(text string) error {
	path, err := controlPath(text)
	if err != nil {
		return err
	}
	return f.ports.add(abi.PortLoad, func(ctx context.Context, std stdio) (vmm.Port, io.Closer, error) {
		s, err := control.Listen(ctx, path, func(format string, args ...any) {
			fmt.Fprintf(std.err, "kapsel: "+format+"\n", args...)
		})
		switch {
		case !errors.Is(err, syscall.EADDRINUSE):
		case !isSocket(path):
			err = fmt.Errorf("%q is there, and is no socket: choose another path", path)
		default:
			err = fmt.Errorf("%w: another machine listens there, or one that was killed has left the socket: remove it, or choose another path", err)
		}
		return vmm.Port{Input: s, Output: s}, s, err
	})
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

// controlOptions is the command line of "kapsel load", "unload" and "tasks".
type controlOptions struct {
	path  string
	names []string
}

// parseControl reads the arguments of a command, which wants names or none.
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
	switch {
	case o.path == "":
		return nil, fmt.Errorf("no --control given: %s, with the path that kapsel run --control has", usage)
	case wanted == "" && len(o.names) > 0:
		return nil, fmt.Errorf("unexpected argument %q: %s", o.names[0], usage)
	case wanted != "" && len(o.names) == 0:
		return nil, fmt.Errorf("nothing named: %s", usage)
	}
	return o, nil
}

// controlCommand is one of the commands that ask a running machine.
func controlCommand(command string, args []string, std stdio) (int, error) {
	wanted := map[string]string{"load": "TASK...", "unload": "NAME...", "tasks": ""}[command]
	o, err := parseControl(command, args, wanted)
	if err != nil {
		return statusUsage, usageError{err}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	objects := map[string][]byte{}
	if command == "load" { // what cannot be read is found out before anything is loaded
		for _, path := range o.names {
			if objects[path], err = readObjects(ctx, path); err != nil {
				return statusUsage, usageError{err}
			}
		}
	}
	client, err := control.Connect(ctx, o.path)
	if err != nil {
		return statusFailed, fmt.Errorf("--control %s: %w: want the path that kapsel run --control has, while its machine runs", o.path, err)
	}
	defer client.Close()
	if command == "tasks" {
		return listTasks(client, std.out)
	}
	for _, name := range o.names {
		err := client.Unload
		if command == "load" {
			err = func(path string) error { return loadTasks(client, path, objects[path], std.out) }
		}
		if err := err(name); err != nil {
			return refusal(err), fmt.Errorf("%q: %w", name, err)
		}
	}
	return 0, nil
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
func listTasks(client *control.Client, out io.Writer) (int, error) {
	tasks, err := client.Tasks()
	if err != nil {
		return statusFailed, err
	}
	fmt.Fprintln(out, "  PID  ShortID     Restarts  State       Name")
	for _, t := range tasks {
		short := "-"
		if t.ShortID != 0 {
			short = fmt.Sprintf("0x%08x", t.ShortID)
		}
		fmt.Fprintf(out, "%5d  %-10s  %8d  %-10s  %s\n", t.PID, short, t.Restarts, t.State, printable(t.Name))
	}
	return 0, nil
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
