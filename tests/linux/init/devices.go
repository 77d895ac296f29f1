package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const virtioBus = "/sys/bus/virtio/devices"

// checkDevices lists the virtio devices: number of the kind, driver, and name of the platform's device. With the
// argument count it wants so many.
func checkDevices(a arguments) error {
	entries, err := os.ReadDir(virtioBus)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(virtioBus, e.Name())
		kind, err := os.ReadFile(filepath.Join(path, "device"))
		if err != nil {
			return err
		}
		driver := "no driver"
		if link, err := os.Readlink(filepath.Join(path, "driver")); err == nil {
			driver = filepath.Base(link)
		}
		device, err := filepath.EvalSymlinks(path)
		if err != nil {
			return err
		}
		fmt.Printf("devices: %s kind %s driver %s at %s\n", e.Name(), strings.TrimSpace(string(kind)), driver, filepath.Base(filepath.Dir(device)))
	}
	if want, ok := a["count"]; ok && want != strconv.Itoa(len(entries)) {
		return fmt.Errorf("%d devices, want %s", len(entries), want)
	}
	return nil
}
