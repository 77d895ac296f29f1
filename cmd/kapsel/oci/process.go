package oci

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A process is one of the host's. Its start time, in clock ticks since boot, tells it from another that has its number later.
type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"`
}

// errGone says that a process has ended.
var errGone = errors.New("no such process")

// identify returns the process with a number.
func identify(pid int) (process, error) {
	s, err := readStat(pid)
	return process{pid, s.start}, err
}

// alive says whether the process runs: one that has ended, and whose status nobody has asked for yet, does not.
func (p process) alive() bool {
	if p.PID <= 0 {
		return false
	}
	s, err := readStat(p.PID)
	return err == nil && s.start == p.Start && s.state != 'Z' && s.state != 'X'
}

// open returns a descriptor of the process, or errGone. What is done with it reaches no other process.
func (p process) open() (fd int, err error) {
	if p.PID <= 0 {
		return -1, errGone
	}
	fd, err = unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return -1, errGone
	}
	if err != nil {
		return -1, fmt.Errorf("process %d: %w", p.PID, err)
	}
	if !p.alive() {
		unix.Close(fd)
		return -1, errGone
	}
	return fd, nil
}

// signal sends a signal.
func (p process) signal(s unix.Signal) error {
	fd, err := p.open()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	err = unix.PidfdSendSignal(fd, s, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return errGone
	}
	return err
}

// end kills the process and waits until it has ended.
func (p process) end() error {
	fd, err := p.open()
	if errors.Is(err, errGone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("process %d: kill: %w", p.PID, err)
	}
	ended := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for deadline := time.Now().Add(endPatience); ; {
		n, err := unix.Poll(ended, int(max(time.Until(deadline), 0).Milliseconds()))
		switch {
		case errors.Is(err, unix.EINTR):
		case err == nil && n == 0:
			return errEndless(p.PID)
		default:
			return err
		}
	}
}

// endPatience is how long a process that was killed is waited for: it may be in the midst of something that the kernel does not break off.
const endPatience = 10 * time.Second

// errEndless says that a process does not end.
func errEndless(pid int) error {
	return fmt.Errorf("process %d was killed and has not ended for %v: what the host waits for there, /proc/%[1]d/stack says; then delete --force again", pid, endPatience)
}

// A stat is what the kernel says of a process (proc(5), /proc/pid/stat).
type stat struct {
	state         byte
	parent, group int
	start         uint64 // in clock ticks since boot
}

// readStat reads the fields 3, 4, 5 and 22 of a process' line.
func readStat(pid int) (s stat, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return s, errGone
	}
	const first, parent, group, start = 3, 4, 5, 22
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])) // the name before may have any character
	if len(fields) <= start-first {
		return s, fmt.Errorf("/proc/%d/stat: want %d fields, found %q", pid, start, text)
	}
	s.state = fields[0][0]
	s.parent, err = strconv.Atoi(fields[parent-first])
	if err == nil {
		s.group, err = strconv.Atoi(fields[group-first])
	}
	if err == nil {
		s.start, err = strconv.ParseUint(fields[start-first], 10, 64)
	}
	return s, err
}

// killWithChildren kills the process and its children, and of those that lead a process group all of that, as hooks do. While it is stopped none of their numbers can
// become another's: nobody takes the status of one that has ended.
func (p process) killWithChildren() error {
	if err := p.signal(unix.SIGSTOP); err != nil {
		return err
	}
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	for _, name := range names {
		pid, _ := strconv.Atoi(filepath.Base(name))
		switch s, err := readStat(pid); {
		case err != nil || s.parent != p.PID:
		case s.group == pid:
			unix.Kill(-pid, unix.SIGKILL) // it may have ended
		default:
			unix.Kill(pid, unix.SIGKILL)
		}
	}
	return p.signal(unix.SIGKILL)
}

// waiting says whether the process is a container's that waits for start: then it is still this command.
func (p process) waiting() bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID))
	return err == nil && bytes.HasPrefix(text, []byte(strings.Join(initArgs, "\x00")+"\x00"))
}
