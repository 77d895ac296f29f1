package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kapsel/tools/pclntab"
)

// Go's compiler begins a function with a check of the stack's end, but for those with the directive
// NOSPLIT. Go's linker adds the frames of these up, from one check to the next, and refuses a chain that is longer
// than what a check keeps free. So a check whose function fits there is not needed, and a kernel is built once more
// without it: a tenth of its code. The marks are made in copies of the sources, and the linker has the last word.

// uncheckedStack is how much of the stack a chain of functions without checks may use: Go's
// internal/abi.StackNosplitBase less a return address.
const uncheckedStack = 800 - returnAddress

const returnAddress = 8

// dropChecks marks the functions of p that need no check. p was built to the file out.
func (tc *toolchain) dropChecks(p *program, out string) error {
	f, err := elf.Open(out)
	if err != nil {
		return err
	}
	defer f.Close()
	lines, err := needlessChecks(f)
	if err != nil {
		return fmt.Errorf("%q: %w", out, err)
	}
	p.replace = map[string][]byte{}
	for name, numbers := range lines {
		// The file is named as in the image, beginning with the module's path. That of another module's is left.
		path, ours := strings.CutPrefix(name, "kapsel/")
		if !ours {
			continue
		}
		path = filepath.Join(tc.module, filepath.FromSlash(path))
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		p.replace[path] = markNosplit(text, numbers)
	}
	return nil
}

// needlessChecks returns where the functions begin that need no check: lines, by file.
func needlessChecks(f *elf.File) (map[string][]int, error) {
	c, err := newCheckedCode(f)
	if err != nil {
		return nil, err
	}
	type place struct {
		file string
		line int
	}
	needed := map[place]bool{} // the functions of a generic one have the same place
	before := maps.Clone(c.checked)
	for _, fn := range c.functions {
		if !before[fn] {
			continue
		}
		c.depth(fn)
		file, _ := fn.At(fn.Addr)
		at := place{file, fn.Line}
		needed[at] = needed[at] || c.checked[fn]
	}
	lines := map[string][]int{}
	for at, is := range needed {
		if !is {
			lines[at.file] = append(lines[at.file], at.line)
		}
	}
	return lines, nil
}

// checkedCode is a linked program of which functions check the stack's end.
type checkedCode struct {
	code      []byte
	text      uint64 // its address
	functions []*pclntab.Function
	at        map[uint64]*pclntab.Function
	byValue   map[uint64]bool // addresses of those that interfaces and function values call
	calls     map[*pclntab.Function][]stackCall
	checked   map[*pclntab.Function]bool
	room      map[*pclntab.Function]int // that those leave to it that call it and have no check
	depths    map[*pclntab.Function]int
}

// A stackCall is a call of a function, and what lies on the stack between the return addresses.
type stackCall struct {
	to   *pclntab.Function
	cost int
}

func newCheckedCode(f *elf.File) (*checkedCode, error) {
	text, table := f.Section(".text"), f.Section(".gopclntab")
	if text == nil || table == nil {
		return nil, errors.New("no sections .text and .gopclntab")
	}
	c := &checkedCode{
		text: text.Addr, at: map[uint64]*pclntab.Function{}, byValue: map[uint64]bool{},
		calls: map[*pclntab.Function][]stackCall{}, checked: map[*pclntab.Function]bool{},
		room: map[*pclntab.Function]int{}, depths: map[*pclntab.Function]int{},
	}
	var err error
	if c.code, err = text.Data(); err != nil {
		return nil, err
	}
	linkers, err := table.Data()
	if err != nil {
		return nil, err
	}
	if c.functions, err = pclntab.Parse(linkers, c.text); err != nil {
		return nil, err
	}
	for _, s := range f.Sections {
		if s.Type != elf.SHT_PROGBITS || s.Flags&elf.SHF_ALLOC == 0 || s == text {
			continue
		}
		data, err := s.Data()
		if err != nil {
			return nil, err
		}
		for ; len(data) >= 8; data = data[8:] {
			c.byValue[binary.LittleEndian.Uint64(data)] = true
		}
	}
	c.follow()
	return c, nil
}

// follow finds the calls of all functions, and what room they have.
func (c *checkedCode) follow() {
	for _, f := range c.functions {
		c.at[f.Addr] = f
		c.room[f] = uncheckedStack
	}
	for _, f := range c.functions {
		for _, b := range branches(c.code[f.Addr-c.text:f.End-c.text], f.Addr) {
			callee := c.at[b.to]
			switch {
			case callee == nil || callee == f && !b.call:
			case strings.HasPrefix(callee.Name, "runtime.morestack"):
				c.checked[f] = true
			default:
				c.calls[f] = append(c.calls[f], stackCall{callee, int(f.SP.At(b.at)) + returnAddress})
			}
		}
	}
	c.leaveRoom()
}

// leaveRoom takes from the room of functions what those without a check use that call them.
func (c *checkedCode) leaveRoom() {
	for less := true; less; {
		less = false
		for _, f := range c.functions {
			for _, call := range c.calls[f] {
				if room := c.room[f] - call.cost; !c.checked[f] && room >= 0 && room < c.room[call.to] {
					c.room[call.to], less = room, true
				}
			}
		}
	}
}

// endless is the depth of a function that may call itself.
const endless = 1 << 30

// depth returns how much of the stack a function uses, and all that it calls up to their checks. It takes
// the function's check away, after those of all that it calls, if it is not needed. A function that is called through
// an interface or a function value needs it: the linker, which does not see where such a call leads, takes for
// granted that there is one.
func (c *checkedCode) depth(f *pclntab.Function) int {
	if deep, known := c.depths[f]; known {
		return deep
	}
	c.depths[f] = endless
	deep := f.Frame
	for _, call := range c.calls[f] {
		deep = max(deep, min(call.cost+c.depth(call.to), endless))
	}
	switch {
	case !c.checked[f]:
	case deep <= c.room[f] && !c.byValue[f.Addr]:
		c.checked[f] = false
	default:
		deep = returnAddress // that of the check's call
	}
	c.depths[f] = deep
	return deep
}

// markNosplit marks the functions that begin on lines of a source file. A mark takes the place of the comment or the
// blank line in front, so that all lines keep their numbers. Where there is neither, and where no function
// is declared (a literal, one that the compiler makes), nothing is marked.
func markNosplit(text []byte, numbers []int) []byte {
	lines := bytes.Split(text, []byte("\n"))
	for _, n := range numbers {
		if n < 1 || n > len(lines) || !bytes.HasPrefix(lines[n-1], []byte("func ")) {
			continue
		}
		at := n - 2
		for at >= 0 && bytes.HasPrefix(lines[at], []byte("//go:")) {
			at--
		}
		if at >= 0 && (len(lines[at]) == 0 || bytes.HasPrefix(lines[at], []byte("//"))) {
			lines[at] = []byte("//go:nosplit")
		}
	}
	return bytes.Join(lines, []byte("\n"))
}

// writeReplacements writes the files that take the place of others into a folder, and returns their paths.
func writeReplacements(dir string, replace map[string][]byte) (map[string]string, error) {
	paths := map[string]string{}
	var names []string
	for name := range replace {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		paths[name] = filepath.Join(dir, fmt.Sprintf("%d.go", i))
		if err := os.WriteFile(paths[name], replace[name], 0o644); err != nil {
			return nil, err
		}
	}
	return paths, nil
}
