// Package loadport loads and unloads tasks, and looks after them, as the host asks by a port (guest/abi/loadport.go). What comes by the port is hostile: a frame that
// is none ends the conversation until the port is opened anew.
package loadport

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/crc32c"
	"kapsel/guest/kernel/hil"
)

// LoadPort is the driver.
type LoadPort struct {
	kernel *kernel.Kernel
	tasks  capability.TaskManagement
	loader *kernel.Loader
	saver  *kernel.Saver
	port   hil.Port

	state  state
	anew   bool // the host is to be told that it was made anew
	asked  byte // the kind of what is being answered
	in     [abi.LoadHeader + abi.LoadPayload]byte
	came   int // bytes of in
	wanted int // likewise, before they can be looked at
	out    [abi.LoadHeader + abi.LoadPayload]byte
	row    int         // of LoadTasks, that is next
	seen   kernel.Task // a copy of the task that is looked at
}

// state is what the driver waits for.
type state uint8

const (
	closed    state = iota // the port, to be opened
	receiving              // a frame, or the rest of one
	loading                // the loader, or the saver
	sending                // the port, to have sent an answer
	telling                // likewise, with more rows behind it
	saving                 // likewise, with more of a task's state
	broken                 // nothing: the last frame was none
)

// Init ties the driver to its port, its loader and its saver, of which it is the only client. If it is made anew the host is told that what it asked is lost.
func (d *LoadPort) Init(k *kernel.Kernel, port hil.Port, loader *kernel.Loader, saver *kernel.Saver, anew bool, c capability.TaskManagement) {
	d.kernel, d.port, d.loader, d.saver, d.anew, d.tasks = k, port, loader, saver, anew, c
	loader.SetLoaderClient(d)
	saver.SetSaverClient(d)
	port.SetPortClient(d)
	d.PortChanged()
}

// PortChanged implements hil.PortClient.
func (d *LoadPort) PortChanged() {
	open := d.port.State() == abi.OK
	switch {
	case open && d.anew: // at first, or what was sent before it was made anew is gone
		d.tellAnew()
		return
	case open == (d.state != closed):
		return
	}
	d.giveUp()
	d.state, d.anew = closed, false
	if open {
		d.listen()
	}
}

// tellAnew tells the host that the driver was made anew. While the port sends what was sent before, that waits.
func (d *LoadPort) tellAnew() {
	d.asked = abi.LoadHello
	d.answer(abi.CANCEL, 0)
	d.anew = d.state == broken
}

// giveUp gives up what was begun.
func (d *LoadPort) giveUp() {
	d.loader.Abort()
	d.saver.Abort()
}

// listen waits for a frame.
func (d *LoadPort) listen() {
	d.state, d.came, d.wanted = receiving, 0, abi.LoadHeader
	d.receive()
}

// receive waits for what lacks of a frame.
func (d *LoadPort) receive() {
	if d.port.Receive(d.in[d.came:d.wanted]) != abi.OK {
		d.end()
	}
}

// Received implements hil.PortClient.
func (d *LoadPort) Received(_ []byte, n int, e abi.ErrorCode) {
	if d.state != receiving || e != abi.OK {
		return
	}
	d.came += n
	if d.came < d.wanted {
		d.receive()
		return
	}
	size := int(d.in[2]) | int(d.in[3])<<8
	switch {
	case d.in[0] != abi.LoadVersion || size > abi.LoadPayload:
		d.refuse()
	case d.came < abi.LoadHeader+size:
		d.wanted = abi.LoadHeader + size
		d.receive()
	case word(d.in[4:]) != crc32c.Add(crc32c.Sum(d.in[:4]), d.in[abi.LoadHeader:][:size]):
		d.refuse()
	default:
		d.asked = d.in[1]
		d.obey(d.in[abi.LoadHeader:][:size])
	}
}

// refuse ends the conversation, as where the next frame begins is not known.
func (d *LoadPort) refuse() {
	d.asked = 0
	d.answer(abi.INVAL, 0)
	d.end()
}

// end ends the conversation. What was begun is given up: else a task that is being saved would stand still for ever.
func (d *LoadPort) end() {
	d.giveUp()
	d.state = broken
}

// obey does what is asked, and answers, or has the loader go on: then it answers when that is done.
func (d *LoadPort) obey(payload []byte) {
	d.state = loading
	e := abi.NOSUPPORT
	later := false
	switch d.asked {
	case abi.LoadHello:
		d.giveUp()
		e = abi.OK
	case abi.LoadSetUp:
		e, later = abi.INVAL, true
		if len(payload) == 4 {
			e = d.loader.SetUp(uint64(word(payload)))
		}
	case abi.LoadWrite:
		e = abi.INVAL
		if len(payload) >= 4 {
			e = d.loader.Write(uint64(word(payload)), payload[4:])
		}
	case abi.LoadLoad:
		e, later = d.loader.Load(), true
	case abi.LoadTasks:
		d.row = 0
		d.tell()
		return
	default:
		e, later = d.manage(payload)
	}
	if e != abi.OK || !later {
		d.answer(e, 0)
	}
}

