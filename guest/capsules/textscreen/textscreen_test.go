package textscreen

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/kernel/kerneltest"
)

const driver = abi.DriverTextScreen

// fake is a screen that notes what it is asked for. Each request takes it 100 microseconds.
type fake struct {
	machine *kerneltest.Machine
	client  hil.TextScreenClient
	did     []string
	text    []byte
	n       int
	refuse  abi.ErrorCode // what requests return
	end     abi.ErrorCode // how they end
}

func (f *fake) ask(what string) abi.ErrorCode {
	if f.refuse == abi.OK {
		f.did = append(f.did, what)
		f.machine.Alarm.SetAlarm(f.machine.Alarm.Now() + 100)
	}
	return f.refuse
}

func (f *fake) SetTextScreenClient(c hil.TextScreenClient) { f.client = c }
func (f *fake) Size() (uint32, uint32)                     { return 20, 4 }
func (f *fake) SetCursor(x, y uint32) abi.ErrorCode        { return f.ask(fmt.Sprint("cursor ", x, " ", y)) }
func (f *fake) ShowCursor(on bool) abi.ErrorCode           { return f.ask(fmt.Sprint("show ", on)) }
func (f *fake) BlinkCursor(on bool) abi.ErrorCode          { return f.ask(fmt.Sprint("blink ", on)) }
func (f *fake) Display(on bool) abi.ErrorCode              { return f.ask(fmt.Sprint("display ", on)) }
func (f *fake) Clear() abi.ErrorCode                       { return f.ask("clear") }

func (f *fake) Print(buf []byte, n int) abi.ErrorCode {
	e := f.ask("print " + string(buf[:n]))
	if e == abi.OK {
		f.text, f.n = buf, n
	}
	return e
}

func (f *fake) AlarmFired() {
	if text := f.text; text != nil {
		f.text = nil
		f.client.Printed(text, f.n, f.end)
		return
	}
	f.client.ScreenDone(f.end)
}

func newMachine(t *testing.T) (*kerneltest.Machine, *fake, *TextScreen) {
	m := kerneltest.New(t, capability.Mint())
	f := &fake{machine: m}
	m.Alarm.SetAlarmClient(f)
	s := new(TextScreen)
	s.Init(&m.Kernel, f, m.Capabilities.MemoryAllocation)
	m.Drivers[driver] = s
	return m, f, s
}

func failed(e abi.ErrorCode) [4]uint64 { return [4]uint64{0, uint64(e)} }

var begun = [4]uint64{128}

// TestCommands: those of Tock's capsules/extra/src/text_screen.rs.
func TestCommands(t *testing.T) {
	m, f, _ := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		assert.Equal(t, begun, k.Command(driver, 0, 0, 0), "0: it is there")
		assert.Equal(t, begun, k.Command(driver, 1, 0, 0), "1: resolution")
		assert.Equal(t, [4]uint64{0, 20, 4}, k.WaitFor(driver, done))
		for _, tt := range []struct {
			command, a0, a1 uint64
			want            string
		}{
			{2, 0, 0, "display true"}, {3, 0, 0, "display false"}, {4, 0, 0, "blink true"}, {5, 0, 0, "blink false"},
			{6, 0, 0, "show true"}, {7, 0, 0, "show false"}, {9, 0, 0, "clear"}, {10, 0, 0, "clear"}, {11, 3, 2, "cursor 3 2"},
		} {
			f.did = nil
			assert.Equal(t, begun, k.Command(driver, tt.command, tt.a0, tt.a1), "%d", tt.command)
			assert.Equal(t, failed(abi.BUSY), k.Command(driver, tt.command, tt.a0, tt.a1), "%d: one at a time", tt.command)
			assert.Equal(t, [4]uint64{}, k.WaitFor(driver, done), "%d", tt.command)
			assert.Equal(t, []string{tt.want}, f.did)
		}
		assert.Equal(t, failed(abi.NOSUPPORT), k.Command(driver, 12, 0, 0))
	}, nil)
	assert.False(t, m.Run())
}

// TestWrite: command 8 writes what is allowed, is asked for, and fits.
func TestWrite(t *testing.T) {
	m, f, _ := newMachine(t)
	m.AddTask("task", func(k *kerneltest.Task) {
		assert.Equal(t, failed(abi.NOMEM), k.Command(driver, 8, 5, 0), "no buffer")
		at := k.Start.RAMStart + 64
		k.Store(at, []byte("hello, world")...)
		k.AllowRO(driver, buffer, at, 1000)
		assert.Equal(t, failed(abi.NOMEM), k.Command(driver, 8, 0, 0), "nothing, as on Tock")
		assert.Equal(t, begun, k.Command(driver, 8, 5, 0))
		assert.Equal(t, [4]uint64{0, 5}, k.WaitFor(driver, done))
		assert.Equal(t, []string{"print hello"}, f.did)
		k.Command(driver, 8, 1<<32-1, 0)
		assert.Equal(t, [4]uint64{0, pieceSize}, k.WaitFor(driver, done), "a part")
		k.AllowRO(driver, buffer, at, 7)
		k.Command(driver, 8, 100, 0)
		assert.Equal(t, [4]uint64{0, 7}, k.WaitFor(driver, done), "no more than is allowed")
	}, nil)
	assert.False(t, m.Run())
}

// TestTasksTakeTurns, a command each.
func TestTasksTakeTurns(t *testing.T) {
	m, f, _ := newMachine(t)
	for i := range uint64(3) {
		m.AddTask("task", func(k *kerneltest.Task) {
			for range 4 {
				assert.Equal(t, begun, k.Command(driver, setCursor, i, 0))
				assert.Equal(t, [4]uint64{}, k.WaitFor(driver, done))
			}
		}, nil)
	}
	assert.False(t, m.Run())
	assert.Len(t, f.did, 12)
	for i := 3; i < len(f.did); i++ {
		assert.Equal(t, f.did[i-3], f.did[i])
	}
}

// TestFailures: what fails at once is the answer, what fails at its turn or later is told by the upcall.
func TestFailures(t *testing.T) {
	m, f, s := newMachine(t)
	m.AddTask("first", func(k *kerneltest.Task) {
		f.refuse = abi.INVAL
		assert.Equal(t, failed(abi.INVAL), k.Command(driver, setCursor, 99, 0))
		f.refuse = abi.OK
		assert.Equal(t, begun, k.Command(driver, clear, 0, 0))
		assert.Equal(t, [4]uint64{}, k.WaitFor(driver, done))
	}, nil)
	m.AddTask("second", func(k *kerneltest.Task) {
		assert.Equal(t, begun, k.Command(driver, clear, 0, 0), "behind the first task's")
		f.refuse = abi.OFF
		assert.Equal(t, [4]uint64{uint64(abi.OFF)}, k.WaitFor(driver, done), "at its turn")
		f.refuse, f.end = abi.OK, abi.FAIL
		assert.Equal(t, begun, k.Command(driver, clear, 0, 0))
		assert.Equal(t, [4]uint64{uint64(abi.FAIL)}, k.WaitFor(driver, done))
	}, nil)
	assert.False(t, m.Run())
	s.ScreenDone(abi.OK)
	s.Printed(nil, 3, abi.OK)
	assert.False(t, s.busy, "ends that nobody waits for")
}
