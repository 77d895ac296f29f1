// Package tbf reads the Tock Binary Format, version 2: the form in which tasks
// are stored. It serves the kernel in ring 0 and tools on the host alike, so it
// allocates nothing, keeps no state and treats every byte as hostile.
//
// An object is, from its first byte on:
//
//	base header, 16 bytes    ┐ header, HeaderSize() bytes,
//	elements (TLVs)          ┘ covered by the checksum
//	protected trailer          up to ProtectedSize(); the task may not use it
//	binary                     up to BinaryEnd(); the task's code and data
//	footers (TLVs)             up to TotalSize(); credentials and padding
//
// Objects lie back to back. Length finds the next one, Parse checks one and
// gives access to what it says, and Object.Runnable decides whether this kernel
// runs it. Package tbfbuild makes objects.
//
// All numbers are little-endian. Source: the Tock project's documentation of
// the format (book.tockos.org, "Tock Binary Format").
package tbf

// Numbers of the format.
const (
	// Version is the only version of the format there is.
	Version = 2
	// BaseSize is the size of the base header in bytes. An object whose header
	// is no longer than that is padding.
	BaseSize = 16
	// Unset in a FixedAddresses field means that the object does not care.
	Unset = 0xffff_ffff
	// MaxStorageIDs is the most identifiers that a list in Storage may have.
	MaxStorageIDs = 8
	// MaxFooters is the most footers that an object may have, so that looking at all of them does not take long. A
	// footer that is padding has up to 64 KiB; so many footers are 64 KiB of zeros.
	MaxFooters = 16384
)

// Offsets of the base header's fields, in bytes.
const (
	OffsetVersion    = 0  // u16
	OffsetHeaderSize = 2  // u16, bytes of base header and elements
	OffsetTotalSize  = 4  // u32, bytes of the whole object
	OffsetFlags      = 8  // u32
	OffsetChecksum   = 12 // u32, XOR of all other words of the header
)

// Bits of the base header's flags.
const (
	FlagEnabled = 1 << 0 // the task is to be started
	FlagSticky  = 1 << 1 // tools keep the object when they erase others
)

// elementHead is the size of an element's type and length in bytes.
const elementHead = 4

// Type is the type of an element: a u16, followed by a u16 length in bytes, the
// value, and padding to a multiple of 4.
type Type uint16

// Types of elements.
const (
	TypeMain           Type = 1      // MainSize bytes
	TypeWriteable      Type = 2      // RegionSize bytes for each region
	TypeName           Type = 3      // UTF-8
	TypeFixedAddresses Type = 5      // FixedAddressesSize bytes
	TypePermissions    Type = 6      // u16 n, then n times PermissionSize bytes
	TypeStorage        Type = 7      // u32, then two lists: u16 n, n times u32
	TypeKernelVersion  Type = 8      // KernelVersionSize bytes
	TypeProgram        Type = 9      // ProgramSize bytes
	TypeShortID        Type = 10     // ShortIDSize bytes
	TypeCredential     Type = 128    // in footers: u32 format, data
	TypeABI            Type = 0x4b01 // ABISize bytes: Kapsel's own
)

// Sizes of elements' values, or of one entry where they are lists, in bytes.
const (
	MainSize           = 12 // u32 init offset, u32 trailer size, u32 minimum RAM
	ProgramSize        = 20 // as Main, then u32 binary end, u32 version
	RegionSize         = 8  // u32 offset, u32 size
	FixedAddressesSize = 8  // u32 RAM start, u32 flash start
	PermissionSize     = 16 // u32 driver, u32 offset, u64 mask
	KernelVersionSize  = 4  // u16 major, u16 minor
	ShortIDSize        = 4  // u32
	ABISize            = 4  // u32 flags
)

// ABI64 is the bit of TypeABI's flags that marks a 64-bit task. An object
// without it is a 32-bit task by Tock's x86 convention.
const ABI64 = 1 << 0

// The Tock kernel whose system calls this one answers. An object says which
// one it needs: the same major number and at most this minor number.
const (
	KernelMajor = 2
	KernelMinor = 3
)

// Format is the format of a credential.
type Format uint32

// Formats of credentials.
const (
	Reserved  Format = 0 // padding
	RSA3072   Format = 1
	RSA4096   Format = 2
	SHA256    Format = 3
	SHA384    Format = 4
	SHA512    Format = 5
	ECDSAP256 Format = 6
)

// Size is the length of the credential's data in bytes. It reports false for
// Reserved, which may have any length, and for formats that are not known.
func (f Format) Size() (bytes int, fixed bool) {
	if int(f) >= len(credentialSizes) {
		return 0, false
	}
	bytes = int(credentialSizes[f])
	return bytes, bytes != 0
}

var credentialSizes = [...]uint16{RSA3072: 768, RSA4096: 1024, SHA256: 32, SHA384: 48, SHA512: 64, ECDSAP256: 64}
