package task

import "kapsel/guest/abi"

// Numbers of the process info driver.
const (
	infoIDs     = 2 // commands
	infoName    = 4
	infoStats   = 5
	infoControl = 6
	infoBuffer  = 0 // allow
)

// TaskState is what a task does, by Tock's numbers.
type TaskState uint32

// States.
const (
	TaskRunning TaskState = iota
	TaskYielded
	TaskYieldedFor
	TaskStopped
	TaskFaulted
	TaskTerminated
)

// TaskControl is what can be done to a task.
type TaskControl uint32

// Actions.
const (
	StartTask TaskControl = 1 + iota // that was stopped
	StopTask
	FaultTask
	TerminateTask
	BootTask // that has terminated
)

// TaskStatus is what is known of a task.
type TaskStatus struct {
	Expired  uint32 // slices used up
	Syscalls uint32
	Restarts uint32
	State    TaskState
}

// infoBytes are what the driver writes to: a word for each of the 64 slots, or a name.
var infoBytes [256]byte

// Tasks fills pids with the PIDs of all tasks, as far as it goes, and returns how many tasks there are. A run of a task has a PID of its own. It
// returns abi.NODEVICE for a task that may not look at others.
func Tasks(pids []uint32) (n int, err error) {
	r, err := info(infoIDs, 0)
	for i := range pids[:min(len(pids), int(r.Words[0]))] {
		pids[i] = infoWord(i)
	}
	return int(r.Words[0]), err
}

// Status is what is known of the task with a PID. It returns abi.INVAL if there is none.
func Status(pid uint32) (TaskStatus, error) {
	for i := range infoBytes[:16] {
		infoBytes[i] = 0xff
	}
	_, err := info(infoStats, pid)
	if err == nil && infoWord(3) == ^uint32(0) {
		err = errors[abi.INVAL]
	}
	return TaskStatus{infoWord(0), infoWord(1), infoWord(2), TaskState(infoWord(3))}, err
}

// TaskName is the name of the task with a PID, of a long one its first 256 bytes. It returns abi.INVAL if there is none.
func TaskName(pid uint32) (string, error) {
	r, err := info(infoName, pid)
	if err != nil {
		return "", err
	}
	return string(infoBytes[:min(r.Words[0], uint64(len(infoBytes)))]), nil
}

// Control does something to the task with a PID, if that can be done to it. It returns abi.INVAL if there is none.
func Control(pid uint32, c TaskControl) error {
	return Command(abi.DriverProcessInfo, infoControl, pid, uint32(c)).Err()
}

// info gives a command whose answer is in infoBytes.
func info(command, pid uint32) (Result, error) {
	if err := Allow(abi.DriverProcessInfo, infoBuffer, infoBytes[:]); err != nil {
		return Result{}, err
	}
	r := Command(abi.DriverProcessInfo, command, pid, 0)
	Allow(abi.DriverProcessInfo, infoBuffer, nil)
	if err := r.Err(); err != nil {
		return Result{}, err
	}
	return r, nil
}

// infoWord is the i-th word that the driver wrote.
func infoWord(i int) uint32 {
	b := infoBytes[4*i:]
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}
