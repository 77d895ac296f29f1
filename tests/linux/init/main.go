// Command init is the first and only program of a Linux that tests devices. It carries out the checks that the
// kernel's command line names, one for each word of the form
//
//	check=NAME or check=NAME:KEY=VALUE,KEY=VALUE
//
// in their order, says of each whether it passed, and powers the machine off.
package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"kapsel/tools/initramfs"
)

// checks are what a word may name, each in a file of its own. A check prints what it found, one line each.
var checks = map[string]func(arguments) error{
	"boot":    checkBoot,
	"console": checkConsole,
	"devices": checkDevices,
	"disk":    checkDisk,
	"net":     checkNet,
	"rng":     checkRNG,
}

// arguments are a check's keys and values.
type arguments map[string]string

// need returns the value of a key that a check cannot do without.
func (a arguments) need(key string) (string, error) {
	if v, ok := a[key]; ok {
		return v, nil
	}
	return "", fmt.Errorf("no argument %s", key)
}

// number returns the value of a key, or what it is by default.
func (a arguments) number(key string, byDefault uint64) (uint64, error) {
	v, ok := a[key]
	if !ok {
		return byDefault, nil
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("argument %s: want a number, found %q", key, v)
	}
	return n, nil
}

func main() {
	if err := run(); err != nil {
		fmt.Println("init:", err)
	}
	unix.Sync()
	fmt.Println("init: power off:", unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF))
}

// run carries out the checks. One that fails keeps those behind it from nothing.
func run() error {
	if err := errors.Join(initramfs.Mount(), initramfs.LoadModules()); err != nil {
		return err
	}
	cmdline, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	for word := range strings.FieldsSeq(string(cmdline)) {
		if text, ok := strings.CutPrefix(word, "check="); ok {
			name, err := runCheck(text)
			fmt.Printf("check %s: %s\n", name, outcome(err))
		}
	}
	return nil
}

func outcome(err error) string {
	if err != nil {
		return "FAILED: " + err.Error()
	}
	return "ok"
}

// runCheck carries out the check of a word.
func runCheck(text string) (name string, err error) {
	name, rest, _ := strings.Cut(text, ":")
	check, ok := checks[name]
	if !ok {
		return name, errors.New("there is no such check")
	}
	a := arguments{}
	for pair := range strings.SplitSeq(rest, ",") {
		if key, value, ok := strings.Cut(pair, "="); ok {
			a[key] = value
		}
	}
	return name, check(a)
}
