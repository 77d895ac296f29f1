// Package volume finds out what is on a disk, and hands out regions of a storage (docs/storage.md). It implements hil.Regions. It
// writes to nothing but a storage that is whole, and there to free entries of the region table alone.
package volume

import (
	"kapsel/guest/abi"
	"kapsel/guest/abi/storage"
	"kapsel/guest/kernel"
	"kapsel/guest/kernel/format"
	"kapsel/guest/kernel/hil"
)

// MetadataSize is how many bytes from a disk's start on the volume reads, and is the only one to write: superblock and region table.
const MetadataSize = storage.FirstFreePage * storage.PageSize

// Volume is a disk with its storage. Board and drivers use it once Settled.
type Volume struct {
	metadata hil.NonvolatileStorage
	pages    uint64 // of the disk
	log      kernel.Writer
	client   hil.RegionsClient

	state  state
	sector [storage.SectorSize]byte // what is read or written
	super  storage.Superblock
	table  storage.Table
	count  uint32                          // entries of the table that were read
	listed [storage.Regions]storage.Region // by entry; of no pages where there is no region

	made  storage.Region // the region that is being made
	index uint32         // its entry
	after storage.Table  // the table with it
}

// state is what the volume does.
type state uint8

const (
	settling state = iota // what an earlier machine left in the disk's own cache is made durable
	readingSuperblock
	readingTable
	refused // there is no storage that can be used
	ready
	writing  // a new region's entry
	flushing // likewise
)

// Init ties the volume to the first MetadataSize bytes of a disk of so many pages, or all there are, of which it is the only
// client, and begins to flush and to read: what is read of the disk from then on no power failure takes back. What is wrong it writes to
// log, in one line.
func (v *Volume) Init(metadata hil.NonvolatileStorage, pages uint64, log kernel.Writer) {
	v.metadata, v.pages, v.log = metadata, pages, log
	metadata.SetNonvolatileStorageClient(v)
	if e := metadata.Flush(); e != abi.OK {
		v.refuse(flushed, e)
	}
}

// Settled reports whether it is known what is on the disk.
func (v *Volume) Settled() bool { return v.state >= refused }

// Usable reports whether there is a storage.
func (v *Volume) Usable() bool { return v.state >= ready }

// Superblock is the storage's, if it is Usable.
func (v *Volume) Superblock() *storage.Superblock { return &v.super }

// NonvolatileStorageDone implements hil.NonvolatileStorageClient.
func (v *Volume) NonvolatileStorageDone(_ []byte, e abi.ErrorCode) {
	switch v.state {
	case settling:
		v.settled(e)
	case readingSuperblock:
		v.superblockRead(e)
	case readingTable:
		v.entryRead(e)
	case writing:
		v.entryWritten(e)
	case flushing:
		v.allocated(e)
	}
}

// settled begins to read.
func (v *Volume) settled(e abi.ErrorCode) {
	if e != abi.OK {
		v.refuse(flushed, e)
		return
	}
	v.state = readingSuperblock
	if e := v.metadata.Read(v.sector[:], storage.SuperblockPage*storage.PageSize); e != abi.OK {
		v.refuse(read, e)
	}
}

// superblockRead looks whether the disk has a storage.
func (v *Volume) superblockRead(e abi.ErrorCode) {
	if e != abi.OK {
		v.refuse(read, e)
		return
	}
	if problem := v.super.Decode(v.sector[:], v.pages); problem != storage.Whole {
		v.state = refused
		v.tell(problem)
		return
	}
	v.state = readingTable
	v.table.Start(&v.super)
	v.readEntry()
}

// readEntry begins to read the next entry of the table, or ends reading.
func (v *Volume) readEntry() {
	if v.count < storage.Regions {
		if e := v.metadata.Read(v.sector[:], entryAt(v.count)); e != abi.OK {
			v.refuse(read, e)
		}
		return
	}
	v.state = ready
	if v.table.Hurt() {
		v.log.WriteString("disk: the region table is damaged; regions that are whole are used, none are made any more: kapsel disk show FILE lists them\n")
	}
}

