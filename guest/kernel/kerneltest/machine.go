package kerneltest

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

// Machine is a kernel on a fake CPU, with a clock and a serial line.
type Machine struct {
	Kernel       kernel.Kernel
	CPU          CPU
	RAM          kernel.RAM               // for tasks
	Reuse        kernel.Reuse             // of it, for loaders
	Policy       kernel.FaultPolicy       // what a fault means; the task is stopped, if not set otherwise
	Credentials  kernel.CredentialsPolicy // digests are checked where there are any, if not set otherwise
	Identity     kernel.IdentityPolicy    // the header's ShortID, if not set otherwise
	Drivers      map[uint32]kernel.Driver // added to the kernel by Load
	Lines        map[int]func()           // what serves further interrupt lines
	Alarm        Alarm
	Line         Line
	Log          Log
	Capabilities capability.Set
	Forever      bool              // it goes on when no task can run again
	Idle         kernel.IdleClient // told before each sleep, if not nil

	tb      testing.TB
	added   map[uint32]bool // of Drivers
	places  [][]byte
	objects bytes.Buffer
	tasks   int
}

// Log collects what the kernel prints.
type Log struct{ strings.Builder }

// WriteString implements kernel.Writer.
func (l *Log) WriteString(s string) { l.Builder.WriteString(s) }

// WriteChars implements kernel.Writer.
func (l *Log) WriteChars(chars uint64, n int) {
	l.Builder.Write(binary.LittleEndian.AppendUint64(nil, chars)[:n])
}

// New makes a machine with 1 MiB for tasks and no drivers.
func New(tb testing.TB, c capability.Set) *Machine { return NewWithRAM(tb, c, 1<<20) }

// NewWithRAM makes a machine with so many bytes for tasks, in a pool full of old data.
func NewWithRAM(tb testing.TB, c capability.Set, ram int) *Machine {
	m := &Machine{Drivers: map[uint32]kernel.Driver{}, added: map[uint32]bool{}, Lines: map[int]func(){}, Capabilities: c, tb: tb, Policy: &kernel.FaultLimit{},
		Credentials: &kernel.SHA256Credentials{}, Identity: &kernel.HeaderIdentity{}}
	m.RAM.Low = bytes.Repeat([]byte{0xa5}, ram)
	m.Reuse.Init(&m.RAM, &m.CPU)
	m.Alarm.cpu = &m.CPU
	m.Line.cpu = &m.CPU
	m.Kernel.Init(kernel.Config{
		CPU:         &m.CPU,
		Platform:    m,
		Scheduler:   &kernel.RoundRobin{},
		Policy:      m,
		Credentials: m,
		Identity:    m,
		Debug:       &m.Log,
		RAM:         &m.RAM,
	})
	tb.Cleanup(func() {
		for slot := range kernel.MaxTasks {
			m.CPU.Clear(slot)
		}
	})
	return m
}

// OnFault implements kernel.FaultPolicy.
func (m *Machine) OnFault(t *kernel.Task) (kernel.FaultAction, bool) { return m.Policy.OnFault(t) }

// Check implements kernel.CredentialsPolicy.
func (m *Machine) Check(c tbf.Footer, region *kernel.Region) kernel.Verdict {
	return m.Credentials.Check(c, region)
}

// Refusal implements kernel.CredentialsPolicy.
func (m *Machine) Refusal(signed bool) string { return m.Credentials.Refusal(signed) }

// Identify implements kernel.IdentityPolicy.
func (m *Machine) Identify(o *tbf.Object) kernel.Identity { return m.Identity.Identify(o) }

// Interrupt implements kernel.Platform.
func (m *Machine) Interrupt(line int) {
	switch line {
	case alarmLine:
		m.Alarm.client.AlarmFired()
	case lineLine:
		m.Line.serve()
	default:
		m.Lines[line]()
	}
}

// AddTask adds an object for a task that runs the program. change, if not nil, may change
// the object's description.
func (m *Machine) AddTask(name string, p Program, change func(*tbfbuild.Spec)) {
	m.tb.Helper()
	m.AddObject(Object(m.tb, name, change))
	m.CPU.Programs[m.tasks] = p
	m.tasks++
}

// Object builds a task's object: a page of nothing in particular.
func Object(tb testing.TB, name string, change func(*tbfbuild.Spec)) []byte {
	tb.Helper()
	spec := tbfbuild.Spec{
		Name:          name,
		Binary:        bytes.Repeat([]byte{0x90}, 0xf00),
		MinimumRAM:    4 * abi.PageSize,
		ABI64:         true,
		KernelVersion: tbf.KernelVersion{Major: tbf.KernelMajor, Minor: tbf.KernelMinor},
	}
	if change != nil {
		change(&spec)
	}
	object, err := tbfbuild.Build(spec)
	if err != nil {
		tb.Fatalf("build object of task %q: %v", name, err)
	}
	return object
}

// AddObject adds bytes to the place that objects are added to.
func (m *Machine) AddObject(b []byte) { m.objects.Write(b) }

// NextPlace makes what is added from now on lie in a place of its own.
func (m *Machine) NextPlace() {
	m.places = append(m.places, bytes.Clone(m.objects.Bytes()))
	m.objects.Reset()
}

// Load loads the objects added until now.
func (m *Machine) Load() int {
	m.NextPlace()
	for number, d := range m.Drivers {
		if !m.added[number] {
			m.Kernel.AddDriver(number, d)
			m.added[number] = true
		}
	}
	n := m.Kernel.Load(m.places, m.Capabilities.TaskManagement)
	m.places = nil
	return n
}

// Run loads the objects added until now and runs until no task can run again, or until
// the CPU would sleep for ever: then it reports true.
func (m *Machine) Run() (slept bool) {
	m.Load()
	return m.Continue()
}

// Continue goes on as Run does.
func (m *Machine) Continue() (slept bool) {
	defer func() {
		if r := recover(); r == (asleep{}) {
			slept = true
		} else if r != nil {
			panic(r)
		}
	}()
	if m.Idle != nil {
		m.Kernel.RunTelling(m.Idle, m.Forever, m.Capabilities.MainLoop)
		return false
	}
	if m.Forever {
		m.Kernel.RunForever(m.Capabilities.MainLoop)
	}
	m.Kernel.Run(m.Capabilities.MainLoop)
	return false
}

// Task is the CPU's side of the task in slot.
func (m *Machine) Task(slot int) *Task { return &m.CPU.slots[slot] }

// Tasks is the table that PrintTasks writes.
func (m *Machine) Tasks() string {
	var l Log
	m.Kernel.PrintTasks(&l)
	return l.String()
}

// Alarm is a hil.Alarm on the CPU's clock.
type Alarm struct {
	cpu    *CPU
	client hil.AlarmClient
}

// Now implements hil.Time.
func (a *Alarm) Now() uint64 { return a.cpu.clock }

// Frequency implements hil.Time.
func (a *Alarm) Frequency() uint32 { return 1_000_000 }

// SetAlarmClient implements hil.Alarm.
func (a *Alarm) SetAlarmClient(c hil.AlarmClient) { a.client = c }

// SetAlarm implements hil.Alarm.
func (a *Alarm) SetAlarm(deadline uint64) {
	a.cpu.raiseAt(alarmLine, deadline)
}

// Disarm implements hil.Alarm.
func (a *Alarm) Disarm() { a.cpu.due[alarmLine] = 0 }
