// Package textscreen is driver 0x90003: a text screen for tasks. Commands and errors are Tock's (capsules/extra/src/text_screen.rs).
// Tasks take turns, a command each.
package textscreen

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
)

// Commands.
const (
	exists     = 0
	resolution = 1
	displayOn  = 2
	displayOff = 3
	blinkOn    = 4
	blinkOff   = 5
	showCursor = 6
	hideCursor = 7
	write      = 8 // a0 bytes of the buffer
	clear      = 9
	home       = 10 // as on Tock it clears, too
	setCursor  = 11 // column a0, row a1
)

const (
	done      = 0 // subscribe number: status; columns and rows of resolution, bytes of write
	buffer    = 0 // read-only allow number
	pieceSize = 256
)

// TextScreen is the driver.
type TextScreen struct {
	screen  hil.TextScreen
	grant   kernel.Grant[request]
	piece   [pieceSize]byte // what is being printed
	busy    bool
	asker   kernel.TaskID // whose command goes on, while busy
	tickets uint64        // turns ever waited for
}

// request is a command that waits for its turn, or goes on.
type request struct {
	ticket          uint64 // order of turns; 0: there is none
	command, a0, a1 uint32
}

// Init ties the driver to its screen, of which it is the only client.
func (s *TextScreen) Init(k *kernel.Kernel, screen hil.TextScreen, c capability.MemoryAllocation) {
	s.screen = screen
	s.grant.Init(k, abi.DriverTextScreen, kernel.SlotCounts{Upcalls: done + 1, ReadOnly: buffer + 1, Ends: kernel.EndsFailed(done)}, c)
	screen.SetTextScreenClient(s)
}

// Slots implements kernel.Driver.
func (s *TextScreen) Slots() *kernel.Slots { return s.grant.Slots() }

// Command implements kernel.Driver. What fails at once is answered so, what fails at its turn is told by the upcall.
func (s *TextScreen) Command(id kernel.TaskID, command, a0, a1 uint32) kernel.Result {
	switch {
	case command == exists:
		return kernel.Done()
	case command > setCursor:
		return kernel.Failed(abi.NOSUPPORT)
	}
	return kernel.Outcome(s.enqueue(id, request{command: command, a0: a0, a1: a1}))
}

// enqueue begins a command, or has it wait while another goes on. A task has one.
func (s *TextScreen) enqueue(id kernel.TaskID, r request) abi.ErrorCode {
	full := false
	e := s.grant.Enter(id, func(q *request, _ *kernel.TaskData) {
		if full = q.ticket != 0; !full {
			s.tickets++
			r.ticket = s.tickets
			*q = r
		}
	})
	switch {
	case e != abi.OK:
		return e
	case full:
		return abi.BUSY
	case s.busy:
		return abi.OK
	}
	if e = s.begin(id); e != abi.OK {
		s.grant.Enter(id, func(q *request, _ *kernel.TaskData) { *q = request{} })
	}
	return e
}

// begin begins the task's command.
func (s *TextScreen) begin(id kernel.TaskID) (e abi.ErrorCode) {
	var r request
	n := 0
	s.grant.Enter(id, func(q *request, task *kernel.TaskData) {
		if r = *q; r.command == write {
			n = task.ReadOnly(buffer).ReadAt(s.piece[:min(r.a0, pieceSize)], 0)
		}
	})
	switch r.command {
	case resolution:
		columns, rows := s.screen.Size()
		s.end(id, abi.OK, columns, rows)
		return abi.OK
	case write:
		e = abi.NOMEM
		if n != 0 {
			e = s.screen.Print(s.piece[:], n)
		}
	default:
		e = s.control(&r)
	}
	if e == abi.OK {
		s.busy, s.asker = true, id
	}
	return e
}

// control asks the screen for what is neither its size nor text.
func (s *TextScreen) control(r *request) abi.ErrorCode {
	switch r.command {
	case displayOn, displayOff:
		return s.screen.Display(r.command == displayOn)
	case blinkOn, blinkOff:
		return s.screen.BlinkCursor(r.command == blinkOn)
	case showCursor, hideCursor:
		return s.screen.ShowCursor(r.command == showCursor)
	case setCursor:
		return s.screen.SetCursor(r.a0, r.a1)
	}
	return s.screen.Clear()
}

// end ends the task's command, and tells the task.
func (s *TextScreen) end(id kernel.TaskID, e abi.ErrorCode, a1, a2 uint32) {
	s.grant.Enter(id, func(q *request, task *kernel.TaskData) {
		if q.ticket != 0 {
			*q = request{}
			task.ScheduleUpcall(done, e.Status(), a1, a2)
		}
	})
}

// ScreenDone implements hil.TextScreenClient.
func (s *TextScreen) ScreenDone(e abi.ErrorCode) { s.ended(e, 0) }

// Printed implements hil.TextScreenClient.
func (s *TextScreen) Printed(_ []byte, n int, e abi.ErrorCode) { s.ended(e, uint32(n)) }

// ended ends the command that goes on, and begins those that wait, the oldest first, until one goes on.
func (s *TextScreen) ended(e abi.ErrorCode, n uint32) {
	if !s.busy {
		return
	}
	s.busy = false
	s.end(s.asker, e, n, 0)
	for !s.busy {
		id, ticket := s.grant.Oldest(func(q *request) uint64 { return q.ticket })
		if ticket == 0 {
			return
		}
		if e := s.begin(id); e != abi.OK {
			s.end(id, e, 0, 0)
		}
	}
}
