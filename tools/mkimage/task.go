package main

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/tbf"
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

// A manifest is what a task's sources ask for with directives:
//
//	//kapsel:stack 8192
//	//kapsel:heap 65536
//	//kapsel:flash 4096
//
// in bytes. flash is a region of the object that the task may write and that outlives a restart.
// One that has to run before Go does names a function in assembly, of package main:
//
//	//kapsel:entry first
//
// It is entered as runtime.entry would be (guest/runtime/task_amd64.s), and jumps there.
// What application it is, and which version of it, tell numbers of 32 bits (docs/abi.md,
// section 5, "Identity"); without them no other object is the same application, and the
// version is 0:
//
//	//kapsel:shortid 0x6b617073
//	//kapsel:version 2
//
// A task that needs little says which commands of which driver: the kernel then refuses all
// others, and all drivers that are not named:
//
//	//kapsel:permit 0x1 0 1
type manifest struct {
	stack, heap, flash uint64
	entry              string // symbol
	shortID, version   uint64
	permissions        []tbf.Permission // nil: it may use everything
}

// numbers are the directives that take a number, each with what it sets and the first number
// that is too large.
func (m *manifest) numbers() map[string]number {
	const gib, words = 1 << 30, 1 << 32
	return map[string]number{
		"stack": {&m.stack, gib}, "heap": {&m.heap, gib}, "flash": {&m.flash, gib},
		"shortid": {&m.shortID, words}, "version": {&m.version, words},
	}
}

type number struct {
	to  *uint64
	end uint64
}

// set takes a directive's word and value, or reports that there is no such directive or value.
func (m *manifest) set(key, value string) bool {
	switch key {
	case "entry":
		m.entry = "main." + value
		return token.IsIdentifier(value)
	case "permit":
		return m.permit(strings.Fields(value))
	}
	n, err := strconv.ParseUint(value, 0, 64)
	at, found := m.numbers()[key]
	if err != nil || !found || n >= at.end {
		return false
	}
	*at.to = n
	return true
}

// permit takes the number of a driver, and of commands that the task may give it.
func (m *manifest) permit(words []string) bool {
	var numbers []uint32
	for _, w := range words {
		n, err := strconv.ParseUint(w, 0, 32)
		if err != nil {
			return false
		}
		numbers = append(numbers, uint32(n))
	}
	if len(numbers) < 2 {
		return false
	}
	for _, command := range numbers[1:] {
		m.allow(numbers[0], command)
	}
	return true
}

// maxPermissions is how many entries fit in front of the binary beside all else in the header
// and a name of 24 bytes.
const maxPermissions = 8

// allow adds a command of a driver. An entry of the list has 64 commands in a row.
func (m *manifest) allow(driver, command uint32) {
	offset, bit := command/64, uint64(1)<<(command%64)
	for i := range m.permissions {
		if p := &m.permissions[i]; p.Driver == driver && p.Offset == offset {
			p.Mask |= bit
			return
		}
	}
	m.permissions = append(m.permissions, tbf.Permission{Driver: driver, Offset: offset, Mask: bit})
}

