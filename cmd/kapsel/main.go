// Command kapsel boots a Kapsel image in a virtual machine and says what this host can
// do for it. See "kapsel help".
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"kapsel/cmd/kapsel/oci"
	"kapsel/files"
	"kapsel/guest/abi"
)

// Exit statuses of the command, besides the guest's own (0 to abi.ExitStatusMax).
const (
	statusWorse      = 1   // of bench: a path is worse than its golden count
	statusLost       = 1   // of disk show: there is damage by which data is lost
	statusRefused    = 1   // of load and unload: the kernel does not do it; of call: so does the task
	statusUsage      = 2   // the command line, the image or the disk cannot be used
	statusCutOff     = 100 // of call and snapshot: the task faulted, ended or went beyond a limit (abi.ExitTaskFault)
	statusHung       = 122 // the kernel hangs, and the watchdog could not make it panic
	statusBreakpoint = 123 // stopped at a --break
	statusTimeout    = 124 // ended by --timeout, as timeout(1) has it
	statusFailed     = 125 // the monitor, QEMU or the host failed, or the guest triple-faulted
	statusSignal     = 128 // plus the signal's number
	statusLeft       = 130 // left with Ctrl-A x: the same as by SIGINT
)

// stdio is where the command reads and writes.
type stdio struct {
	in       *os.File
	out, err io.Writer
	hurry    func() // err waits for its reader no longer
	outputs  *outputs
}

func main() {
	args := os.Args[1:]
	if filepath.Base(os.Args[0]) == ociName {
		args = append([]string{"oci"}, args...)
	}
	os.Exit(command(args, stdio{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
}

// ociName is another name of the command, by which it is what "kapsel oci" is.
const ociName = "kapsel-oci"

// command runs the command with its arguments and returns its exit status.
func command(args []string, std stdio) int {
	words := newLastWords(std.err)
	std.err, std.hurry = words, words.hurry
	if len(args) == 0 {
		fmt.Fprint(std.err, helpText)
		return statusUsage
	}
	name, args := args[0], args[1:]
	var status int
	var err error
	switch name {
	case "run":
		status, err = runCommand(args, std)
	case "call":
		status, err = callCommand(args, std)
	case "snapshot":
		status, err = snapshotCommand(args, std)
	case "serve":
		status, err = serveCommand(args, std)
	case "bench":
		status, err = benchCommand(args, std)
	case "load", "unload", "tasks", "pause", "resume", "kill", "save", "restore":
		status, err = controlCommand(name, args, std)
	case "oci":
		status, err = oci.Main(args, oci.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	case "disk":
		status, err = diskCommand(args, std)
	case "doctor":
		status, err = doctorCommand(args, std)
	case "version", "--version", "-version":
		name = "version"
		status, err = versionCommand(args, std)
	case "help", "--help", "-help", "-h":
		name = "help"
		var text string
		if text, err = helpCommand(args); err != nil {
			err = usageError{err}
		}
		fmt.Fprint(std.out, text)
	default:
		err = usageError{noCommand(name)}
	}
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(std.out, helpFor(name))
		return 0
	}
	if err != nil {
		fmt.Fprintf(std.err, "kapsel: %s\n", files.Words(err))
		if errors.As(err, &usageError{}) {
			return statusUsage
		}
	}
	return status
}

// A usageError is the user's to mend: it leads to statusUsage.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// versionCommand prints the release.
func versionCommand(args []string, std stdio) (int, error) {
	if err := parseOnly(newFlags("version"), args); err != nil {
		return statusUsage, usageError{err}
	}
	fmt.Fprintf(std.out, "kapsel %s, %s %s/%s\n", abi.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return 0, nil
}
