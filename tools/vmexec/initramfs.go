package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"kapsel/tools/initramfs"
)

// kernelModules make /dev/kvm appear on an AMD machine, in the order of loading.
// ccp is asked for by the kvm-amd of some kernels; what a rig lacks is not loaded.
var kernelModules = []string{"irqbypass.ko", "ccp.ko", "kvm.ko", "kvm-amd.ko", "tun.ko"}

// buildInitramfs makes the machine's first file system: init is the program running
// now, the rest what the job needs.
func buildInitramfs(o *options, j *job) ([]byte, error) {
	if _, err := os.Stat(filepath.Join(o.rig, "vmlinuz")); err != nil {
		return nil, fmt.Errorf("no Linux kernel to run: %w; scripts/rig fetches one", err)
	}
	if err := initramfs.CheckStatic(j.Program); err != nil {
		return nil, err
	}
	a := initramfs.New()
	if err := addSystem(a, o.rig, j); err != nil {
		return nil, err
	}
	if err := addFolders(a, j); err != nil {
		return nil, err
	}
	trees := append([]string{j.Program}, o.add...)
	testdata := filepath.Join(j.Dir, "testdata")
	if _, err := os.Stat(testdata); !errors.Is(err, fs.ErrNotExist) {
		trees = append(trees, testdata)
	}
	for _, path := range trees {
		if err := a.Tree(path); err != nil {
			return nil, err
		}
	}
	return a.Bytes()
}

// addFolders adds the working directory and the places for what comes back: a folder
// where the host has one, the folder around a file.
func addFolders(a *initramfs.Archive, j *job) error {
	err := a.Dir(j.Dir)
	for _, path := range j.Back {
		if info, statErr := os.Stat(path); statErr != nil || !info.IsDir() {
			path = filepath.Dir(path)
		}
		err = errors.Join(err, a.Dir(path))
	}
	return err
}

// addSystem adds init, which is the program running now, with KVM's modules, and its job.
func addSystem(a *initramfs.Archive, rig string, j *job) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := a.AddSystem(self, rig, kernelModules); err != nil {
		return err
	}
	description, err := json.Marshal(j)
	if err != nil {
		return err
	}
	return a.File(jobFile, 0o644, description)
}
