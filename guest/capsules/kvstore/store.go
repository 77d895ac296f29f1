package kvstore

import (
	"kapsel/guest/abi"
	"kapsel/guest/abi/storage"
	"kapsel/guest/kernel/hil"
)

// A store keeps values by their keys, in the buckets of a storage (docs/storage.md). One operation goes on at a time. An operation
// reads the two copies of both buckets that a key can be in, a page at a time, and then writes at most one copy of each, with a
// flush behind it: at whatever write or flush the machine ends, the key has its old value or its new one.
//
// A key can be in both buckets: then the higher sequence number counts. That is so where a value moved and the machine ended before
// its old place was cleared. The next change of the key clears it: behind a new value, which counts more, but in front of the
// removal of what counts. So nothing old ever comes to light again.
type store struct {
	disk    hil.NonvolatileStorage // the copies of the buckets
	layout  *storage.Superblock
	client  storeClient
	scratch []byte // the page that was read last, or is written
	places  [2]place
	unsure  bool // something may be on the disk that is not durable

	step     step
	flushing bool // what the step wrote
	turn     int  // which copy is read, or which change is made

	operation uint32
	key       []byte
	value     []byte
	rights    permissions

	record  storage.Record // what the first change adds
	changes [2]*place      // in their order; nil: none
}

// A storeClient is who a store calls.
type storeClient interface {
	// storeDone ends an operation. The value is that of a get, until the next operation begins. The error is
	//   - abi.NOSUPPORT if there is no such key, or there is one for add, or the rights lack,
	//   - abi.NOMEM if there is no room,
	//   - abi.FAIL if the storage could not do it, or what is on it is damaged. Then a change was made as a whole or not at all.
	storeDone(value []byte, e abi.ErrorCode)
}

// permissions are what who asks may do with values that were set under an identifier. kernel.StoragePermissions are such.
type permissions interface {
	WriteID() (id uint32, ok bool)
	MayRead(id uint32) bool
	MayModify(id uint32) bool
}

// step is what an operation waits for.
type step uint8

const (
	settling step = iota // what earlier operations left is made durable
	reading              // a copy of a bucket
	wiping               // a copy loses its first sector, so that it is an empty one
	writing              // a copy of a bucket
)

// place is a bucket that the key can be in.
type place struct {
	index    uint32
	page     []byte
	sums     [2]storage.Sums // of its copies
	problems [2]storage.Problem
	newer    int // the copy that counts, which the page has
	bucket   storage.Bucket
	record   storage.Record // the key's
	found    bool
}

// room is how much of the bucket a record of the key can have.
func (p *place) room() int {
	if p.found {
		return p.bucket.Room() + storage.RecordBytes(len(p.record.Key), len(p.record.Value))
	}
	return p.bucket.Room()
}

// storePages is how many pages of memory a store needs.
const storePages = 3

// init ties the store to its disk, of which it is the only client, and its memory.
func (s *store) init(disk hil.NonvolatileStorage, layout *storage.Superblock, memory []byte, client storeClient) {
	s.disk, s.layout, s.client = disk, layout, client
	s.scratch = memory[:storage.PageSize]
	for i := range s.places {
		s.places[i].page = memory[(i+1)*storage.PageSize : (i+2)*storage.PageSize]
	}
	s.unsure = true
	disk.SetNonvolatileStorageClient(s)
}

// begin begins an operation, a command of the driver. Key and value are the store's until the client is called, never from within
// this call. It returns abi.OK, or abi.FAIL if the disk is broken. Precondition: none goes on, the key has at most storage.MaxKey
// bytes and the value storage.MaxValue, and who sets one may write.
func (s *store) begin(operation uint32, key, value []byte, rights permissions) abi.ErrorCode {
	s.operation, s.key, s.value, s.rights = operation, key, value, rights
	s.places[0].index, s.places[1].index = s.layout.Candidates(key)
	s.changes[0], s.changes[1] = nil, nil
	s.turn, s.flushing = 0, false
	var e abi.ErrorCode
	if s.unsure {
		s.step = settling
		e = s.disk.Flush()
	} else {
		e = s.read()
	}
	if e != abi.OK {
		return abi.FAIL
	}
	return abi.OK
}

// NonvolatileStorageDone implements hil.NonvolatileStorageClient.
func (s *store) NonvolatileStorageDone(_ []byte, e abi.ErrorCode) {
	if e != abi.OK {
		s.client.storeDone(nil, abi.FAIL)
		return
	}
	if value, ended, e := s.advance(); ended {
		s.client.storeDone(value, e)
	}
}

// advance goes on behind a request of the disk that succeeded, or reports that the operation ended, and how.
func (s *store) advance() (value []byte, ended bool, e abi.ErrorCode) {
	switch s.step {
	case settling:
		s.unsure = false
		e = s.read()
	case reading:
		if !s.check() {
			return nil, true, abi.FAIL
		}
		s.turn++
		if s.turn == 2*len(s.places) {
			return s.decide()
		}
		e = s.read()
	case wiping, writing:
		if ended, e = s.written(); ended {
			return nil, true, e
		}
	}
	if e != abi.OK {
		return nil, true, abi.FAIL
	}
	return nil, false, abi.OK
}

// address is where a copy of a bucket begins.
func address(index uint32, copy int) uint64 {
	return (2*uint64(index) + uint64(copy)) * storage.PageSize
}

// read begins to read the copy whose turn it is.
func (s *store) read() abi.ErrorCode {
	s.step = reading
	p, copy := &s.places[s.turn/2], s.turn%2
	return s.disk.Read(s.page(p, copy), address(p.index, copy))
}

