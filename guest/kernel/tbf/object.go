package tbf

import "kapsel/guest/abi"

// Object is a parsed object. It refers to the bytes given to Parse and copies
// none of them. These bytes may change only within writeable flash regions: no
// header field, element or footer lies in one.
type Object struct {
	data       []byte // the whole object
	headerSize uint32
	flags      uint32

	start Program // zero if the object holds no program

	values [elementCount]span // where the values of elements are; zero where there is none
}

// span is a range of the object, in bytes.
type span struct{ at, size uint32 }

func (s span) end() uint64 { return uint64(s.at) + uint64(s.size) }

// bytes returns what lies in a span that parseElements made.
func (o *Object) bytes(s span) []byte { return o.data[s.at:s.end()] }

// has reports whether the object has an element: none begins in the base header.
func (o *Object) has(e element) bool { return o.values[e].at != 0 }

// word reads a 32-bit number in the value of an element that the object has.
func (o *Object) word(e element, offset uint32) uint32 { return le32(o.data, o.values[e].at+offset) }

// Program says how to start a task. It merges the elements Main and Program.
type Program struct {
	InitOffset    uint32 // the init function, in bytes from the object's start
	ProtectedSize uint32 // bytes from the object's start that the task may not use
	MinimumRAM    uint32 // bytes that the task needs, grants not counted
	BinaryEnd     uint32 // end of the binary, in bytes from the object's start
	Version       uint32 // the application's version, 0 if it has none
}

// Region is a part of the object, in bytes from its start.
type Region struct {
	Offset, Size uint32
}

// WholePages reports whether the region consists of whole pages. Where it does not, other parts of
// the object share its pages, so that the task cannot be let write there.
func (r Region) WholePages() bool { return r.Offset%abi.PageSize == 0 && r.Size%abi.PageSize == 0 }

// FixedAddresses are the addresses a task was linked for, Unset where it does not care.
type FixedAddresses struct {
	RAM   uint32 // start of RAM
	Flash uint32 // start of the binary: of what follows the protected region
}

// Permission allows commands of one driver: bit b of Mask stands for command 64*Offset+b.
type Permission struct {
	Driver, Offset uint32
	Mask           uint64
}

// Storage says which records of persistent storage a task may use.
type Storage struct {
	WriteID uint32 // the task writes records under this identifier; 0: it writes none
	Read    IDs    // of the records it may read
	Modify  IDs    // of the records it may change
}

// IDs is a list of storage identifiers.
type IDs struct{ words []byte }

// KernelVersion is the version of the Tock kernel that a task was made for.
type KernelVersion struct {
	Major, Minor uint16
}

// Size is the size of the whole object in bytes.
func (o *Object) Size() uint32 { return uint32(len(o.data)) }

// HeaderSize is the size of base header and elements in bytes.
func (o *Object) HeaderSize() uint32 { return o.headerSize }

// Padding reports whether the object only fills a gap.
func (o *Object) Padding() bool { return o.headerSize == BaseSize }

// Enabled reports whether the task is to be started.
func (o *Object) Enabled() bool { return o.flags&FlagEnabled != 0 }

// Sticky reports whether tools should keep the object when they erase others.
func (o *Object) Sticky() bool { return o.flags&FlagSticky != 0 }

// Program returns how to start the task. It reports false if the object holds none.
func (o *Object) Program() (Program, bool) { return o.start, o.start.BinaryEnd != 0 }

// Version is the application's version, 0 if it has none.
func (o *Object) Version() uint32 { return o.start.Version }

// Name is the package name, printable UTF-8; empty if there is none.
func (o *Object) Name() []byte { return o.bytes(o.values[elementName]) }

// WriteableRegions is the number of writeable flash regions.
func (o *Object) WriteableRegions() int { return int(o.values[elementWriteable].size / RegionSize) }

// WriteableRegion returns region i. It lies between the protected region and
// the end of the binary. It reports false if there is no such region.
func (o *Object) WriteableRegion(i int) (Region, bool) {
	if i < 0 || i >= o.WriteableRegions() {
		return Region{}, false
	}
	at := uint32(i * RegionSize)
	return Region{Offset: o.word(elementWriteable, at), Size: o.word(elementWriteable, at+4)}, true
}

// UnwriteableRegions is the number of writeable flash regions with bytes that do not consist of
// whole pages.
func (o *Object) UnwriteableRegions() int {
	n := 0
	for i := range o.WriteableRegions() {
		if r, _ := o.WriteableRegion(i); r.Size != 0 && !r.WholePages() {
			n++
		}
	}
	return n
}

// FixedAddresses returns the addresses that the object was linked for. It
// reports false if the object does not say.
func (o *Object) FixedAddresses() (FixedAddresses, bool) {
	if !o.has(elementFixedAddresses) {
		return FixedAddresses{RAM: Unset, Flash: Unset}, false
	}
	return FixedAddresses{RAM: o.word(elementFixedAddresses, 0), Flash: o.word(elementFixedAddresses, 4)}, true
}

// Storage returns the storage permissions. It reports false if there are none.
func (o *Object) Storage() (Storage, bool) {
	if !o.has(elementStorage) {
		return Storage{}, false
	}
	value := o.bytes(o.values[elementStorage])
	readEnd := 6 + 4*uint32(le16(value, 4))
	modifyEnd := readEnd + 2 + 4*uint32(le16(value, readEnd))
	return Storage{
		WriteID: le32(value, 0),
		Read:    IDs{value[6:readEnd]},
		Modify:  IDs{value[readEnd+2 : modifyEnd]},
	}, true
}

// KernelVersion returns the kernel that the object needs. It reports false if
// the object does not say.
func (o *Object) KernelVersion() (KernelVersion, bool) {
	if !o.has(elementKernelVersion) {
		return KernelVersion{}, false
	}
	version := o.word(elementKernelVersion, 0)
	return KernelVersion{Major: uint16(version), Minor: uint16(version >> 16)}, true
}

// ShortID is the task's short identifier. It reports false if it has none.
func (o *Object) ShortID() (uint32, bool) {
	if !o.has(elementShortID) {
		return 0, false
	}
	id := o.word(elementShortID, 0)
	return id, id != 0
}

// ABIFlags are the flags of Kapsel's ABI element, 0 if there is none.
func (o *Object) ABIFlags() uint32 {
	if !o.has(elementABI) {
		return 0
	}
	return o.word(elementABI, 0)
}

// Is64Bit reports whether the task uses the 64-bit system call convention.
func (o *Object) Is64Bit() bool { return o.ABIFlags()&ABI64 != 0 }

// Len is the number of identifiers.
func (l IDs) Len() int { return len(l.words) / 4 }

// At returns identifier i, 0 <= i < Len.
func (l IDs) At(i int) uint32 { return le32(l.words, uint32(4*i)) }

// Contains reports whether id is in the list.
func (l IDs) Contains(id uint32) bool {
	for i := range l.Len() {
		if l.At(i) == id {
			return true
		}
	}
	return false
}
