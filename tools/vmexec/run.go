package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// qemuCommand is the emulator that runs the machine.
const qemuCommand = "qemu-system-x86_64"

// run makes the machine, waits for its end and brings the results home. It returns
// vmexec's exit status and, if the machine or the program failed, why.
func run(o *options) (int, error) {
	started := time.Now()
	j, image, err := prepare(o)
	if err != nil {
		return statusFailed, err
	}
	tmp, err := os.MkdirTemp("", "vmexec")
	if err != nil {
		return statusFailed, err
	}
	defer os.RemoveAll(tmp)
	initrd := filepath.Join(tmp, "initrd")
	if err := os.WriteFile(initrd, image, 0o600); err != nil {
		return statusFailed, err
	}
	console := o.console
	if console == "" {
		console = filepath.Join(tmp, "console")
	}
	args := qemuArguments(o, initrd, console)
	o.logf("%s %s", qemuCommand, strings.Join(args, " "))
	m, err := startMachine(args)
	if err != nil {
		return statusFailed, err
	}
	cause := m.wait(o.timeout)
	o.logf("initramfs of %d KiB, %.1f s", len(image)>>10, time.Since(started).Seconds())
	return m.result(j, cause, console)
}

// prepare makes the job and the file system that carries it.
func prepare(o *options) (*job, []byte, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, nil, err
	}
	if o.out != "" {
		if err := os.MkdirAll(o.out, 0o755); err != nil {
			return nil, nil, err
		}
	}
	j := newJob(o, dir, os.Environ())
	image, err := buildInitramfs(o, j)
	return j, image, err
}

// A machine is a running QEMU with the three channels that lead out of it.
type machine struct {
	cmd     *exec.Cmd
	stderr  bytes.Buffer
	readers sync.WaitGroup
	report  bytes.Buffer
	files   bytes.Buffer
}

// startMachine starts QEMU; the program's output goes to standard output as it comes.
func startMachine(args []string) (*machine, error) {
	m := &machine{cmd: exec.Command(qemuCommand, args...)}
	m.cmd.Stderr = &m.stderr
	// The kernel kills QEMU with the thread that started it, so this one has to stay.
	runtime.LockOSThread()
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	for _, to := range []io.Writer{os.Stdout, &m.report, &m.files} {
		if err := m.channel(to); err != nil {
			return nil, err
		}
	}
	err := m.cmd.Start()
	for _, f := range m.cmd.ExtraFiles {
		f.Close() // QEMU has its own; the readers end when that closes
	}
	if errors.Is(err, exec.ErrNotFound) {
		return nil, fmt.Errorf("%w: install the package qemu-system-x86", err)
	}
	return m, err
}

// channel hands QEMU the next file descriptor and copies what comes out of it to w.
func (m *machine) channel(w io.Writer) error {
	r, end, err := os.Pipe()
	if err != nil {
		return err
	}
	m.cmd.ExtraFiles = append(m.cmd.ExtraFiles, end)
	m.readers.Go(func() {
		defer r.Close()
		io.Copy(w, r) // an error is no loss: the report or the archive will be found cut
	})
	return nil
}

// wait waits for the machine's end and ends it at a signal or after the timeout.
// It says what ended it, nil if it ended by itself.
func (m *machine) wait(timeout time.Duration) (cause error) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	defer signal.Stop(signals)
	ended := make(chan struct{})
	go func() {
		m.cmd.Wait() // how QEMU itself ended is told by its state
		close(ended)
	}()
	select {
	case <-ended:
	case s := <-signals:
		cause = fmt.Errorf("ended by signal: %s", s)
	case <-time.After(timeout):
		cause = fmt.Errorf("ended after the timeout of %s", timeout)
	}
	if cause != nil {
		m.cmd.Process.Kill()
		<-ended
	}
	m.readers.Wait()
	return cause
}

// result reads the machine's report and takes over the files it sent.
func (m *machine) result(j *job, cause error, console string) (int, error) {
	var r report
	if err := json.Unmarshal(m.report.Bytes(), &r); err != nil {
		if cause == nil {
			cause = fmt.Errorf("ended without a report (%s)", m.cmd.ProcessState)
		}
		return statusFailed, fmt.Errorf("the machine %w\n%s%s", cause, m.stderr.Bytes(), consoleTail(console))
	}
	if m.files.Len() != r.Files {
		return statusFailed, fmt.Errorf("the machine sent %d bytes of files, %d came", r.Files, m.files.Len())
	}
	if err := unpack(m.files.Bytes(), j.Back); err != nil {
		return statusFailed, err
	}
	if r.Error != "" {
		return r.Status, errors.New(r.Error)
	}
	return r.Status, nil
}

// consoleTail is the end of the machine's console, with a heading.
func consoleTail(path string) string {
	const most = 4000
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Sprintf("its console is lost: %v", err)
	}
	if len(b) == 0 {
		return "its console is empty"
	}
	return fmt.Sprintf("its console ends:\n%s", b[max(0, len(b)-most):])
}
