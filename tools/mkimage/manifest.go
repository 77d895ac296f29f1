package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"kapsel/guest/abi"
	"kapsel/guest/kernel/tbf"
	"kapsel/guest/kernel/tbf/tbfbuild"
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
//
// One that keeps data says under which identifier it stores, and what was stored under which it may read and modify
// (docs/abi.md, section 5, "Storage permissions"):
//
//	//kapsel:storage write=1 read=1,2 modify=1
//
// Only permit may stand more than once.
type manifest struct {
	stack, heap, flash uint64
	entry              string // symbol
	shortID, version   uint64
	permissions        []tbf.Permission  // nil: it may use everything
	storage            *tbfbuild.Storage // nil: it has none
}

// minStack is the least stack in bytes. Functions that do not check the stack keep 928 of them
// (guest/runtime/asm_amd64.s), and printing a joined string needs 500 more.
const minStack = 2048

// A directive is what a word asks for.
type directive struct {
	word, rule string
	set        func(m *manifest, value string) bool // false: the value breaks the rule
}

const (
	gib   = 1 << 30
	bit32 = 1 << 32 // the first number that 32 bits do not hold
)

var directives = []directive{
	{"stack", "a number of bytes from 2048, which the smallest task needs, to 1 GiB - 1", number(minStack, gib, func(m *manifest) *uint64 { return &m.stack })},
	{"heap", "a number of bytes below 1 GiB", number(0, gib, func(m *manifest) *uint64 { return &m.heap })},
	{"flash", "a number of bytes below 256 MiB, the largest size of an image", number(0, maxImage, func(m *manifest) *uint64 { return &m.flash })},
	{"shortid", "a number of 32 bits, not 0, which means none", number(1, bit32, func(m *manifest) *uint64 { return &m.shortID })},
	{"version", "a number of 32 bits", number(0, bit32, func(m *manifest) *uint64 { return &m.version })},
	{"permit", "the number of a driver, and those of its commands behind it, of 32 bits each", (*manifest).permit},
	{"storage", "write=ID, read=ID,ID... and modify=ID,ID..., each once at most, with at most 8 identifiers in a list, numbers of 32 bits that are not 0", (*manifest).store},
	{"entry", "the name of a function of package main", func(m *manifest, value string) bool {
		m.entry = "main." + value
		return token.IsIdentifier(value)
	}},
}

// number makes a directive's set for a number from first to below end.
func number(first, end uint64, field func(*manifest) *uint64) func(*manifest, string) bool {
	return func(m *manifest, value string) bool {
		n, err := strconv.ParseUint(value, 0, 64)
		if err != nil || n < first || n >= end {
			return false
		}
		*field(m) = n
		return true
	}
}

// permit takes the number of a driver, and of commands that the task may give it.
func (m *manifest) permit(value string) bool {
	var numbers []uint32
	for _, w := range strings.Fields(value) {
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

// store takes the storage permissions: lists of identifiers by name, of which write has one.
func (m *manifest) store(value string) bool {
	lists := map[string][]uint32{}
	for _, field := range strings.Fields(value) {
		name, list, _ := strings.Cut(field, "=")
		if _, again := lists[name]; again {
			return false
		}
		for _, w := range strings.Split(list, ",") {
			id, err := strconv.ParseUint(w, 0, 32)
			if err != nil || id == 0 {
				return false
			}
			lists[name] = append(lists[name], uint32(id))
		}
	}
	write, read, modify := lists["write"], lists["read"], lists["modify"]
	known := len(write) + len(read) + len(modify)
	for _, list := range lists {
		known -= len(list)
	}
	if len(lists) == 0 || known != 0 || len(write) > 1 || max(len(read), len(modify)) > tbf.MaxStorageIDs {
		return false
	}
	m.storage = &tbfbuild.Storage{Read: read, Modify: modify}
	if len(write) == 1 {
		m.storage.WriteID = write[0]
	}
	return true
}

// What fits in front of the binary beside all else in the header and a name of 24 bytes.
const (
	permissionSize = 16 // bytes in the header
	maxPermissions = 8
)

// storageSize is how many bytes of the header the storage permissions take: the element's own header, the identifier for
// writing and two counted lists.
func (m *manifest) storageSize() int {
	if m.storage == nil {
		return 0
	}
	return 4 + 4 + 2*2 + 4*(len(m.storage.Read)+len(m.storage.Modify))
}

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

// readManifest collects the directives of a task's files.
func readManifest(paths []string) (manifest, error) {
	r := manifestReader{
		manifest: manifest{stack: 16 << 10, heap: 64 << 10, entry: "runtime.entry"},
		files:    token.NewFileSet(),
		seen:     map[string]token.Position{},
	}
	for _, path := range paths {
		if err := r.readFile(path); err != nil {
			return r.manifest, err
		}
	}
	m := r.manifest
	if n := len(m.permissions); n > maxPermissions {
		return m, fmt.Errorf("%s: the //kapsel:permit lines make %d entries, one for each driver and each 64 commands of it; the object's header has room for %d",
			filepath.Dir(paths[0]), n, maxPermissions)
	}
	if room := (maxPermissions*permissionSize - m.storageSize()) / permissionSize; len(m.permissions) > room {
		return m, fmt.Errorf("%s: beside //kapsel:storage the object's header has room for %d entries of //kapsel:permit, one for each driver and each 64 commands of it; want no more, not %d",
			filepath.Dir(paths[0]), room, len(m.permissions))
	}
	m.stack = roundUp(m.stack, 16)
	m.flash = roundUp(m.flash, abi.PageSize)
	return m, nil
}

// A manifestReader collects directives from one file after the other.
type manifestReader struct {
	manifest manifest
	files    *token.FileSet
	seen     map[string]token.Position // where a word stood first
}

func (r *manifestReader) readFile(path string) error {
	file, err := parser.ParseFile(r.files, path, nil, parser.ParseComments)
	if err != nil {
		return err
	}
	for _, group := range file.Comments {
		for _, c := range group.List {
			if err := r.readComment(c); err != nil {
				return err
			}
		}
	}
	return nil
}

// readComment takes the directive in a comment, if it is one.
func (r *manifestReader) readComment(c *ast.Comment) error {
	text, ok := strings.CutPrefix(c.Text, "//kapsel:")
	if !ok {
		return nil
	}
	at := r.files.Position(c.Pos())
	word, value := text, ""
	if i := strings.IndexAny(text, " \t"); i >= 0 {
		word, value = text[:i], strings.TrimSpace(text[i:])
	}
	i := slices.IndexFunc(directives, func(d directive) bool { return d.word == word })
	if i < 0 {
		return fmt.Errorf("%s: %s: no directive has this word, want one of %s", at, c.Text, directiveWords())
	}
	if first, again := r.seen[word]; again && word != "permit" {
		return fmt.Errorf("%s: %s: a second //kapsel:%s, the first is at %s: want only one of them", at, c.Text, word, first)
	}
	r.seen[word] = at
	if d := directives[i]; !d.set(&r.manifest, value) {
		return fmt.Errorf("%s: %s: want %s", at, c.Text, d.rule)
	}
	return nil
}

// directiveWords lists the words of all directives.
func directiveWords() string {
	var list []string
	for _, d := range directives {
		list = append(list, d.word)
	}
	return strings.Join(list, ", ")
}
