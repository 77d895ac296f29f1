package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tab"
	"kapsel/guest/kernel/tbf/tbfbuild"
)

// How a Go task lies in its object. Go's linker puts data right behind the constants,
// so the data's initial values go in front of the code, and RAM begins where the data is
// linked, on the page behind the object:
//
//	flash  header | start table | initial data | writeable region | code | constants
//	RAM    data | zeroed data | stack | heap ... grants
//
// The start table tells guest/runtime's entry where things go (task_amd64.s).
const (
	binaryOffset   = 256 // bytes from the object's start to the start table
	startTableSize = 48  // bytes
)

// buildTask builds a Go package into NAME.elf and NAME.tbf in dir and returns the object,
// with a SHA-256 credential if digest is set.
func (tc *toolchain) buildTask(s source, dir string, digest bool) ([]byte, error) {
	pkg, name := s.task, s.name
	m, err := readManifest(s.files)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, name+".elf")
	f, err := tc.linkTask(pkg, path, m)
	if err != nil {
		return nil, err
	}
	if err := f.checkRAM(m); err != nil {
		return nil, fmt.Errorf("task %q: %w", pkg, err)
	}
	spec := f.spec(name, m)
	spec.SHA256 = digest
	object, err := tbfbuild.Build(spec)
	if err != nil {
		return nil, fmt.Errorf("task %q: %w", pkg, err)
	}
	if end := abi.FlashStart + uint64(len(object)); end > f.data.addr {
		return nil, fmt.Errorf("task %q: its object ends at %#x, behind the start of its data at %#x%s", pkg, end, f.data.addr, noRoom(digest))
	}
	return object, os.WriteFile(filepath.Join(dir, name+".tbf"), object, 0o644)
}

// noRoom says why an object may be too long for the pages in front of its data.
func noRoom(digest bool) string {
	if digest {
		return ": the last page of its constants has no room for the SHA-256 credential; change their size or build it without -sha256"
	}
	return ""
}

// readObject reads a ready-made TBF file: one sound object of whole pages, as objects lie in an
// image.
func readObject(path string) ([]byte, error) {
	object, err := readTaskFile(path)
	if err != nil {
		return nil, err
	}
	return checkObject(strconv.Quote(path), object)
}

// readTaskFile reads a file of no more bytes than an image has.
func readTaskFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxImage+1))
	if err == nil && len(content) > maxImage {
		err = fmt.Errorf("%q is longer than %d bytes, which is more than an image has", path, maxImage)
	}
	return content, err
}

// readTab reads the object of a .tab file that Kapsel runs.
func readTab(path string) ([]byte, error) {
	archive, err := readTaskFile(path)
	if err != nil {
		return nil, err
	}
	name, object, err := tab.Object(archive)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", path, err)
	}
	return checkObject(fmt.Sprintf("%q: %q", path, name), object)
}

// checkObject refuses what is not one sound object of whole pages. name is what it is called, in quotes.
func checkObject(name string, object []byte) ([]byte, error) {
	if len(object) == 0 {
		return nil, fmt.Errorf("%s is empty, want a TBF object", name)
	}
	if size := declaredSize(object); size > uint64(len(object)) {
		return nil, fmt.Errorf("%s is truncated: it is %d bytes long, its header says %d; make or copy it again", name, len(object), size)
	}
	if err := tbfbuild.Check(object); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if size, _ := tbf.Length(object); size != len(object) {
		return nil, fmt.Errorf("%s is %d bytes long, but its object is %d: want one object in a file", name, len(object), size)
	}
	if size := uint64(len(object)); size%abi.PageSize != 0 {
		return nil, fmt.Errorf("%s is %d bytes long, want a multiple of %d: pad it as elf2tab does for x86", name, size, abi.PageSize)
	}
	return object, nil
}

// unwriteable says which writeable flash regions of a sound object its task will only read, or "".
func unwriteable(object []byte) string {
	o, _ := tbf.Parse(object)
	n := o.UnwriteableRegions()
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("the task can only read %d of its %d writeable flash regions: they are no whole pages of %d bytes", n, o.WriteableRegions(), abi.PageSize)
}

