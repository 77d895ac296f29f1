package main

import (
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// kernelModules make /dev/kvm appear on an AMD machine, in the order of loading.
// ccp is asked for by the kvm-amd of some kernels; what a rig lacks is not loaded.
var kernelModules = []string{"irqbypass.ko", "ccp.ko", "kvm.ko", "kvm-amd.ko"}

// rigModules lists the kernel modules that the rig folder has.
func rigModules(rig string) ([]string, error) {
	if _, err := os.Stat(filepath.Join(rig, "vmlinuz")); err != nil {
		return nil, fmt.Errorf("no Linux kernel to run: %w; scripts/rig fetches one", err)
	}
	var found []string
	for _, m := range kernelModules {
		if _, err := os.Stat(filepath.Join(rig, m)); err == nil {
			found = append(found, m)
		}
	}
	return found, nil
}

// buildInitramfs makes the machine's first file system: init is the program running
// now, the rest what the job needs.
func buildInitramfs(o *options, j *job) ([]byte, error) {
	self, err := os.Executable() // it becomes init
	if err != nil {
		return nil, err
	}
	if err := errors.Join(checkStatic(self), checkStatic(j.Program)); err != nil {
		return nil, err
	}
	a := newArchive()
	if err := a.addSystem(self, o.rig, j); err != nil {
		return nil, err
	}
	if err := a.addFolders(j); err != nil {
		return nil, err
	}
	trees := append([]string{j.Program}, o.add...)
	testdata := filepath.Join(j.Dir, "testdata")
	if _, err := os.Stat(testdata); !errors.Is(err, fs.ErrNotExist) {
		trees = append(trees, testdata)
	}
	for _, path := range trees {
		if err := a.tree(path); err != nil {
			return nil, err
		}
	}
	return a.bytes()
}

// addFolders adds the working directory and the places for what comes back: a folder
// where the host has one, the folder around a file.
func (a *archive) addFolders(j *job) error {
	err := a.dir(j.Dir)
	for _, path := range j.Back {
		if info, statErr := os.Stat(path); statErr != nil || !info.IsDir() {
			path = filepath.Dir(path)
		}
		err = errors.Join(err, a.dir(path))
	}
	return err
}

// addSystem adds what makes the machine run: init, which is the program in the file self,
// its job, modules.
func (a *archive) addSystem(self, rig string, j *job) error {
	init, err := os.ReadFile(self)
	if err != nil {
		return err
	}
	description, err := json.Marshal(j)
	if err != nil {
		return err
	}
	err = errors.Join(
		a.file("/init", 0o755, init),
		a.file(jobFile, 0o644, description),
		a.device("/dev/console", 5, 1), // so that init's own words are seen before /dev is mounted
		a.dir("/tmp"),
	)
	for _, m := range j.Modules {
		content, readErr := os.ReadFile(filepath.Join(rig, m))
		err = errors.Join(err, readErr, a.file(filepath.Join(modulesDir, m), 0o644, content))
	}
	return err
}

// checkStatic refuses a program that would not run in a machine without libraries.
func checkStatic(program string) error {
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
