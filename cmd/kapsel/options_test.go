package main

import (
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/vmm"
	"kapsel/vmm/ethernet/network"
	"kapsel/vmm/gpio"
)

func TestParseRun(t *testing.T) {
	defaults := runOptions{image: "i", tasks: []string{}, accel: accelAuto, memory: vmm.DefaultMemory, watchdog: 10 * time.Second}
	full := runOptions{image: "i", tasks: []string{"a.tbf", "b.tbf"}, accel: accelQEMU, memory: 16 << 20,
		timeout: 90 * time.Second, watchdog: 0, cmdline: "x y", verbose: true}
	wire := network.Config{Unix: "a", Capture: "b"}
	board := gpio.NewBoard(4, 4, 8)
	long := strings.Repeat("x", abi.CmdlineMax)
	for _, test := range []struct {
		name string
		args string
		want runOptions
	}{
		{"only an image", "i", defaults},
		{"flags before", "--accel|qemu|--mem|16M|--timeout|90s|--watchdog|0|--cmdline|x y|-v|i|a.tbf|b.tbf", full},
		{"flags behind", "i|a.tbf|b.tbf|--accel|qemu|--mem|16M|--timeout|1m30s|--watchdog|0s|--cmdline|x y|-v", full},
		{"flags between", "-v|i|--accel=qemu|a.tbf|--mem=16M|-timeout=90s|-watchdog=0|b.tbf|-cmdline=x y", full},
		{"breakpoints", "--break|ffffffff80200000,0x400028e0|i|--break=0", runOptions{image: "i", tasks: []string{}, accel: accelAuto, memory: vmm.DefaultMemory,
			watchdog: 10 * time.Second, breaks: addresses{0xffff_ffff_8020_0000, 0x4000_28e0, 0}}},
		{"a device", "i|--rng", runOptions{image: "i", tasks: []string{}, accel: accelAuto, memory: vmm.DefaultMemory,
			watchdog: 10 * time.Second, devices: devices{vmm.Entropy{}}}},
		{"disks of a snapshot", "--from=d|--disk=a,ro|--disk=b,private|--disk|c,d,private=1M|--disk=e,f,ro", runOptions{from: "d", accel: accelAuto,
			memory: vmm.DefaultMemory, watchdog: 10 * time.Second, devices: devices{vmm.Disk{Path: "a", ReadOnly: true}, vmm.Disk{Path: "b", Private: 64 << 20},
				vmm.Disk{Path: "c,d", Private: 1 << 20}, vmm.Disk{Path: "e,f", ReadOnly: true}}}},
		{"all devices, in the order of their flags", "--disk|a,ro|i|--console=virtio|--rng|--disk=b", runOptions{image: "i", tasks: []string{}, accel: accelAuto,
			memory: vmm.DefaultMemory, watchdog: 10 * time.Second,
			devices: devices{vmm.Disk{Path: "a", ReadOnly: true}, vmm.Console{}, vmm.Entropy{}, vmm.Disk{Path: "b"}}}},
		{"a network, behind the others", "--net|unix=a,pcap=b|--rng|i", runOptions{image: "i", tasks: []string{}, accel: accelAuto,
			memory: vmm.DefaultMemory, watchdog: 10 * time.Second, net: network.Flag{Config: &wire},
			devices: devices{vmm.Entropy{}, vmm.Network{Connection: wire}}}},
		{"the last console counts", "--console|virtio|--console|virtio|--disk|a|--console|uart|i", runOptions{image: "i", tasks: []string{}, accel: accelAuto,
			memory: vmm.DefaultMemory, watchdog: 10 * time.Second, devices: devices{vmm.Disk{Path: "a"}}}},
		{"a board, and what is done with it", "--gpio=json=-,script=a=b|--rng|i", runOptions{image: "i", tasks: []string{}, accel: accelAuto,
			memory: vmm.DefaultMemory, watchdog: 10 * time.Second, gpio: gpioOptions{board: board, json: "-", script: "a=b"},
			devices: devices{vmm.GPIO{Board: board}, vmm.Entropy{}}}},
		{"a board alone", "i|--gpio", runOptions{image: "i", tasks: []string{}, accel: accelAuto, memory: vmm.DefaultMemory,
			watchdog: 10 * time.Second, gpio: gpioOptions{board: board}, devices: devices{vmm.GPIO{Board: board}}}},
		{"Linux", "--linux|k|--initrd|f|--cmdline|a b", runOptions{linux: "k", initrd: "f", accel: accelAuto, memory: vmm.DefaultLinuxMemory, cmdline: "a b"}},
		{"Linux with more memory", "--mem=1G|--linux=k|--accel|kvm|-v", runOptions{linux: "k", accel: accelKVM, memory: 1 << 30, verbose: true}},
		{"Linux with devices and a command line that an image could not have", "--linux|k|--rng|--cmdline|" + long, runOptions{linux: "k",
			accel: accelAuto, memory: vmm.DefaultLinuxMemory, cmdline: long, devices: devices{vmm.Entropy{}}}},
		{"arguments of tasks behind two dashes", "-v|i|--|-i|--accel|--||a b", runOptions{image: "i", tasks: []string{}, args: []string{"-i", "--accel", "--", "", "a b"}, accel: accelAuto,
			memory: vmm.DefaultMemory, watchdog: 10 * time.Second, verbose: true}},
		{"an environment", "--env|A=b=c|i|--env=B=", runOptions{image: "i", tasks: []string{}, env: []string{"A=b=c", "B="}, accel: accelAuto,
			memory: vmm.DefaultMemory, watchdog: 10 * time.Second}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseRun(strings.Split(test.args, "|"))
			require.NoError(t, err)
			assert.Equal(t, &test.want, got)
		})
	}
}

