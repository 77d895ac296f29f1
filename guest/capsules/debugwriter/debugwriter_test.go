package debugwriter

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/kerneltest"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

func newWriter(t *testing.T) (*kerneltest.Machine, *Writer) {
	m := kerneltest.New(t, capability.Mint())
	w := new(Writer)
	w.WriteString("before Init; ")
	w.Init(&m.Kernel, &m.Line)
	return m, w
}

// run lets the machine serve interrupts and deferred calls, with a task that waits.
func run(m *kerneltest.Machine) {
	m.AddTask("task", func(k *kerneltest.Task) { k.Wait() }, nil)
	m.Run()
}

func TestTextIsSentInOrder(t *testing.T) {
	m, w := newWriter(t)
	want := "before Init; "
	for range 100 {
		w.WriteString("a line of text\n")
		want += "a line of text\n"
	}
	assert.Empty(t, m.Line.Sent, "nothing is sent from within the call")
	run(m)
	w.WriteString("later\n")
	m.Continue()
	assert.Equal(t, want+"later\n", strings.Join(m.Line.Sent, ""))
}

func TestQueueGoesAround(t *testing.T) {
	m, w := newWriter(t)
	text := strings.Repeat("0123456789abcdef", queueSize/16-100)
	w.WriteString(text)
	run(m)
	w.WriteString(text)
	m.Continue()
	assert.Equal(t, "before Init; "+text+text, strings.Join(m.Line.Sent, ""))
}

// sent is all that was sent by interrupts.
func sent(m *kerneltest.Machine) string { return strings.Join(m.Line.Sent, "") }

func TestLossIsReported(t *testing.T) {
	m, w := newWriter(t)
	text := strings.Repeat("x", queueSize)
	w.WriteString(text)
	w.WriteString("lost")
	w.WriteChars('!', 1)
	run(m)
	assert.True(t, strings.HasSuffix(sent(m), "xxx\n[18 bytes of the kernel's messages were lost here]\n"), "ends with %q", sent(m)[len(sent(m))-60:])
	w.WriteString("later\n")
	m.Continue()
	assert.True(t, strings.HasSuffix(sent(m), "lost here]\nlater\n"))
}

// TestTasksLeaveRoom: whatever tasks write, seven eighths of the queue are left for the kernel, whose
// messages begin lines of their own.
func TestTasksLeaveRoom(t *testing.T) {
	m, w := newWriter(t)
	for range queueSize {
		w.Tasks().WriteString("task ")
		w.Tasks().WriteChars('.', 1)
	}
	message := strings.Repeat("k", queueSize-tasksRoom-1)
	w.WriteString(message)
	run(m)
	all := strings.Repeat("task .", queueSize)
	kept := tasksRoom - len("before Init; ")
	want := "before Init; " + all[:kept] + "\n" + message
	assert.Equal(t, want, sent(m)[:len(want)])
	assert.Equal(t, fmt.Sprintf("[%d bytes of tasks' debug text were lost here]\n", len(all)-kept), sent(m)[len(want):])
}

// TestLossIsReportedInAFlood: what tasks lose is reported although they never stop, and what
// is sent and reported is all that was written.
func TestLossIsReportedInAFlood(t *testing.T) {
	m, w := newWriter(t)
	const line = "a line of a task\n"
	written, messages := 0, 0
	m.AddTask("task", func(k *kerneltest.Task) {
		for range 3000 {
			for range 10 {
				w.Tasks().WriteString(line)
				written += len(line)
			}
			if written%100 == 0 {
				w.WriteString("the kernel's\n")
				messages++
			}
			k.Spin(10)
		}
		k.Wait()
	}, nil)
	m.Run()
	reports := regexp.MustCompile(`\[(\d+) bytes of tasks' debug text were lost here\]\n`).FindAllStringSubmatch(sent(m), -1)
	assert.Greater(t, len(reports), 5, "in the flood, not behind it")
	lost := 0
	for _, r := range reports {
		n, err := strconv.Atoi(r[1])
		require.NoError(t, err)
		lost += n
	}
	assert.Len(t, regexp.MustCompile(`(?m)^the kernel's$`).FindAllString(sent(m), -1), messages, "each on its line")
	rest := strings.ReplaceAll(sent(m), "the kernel's\n", "")
	for _, r := range reports {
		rest = strings.Replace(rest, r[0], "", 1)
	}
	cut := len(reports) // ends of lines that were cut
	assert.Equal(t, written, len(rest)-len("before Init; ")-cut+lost)
}

