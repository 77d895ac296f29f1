package loading

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/tests/machine"
	"kapsel/vmm"
	"kapsel/vmm/control"
)

// A watch follows what a machine prints.
type watch struct {
	mu   sync.Mutex
	text strings.Builder
	more *sync.Cond
}

func newWatch() *watch {
	w := &watch{}
	w.more = sync.NewCond(&w.mu)
	return w
}

func (w *watch) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(b)
	w.more.Broadcast()
	return len(b), nil
}

// all is what was printed by now.
func (w *watch) all() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// lines waits until so many further lines begin with a text, and returns what was printed meanwhile.
func (w *watch) lines(t *testing.T, text string, count int) string {
	t.Helper()
	end := time.Now().Add(machine.Timeout)
	wake := time.AfterFunc(machine.Timeout, w.more.Broadcast)
	defer wake.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	from := w.text.Len()
	for {
		got := w.text.String()[from:]
		if strings.Count(got, text) >= count {
			return got
		}
		if time.Now().After(end) {
			t.Errorf("%d lines with %q are missing: %s", count, text, w.text.String())
			return got
		}
		w.more.Wait()
	}
}

// running is a machine with the tasks scribe and patron, and a client of its control socket.
type running struct {
	*control.Client
	t     *testing.T
	watch *watch
}

// run boots a machine, and ends it when f has returned. It returns what was printed.
func run(t *testing.T, f func(m *running)) string {
	path := t.TempDir() + "/control"
	server, err := control.Listen(t.Context(), path, t.Logf)
	require.NoError(t, err)
	defer server.Close()
	stop, done := make(chan struct{}), make(chan struct{})
	m := &running{t: t, watch: newWatch()}
	go func() {
		defer close(done)
		defer close(stop)
		if m.watch.lines(t, "scribe: ", 3); t.Failed() {
			return
		}
		if m.Client, err = control.Connect(t.Context(), path); assert.NoError(t, err) {
			f(m)
			m.Close()
		}
	}()
	o := machine.Boot(t, machine.Guest{Image: "bare.elf", Modules: [][]byte{machine.Object(t, "test/patron.tbf"), machine.Object(t, "test/scribe.tbf")},
		Timeout: 4 * machine.Timeout, Stop: stop, Console: m.watch,
		Devices: []vmm.Device{vmm.Ports{{Name: abi.PortLoad, Input: server, Output: server}}}})
	server.Close()
	<-done
	assertCounts(t, o.Console)
	return o.Console
}

// line is a line of the task scribe that is whole.
var line = regexp.MustCompile(`scribe: (\d+): (0x[0-9a-f]+)\r?\n`)

// assertCounts checks that the patron counted on, whatever became of the other task, and that nobody faulted.
func assertCounts(t *testing.T, console string) {
	t.Helper()
	n := 0
	for _, m := range regexp.MustCompile(`patron: (\d+)\r?\n`).FindAllStringSubmatch(console, -1) {
		if !assert.Equal(t, strconv.Itoa(n), m[1], "the patron's line") {
			return
		}
		n++
	}
	assert.Greater(t, n, 3)
}

// assertFollows checks that the task scribe writes on from about where it was: each step the same line as ever.
func assertFollows(t *testing.T, console string) {
	t.Helper()
	sums := map[string]string{}
	for _, m := range line.FindAllStringSubmatch(console, -1) {
		if sums[m[1]] == "" {
			sums[m[1]] = m[2]
		}
		assert.Equal(t, sums[m[1]], m[2], "step %s", m[1])
	}
}

// steps are the steps of the task scribe in a text, in order.
func steps(text string) (n []int) {
	for _, m := range line.FindAllStringSubmatch(text, -1) {
		step, _ := strconv.Atoi(m[1])
		n = append(n, step)
	}
	return n
}

// jumps is how often the task scribe went back to an earlier step. It checks that it did not leave one out.
func jumps(t *testing.T, text string) (count int) {
	t.Helper()
	next := 0
	for _, n := range steps(text) {
		assert.LessOrEqual(t, n, next, "a step was left out")
		if n != next {
			count++
		}
		next = n + 1
	}
	return count
}

// status is the state of a task, as kapsel tasks shows it.
func (m *running) status(name string) string {
	tasks, err := m.Tasks()
	assert.NoError(m.t, err)
	for _, task := range tasks {
		if task.Name == name {
			return fmt.Sprint(task.State, " ", task.PID)
		}
	}
	return "none"
}