// page is where a copy is read to. That of the one that does not count is free then.
func (s *store) page(p *place, copy int) []byte {
	if copy == 0 {
		return p.page
	}
	return s.scratch
}

// check looks at the copy that was read, and behind the second which of them counts. It reports false if that cannot be told.
func (s *store) check() bool {
	p, copy := &s.places[s.turn/2], s.turn%2
	bucket, problem := storage.CheckBucket(s.page(p, copy), p.index, &p.sums[copy])
	p.problems[copy] = problem
	if copy == 0 {
		p.bucket = bucket
		return true
	}
	newer, ok := storage.Newer(p.bucket, p.problems[0], bucket, problem)
	if newer == 1 {
		p.bucket = bucket
		p.page, s.scratch = s.scratch, p.page
	}
	p.newer = newer
	return ok && p.find(s.key)
}

// find finds the key's record, or reports false if there is more than one.
func (p *place) find(key []byte) bool {
	p.found = false
	records := p.bucket.Records()
	for r := (storage.Record{}); records.Next(&r); {
		if !storage.Equal(r.Key, key) {
			continue
		}
		if p.found {
			return false
		}
		p.record, p.found = r, true
	}
	return true
}

// decide ends the operation, or begins to make its changes, once all is read.
func (s *store) decide() (value []byte, ended bool, e abi.ErrorCode) {
	current, other := &s.places[0], &s.places[1]
	if other.found && current.found && other.record.Sequence == current.record.Sequence {
		return nil, true, abi.FAIL
	}
	if other.found && (!current.found || other.record.Sequence > current.record.Sequence) {
		current, other = other, current
	}
	switch {
	case !s.permitted(current):
		return nil, true, abi.NOSUPPORT
	case s.operation == get:
		return current.record.Value, true, abi.OK
	case s.operation == remove:
		s.plan(other, current)
	default:
		if e := s.put(current, other); e != abi.OK {
			return nil, true, e
		}
	}
	for i := range s.changes { // not over a copy, for which the compiler takes a register of the tasks
		if p := s.changes[i]; p != nil && p.bucket.Generation() == ^uint64(0) {
			return nil, true, abi.FAIL
		}
	}
	s.turn = 0
	e = s.change()
	return nil, e != abi.OK, e
}

// permitted reports whether the operation is allowed, where current has the key's record if there is one (Tock's
// capsules/extra/src/kv_store_permissions.rs). A key that who asks may not read or change is told from none by add and set alone.
func (s *store) permitted(current *place) bool {
	owner := current.record.Owner
	switch s.operation {
	case get:
		return current.found && s.rights.MayRead(owner)
	case add:
		return !current.found
	case set:
		return !current.found || s.rights.MayModify(owner)
	}
	return current.found && s.rights.MayModify(owner)
}

// put plans a new value for the key: where the old one is, or in the emptier bucket, or in the other one if it has no room.
func (s *store) put(current, other *place) abi.ErrorCode {
	owner, _ := s.rights.WriteID()
	s.record = storage.Record{Owner: owner, Key: s.key, Value: s.value}
	if current.found {
		s.record.Sequence = current.record.Sequence
	}
	s.record.Sequence++
	if s.record.Sequence == 0 {
		return abi.FAIL
	}
	size := storage.RecordBytes(len(s.key), len(s.value))
	if current.room() < size || !current.found && other.room() > current.room() {
		current, other = other, current
	}
	if current.room() < size {
		return abi.NOMEM
	}
	s.changes[0] = current
	if other.found {
		s.changes[1] = other
	}
	return abi.OK
}

// plan plans to remove the key from both buckets, as far as they have it.
func (s *store) plan(first, second *place) {
	s.changes[0] = second
	if first.found {
		s.changes[0], s.changes[1] = first, second
	}
}

// change begins the change whose turn it is. A write over one that did not end could not be told from damage, if it did not end
// either: that copy is made an empty one before.
func (s *store) change() abi.ErrorCode {
	p := s.changes[s.turn]
	over := 1 - p.newer
	to := address(p.index, over)
	s.unsure = true
	if p.problems[over] == storage.Torn {
		s.step = wiping
		clear(s.scratch[:storage.SectorSize])
		return failure(s.disk.Write(s.scratch[:storage.SectorSize], to))
	}
	s.step = writing
	bucket := p.bucket.CopyWithout(s.scratch, s.key)
	if s.turn == 0 && s.operation != remove && !bucket.Append(&s.record) {
		return abi.FAIL
	}
	bucket.Seal(p.bucket.Generation()+1, &p.sums[over])
	return failure(s.disk.Write(s.scratch, to))
}

// failure is what an operation says of a disk that refuses a request.
func failure(e abi.ErrorCode) abi.ErrorCode {
	if e != abi.OK {
		return abi.FAIL
	}
	return abi.OK
}

// written goes on behind a write, or behind the flush that follows each. It reports that the operation ended, and how.
func (s *store) written() (ended bool, e abi.ErrorCode) {
	s.flushing = !s.flushing
	if s.flushing {
		return false, s.disk.Flush()
	}
	if s.step == wiping {
		p := s.changes[s.turn]
		p.problems[1-p.newer] = storage.Blank
		return false, s.change()
	}
	s.turn++
	if s.turn == len(s.changes) || s.changes[s.turn] == nil {
		s.unsure = false
		return true, abi.OK
	}
	return false, s.change()
}
