package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
)

// taskKinds says what a TASK may be.
const taskKinds = "a Go package (./guest/tasks/hello), a .tbf or .tab file, or a flat 32-bit program in a .bin file"

// A source is what a task is made of.
type source struct {
	task  string   // as the command line has it
	name  string   // of the outputs that are made of it; none of a .tbf or .tab file
	files []string // that it is read from
}

// findSources finds the sources of tasks. With an error it returns those that it found before.
func (tc *toolchain) findSources(tasks []string) ([]source, error) {
	var sources []source
	for _, task := range tasks {
		s, err := tc.findSource(task)
		if err != nil {
			return sources, err
		}
		sources = append(sources, s)
	}
	return sources, nil
}

func (tc *toolchain) findSource(task string) (source, error) {
	switch filepath.Ext(task) {
	case ".tbf", ".tab":
		return source{task: task, files: []string{task}}, nil
	case ".bin":
		return source{task, strings.TrimSuffix(filepath.Base(task), ".bin"), []string{task}}, nil
	}
	p, err := tc.mainPackage("task", task, taskTags, inTask)
	if err != nil {
		return source{}, err
	}
	return source{task, p.name(), p.paths()}, nil
}

// checkArguments refuses an output that is no file and a task that can be none.
func checkArguments(out string, tasks []string) error {
	switch {
	case out == "":
		return errors.New("-o has no name, want that of the image, such as build/kapsel.elf")
	case isFolder(out) || os.IsPathSeparator(out[len(out)-1]):
		return fmt.Errorf("-o %q is a folder, want the name of the image, such as %q", out, filepath.Join(out, "kapsel.elf"))
	case isSpecial(out): // its name would be the image's from then on
		return fmt.Errorf("-o %q is a device or a pipe, want the name of the image, such as build/kapsel.elf", out)
	}
	for _, task := range tasks {
		switch {
		case strings.HasPrefix(task, "-"):
			return fmt.Errorf("%q stands behind the first task, want all flags in front of it", task)
		case filepath.Ext(task) == ".elf" && !isFolder(task):
			return fmt.Errorf("task %q is an ELF file, want %s", task, taskKinds)
		}
	}
	return nil
}

// checkTags refuses what is no list of build tags, and those that tell kernel and tasks apart: a
// kernel with the tasks' would have an allocator.
func checkTags(tags string) error {
	for tag := range strings.SplitSeq(tags, ",") {
		switch {
		case tags == "":
		case tag == "kapsel" || tag == "kapsel_kernel" || tag == "kapsel_task":
			return fmt.Errorf("-tags %q: %s is set where it belongs", tags, tag)
		case tag == "" || strings.ContainsFunc(tag, func(r rune) bool { return r != '_' && r != '.' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }):
			return fmt.Errorf("-tags %q: want names with commas between, found %q", tags, tag)
		}
	}
	return nil
}

// A product is a file that is written beside the image or is the image.
type product struct{ path, what string }

// products are what is written for the sources. The image is the first of them.
func products(out string, sources []source) []product {
	dir := filepath.Dir(out)
	list := []product{{filepath.Clean(out), "the image"}, {filepath.Join(dir, "kernel.elf"), "the kernel with its symbols"}}
	for _, s := range sources {
		path, what := filepath.Join(dir, s.name), fmt.Sprintf("of task %q", s.task)
		switch filepath.Ext(s.task) {
		case ".tbf", ".tab":
		case ".bin":
			list = append(list, product{path + ".tbf", "the object " + what})
		default:
			list = append(list, product{path + ".elf", "the program " + what}, product{path + ".tbf", "the object " + what})
		}
	}
	return list
}

// checkOutputs refuses what would overwrite a file that a task is made of, and two outputs in
// one place.
func checkOutputs(out string, sources []source) error {
	list := products(out, sources)
	for i, p := range list {
		for _, s := range sources {
			if slices.ContainsFunc(s.files, func(file string) bool { return sameFile(p.path, file) }) {
				return fmt.Errorf("%q is read for task %q, but %s would take its place: want another name or folder for the image (-o)", p.path, s.task, p.what)
			}
		}
		for _, q := range list[:i] {
			if p.path == q.path && p.what != q.what {
				return fmt.Errorf("%q would be both %s and %s: want two names", p.path, q.what, p.what)
			}
		}
	}
	return nil
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// isSpecial reports whether path names what is neither a file nor a folder.
func isSpecial(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir() && !info.Mode().IsRegular()
}

// sameFile reports whether two paths name one file that exists.
func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}