func TestParseRunErrors(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"no image", nil, "no image given"},
		{"only flags", []string{"-v"}, "no image given"},
		{"unknown flag", []string{"i", "--fast"}, "no flag --fast: see kapsel help run"},
		{"unknown flag with a value", []string{"i", "-f=1"}, "no flag -f: see kapsel help run"},
		{"three dashes", []string{"i", "---v"}, "no flag ---v: see kapsel help run"},
		{"a flag without a name", []string{"i", "--=1"}, "no flag --: see kapsel help run"},
		{"unknown accelerator", []string{"--accel", "xen", "i"}, "--accel xen: want auto, kvm or qemu"},
		{"help", []string{"i", "-h"}, flag.ErrHelp.Error()},
		{"bad size", []string{"--mem", "lots", "i"}, "--mem lots: want a size as 64M"},
		{"no size", []string{"--mem=", "i"}, `--mem "": want a size as 64M`},
		{"a size without its unit", []string{"--mem", "64", "i"}, "--mem 64: that is 64 bytes: want a multiple of 4096, as 64M"},
		{"too much memory", []string{"--mem", "2048G", "i"}, "--mem 2048G: a machine can have at most 1024G"},
		{"bad time", []string{"--timeout", "60", "i"}, "--timeout 60: want a time as 30s"},
		{"bad time with one dash", []string{"-timeout=60", "i"}, "--timeout 60: want a time as 30s"},
		{"bad time of the watchdog", []string{"--watchdog", "soon", "i"}, "--watchdog soon: want a time as 30s"},
		{"a switch that is neither on nor off", []string{"-v=x", "i"}, "-v=x: want true or false, or -v alone"},
		{"negative watchdog", []string{"--watchdog", "-1s", "i"}, "--watchdog -1s: want 100ms or more, as 10s, or 0 for none"},
		{"hasty watchdog", []string{"--watchdog", "1us", "i"}, "--watchdog 1µs: want 100ms or more, as 10s, or 0 for none"},
		{"negative time", []string{"--timeout", "-1s", "i"}, "want a positive time"},
		{"long command line", []string{"--cmdline", strings.Repeat("x", abi.CmdlineMax+1), "i"}, "reads at most 2048"},
		{"a command line too long beside its devices", []string{"--rng", "--cmdline", strings.Repeat("x", abi.CmdlineMax-34), "i"},
			"a command line of 2014 bytes, and 35 bytes that tell of the devices: the kernel reads at most 2048"},
		{"nine devices", strings.Split("i"+strings.Repeat(" --rng", 9), " "), "9 devices are more than the 8"},
		{"a source of random numbers that is off", []string{"--rng=no", "i"}, "--rng no: want --rng alone"},
		{"a disk's unknown option", []string{"--disk", "/proc/version,rw", "i"}, `--disk /proc/version,rw: want FILE, FILE,ro or FILE,private, found ",rw" behind the file`},
		{"a disk without a file", []string{"--disk=", "i"}, `--disk "": want FILE, or FILE,ro`},
		{"a private disk without a file", []string{"--disk", ",private", "i"}, "--disk ,private: want FILE, or FILE,ro"},
		{"a private disk of nothing", []string{"--disk", "a,private=0", "i"}, "--disk a,private=0: want a multiple of 4096 bytes above 0"},
		{"a private disk of no size", []string{"--disk", "a,private=much", "i"}, "--disk a,private=much: "},
		{"a disk that is written, from a snapshot", []string{"--disk", "a", "--from", "d"}, "--disk a: a snapshot cannot take back what the guest writes to a file: give a,ro or a,private"},
		{"a read-only disk without a file", []string{"--disk", ",ro", "i"}, "--disk ,ro: want FILE, or FILE,ro"},
		{"an unknown network", []string{"--net", "bridge", "i"}, `--net bridge: want user, tap=NAME, unix=PATH or link=NAME first, found "bridge"`},
		{"two networks", []string{"--net", "user", "--net", "user", "i"}, "--net user: a machine has one network device"},
		{"an unknown console", []string{"--console", "vga", "i"}, "--console vga: want uart or virtio"},
		{"a board's unknown word", []string{"--gpio=leds=4", "i"}, `--gpio leds=4: want json=FILE and script=FILE, each once, found "leds=4"`},
		{"a board's word twice", []string{"--gpio=json=a,json=b", "i"}, `want json=FILE and script=FILE, each once, found "json=b"`},
		{"a board's word without a file", []string{"--gpio=script=", "i"}, `want json=FILE and script=FILE, each once, found "script="`},
		{"a board without words", []string{"--gpio=", "i"}, `--gpio "": want json=FILE and script=FILE, each once, found ""`},
		{"a board's words behind a space", []string{"--gpio", "script=/nowhere", "i"}, "--gpio script=/nowhere: want --gpio=script=/nowhere"},
		{"two boards", []string{"--gpio", "--gpio=json=-", "i"}, "a machine has one GPIO device"},
		{"a breakpoint by name", []string{"--break", "main.main", "i"}, `want hexadecimal addresses as ffffffff80200000, found "main.main"`},
		{"no breakpoint", []string{"--break", "", "i"}, "want hexadecimal addresses"},
		{"half a list of breakpoints", []string{"--break", "1000,", "i"}, `found ""`},
		{"a negative breakpoint", []string{"--break", "-1", "i"}, `found "-1"`},
		{"a breakpoint of 65 bits", []string{"--break", "10000000000000000", "i"}, "want hexadecimal addresses"},
		{"a breakpoint nowhere", []string{"--break", "8000000000000000", "i"}, "--break: breakpoint 0x8000000000000000 is no virtual address"},
		{"five breakpoints", []string{"--break", "1,2,3", "--break", "4,5", "i"}, "--break: 5 breakpoints are more than the 4"},
		{"a flag without its value", []string{"i", "--mem"}, "--mem wants a value"},
		{"Linux beside an image", []string{"i", "--linux", "k"}, `--linux boots a Linux kernel alone: "i" would be an image or a task`},
		{"Linux without a name", []string{"--linux", ""}, `--linux "": want the file of a Linux kernel`},
		{"Linux under QEMU", []string{"--accel", "qemu", "--linux", "k"}, "--linux needs KVM, and --accel qemu forbids it"},
		{"Linux with a watchdog", []string{"--linux", "k", "--watchdog", "10s"}, "--watchdog watches Kapsel's kernel"},
		{"Linux with arguments", []string{"--linux", "k", "--", "a"}, "arguments and --env are for tasks: Linux has --cmdline"},
		{"Linux with an environment", []string{"--linux", "k", "--env", "A=b"}, "arguments and --env are for tasks: Linux has --cmdline"},
		{"arguments alone", []string{"--", "i"}, "no image given"},
		{"a variable without a value", []string{"i", "--env", "A"}, `--env A: the environment has "A": want NAME=VALUE`},
		{"too many arguments", []string{"i", "--env", "A=b", "--", strings.Repeat("x", abi.EnvironmentMax)}, "arguments and environment of 65541 bytes: together they have at most 65536"},
		{"a descriptor to close that is none", []string{"i", "--ready=x"}, "--ready x: want the number of an open file descriptor above 2"},
		{"a descriptor to close that is standard", []string{"i", "--ready=2"}, "--ready 2: want the number of an open file descriptor above 2"},
		{"a descriptor to close that is not open", []string{"i", "--ready=1000000"}, "--ready 1000000: want the number of an open file descriptor above 2"},
		{"a flag that asks or not", []string{"i", "--ask=no"}, "--ask no: want --ask alone"},
		{"an initial file system for an image", []string{"--initrd", "f", "i"}, "--initrd is for a Linux kernel"},
		{"an initial file system without a name", []string{"--linux", "k", "--initrd", ""}, `--initrd "": want the file`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := parseRun(test.args)
			assert.ErrorContains(t, err, test.want)
			assert.NotContains(t, err.Error(), "parse error")
		})
	}
}

