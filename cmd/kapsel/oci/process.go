package oci

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

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
	_, start, err := readStat(pid)
	return process{pid, start}, err
}

// readStat reads a process' state and its start time (proc(5), /proc/pid/stat fields 3 and 22).
func readStat(pid int) (state byte, start uint64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, errGone
	}
	_, behind, _ := bytes.Cut(text[max(bytes.LastIndexByte(text, ')'), 0):], []byte(" ")) // the name before may have any character
	fields := strings.Fields(string(behind))
	const first, startTime = 3, 22
	if len(fields) <= startTime-first {
		return 0, 0, fmt.Errorf("/proc/%d/stat: want %d fields, found %q", pid, startTime, text)
	}
	start, err = strconv.ParseUint(fields[startTime-first], 10, 64)
	return fields[0][0], start, err
}

// alive says whether the process runs: one that has ended, and whose status nobody has asked for yet, does not.
func (p process) alive() bool {
	if p.PID <= 0 {
		return false
	}
	state, start, err := readStat(p.PID)
	return err == nil && start == p.Start && state != 'Z' && state != 'X'
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
	for {
		if _, err := unix.Poll(ended, -1); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// waiting says whether the process is a container's that waits for start: then it is still this command.
func (p process) waiting() bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID))
	return err == nil && bytes.HasPrefix(text, []byte(strings.Join(initArgs, "\x00")+"\x00"))
}