// buildTask builds a Go package into NAME.elf and NAME.tbf in dir and returns the object,
// with a SHA-256 credential if digest is set.
func (tc *toolchain) buildTask(pkg, dir string, digest bool) ([]byte, error) {
	source, err := output(tc.command("list", "-tags", tc.withTags(taskTags), "-f", "{{.Name}}\n{{.Dir}}", pkg))
	if err != nil {
		return nil, fmt.Errorf("task %s: %w", pkg, err)
	}
	kind, folder, _ := strings.Cut(source, "\n")
	if kind != "main" {
		return nil, fmt.Errorf("task %s is package %s, want a main package", pkg, kind)
	}
	m, err := readManifest(folder)
	if err != nil {
		return nil, err
	}
	name := filepath.Base(folder)
	path := filepath.Join(dir, name+".elf")
	f, err := tc.linkTask(pkg, path, m)
	if err != nil {
		return nil, err
	}
	spec := f.spec(name, m)
	spec.SHA256 = digest
	object, err := tbfbuild.Build(spec)
	if err != nil {
		return nil, fmt.Errorf("task %s: %w", pkg, err)
	}
	if end := abi.FlashStart + uint64(len(object)); end > f.data.addr {
		return nil, fmt.Errorf("task %s: its object ends at %#x, behind the start of its data at %#x%s", pkg, end, f.data.addr, noRoom(digest))
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
	object, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if err := tbfbuild.Check(object); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if size, _ := tbf.Length(object); size != len(object) {
		return nil, fmt.Errorf("%s is %d bytes long, but its object is %d: want one object in a file", path, len(object), size)
	}
	if size := uint64(len(object)); size%abi.PageSize != 0 {
		return nil, fmt.Errorf("%s is %d bytes long, want a multiple of %d: pad it as elf2tab does for x86", path, size, abi.PageSize)
	}
	return object, nil
}

// readManifest collects the directives of a package's Go files.
func readManifest(folder string) (manifest, error) {
	m := manifest{stack: 16 << 10, heap: 64 << 10, entry: "runtime.entry"}
	paths, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		return m, err
	}
	for _, path := range paths {
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			return m, err
		}
		for _, group := range file.Comments {
			for _, c := range group.List {
				directive, ok := strings.CutPrefix(c.Text, "//kapsel:")
				if !ok {
					continue
				}
				key, value, _ := strings.Cut(directive, " ")
				if !m.set(key, strings.TrimSpace(value)) {
					return m, fmt.Errorf("%s: %s: want //kapsel:stack, heap or flash and a number of bytes below 1 GiB, "+
						"shortid or version and a number of 32 bits, permit and the numbers of a driver and its commands, or entry and a function", fset.Position(c.Pos()), c.Text)
				}
			}
		}
	}
	if n := len(m.permissions); n > maxPermissions {
		return m, fmt.Errorf("%s: the //kapsel:permit lines make %d entries, one for each driver and each 64 commands of it; the object's header has room for %d", folder, n, maxPermissions)
	}
	m.stack = roundUp(m.stack, 16)
	m.flash = roundUp(m.flash, abi.PageSize)
	return m, nil
}

// A taskFile is a linked task.
type taskFile struct {
	entry              uint64
	text, rodata, data segment
}

// linkTask links again until the code is where it belongs: its place depends on the size of
// the data.
func (tc *toolchain) linkTask(pkg, path string, m manifest) (*taskFile, error) {
	text := uint64(abi.FlashStart + abi.PageSize)
	for range 3 {
		if err := tc.build(taskProgram(pkg, m.entry, text), path); err != nil {
			return nil, err
		}
		f, err := readTask(path)
		if err != nil {
			return nil, err
		}
		want := f.textAddress(m)
		if want == text {
			return f, nil
		}
		text = want
	}
	return nil, fmt.Errorf("task %s: the size of its data depends on where its code is", pkg)
}

// regionOffset is where the writeable region begins, in bytes from the object's start.
func (f *taskFile) regionOffset() uint64 {
	return roundUp(binaryOffset+startTableSize+uint64(len(f.data.data)), abi.PageSize)
}

func (f *taskFile) textAddress(m manifest) uint64 {
	return abi.FlashStart + f.regionOffset() + m.flash
}

// readTask takes a linked task apart.
func readTask(path string) (*taskFile, error) {
	e, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer e.Close()
	segments, err := loadSegments(e)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f := &taskFile{e.Entry, segments[0], segments[1], segments[2]}
	f.data.data = append(f.data.data, make([]byte, -len(f.data.data)&7)...)
	if f.data.addr%abi.PageSize != 0 {
		return nil, errors.New("the linker put the data across a page: " + path)
	}
	return f, nil
}

// spec describes the object of a linked task.
func (f *taskFile) spec(name string, m manifest) tbfbuild.Spec {
	const start = abi.FlashStart + binaryOffset // address of the binary
	stackLow := roundUp(f.data.end(), 16)
	stackTop := stackLow + m.stack
	firstBreak := roundUp(stackTop, abi.PageSize)

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
