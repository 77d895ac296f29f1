package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"kapsel/tools/initramfs"
)

// guestMain is the machine's init: it runs the job, reports and ends the machine.
// What it cannot report it prints: standard output is the console.
func guestMain() {
	if err := guestRun(); err != nil {
		fmt.Println("vmexec init:", err)
	}
	unix.Sync()
	err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART) // -no-reboot turns it into the end
	fmt.Println("vmexec init: reboot:", err)
}

func guestRun() error {
	if err := initramfs.Mount(); err != nil {
		return err
	}
	content, err := os.ReadFile(jobFile)
	if err != nil {
		return err
	}
	var j job
	if err := json.Unmarshal(content, &j); err != nil {
		return fmt.Errorf("%s: %w", jobFile, err)
	}
	if err := initramfs.LoadModules(); err != nil {
		return err
	}
	if err := initramfs.BringUp("lo"); err != nil {
		return err
	}
	output, err := openLine(ttyOutput)
	if err != nil {
		return err
	}
	r := runProgram(&j, output)
	if r.Files, err = sendFiles(j.Back); err != nil {
		r = report{Status: statusFailed, Error: "send files back: " + err.Error()}
	}
	return errors.Join(drain(output), sendReport(r))
}

// openLine opens a serial line for bytes as they are: no newline conversion, no echo.
func openLine(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("%s: get terminal settings: %w", path, err)
	}
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.CBAUD) | unix.CS8 | unix.CLOCAL | unix.B115200
	if err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, t); err != nil {
		return nil, fmt.Errorf("%s: set raw mode: %w", path, err)
	}
	return f, nil
}

// drain waits until every byte has left the line.
func drain(line *os.File) error {
	return unix.IoctlSetInt(int(line.Fd()), unix.TCSBRK, 1)
}

// runProgram runs the job's program and says how it ended.
func runProgram(j *job, output *os.File) report {
	cmd := exec.Command(j.Program, j.Args...)
	cmd.Dir, cmd.Env = j.Dir, j.Env
	cmd.Stdout, cmd.Stderr = output, output
	err := cmd.Run()
	if cmd.ProcessState == nil {
		return report{Status: statusFailed, Error: err.Error()}
	}
	ws := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		s := ws.Signal()
		return report{Status: 128 + int(s), Error: fmt.Sprintf("the program was ended by signal %d (%s)", s, s)}
	}
	return report{Status: ws.ExitStatus()}
}

// sendFiles sends those of the paths that exist and says how many bytes that took.
func sendFiles(paths []string) (int, error) {
	a := initramfs.New()
	for _, path := range paths {
		if err := a.Tree(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
	}
	if a.Empty() {
		return 0, nil
	}
	content, err := a.Bytes()
	if err != nil {
		return 0, err
	}
	return len(content), send(ttyFiles, content)
}

func sendReport(r report) error {
	content, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return send(ttyReport, content)
}

// send writes all of content to a serial line and waits until it has left.
func send(path string, content []byte) error {
	line, err := openLine(path)
	if err != nil {
		return err
	}
	if _, err := line.Write(content); err != nil {
		return err
	}
	return drain(line)
}