// manage does with a task what is asked, or has it done later.
func (d *LoadPort) manage(name []byte) (e abi.ErrorCode, later bool) {
	if d.asked < abi.LoadUnload || d.asked > abi.LoadKinds {
		return abi.NOSUPPORT, false
	}
	id, e := d.find(name)
	if e != abi.OK {
		return e, false
	}
	switch d.asked {
	case abi.LoadUnload:
		return d.loader.Unload(id), true
	case abi.LoadPause:
		return d.kernel.Pause(id, d.tasks), false
	case abi.LoadResume:
		return d.kernel.Resume(id, d.tasks), false
	case abi.LoadKill:
		return d.kernel.Kill(id, d.tasks), false
	case abi.LoadSave:
		return d.saver.Save(id), true
	}
	return d.saver.Restore(id), true
}

// find finds the task of that name, or with that PID. It returns abi.NODEVICE if there is none, and abi.FAIL if several have the name.
func (d *LoadPort) find(name []byte) (id kernel.TaskID, e abi.ErrorCode) {
	found := 0
	d.kernel.EachTask(d.tasks, &d.seen, func() {
		if d.seen.NameIs(name) || isNumber(name, d.seen.ID().Number()) {
			id = d.seen.ID()
			found++
		}
	})
	switch found {
	case 0:
		return id, abi.NODEVICE
	case 1:
		return id, abi.OK
	}
	return id, abi.FAIL
}

// isNumber reports whether text is n in decimal.
func isNumber(text []byte, n uint64) bool {
	for i := len(text) - 1; i >= 0; i-- {
		if text[i] != '0'+byte(n%10) || n == 0 {
			return false
		}
		n /= 10
	}
	return n == 0 && len(text) != 0
}

// tell answers with the next row, or says that there are no more.
func (d *LoadPort) tell() {
	length, row := 0, 0
	d.kernel.EachTask(d.tasks, &d.seen, func() {
		if row == d.row {
			length = d.fill(d.out[abi.LoadHeader+1:])
		}
		row++
	})
	d.row++
	if d.answer(abi.OK, length); length != 0 && d.state == sending {
		d.state = telling
	}
}

// fill makes a row of the task that is seen, and returns its length.
func (d *LoadPort) fill(b []byte) int {
	short, _ := d.seen.ShortID()
	setWord(b, uint32(d.seen.ID().Number()))
	setWord(b[4:], short)
	setWord(b[8:], uint32(d.seen.Restarts()))
	b[12] = d.seen.TockState()
	if d.seen.Paused() {
		b[12] = abi.LoadPaused
	}
	return abi.LoadRow + d.seen.ReadName(b[abi.LoadRow:][:abi.LoadName], 0)
}

// hand answers with the next bytes of a task's state, or says that there are no more.
func (d *LoadPort) hand() {
	n, e := d.saver.Read(d.out[abi.LoadHeader+1:])
	if d.answer(e, n); n != 0 && d.state == sending {
		d.state = saving
	}
}

// answer sends a status, and what stands behind that in out.
func (d *LoadPort) answer(e abi.ErrorCode, more int) {
	size := 1 + more
	b := &d.out
	b[0], b[1], b[2], b[3] = abi.LoadVersion, d.asked|abi.LoadAnswer, byte(size), byte(size>>8)
	b[abi.LoadHeader] = byte(e)
	setWord(b[4:], crc32c.Add(crc32c.Sum(b[:4]), b[abi.LoadHeader:][:size]))
	d.state = sending
	if d.port.Send(b[:], abi.LoadHeader+size) != abi.OK {
		d.end()
	}
}

// Sent implements hil.PortClient.
func (d *LoadPort) Sent(_ []byte, _ int, e abi.ErrorCode) {
	switch {
	case e != abi.OK:
	case d.state == telling:
		d.tell()
	case d.state == saving:
		d.hand()
	case d.state == sending:
		d.listen()
	}
}

// SetUpDone implements kernel.LoaderClient.
func (d *LoadPort) SetUpDone() { d.done(abi.LoadSetUp, abi.OK, 0) }

// LoadDone implements kernel.LoaderClient.
func (d *LoadPort) LoadDone(id kernel.TaskID, e abi.ErrorCode) { d.named(abi.LoadLoad, id, e) }

// UnloadDone implements kernel.LoaderClient.
func (d *LoadPort) UnloadDone() { d.done(abi.LoadUnload, abi.OK, 0) }

// SaveDone implements kernel.SaverClient.
func (d *LoadPort) SaveDone(e abi.ErrorCode) {
	if e == abi.OK && d.state == loading && d.asked == abi.LoadSave {
		d.hand()
		return
	}
	d.done(abi.LoadSave, e, 0)
}

// RestoreDone implements kernel.SaverClient.
func (d *LoadPort) RestoreDone(id kernel.TaskID, e abi.ErrorCode) { d.named(abi.LoadRestore, id, e) }

// named answers with the PID of a task that was made.
func (d *LoadPort) named(asked byte, id kernel.TaskID, e abi.ErrorCode) {
	more := 0
	if e == abi.OK && d.state == loading {
		setWord(d.out[abi.LoadHeader+1:], uint32(id.Number()))
		more = 4
	}
	d.done(asked, e, more)
}

// done answers what the loader or the saver has done, if that is what was asked.
func (d *LoadPort) done(asked byte, e abi.ErrorCode, more int) {
	if d.state == loading && d.asked == asked {
		d.answer(e, more)
	}
}

func word(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

func setWord(b []byte, v uint32) {
	b[0], b[1], b[2], b[3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24)
}
