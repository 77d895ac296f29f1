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
// Only permit may stand more than once.
type manifest struct {
	stack, heap, flash uint64
	entry              string // symbol
	shortID, version   uint64
	permissions        []tbf.Permission // nil: it may use everything
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
