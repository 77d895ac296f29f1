// Package gokvm boots the image with another monitor, gokvm, through its PVH loader: a second
// opinion on the image, and on what a guest may expect of a monitor.
//
// gokvm gives a guest less than it should, and the image still runs: it does not zero the bss
// (the test does), has no debug exit port (the test adds one), its UART's interrupt
// identification is always 0, and its port 0x61 reads as if every timer had expired, which
// misleads a guest that measures its clocks. So the test waits for what the guest says, not for
// its end.
package gokvm

import (
	"bufio"
	"context"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bobuhiro11/gokvm/machine"
	"github.com/bobuhiro11/gokvm/pvh"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/vmm"
)

const (
	memory   = machine.MinMemSize
	patience = 3 * time.Minute // gokvm makes the guest's every byte several exits

	// playMonitor names the image for which the test program plays gokvm.
	playMonitor = "KAPSEL_TEST_GOKVM_IMAGE"
)

// TestMain plays gokvm when it is told to: gokvm prints its guest's console to the process's
// output and cannot be stopped, so it gets a process of its own.
func TestMain(m *testing.M) {
	if path := os.Getenv(playMonitor); path != "" {
		play(path, os.Getenv(playName))
		return
	}
	os.Exit(m.Run())
}

// boot runs the image until gokvm has enough of it. gokvm hands a command line over only
// beside an initial RAM disk, so it is put where gokvm tells the guest to look.
func boot(path, cmdline string) error {
	image, err := os.Open(path)
	if err != nil {
		return err
	}
	m, err := machine.New(vmm.DefaultKVM, 1, memory)
	if err != nil {
		return err
	}
	m.AddDevice(debugExit{})
	if err := m.LoadPVH(image, nil, ""); err != nil {
		return err
	}
	if err := clearBSS(m, image); err != nil {
		return err
	}
	if _, err := m.WriteAt([]byte(cmdline), pvh.KernelCmdLine); err != nil {
		return err
	}
	return m.RunInfiniteLoop(0)
}

// clearBSS zeroes what gokvm leaves of its poison behind the segments' bytes.
func clearBSS(m *machine.Machine, image io.ReaderAt) error {
	f, err := elf.NewFile(image)
	if err != nil {
		return err
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD {
			continue
		}
		if _, err := m.WriteAt(make([]byte, p.Memsz-p.Filesz), int64(p.Paddr+p.Filesz)); err != nil {
			return err
		}
	}
	return nil
}

// debugExit is the port that gokvm lacks: a write ends its loop.
type debugExit struct{}

func (debugExit) IOPort() uint64            { return abi.PortDebugExit }
func (debugExit) Size() uint64              { return 4 }
func (debugExit) Read(uint64, []byte) error { return nil }
func (debugExit) Write(_ uint64, data []byte) error {
	status := make([]byte, 4)
	copy(status, data)
	return guestStatus(binary.LittleEndian.Uint32(status))
}

// guestStatus is the end of a guest that wrote it to the debug exit port.
type guestStatus uint32

// Error returns the end in words.
func (s guestStatus) Error() string { return fmt.Sprintf("the guest's status is %d", uint32(s)) }

func TestImageRunsUnderGokvm(t *testing.T) {
	build := os.Getenv("KAPSEL_BUILD")
	if build == "" {
		t.Skip("KAPSEL_BUILD does not name the folder of the image: scripts/test sets it")
	}
	if err := vmm.Probe(t.Context()); err != nil {
		t.Skip(err)
	}
	self, err := os.Executable()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	monitor := exec.CommandContext(ctx, self)
	monitor.Env = append(os.Environ(), playMonitor+"="+filepath.Join(build, "kapsel.elf"))
	output, err := monitor.StdoutPipe()
	require.NoError(t, err)
	monitor.Stderr = monitor.Stdout
	require.NoError(t, monitor.Start())

	missing := []string{"Kapsel ", "hello: ", "counter: ", "intruder faulted"}
	var console strings.Builder
	lines := bufio.NewScanner(output)
	for len(missing) > 0 && lines.Scan() {
		fmt.Fprintln(&console, lines.Text())
		missing = without(missing, lines.Text())
	}
	cancel()
	monitor.Wait() // it was killed: its end says nothing
	assert.Empty(t, missing, "the guest did not say this, but:\n%s", &console)
}

// without returns the words that the line does not contain.
func without(words []string, line string) []string {
	var rest []string
	for _, word := range words {
		if !strings.Contains(line, word) {
			rest = append(rest, word)
		}
	}
	return rest
}
