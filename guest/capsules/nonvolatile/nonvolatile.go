// Package nonvolatile is the drivers 0x50001 and 0x50004: bytes that a task keeps while the machine is off. By each of them a task
// has a region, which it shares with the tasks of its write identifier and with nobody else. Numbers, answers and upcalls are Tock's
// (capsules/extra/src/nonvolatile_storage_driver.rs and isolated_nonvolatile_storage_driver.rs).
package nonvolatile

import (
	"kapsel/guest/abi"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/capability"
	"kapsel/guest/kernel/hil"
)

// Commands of both drivers.
const (
	exists = 0
	size   = 1
	read   = 2
	write  = 3
)

// buffer is an allow number: read-write for what is read into, read-only for what is written.
const buffer = 0

// Server serves the requests of both drivers, one piece at a time: as much as it has room for, and up to the end of a page of the region.
type Server struct {
	kernel   *kernel.Kernel
	storage  hil.NonvolatileStorage
	regions  hil.Regions
	shared   Shared
	isolated Isolated
	tickets  uint64 // turns ever waited for

	room   []byte // for the piece
	busy   bool   // something goes on for a task
	front  *front // by which driver, while busy
	asker  kernel.TaskID
	writes bool // for a write
}

// front is what a driver is towards tasks.
type front struct {
	server *Server
	number uint32
	grant  kernel.Grant[request]
	told   uint32 // subscribe number for the end of reads; that for writes is the next
	status bool   // the upcall's first argument is one
}

// request is what a task asked for.
type request struct {
	pending kernel.Pending
	ticket  uint64 // order of turns; 0: nothing is asked for
	offset  uint64 // in the region
	length  uint64
	done    uint64
	owner   uint32 // of the region
	writes  bool
}

// Init ties the drivers to the regions, and to the storage that these are parts of: the server is the only client of both. There is room
// for a piece of a page, or of several.
func (s *Server) Init(k *kernel.Kernel, storage hil.NonvolatileStorage, regions hil.Regions, room []byte, c capability.MemoryAllocation) {
	if len(room) < abi.PageSize {
		panic("nonvolatile: there is no room for a page")
	}
	s.kernel, s.storage, s.regions, s.room = k, storage, regions, room
	storage.SetNonvolatileStorageClient(s)
	regions.SetRegionsClient(s)
	s.shared.init(s, c)
	s.isolated.init(s, c)
	k.AddDriver(abi.DriverNonvolatileStorage, &s.shared)
	k.AddDriver(abi.DriverIsolatedNonvolatile, &s.isolated)
}

// init ties a driver to the server. It has one upcall for reads, one for writes, and so many in front of these; ends
// are those that end something.
func (f *front) init(s *Server, number, others uint32, ends kernel.Ends, c capability.MemoryAllocation) {
	f.server, f.number, f.told = s, number, others
	f.grant.Init(s.kernel, number, kernel.SlotCounts{Upcalls: uint8(others) + 2, ReadOnly: buffer + 1, ReadWrite: buffer + 1, Ends: ends}, c)
}

// Slots implements kernel.Driver.
func (f *front) Slots() *kernel.Slots { return f.grant.Slots() }

// owner is whose region a task uses: its write identifier. It reports false if it has none, or may not give that command.
func (f *front) owner(id kernel.TaskID, command uint32) (owner uint32, ok bool) {
	p, _ := f.server.kernel.StoragePermissions(id)
	owner, ok = p.WriteID()
	switch command {
	case read:
		ok = ok && p.MayRead(owner)
	case write:
		ok = ok && p.MayModify(owner)
	}
	return owner, ok
}

// size is how many bytes an owner's region has, or will have once it is used: 0 if there is no room for it.
func (f *front) size(owner uint32) uint64 {
	if _, n := f.server.regions.FindRegion(f.number, owner); n != 0 {
		return n
	}
	return f.server.regions.NewRegionSize()
}

// check looks whether a request is about bytes of the owner's region.
func (f *front) check(q *request) abi.ErrorCode {
	n := f.size(q.owner)
	switch {
	case n == 0:
		return abi.NOMEM
	case q.offset >= n || q.length > n-q.offset:
		return abi.INVAL
	}
	return abi.OK
}

// room is the length of the buffer that a request is about.
func (q *request) room(task *kernel.TaskData) uint64 {
	if q.writes {
		return task.ReadOnly(buffer).Len()
	}
	return task.ReadWrite(buffer).Len()
}

// begin makes a request wait for its turn. One of nothing is done at once.
func (f *front) begin(q *request, task *kernel.TaskData, asked *request) {
	*q = *asked
	q.ticket, q.pending = f.server.ticket(), 1<<f.end(q)
	if q.length == 0 {
		f.finish(q, task, abi.OK)
	}
}