// TestFaultsWaitForTheirMessages: tasks that fault again and again cause no more messages than
// are sent, and other tasks go on.
func TestFaultsWaitForTheirMessages(t *testing.T) {
	const restarts, tasks = 32, 15
	m := kerneltest.New(t, capability.Mint())
	w := new(Writer)
	m.Kernel = kernel.Kernel{}
	m.Kernel.Init(kernel.Config{CPU: &m.CPU, Platform: m, Scheduler: &kernel.RoundRobin{}, Policy: m, Debug: w, Backlog: w,
		Credentials: m, Identity: m, RAM: &kernel.RAM{Low: make([]byte, 1<<20)}})
	m.Policy = &kernel.FaultLimit{Restarts: restarts, Dump: true}
	w.Init(&m.Kernel, &m.Line)
	for i := range tasks {
		m.AddTask(fmt.Sprint("faulting", i), func(k *kerneltest.Task) {
			for {
				w.Tasks().WriteString("some of a flood of text\n")
				k.Fault(kernel.Fault{Vector: 6, Name: strings.Repeat("a long dump\n", 100)})
			}
		}, nil)
	}
	turns := 0
	m.AddTask("other", func(k *kerneltest.Task) {
		for turns = range 100_000 {
			k.Spin(1)
		}
		k.Wait()
	}, nil)
	assert.True(t, m.Run())
	assert.NotContains(t, sent(m), "the kernel's messages were lost")
	assert.Equal(t, (restarts+1)*tasks, strings.Count(sent(m), " faulted: "))
	assert.Equal(t, 99_999, turns)
}

// TestLongNames: a task that is named to fill the queue with messages about itself takes no more room
// in it than others.
func TestLongNames(t *testing.T) {
	m := kerneltest.New(t, capability.Mint())
	w := new(Writer)
	m.Kernel = kernel.Kernel{}
	m.Kernel.Init(kernel.Config{CPU: &m.CPU, Platform: m, Scheduler: &kernel.RoundRobin{}, Policy: m, Debug: w, Backlog: w,
		Credentials: m, Identity: m, RAM: &kernel.RAM{Low: make([]byte, 1<<20)}})
	w.Init(&m.Kernel, &m.Line)
	for _, name := range []string{strings.Repeat("long", 10_000), "other"} {
		m.AddTask(name, func(k *kerneltest.Task) { k.Fault(kernel.Fault{Vector: 6, Name: "a fault"}) },
			func(s *tbfbuild.Spec) { s.BinaryOffset = 48 << 10 })
	}
	w.Poll(&m.Line)
	m.Load()
	w.Booted()
	assert.False(t, m.Run())
	w.Drain(&m.Line)
	said := sent(m) + m.Line.Polled
	assert.NotContains(t, said, "messages were lost")
	assert.Contains(t, said, "task 2 other faulted: a fault")
	assert.Contains(t, said, "task 1 "+strings.Repeat("long", 16)+"... faulted: a fault")
}

// TestDrainReportsLosses: at the machine's end, too.
func TestDrainReportsLosses(t *testing.T) {
	m, w := newWriter(t)
	w.Tasks().WriteString(strings.Repeat("t", queueSize))
	w.WriteString(strings.Repeat("k", queueSize))
	w.Drain(&m.Line)
	const want = "kk\n[%d bytes of the kernel's messages were lost here]\n[%d bytes of tasks' debug text were lost here]\n"
	assert.True(t, strings.HasSuffix(m.Line.Polled, fmt.Sprintf(want, tasksRoom+1, queueSize-tasksRoom+len("before Init; "))),
		"ends with %q", m.Line.Polled[len(m.Line.Polled)-120:])
}

// TestNothingIsLostWhileBooting: what finds the queue full then is sent by polling.
func TestNothingIsLostWhileBooting(t *testing.T) {
	m, w := newWriter(t)
	w.Poll(&m.Line)
	want := "before Init; "
	for i := range 1000 {
		line := fmt.Sprintf("task object at offset %#x skipped: all task slots are in use\n", i)
		w.WriteString(line[:20])
		for _, c := range []byte(line[20:]) {
			w.WriteChars(uint64(c), 1)
		}
		want += line
	}
	w.Booted()
	assert.Equal(t, want, m.Line.Polled)
	w.WriteString("later\n")
	run(m)
	assert.Equal(t, "later\n", sent(m))
}

// TestDeferredCallWhileBooting sends at once by polling, so that no transmission is under way when Booted polls.
func TestDeferredCallWhileBooting(t *testing.T) {
	m, w := newWriter(t)
	w.Poll(&m.Line)
	w.WriteString("a message\n")
	served := false
	m.Lines[9] = func() { served = true }
	m.CPU.Raise(9)
	m.Kernel.ServeUntil(func() bool { return served }, m.Capabilities.MainLoop)
	assert.Equal(t, "before Init; a message\n", m.Line.Polled)
	w.WriteString("another\n")
	w.Booted()
	assert.Equal(t, "before Init; a message\nanother\n", m.Line.Polled)
	w.WriteString("later\n")
	run(m)
	assert.Equal(t, "later\n", sent(m))
}

func TestDrain(t *testing.T) {
	m, w := newWriter(t)
	text := strings.Repeat("0123456789", 100)
	w.WriteString(text)
	w.HandleDeferredCall() // a chunk is under way
	w.WriteString("the end\n")
	w.HandleDeferredCall() // changes nothing
	w.Drain(&m.Line)
	assert.Equal(t, "before Init; "+text+"the end\n", m.Line.Polled)
	w.Drain(&m.Line)
	assert.Equal(t, "before Init; "+text+"the end\n", m.Line.Polled, "nothing is left")
}