func TestByteSize(t *testing.T) {
	for _, test := range []struct {
		text string
		want byteSize
		back string
	}{
		{"4096", 4096, "4K"},
		{"64M", 64 << 20, "64M"},
		{"64m", 64 << 20, "64M"},
		{"12K", 12 << 10, "12K"},
		{"1536M", 1536 << 20, "1536M"},
		{"4G", 4 << 30, "4G"},
		{"1024K", 1 << 20, "1M"},
	} {
		t.Run(test.text, func(t *testing.T) {
			var s byteSize
			require.NoError(t, s.Set(test.text))
			assert.Equal(t, test.want, s)
			assert.Equal(t, test.back, s.String())
		})
	}
}

func TestByteSizeErrors(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"empty", "", "want a size"},
		{"no digits", "M", "want a size"},
		{"negative", "-4096", "want a size"},
		{"unknown unit", "4T", "want a size"},
		{"two units", "4MK", "want a size"},
		{"behind the unit", "4M4", "want a size"},
		{"fraction", "1.5G", "want a size"},
		{"overflow of the number", "99999999999999999999", "want a size"},
		{"overflow of the product", "17179869184G", "want a size"},
		{"zero", "0", "want a multiple of 4096"},
		{"no unit", "1024", "that is 1024 bytes: want a multiple of 4096, as 1G"},
		{"no page", "4097", "that is 4097 bytes: want a multiple of 4096, as 4K"},
		{"half a page", "2K", "that is 2048 bytes: want a multiple of 4096, as 4K"},
		{"one and a half", "6K", "that is 6144 bytes: want a multiple of 4096, as 4K"},
		{"the largest number", "18446744073709551615", "want a multiple of 4096, as 18014398509481980K"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var s byteSize
			assert.ErrorContains(t, s.Set(test.text), test.want)
			assert.Zero(t, s)
		})
	}
}