// TestPauseResumeKill: a paused task does nothing, while the other one works, and goes on from where it was; a killed one ends with all that it had
// under way, and can be brought back.
func TestPauseResumeKill(t *testing.T) {
	console := run(t, func(m *running) {
		assert.NoError(t, m.Pause("scribe"))
		assert.ErrorIs(t, m.Pause("scribe"), abi.ALREADY)
		m.watch.lines(t, "patron: ", 2) // what it had printed is sent
		assert.NotContains(t, m.watch.lines(t, "patron: ", 20), "scribe: ")
		assert.Equal(t, "Paused 2", m.status("scribe"))
		assert.NoError(t, m.Resume("scribe"))
		assert.ErrorIs(t, m.Resume("scribe"), abi.ALREADY)
		m.watch.lines(t, "scribe: ", 3)
		assert.Zero(t, jumps(t, m.watch.all()))
		state, err := m.Save("scribe")
		assert.NoError(t, err)
		assert.NoError(t, m.Kill("scribe"))
		assert.ErrorIs(t, m.Kill("scribe"), abi.INVAL)
		m.watch.lines(t, "patron: ", 2)
		assert.NotContains(t, m.watch.lines(t, "patron: ", 10), "scribe: ")
		assert.Equal(t, "Faulted 2", m.status("scribe"))
		assert.ErrorIs(t, m.Pause("scribe"), abi.INVAL)
		_, err = m.Restore("scribe", state)
		assert.NoError(t, err)
		m.watch.lines(t, "scribe: ", 5)
		assert.ErrorIs(t, m.Pause("nobody"), abi.NODEVICE)
	})
	jumps(t, console)
	assert.Equal(t, 1, strings.Count(console, " faulted: "), console)
	assert.Contains(t, console, "task 2 scribe faulted: killed; stopped")
	assertFollows(t, console)
}

// TestSaveAndRestore: a task is saved, both run on, and it is taken back: it writes what it wrote behind the save, and the other one does not notice. An
// alarm is armed, a write under way, memory lent in both directions, upcalls queued, as the instants have it. Memory is as it was.
func TestSaveAndRestore(t *testing.T) {
	const times = 64
	idle := machine.Object(t, "hello.tbf")
	console := run(t, func(m *running) {
		figure := func() {
			_, err := m.Load(idle)
			assert.NoError(t, err)
			assert.NoError(t, m.Unload("hello"))
		}
		m.watch.lines(t, "scribe: ", 20) // until each has lent to the other
		figure()
		for i := range times {
			state, err := m.Save("scribe")
			if !assert.NoError(t, err) {
				return
			}
			if i%8 == 0 {
				m.watch.lines(t, "scribe: ", 2+i/8)
			}
			pid, err := m.Restore("scribe", state)
			if !assert.NoError(t, err) {
				return
			}
			assert.Equal(t, fmt.Sprint(pid), strings.Fields(m.status("scribe"))[1])
		}
		figure()
		m.watch.lines(t, "scribe: ", 5)
	})
	assert.NotContains(t, console, "faulted")
	assert.Equal(t, times, strings.Count(console, " scribe: restored"))
	assertFollows(t, console)
	back := jumps(t, console)
	assert.LessOrEqual(t, back, times)
	assert.GreaterOrEqual(t, back, times/8)
	after, before := figures(console)
	require.Len(t, after, 4)
	assert.Equal(t, before[0], before[2], "memory that is free")
	assert.Equal(t, after[1], after[3])
}

// TestRefusedStatesOfTasks: a state that is damaged, or another task's, is refused with a line, and nothing has changed.
func TestRefusedStatesOfTasks(t *testing.T) {
	refused := 0
	console := run(t, func(m *running) {
		state, err := m.Save("scribe")
		if !assert.NoError(t, err) {
			return
		}
		refuse := func(what string, name string, state []byte) {
			_, err := m.Restore(name, state)
			assert.ErrorIs(t, err, abi.INVAL, what)
			refused++
		}
		refuse("another task's", "patron", state)
		const registers, cs, flags, mxcsr = 120, 16 * 8, 17 * 8, 27*8 + 24
		for what, at := range map[string]int{
			"object": 8, "slot": 40, "ShortID": 45, "memory": 50, "break": 60, "shared": 70, "entries": 78, "what it was doing": 73,
			"where it was": registers + 15*8 + 7, "code segment": registers + cs, "flags": registers + flags + 1, "MXCSR": registers + mxcsr + 3,
			"base": registers + 19*8 + 7, "selectors": registers + 21*8 + 1, "kind": 120 + 27*8 + 512, "driver": 120 + 27*8 + 512 + 5,
		} {
			damaged := bytes.Clone(state)
			damaged[at] ^= 0x70 // of the code segment 0x30 would make another that a task may have
			refuse(what, "scribe", damaged)
		}
		short := bytes.Clone(state[:len(state)-1])
		binary.LittleEndian.PutUint32(short[4:], uint32(len(short)))
		refuse("cut off", "scribe", short)
		_, err = m.Restore("scribe", state[:len(state)-1])
		assert.Error(t, err, "another length than it says")
		assert.Equal(t, "2", strings.Fields(m.status("scribe"))[1])
		m.watch.lines(t, "scribe: ", 3)
	})
	assert.Equal(t, refused, strings.Count(console, ": state refused: "))
	assert.NotContains(t, console, "restored")
	assert.NotContains(t, console, "faulted")
	assertFollows(t, console)
}
