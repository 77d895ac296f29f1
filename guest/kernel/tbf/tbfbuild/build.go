// Package tbfbuild makes objects in the Tock Binary Format on the host.
package tbfbuild

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/tbf"
)

// Spec describes an object.
type Spec struct {
	Name     string // package name, printable
	Disabled bool   // the task is not to be started
	Sticky   bool   // tools keep the object when they erase others

	Binary []byte // code and constants; Build copies it
	// BinaryOffset is where Binary begins, in bytes from the object's start:
	// what lies between it and the header is protected. 0: right behind the header.
	BinaryOffset uint32
	Init         uint32       // the init function, in bytes from Binary's start
	Writeable    []tbf.Region // writeable flash regions, in bytes from Binary's start
	MinimumRAM   uint32       // bytes
	Version      uint32       // the application's

	KernelVersion  tbf.KernelVersion   // zero: that of this kernel
	FixedAddresses *tbf.FixedAddresses // nil: none
	Permissions    []tbf.Permission    // nil: not restricted; empty: nothing is allowed
	Storage        *Storage            // nil: none
	ShortID        uint32              // 0: none
	ABI64          bool                // the task uses the 64-bit system call convention

	SHA256      bool         // add a credential: the SHA-256 digest of header and binary
	Credentials []Credential // further ones, behind it
}

// Credential is a footer that vouches for the object.
type Credential struct {
	Format tbf.Format
	Data   []byte // at least as long as the format has it
}

// Storage lists what a task may do with persistent storage, as tbf.Storage.
type Storage struct {
	WriteID      uint32
	Read, Modify []uint32
}

// Build makes the object. Its size is a multiple of abi.PageSize, filled up behind the
// credentials with a reserved footer. An error names what in the Spec does not fit the format.
func Build(s Spec) ([]byte, error) {
	if err := s.checkBinary(); err != nil {
		return nil, fmt.Errorf("task %q: %w", s.Name, err)
	}
	header := elements(s, layout{})
	l, err := arrange(s, len(header))
	if err != nil {
		return nil, fmt.Errorf("task %q: %w", s.Name, err)
	}
	object := make([]byte, l.total)
	copy(object, elements(s, l))
	copy(object[l.binary:], s.Binary)
	Seal(object)
	copy(object[l.end:], credentials(s, sha256.Sum256(object[:l.end])))
	putPadding(object[l.footersEnd:])
	if err := Check(object); err != nil {
		return nil, fmt.Errorf("task %q: %w", s.Name, err)
	}
	return object, nil
}

// Seal writes the checksum that fits the header. Precondition: object holds a
// whole header.
func Seal(object []byte) {
	size := binary.LittleEndian.Uint16(object[tbf.OffsetHeaderSize:])
	sum := tbf.Checksum(object[:size])
	binary.LittleEndian.PutUint32(object[tbf.OffsetChecksum:], sum)
}

// Check parses the object at the start of b and returns what is wrong in words, or nil.
func Check(b []byte) error {
	_, err := tbf.Parse(b)
	return Words(err)
}

// Words turns a tbf.Error into an ordinary error, nil if nothing is wrong.
func Words(err tbf.Error) error {
	if err.OK() {
		return nil
	}
	var text words
	err.Describe(&text)
	return errors.New(text.String())
}

// words collects text.
type words struct{ strings.Builder }

func (w *words) WriteString(s string) { w.Builder.WriteString(s) }

func (w *words) WriteChars(chars uint64, n int) {
	w.Builder.Write(binary.LittleEndian.AppendUint64(nil, chars)[:n])
}

// checkBinary checks that what the Spec names lies inside the binary.
func (s *Spec) checkBinary() error {
	size := uint64(len(s.Binary))
	if uint64(s.Init) >= size {
		return fmt.Errorf("init function is at %#x of the binary, want it below the binary's size, %#x", s.Init, size)
	}
	for _, r := range s.Writeable {
		if end := uint64(r.Offset) + uint64(r.Size); end > size {
			return fmt.Errorf("writeable region at %#x of the binary ends at %#x, want it inside the binary's %#x bytes", r.Offset, end, size)
		}
	}
	return nil
}

// layout is where the parts of an object lie, in bytes from its start.
type layout struct {
	header     int // its size
	binary     int
	end        int // of the binary
	footersEnd int // of the credentials; padding follows
	total      int
}

// arrange computes the layout for a header of the given size.
func arrange(s Spec, header int) (layout, error) {
	l := layout{header: header, binary: header}
	if header > math.MaxUint16 {
		return l, fmt.Errorf("header takes %d bytes, want at most %d: shorten the lists", header, math.MaxUint16)
	}
	if s.BinaryOffset != 0 {
		l.binary = int(s.BinaryOffset)
	}
	if l.binary < header {
		return l, fmt.Errorf("binary offset is %#x, want at least %#x, the size of the header", l.binary, header)
	}
	if l.binary%4 != 0 {
		return l, fmt.Errorf("binary offset is %#x, want a multiple of 4", l.binary)
	}
	l.end = roundUp(l.binary+len(s.Binary), 4)
	l.footersEnd = l.end + len(credentials(s, [sha256.Size]byte{}))
	l.total = roundUp(l.footersEnd, abi.PageSize)
	if gap := l.total - l.footersEnd; gap < footerMin {
		l.end += gap // too small for a footer, it belongs to the binary
		l.footersEnd += gap
	}
	if l.total > math.MaxUint32 {
		return l, fmt.Errorf("object takes %d bytes, want at most %d", l.total, uint32(math.MaxUint32))
	}
	return l, nil
}

// roundUp rounds n up to a multiple of unit, a power of two.
func roundUp(n, unit int) int { return (n + unit - 1) &^ (unit - 1) }