// entryAt is where an entry of the table is.
func entryAt(index uint32) uint64 {
	return storage.TablePage*storage.PageSize + uint64(index)*storage.SectorSize
}

// entryRead takes an entry of the table. What is not whole stays a region of no pages.
func (v *Volume) entryRead(e abi.ErrorCode) {
	if e != abi.OK {
		v.refuse(read, e)
		return
	}
	if v.table.Next(v.sector[:], &v.made) == storage.Whole {
		v.listed[v.count] = v.made
	}
	v.count++
	v.readEntry()
}

// What cannot be done with a disk.
const (
	flushed = "what was written to it before cannot be made durable: "
	read    = "its superblock and region table cannot be read: "
)

// refuse leaves a disk alone with which something cannot be done.
func (v *Volume) refuse(what string, e abi.ErrorCode) {
	v.state = refused
	format.Print(v.log, "disk: it has %d pages of 4096 bytes, and ", v.pages)
	v.log.WriteString(what)
	v.log.WriteString(e.Error())
	v.log.WriteString("; tasks have no storage\n")
}

// tell says what is on a disk that has no storage that can be used.
func (v *Volume) tell(problem storage.Problem) {
	v.log.WriteString("disk: ")
	v.log.WriteString(problem.String())
	switch problem {
	case storage.Blank:
		v.log.WriteString(": kapsel disk format FILE makes a storage")
	case storage.OtherVersion:
		format.Print(v.log, ", %d, want ", uint64(storage.VersionOf(v.sector[:])))
		format.Print(v.log, "%d: use the release that made it", storage.Version)
	case storage.Truncated:
		format.Print(v.log, ", %d pages, ", v.pages)
		format.Print(v.log, "want %d: copy the whole file again", v.super.Pages)
	default:
		v.log.WriteString(": kapsel disk show FILE says more, kapsel disk format --force FILE makes a storage and loses what is there")
	}
	v.log.WriteString("; it is not touched, and tasks have no storage\n")
}

// SetRegionsClient implements hil.Regions.
func (v *Volume) SetRegionsClient(client hil.RegionsClient) { v.client = client }

// FindRegion implements hil.Regions. Addresses count from the first page of the regions.
func (v *Volume) FindRegion(driver, owner uint32) (address, size uint64) {
	for i := range v.listed {
		if r := &v.listed[i]; r.Driver == driver && r.Owner == owner && r.Pages != 0 {
			return (r.Page - v.super.RegionsPage) * storage.PageSize, r.Pages * storage.PageSize
		}
	}
	return 0, 0
}

// NewRegionSize implements hil.Regions.
func (v *Volume) NewRegionSize() uint64 {
	var r storage.Region
	after := v.table
	if _, ok := after.Allocate(&r, 0, 1, v.super.RegionPages); !ok {
		return 0
	}
	return r.Pages * storage.PageSize
}

// AllocateRegion implements hil.Regions.
func (v *Volume) AllocateRegion(driver, owner uint32) abi.ErrorCode {
	if v.state != ready {
		return abi.BUSY
	}
	v.after = v.table
	index, ok := v.after.Allocate(&v.made, driver, owner, v.super.RegionPages)
	if !ok {
		return abi.NOMEM
	}
	v.index = index
	v.made.Encode(v.sector[:], index)
	e := v.metadata.Write(v.sector[:], entryAt(index))
	if e == abi.OK {
		v.state = writing
	}
	return e
}

// entryWritten makes a new region's entry durable.
func (v *Volume) entryWritten(e abi.ErrorCode) {
	v.state = flushing
	if e == abi.OK {
		e = v.metadata.Flush()
	}
	if e != abi.OK {
		v.allocated(e)
	}
}

// allocated ends making a region. If its entry may not be durable the region is nobody's: the next one takes its place.
func (v *Volume) allocated(e abi.ErrorCode) {
	v.state = ready
	if e == abi.OK {
		v.table = v.after
		v.listed[v.index] = v.made
	}
	v.client.RegionAllocated(e)
}