// finish ends a request and tells the task how many bytes were read, or are durable: of a write that failed none are known to be.
func (f *front) finish(q *request, task *kernel.TaskData, e abi.ErrorCode) {
	told, n := f.end(q), uint32(q.done)
	if q.writes && e != abi.OK {
		n = 0
	}
	*q = request{}
	if f.status {
		task.ScheduleUpcall(told, e.Status(), n, 0)
	} else {
		task.ScheduleUpcall(told, n, 0, 0)
	}
}

// end is the subscribe number for a request's end.
func (f *front) end(q *request) uint32 {
	if q.writes {
		return f.told + 1
	}
	return f.told
}

// ticket is the next turn's.
func (s *Server) ticket() uint64 {
	s.tickets++
	return s.tickets
}

// serve does, if nothing goes on, the next piece of work for the task that waits longest for its turn.
func (s *Server) serve() {
	for !s.busy && s.findOldest() {
		s.front.grant.Enter(s.asker, s.start)
	}
}

// findOldest finds the task that waits longest, by whichever driver.
func (s *Server) findOldest() bool {
	ticketOf := func(q *request) uint64 { return q.ticket }
	a, first := s.shared.grant.Oldest(ticketOf)
	b, second := s.isolated.grant.Oldest(ticketOf)
	s.front, s.asker = &s.shared.front, a
	if second-1 < first-1 { // 0 is behind all others
		s.front, s.asker = &s.isolated.front, b
	}
	return first|second != 0
}

// start begins the next piece of work for a request: to make its region, to read or write a piece, and behind the last that was
// written a flush. What cannot be begun ends the request.
func (s *Server) start(q *request, task *kernel.TaskData) {
	s.writes = q.writes
	e := s.startPiece(q, task)
	s.busy = e == abi.OK
	if !s.busy {
		s.front.finish(q, task, e)
	}
}

func (s *Server) startPiece(q *request, task *kernel.TaskData) abi.ErrorCode {
	address, n := s.regions.FindRegion(s.front.number, q.owner)
	if n == 0 {
		return s.regions.AllocateRegion(s.front.number, q.owner)
	}
	piece := s.piece(q)
	if q.writes {
		piece = piece[:task.ReadOnly(buffer).ReadAt(piece, q.done)]
	}
	address += q.offset + q.done
	switch {
	case len(piece) == 0: // all is written, or the buffer has no more
		q.length = q.done
		return s.storage.Flush()
	case q.writes:
		return s.storage.Write(piece, address)
	}
	return s.storage.Read(piece, address)
}

// piece is room for the request's next piece.
func (s *Server) piece(q *request) []byte {
	into := (q.offset + q.done) % abi.PageSize
	return s.room[:min(q.length-q.done, abi.PageDown(uint64(len(s.room)))-into)]
}

// RegionAllocated implements hil.RegionsClient.
func (s *Server) RegionAllocated(e abi.ErrorCode) {
	s.busy = false
	if e != abi.OK {
		s.front.grant.Enter(s.asker, func(q *request, task *kernel.TaskData) { s.front.finish(q, task, e) })
	}
	s.serve()
}

// NonvolatileStorageDone implements hil.NonvolatileStorageClient. A task that is no more has no request to go on with. If a write fails,
// what others have written and was not flushed may be lost.
func (s *Server) NonvolatileStorageDone(piece []byte, e abi.ErrorCode) {
	s.busy = false
	s.front.grant.Enter(s.asker, func(q *request, task *kernel.TaskData) { s.pieceDone(q, task, piece, e) })
	if s.writes && e != abi.OK {
		s.shared.endWrites(e)
		s.isolated.endWrites(e)
	}
	s.serve()
}

// endWrites ends the writes that are not durable and have begun.
func (f *front) endWrites(e abi.ErrorCode) {
	f.grant.Each(func(q *request, task *kernel.TaskData) {
		if q.writes && q.done != 0 {
			f.finish(q, task, e)
		}
	})
}

// pieceDone goes on with a request, whose next turn comes behind those of the others, or ends it. A read ends where the buffer does by now.
func (s *Server) pieceDone(q *request, task *kernel.TaskData, piece []byte, e abi.ErrorCode) {
	q.ticket = s.ticket()
	flushed := q.writes && len(piece) == 0
	switch {
	case e != abi.OK || flushed:
		s.front.finish(q, task, e)
	case q.writes:
		q.done += uint64(len(piece))
	default:
		n := task.ReadWrite(buffer).WriteAt(piece, q.done)
		q.done += uint64(n)
		if n < len(piece) || q.done == q.length {
			s.front.finish(q, task, abi.OK)
		}
	}
}
