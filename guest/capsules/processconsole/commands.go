package processconsole

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/format"
)

const help = `Commands, NAME being a task's name or its PID:
  help             this list
  list             a line for each task
  status           the number of tasks, and of time slices used up
  process NAME     all about a task, with its memory map
  stop NAME        keep a task from running, where it stands
  start NAME       let a stopped task go on
  terminate NAME   end a task
  boot NAME        start a task again that has ended
  fault NAME       make a task fault
  capsules         the kernel's drivers, which of them each uses, and which failed
  kernel           the kernel's version and memory map
  reset            end the machine
  panic            make the kernel panic
Up and Down bring back earlier commands. Ctrl-C drops the line. Of the line, Ctrl-U takes away
what stands before the cursor, Ctrl-K the rest, Ctrl-W a word; Ctrl-A and Ctrl-E go to its ends.
`

// action is what a command does to tasks.
type action int

const (
	noAction action = iota
	process
	stop
	start
	terminate
	boot
	fault
)

// obey carries out a command.
func (c *Console) obey(line []byte) {
	command, name := words(line)
	switch string(command) {
	case "":
	case "help":
		c.out.WriteString(help)
	case "list":
		c.list()
	case "status":
		c.status()
	case "capsules":
		c.machine.PrintCapsules(c.out)
	case "kernel":
		c.machine.PrintKernel(c.out)
	case "reset":
		c.machine.Reset()
	case "panic":
		c.machine.Panic()
	default:
		switch a := actionNamed(command); {
		case a == noAction:
			c.out.WriteString("no command ")
			format.Text(c.out, command)
			c.out.WriteString(": help lists them\n")
		case len(name) == 0:
			c.out.WriteString("want a task's name or PID behind it: list shows them\n")
		default:
			c.forEach(name, a)
		}
	}
}

func actionNamed(command []byte) action {
	switch string(command) {
	case "process":
		return process
	case "stop":
		return stop
	case "start":
		return start
	case "terminate":
		return terminate
	case "boot":
		return boot
	case "fault":
		return fault
	}
	return noAction
}

// words splits a line into the first word and the rest, without the spaces around them.
func words(line []byte) (first, rest []byte) {
	line = trim(line)
	for i, b := range line {
		if b == ' ' {
			return line[:i], trim(line[i:])
		}
	}
	return line, nil
}

// trim takes the spaces at both ends away.
func trim(b []byte) []byte {
	for len(b) > 0 && b[0] == ' ' {
		b = b[1:]
	}
	for len(b) > 0 && b[len(b)-1] == ' ' {
		b = b[:len(b)-1]
	}
	return b
}

// forEach does something to all tasks of that name, or the one with that PID.
func (c *Console) forEach(name []byte, a action) {
	pid, isPID := number(name)
	found := false
	t := &c.seen
	c.kernel.EachTask(c.tasks, t, func() {
		if t.NameIs(name) || isPID && t.ID().Number() == pid {
			found = true
			c.act(t, a)
		}
	})
	if !found {
		c.out.WriteString("no task ")
		format.Text(c.out, name)
		c.out.WriteString(": list shows them\n")
	}
}

// number reads a decimal number of at most 19 digits, which fits 64 bits, or reports false.
func number(b []byte) (uint64, bool) {
	v := uint64(0)
	for _, d := range b {
		if d < '0' || d > '9' {
			return 0, false
		}
		v = v*10 + uint64(d-'0')
	}
	return v, len(b) > 0 && len(b) <= 19
}

// act does something to a task, and says what became of it.
func (c *Console) act(t *kernel.Task, a action) {
	var e abi.ErrorCode
	var done, already string // what abi.OK and abi.ALREADY mean
	switch id := t.ID(); a {
	case process:
		t.Print(c.out)
		return
	case stop:
		e, done, already = c.kernel.Stop(id, c.tasks), "stopped", "is stopped already"
	case start:
		e, done, already = c.kernel.Start(id, c.tasks), "started", "is not stopped"
	case terminate:
		e, done = c.kernel.Terminate(id, c.tasks), "terminated"
	case boot:
		e, done, already = c.kernel.Boot(id, c.tasks), "booted", "has not ended"
	case fault:
		e, done = c.kernel.Fault(id, "told to by the process console", c.tasks), "faulted"
	}
	switch e {
	case abi.OK:
	case abi.ALREADY:
		done = already
	default:
		done = "has ended; boot starts it again"
	}
	c.kernel.Look(c.tasks, t)
	c.out.WriteString("task ")
	t.PrintName(c.out, 0)
	format.Print(c.out, ", PID %d: ", t.ID().Number())
	c.out.WriteString(done)
	c.out.WriteString("\n")
}

// list writes a line for each task.
func (c *Console) list() {
	w := c.out
	w.WriteString(" PID    ShortID    Name                Quanta  Syscalls  Restarts  Grants  State\n")
	t := &c.seen
	c.kernel.EachTask(c.tasks, t, func() {
		s := t.Statistics()
		format.Print(w, "%4d    ", t.ID().Number())
		t.PrintShortID(w, 11)
		t.PrintName(w, 20)
		format.Print(w, "%6d %9d %9d %4d/%d  ",
			s.Expired, s.Syscalls, s.Restarts, uint64(s.Grants), uint64(c.kernel.Grants()))
		w.WriteString(t.Doing())
		w.WriteString("\n")
	})
}

// status writes sums over all tasks.
func (c *Console) status() {
	var total, active, expired uint64
	t := &c.seen
	c.kernel.EachTask(c.tasks, t, func() {
		total++
		expired += t.Expired()
		switch t.State() {
		case kernel.Running, kernel.Yielded, kernel.YieldedFor:
			active++
		}
	})
	format.Print(c.out, "Total processes: %d\nActive processes: %d\nTimeslice expirations: %d\n", total, active, expired)
}
