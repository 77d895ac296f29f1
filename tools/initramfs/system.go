package initramfs

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// modulesDir holds the kernel modules that init loads, and modulesList their names in the order of loading.
const (
	modulesDir  = "/modules"
	modulesList = modulesDir + "/list"
)

// AddSystem adds what a machine cannot run without: the static program at path init as its init, and those
// of the named kernel modules that the folder modules has, to be loaded in this order. What the folder lacks is
// taken for built into the kernel.
func (a *Archive) AddSystem(init, modules string, names []string) error {
	if err := CheckStatic(init); err != nil {
		return err
	}
	program, err := os.ReadFile(init)
	if err != nil {
		return err
	}
	var list strings.Builder
	err = errors.Join(
		a.File("/init", 0o755, program),
		a.Device("/dev/console", 5, 1), // so that init's own words are seen before /dev is mounted
		a.Dir("/tmp"),
	)
	for _, name := range names {
		content, readErr := os.ReadFile(filepath.Join(modules, name))
		if errors.Is(readErr, fs.ErrNotExist) {
			continue
		}
		err = errors.Join(err, readErr, a.File(filepath.Join(modulesDir, name), 0o644, content))
		fmt.Fprintln(&list, name)
	}
	return errors.Join(err, a.File(modulesList, 0o644, []byte(list.String())))
}

// CheckStatic refuses a program that would not run in a machine without libraries.
func CheckStatic(program string) error {
	f, err := elf.Open(program)
	if err != nil {
		return fmt.Errorf("%s: want a Linux program: %w", program, err)
	}
	defer f.Close()
	if f.Machine != elf.EM_X86_64 {
		return fmt.Errorf("%s: want an x86-64 program, found %s", program, f.Machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is dynamically linked and the machine has no libraries: build it with CGO_ENABLED=0", program)
		}
	}
	return nil
}
