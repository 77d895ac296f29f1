//go:build kapsel_task

package labour

import "kapsel/guest/task"

var pids [40]uint32

// PID is the PID of the last task with a name, or 0 if there is none, or nobody tells.
func PID(name string) (found uint32) {
	n, _ := task.Tasks(pids[:])
	for _, pid := range pids[:min(n, len(pids))] {
		if other, err := task.TaskName(pid); err == nil && other == name {
			found = pid
		}
	}
	return found
}

// patience is how often a task is asked for that nobody knows anything of, until it has ended.
const patience = 100

var unknown int

// Alive reports whether a task with that name has not ended.
func Alive(name string) bool {
	s, err := task.Status(PID(name))
	if err != nil {
		unknown++
		return unknown < patience
	}
	return s.State < task.TaskFaulted
}