// declaredSize is the size of an object by its header, which may be more than there is; 0 if
// there is no header.
func declaredSize(object []byte) uint64 {
	if len(object) < tbf.BaseSize || binary.LittleEndian.Uint16(object[tbf.OffsetVersion:]) != tbf.Version {
		return 0
	}
	return uint64(binary.LittleEndian.Uint32(object[tbf.OffsetTotalSize:]))
}

// A taskFile is a linked task.
type taskFile linked

// linkTask links a task: the place of its code depends on the size of the data.
func (tc *toolchain) linkTask(pkg, path string, m manifest) (*taskFile, error) {
	p := taskProgram(pkg, m.entry, abi.FlashStart+abi.PageSize)
	l, err := tc.buildPlaced(p, path, nothing, func(l *linked) uint64 { return (*taskFile)(l).textAddress(m) })
	return (*taskFile)(l), err
}

// regionOffset is where the writeable region begins, in bytes from the object's start.
func (f *taskFile) regionOffset() uint64 {
	return roundUp(binaryOffset+startTableSize+uint64(len(f.data.data)), abi.PageSize)
}

func (f *taskFile) textAddress(m manifest) uint64 {
	return abi.FlashStart + f.regionOffset() + m.flash
}

// stack returns the bounds of the stack, which lies above the variables, and the first break.
func (f *taskFile) stack(m manifest) (low, top, firstBreak uint64) {
	low = roundUp(f.data.end(), 16)
	return low, low + m.stack, roundUp(low+m.stack, abi.PageSize)
}

// checkRAM refuses what reaches the addresses of loans. RAM is what the object asks for, in
// pages, and one page for grants (docs/abi.md, section 3).
func (f *taskFile) checkRAM(m manifest) error {
	_, _, firstBreak := f.stack(m)
	end := roundUp(firstBreak+m.heap, abi.PageSize) + abi.PageSize
	if end <= abi.LoanStart {
		return nil
	}
	return fmt.Errorf("its RAM ends at %#x, want at most %#x, where other tasks' memory is lent to it: "+
		"from %#x it has %d bytes of variables, %d of stack and %d of heap, make them %d less",
		end, uint64(abi.LoanStart), f.data.addr, f.data.size, m.stack, m.heap, end-abi.LoanStart)
}

// spec describes the object of a linked task.
func (f *taskFile) spec(name string, m manifest) tbfbuild.Spec {
	const start = abi.FlashStart + binaryOffset // address of the binary
	stackLow, stackTop, firstBreak := f.stack(m)
	binary := make([]byte, f.rodata.addr+uint64(len(f.rodata.data))-start)
	copy(binary, startTable(start+startTableSize, f.data.addr, uint64(len(f.data.data)), stackLow, stackTop, firstBreak))
	copy(binary[startTableSize:], f.data.data)
	copy(binary[f.text.addr-start:], f.text.data)
	copy(binary[f.rodata.addr-start:], f.rodata.data)

	s := tbfbuild.Spec{
		Name:         name,
		Binary:       binary,
		BinaryOffset: binaryOffset,
		Init:         uint32(f.entry - start),
		MinimumRAM:   uint32(firstBreak - f.data.addr + m.heap),
		ABI64:        true,
		ShortID:      uint32(m.shortID),
		Version:      uint32(m.version),
		Permissions:  m.permissions,
		Storage:      m.storage,
		FixedAddresses: &tbf.FixedAddresses{
			RAM:   uint32(f.data.addr),
			Flash: start,
		},
	}
	if m.flash > 0 {
		s.Writeable = []tbf.Region{{Offset: uint32(f.regionOffset() - binaryOffset), Size: uint32(m.flash)}}
	}
	return s
}

func startTable(words ...uint64) []byte {
	var b []byte
	for _, w := range words {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}
