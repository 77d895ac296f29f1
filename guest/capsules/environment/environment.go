// Package environment is driver 0xe0001: tasks read the arguments and the environment that the machine was given (guest/abi/environment.go), and hear
// that they are asked to end.
package environment

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
)

// Commands.
const (
	exists          = 0
	sizes           = 1
	readArguments   = 2 // from a0 on, into buffer
	readEnvironment = 3 // likewise
	listen          = 4
)

// asked is the subscribe number: 1, 0, 0; all are 0 if the driver was made anew.
const asked = 0

// buffer is the read-write allow number.
const buffer = 0

// Machine is what the driver does to the machine.
type Machine interface {
	// End ends the machine, with the status that its tasks have by now.
	End()
}

// Environment is the driver.
type Environment struct {
	machine                Machine
	grant                  kernel.Grant[task]
	arguments, environment []byte
	deferred               kernel.DeferredCall

	port      hil.Port
	in, out   [1]byte
	listening uint64 // a bit for each slot whose task wants to be told
	told      uint64 // likewise, that was told and has not ended
	ending    bool   // tasks were asked to end
	owes      bool   // the host an answer
}

// task is what the driver keeps in a task's grant.
type task struct {
	pending kernel.Pending
}

// Init ties the driver to the kernel, to what FindEnvironment has found, and to the port by which the host asks, which is nil if there is none.
func (d *Environment) Init(k *kernel.Kernel, machine Machine, arguments, environment []byte, port hil.Port, c capability.MemoryAllocation) {
	d.machine, d.arguments, d.environment, d.port = machine, arguments, environment, port
	d.grant.Init(k, abi.DriverEnvironment, kernel.SlotCounts{Upcalls: asked + 1, ReadWrite: buffer + 1, Ends: kernel.EndsEmpty(asked)}, c)
	d.deferred.Register(k, d)
	if port != nil {
		port.SetPortClient(d)
		d.PortChanged()
	}
}

// Slots implements kernel.Driver.
func (d *Environment) Slots() *kernel.Slots { return d.grant.Slots() }

// Command implements kernel.Driver.
func (d *Environment) Command(id kernel.TaskID, command, a0, _ uint32) kernel.Result {
	switch command {
	case exists:
		return kernel.Done()
	case sizes:
		return kernel.Value2(uint32(len(d.arguments)), uint32(len(d.environment)))
	case readArguments:
		return d.read(id, d.arguments, a0)
	case readEnvironment:
		return d.read(id, d.environment, a0)
	case listen:
		return kernel.Outcome(d.listen(id))
	}
	return kernel.Failed(abi.NOSUPPORT)
}

// read copies a piece of the strings, from an offset on, into the task's buffer.
func (d *Environment) read(id kernel.TaskID, strings []byte, at uint32) kernel.Result {
	if uint64(at) > uint64(len(strings)) {
		return kernel.Failed(abi.INVAL)
	}
	piece := strings[at:]
	n := 0
	e := d.grant.Enter(id, func(_ *task, data *kernel.TaskData) {
		b := data.ReadWrite(buffer)
		n = int(min(b.Len(), uint64(len(piece)), abi.EnvironmentPiece))
		n = b.WriteAt(piece[:n], 0)
	})
	if e != abi.OK {
		return kernel.Failed(e)
	}
	return kernel.Value(uint32(n))
}

// listen has the task told when it is asked to end, at once if that was before.
func (d *Environment) listen(id kernel.TaskID) abi.ErrorCode {
	if d.listening&bit(id) != 0 {
		return abi.ALREADY
	}
	e := d.grant.Enter(id, func(t *task, _ *kernel.TaskData) { t.pending |= 1 << asked })
	if e != abi.OK {
		return e
	}
	d.listening |= bit(id)
	if d.ending {
		d.tell(id)
	}
	return abi.OK
}

func bit(id kernel.TaskID) uint64 { return 1 << id.Slot() }

// tell tells a task that it is asked to end.
func (d *Environment) tell(id kernel.TaskID) {
	if d.grant.Slots().ScheduleUpcall(id, asked, 1, 0, 0) == abi.OK {
		d.told |= bit(id)
	}
}

// ask asks the tasks that listen to end, each once.
func (d *Environment) ask() {
	d.ending = d.listening != 0
	fresh := d.listening &^ d.told
	d.grant.Each(func(_ *task, data *kernel.TaskData) {
		if at := bit(data.ID()); fresh&at != 0 && data.ScheduleUpcall(asked, 1, 0, 0) == abi.OK {
			d.told |= at
		}
	})
	d.owes = true
	d.answer()
}

// answer answers the host, if it is owed that and takes it now.
func (d *Environment) answer() {
	d.out[0] = abi.EndNobody
	if d.ending {
		d.out[0] = abi.EndTold
	}
	if d.owes && d.port.Post(d.out[:]) == abi.OK {
		d.owes = false
	}
}

// PortChanged implements hil.PortClient.
func (d *Environment) PortChanged() {
	d.answer()
	d.receive()
}

// receive waits for what the host sends, unless that is waited for already.
func (d *Environment) receive() { d.port.Receive(d.in[:]) }

// Received implements hil.PortClient.
func (d *Environment) Received(buf []byte, n int, e abi.ErrorCode) {
	if e != abi.OK {
		return
	}
	if n == 1 && buf[0] == abi.EndAsk {
		d.ask()
	}
	d.receive()
}

// Sent implements hil.PortClient. Nothing is sent whose end is told.
func (d *Environment) Sent([]byte, int, abi.ErrorCode) {}

// TaskEnded implements kernel.TaskEndCallback, as which the board has it called: with the last of the tasks that were told the machine ends.
func (d *Environment) TaskEnded(id kernel.TaskID) {
	d.listening &^= bit(id)
	if d.told&bit(id) != 0 {
		d.told &^= bit(id)
		d.deferred.Set()
	}
}

// HandleDeferredCall ends the machine, if nobody is left that was told.
func (d *Environment) HandleDeferredCall() {
	if d.ending && d.told == 0 {
		d.machine.End()
	}
}