func FuzzByteSize(f *testing.F) {
	for _, seed := range []string{"64M", "4096", "12k", "1.5G", "17179869184G", "-1", "M"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var s, back byteSize
		if s.Set(text) != nil {
			return
		}
		assert.NotZero(t, s)
		assert.Zero(t, s%abi.PageSize)
		require.NoError(t, back.Set(s.String()))
		assert.Equal(t, s, back)
	})
}

func TestByteSizeZeroPrints(t *testing.T) {
	assert.Equal(t, "0", new(byteSize).String())
}

func FuzzAddresses(f *testing.F) {
	for _, seed := range []string{"ffffffff80200000", "0x1,2", "", ",", "main.main", "-1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var a, back addresses
		if a.Set(text) != nil {
			return
		}
		assert.NotEmpty(t, a)
		require.NoError(t, back.Set(a.String()))
		assert.Equal(t, a, back)
	})
}

func TestParseDoctor(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		want accelerator
		err  string
	}{
		{"nothing", nil, accelAuto, ""},
		{"one", []string{"--accel", "kvm"}, accelKVM, ""},
		{"unknown", []string{"--accel", "xen"}, accelAuto, "want auto, kvm or qemu"},
		{"an argument", []string{"x"}, accelAuto, `unexpected argument "x"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseDoctor(test.args)
			assert.Equal(t, test.want, got)
			if test.err == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, test.err)
			}
		})
	}
}

// TestEnvironmentFromAFile: each variable is ended by a zero byte, and has every other byte.
func TestEnvironmentFromAFile(t *testing.T) {
	for name, c := range map[string]struct {
		text, problem string
		want          []string
	}{
		"variables":        {text: "A=b=c\x00B=\x00C=two\nlines\x00", want: []string{"A=b=c", "B=", "C=two\nlines"}},
		"none":             {text: ""},
		"without an end":   {text: "A=b", problem: "want a zero byte behind each variable, found none at the end"},
		"no variable":      {text: "A=b\x00none\x00", problem: "none"},
		"an empty one":     {text: "\x00", problem: "NAME=VALUE"},
		"too many of them": {text: strings.Repeat("A=b\x00", abi.EnvironmentMax/4+1), problem: strconv.Itoa(abi.EnvironmentMax)},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "environment")
			require.NoError(t, os.WriteFile(path, []byte(c.text), 0o600))
			o, err := parseRun([]string{"--env-from", path, "i"})
			if c.problem != "" {
				assert.ErrorContains(t, err, c.problem)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, o.env)
		})
	}
}
