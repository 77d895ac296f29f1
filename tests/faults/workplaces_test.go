package faults

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/tests/guest/labour"
	"kapsel/tests/machine"
	"kapsel/vmm"
	"kapsel/vmm/control"
	"kapsel/vmm/ethernet/network"
	"kapsel/vmm/gpio"
	"kapsel/vmm/peripheral"
)

// A workplace is a machine and the tasks that work on it.
type workplace struct {
	tasks   map[string][]string // the capsules that each calls, first the one that it is for
	furnish func(*testing.T, *machine.Guest)
}

// workplaces are the machines: one with devices, one that is typed at, given tasks meanwhile, and called, with a GPIO board where the accelerator has one, and one
// whose console is another device.
func workplaces(t *testing.T) []*workplace {
	operated := &workplace{tasks: map[string][]string{
		"types":    {"console"},
		"installs": {"apploader"},
		"greets":   {"loadport", "processinfo", "alarm"},
		"calls":    {"service"},
		"serves":   {"service", "alarm"},
		"sums":     nil,
	}, furnish: operate}
	if board(t) {
		operated.tasks["presses"] = []string{"button", "led", "alarm"}
		operated.tasks["levels"] = []string{"gpio", "alarm"}
	}
	return []*workplace{{tasks: map[string][]string{
		"alarms":  {"alarm"},
		"asks":    {"ipc", "alarm", "processinfo"}, // those of the other one, too
		"buzzes":  {"buzzer"},
		"checks":  {"crc"},
		"ciphers": {"aes"},
		"clocks":  {"datetime"},
		"digests": {"digest"},
		"draws":   {"rng"},
		"finds":   {"ipc"},
		"flashes": {"appflash"},
		"frames":  {"ethernettap"},
		"hears":   {"ethernettap", "alarm"},
		"joins":   {"console", "ethernettap", "buzzer", "textscreen"},
		"keeps":   {"nonvolatile"},
		"keys":    {"kvstore"},
		"looks":   {"processinfo", "readonlystate", "alarm"},
		"prints":  {"console", "lowleveldebug"},
		"reads":   {"console"},
		"recalls": {"environment"},
		"samples": {"adc"},
		"sets":    {"dac", "alarm"},
		"shows":   {"textscreen"},
		"sums":    nil,
		"turns":   {"ipc", "alarm", "processinfo"},
	}, furnish: equip}, operated, {tasks: map[string][]string{
		"prints": {"console", "lowleveldebug"},
		"types":  {"console"},
		"sums":   nil,
	}, furnish: connect}}
}

// equip gives a machine each device that the kernel has a driver for.
func equip(t *testing.T, g *machine.Guest) {
	disk := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(disk, formatted(), 0o644))
	adc, err := peripheral.NewADC([]byte("0: 1000\n"))
	require.NoError(t, err)
	g.Arguments = []string{labour.Argument, ""}
	g.Devices = []vmm.Device{vmm.Disk{Path: disk}, vmm.Entropy{}, vmm.Network{Connection: network.Config{User: true}}, vmm.Ports{
		{Name: abi.PortADC, Input: adc, Output: adc},
		{Name: abi.PortDAC, Output: io.Discard},
		{Name: abi.PortBuzzer, Output: peripheral.NewBuzzer(io.Discard)},
		{Name: abi.PortScreen, Output: peripheral.NewScreen(func([]byte) error { return nil })},
	}}
}

// operate gives a machine a person who types at its process console, a host that loads tasks, one that has and calls services, and perhaps a
// board.
func operate(t *testing.T, g *machine.Guest) {
	g.Cmdline += " console"
	typist := &typist{prompted: make(chan struct{}, 1), rest: []byte(labour.Typed)}
	g.Input, g.Console = typist, typist
	path := filepath.Join(t.TempDir(), "control")
	server, err := control.Listen(t.Context(), path, t.Logf)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		host(ctx, path, machine.Object(t, "test/labour/visitor.tbf"))
	}()
	t.Cleanup(func() {
		cancel()
		server.Close()
		<-ended
	})
	other := newCaller(t.Context().Done())
	g.Devices = []vmm.Device{vmm.Ports{
		{Name: abi.PortLoad, Input: server, Output: server},
		{Name: abi.PortService, Input: other, Output: other},
	}}
	if board(t) {
		g.Devices = append(g.Devices, vmm.GPIO{Board: tied(t)})
	}
}

// connect gives a machine a console device, at which somebody types.
func connect(_ *testing.T, g *machine.Guest) {
	g.Devices = []vmm.Device{vmm.Console{}}
	g.Input = &typist{rest: []byte(labour.Typed)}
}

// A typist types a line each time that the process console asks for one, or has not done so for a while.
type typist struct {
	prompted chan struct{}
	rest     []byte // what is typed next: labour.Typed, again and again
	shown    []byte // the end of what the machine printed
}

const prompt = "kapsel$ "

// Read types.
func (y *typist) Read(p []byte) (int, error) {
	select {
	case <-y.prompted:
	case <-time.After(50 * time.Millisecond):
	}
	n := copy(p, y.rest[:bytes.IndexByte(y.rest, '\n')+1])
	if y.rest = y.rest[n:]; len(y.rest) == 0 {
		y.rest = []byte(labour.Typed)
	}
	return n, nil
}

// Write takes what the machine prints.
func (y *typist) Write(b []byte) (int, error) {
	y.shown = append(y.shown, b...)
	if bytes.Contains(y.shown, []byte(prompt)) {
		y.shown = nil
		select {
		case y.prompted <- struct{}{}:
		default:
		}
	}
	y.shown = y.shown[max(0, len(y.shown)-len(prompt)):]
	return len(b), nil
}

// host loads a task, waits until it has ended, and unloads it, again and again, as well as that goes.
func host(ctx context.Context, path string, object []byte) {
	for ctx.Err() == nil {
		c, err := control.Connect(ctx, path)
		if err != nil {
			return // the machine is gone
		}
		if _, err := c.Load(object); err == nil {
			for visits(c) {
			}
		}
		c.Unload("visitor")
		c.Close()
	}
}

// visits reports whether the task that was loaded goes on.
func visits(c *control.Client) bool {
	tasks, err := c.Tasks()
	for _, task := range tasks {
		if task.Name == "visitor" && task.State != "Terminated" {
			return err == nil
		}
	}
	return false
}

// board reports whether the machine has a GPIO device: QEMU has one only by another program.
func board(t *testing.T) bool { return machine.Accelerator(t) == "kvm" }

// tied is a board whose button 0 is pressed while LED 0 is on, and whose pin 1 has pin 0's level.
func tied(t *testing.T) *gpio.Board {
	b := gpio.NewBoard(2, 1, 2)
	changes := make(chan gpio.Change, 1000)
	ties := map[gpio.Line]gpio.Line{{Kind: gpio.LED}: {Kind: gpio.Button}, {Kind: gpio.Pin}: {Kind: gpio.Pin, Index: 1}}
	b.Watch(func(c gpio.Change) {
		if _, ok := ties[c.Line]; ok && !c.Outside {
			changes <- c
		}
	})
	done := t.Context().Done()
	go func() {
		for {
			select {
			case c := <-changes:
				b.Drive(ties[c.Line], c.High)
			case <-done:
				return
			}
		}
	}()
	return b
}
