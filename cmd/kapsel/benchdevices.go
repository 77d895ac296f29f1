package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"kapsel/bench"
	"kapsel/vmm"
	"kapsel/vmm/ethernet"
)

// The paths that the image measures in a machine with devices.
var devicePaths = []string{"VirtioConsoleWrite1", "VirtioConsoleWrite64", "VirtioConsoleWrite4096",
	"BlockRead4096", "Random64", "PacketOut", "PacketIn"}

// withDevices boots the image as often as asked for in a machine with devices, of which it measures the paths.
func (m *measurer) withDevices(ctx context.Context) (int, error) {
	if !slices.ContainsFunc(devicePaths, m.wants) {
		return 0, nil
	}
	disk, err := newDisk()
	if err != nil {
		return statusFailed, fmt.Errorf("a disk to measure: %w", err)
	}
	defer os.Remove(disk)
	devices := func() []vmm.Device {
		return []vmm.Device{vmm.Console{}, vmm.Disk{Path: disk}, vmm.Network{Connection: answering{}}, vmm.Entropy{}}
	}
	return m.in(ctx, "with devices", "raw", devices, devicePaths)
}

// in boots the image as often as asked for in a machine with devices and a command line, and keeps what it says of paths.
func (m *measurer) in(ctx context.Context, what, cmdline string, devices func() []vmm.Device, paths []string) (int, error) {
	before := len(m.run.Results)
	for boot := range m.o.count {
		if status, err := m.boot(ctx, boot, cmdline, devices()); err != nil {
			return status, fmt.Errorf("%s: %w", what, err)
		}
	}
	// An image that measures the same in any machine has measured it already.
	others := func(r bench.Result) bool { return !slices.Contains(paths, r.Name) }
	m.run.Results = append(m.run.Results[:before], slices.DeleteFunc(m.run.Results[before:], others)...)
	return 0, nil
}

// newDisk makes an empty image for a disk, of a size that a benchmark does not come to the end of, and returns its path.
func newDisk() (string, error) {
	f, err := os.CreateTemp("", "kapsel-bench-*.img")
	if err != nil {
		return "", err
	}
	if err = errors.Join(f.Truncate(1<<20), f.Close()); err != nil {
		os.Remove(f.Name())
	}
	return f.Name(), err
}

// answering is a network on which somebody sends a frame back if the low byte of its EtherType is forAnswer
// (guest/tasks/bench64). All others are lost.
type answering struct{}

const (
	etherTypeLow = 13 // offset
	forAnswer    = 0xb6
)

// answerTime is how long an answer takes: until then the guest has heard that its frame was sent, and waits. If it has not, it asks
// again.
const answerTime = time.Millisecond

// String implements vmm.Connection.
func (answering) String() string { return "that answers" }

// Open implements vmm.Connection.
func (answering) Open(log func(string, ...any)) (*ethernet.Port, error) {
	return ethernet.NewPort(ethernet.MAC{0x52, 0x54, 0, 0, 0, 1}, newAnswers(), nil, log), nil
}

// answers are the frames that come back.
type answers struct {
	frames chan []byte
	closed chan struct{}
	close  sync.Once
}

func newAnswers() *answers {
	return &answers{frames: make(chan []byte, 1), closed: make(chan struct{})}
}

// ReadFrame implements ethernet.Backend.
func (a *answers) ReadFrame(buffer []byte) (int, error) {
	select {
	case frame := <-a.frames:
		time.Sleep(answerTime)
		return copy(buffer, frame), nil
	case <-a.closed:
		return 0, io.EOF
	}
}

// WriteFrame implements ethernet.Backend.
func (a *answers) WriteFrame(frame []byte) error {
	if len(frame) <= etherTypeLow || frame[etherTypeLow] != forAnswer {
		return nil
	}
	select {
	case a.frames <- append([]byte(nil), frame...):
	case <-a.closed:
	}
	return nil
}

// Close implements ethernet.Backend.
func (a *answers) Close() error {
	a.close.Do(func() { close(a.closed) })
	return nil
}
