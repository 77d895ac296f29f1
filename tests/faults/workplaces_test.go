package faults

import (
	"bytes"
	"context"
	"fmt"
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
	name    string
	tasks   map[string][]string // the capsules that each calls, first the one that it is for
	furnish func(*testing.T, *machine.Guest)
}

// workplaces are the machines: one with devices; one that is typed at, given tasks meanwhile, and called, with a GPIO board where the accelerator has one; one
// whose console is another device; one that is asked to end; one whose devices are lost; and one with a device that does not answer.
func workplaces(t *testing.T) []*workplace {
	operated := &workplace{name: "operated", tasks: map[string][]string{
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
	return []*workplace{{name: "equipped", tasks: map[string][]string{
		"alarms":  {"alarm"},
		"asks":    {"ipc", "alarm", "processinfo"}, // those of the other one, too
		"buzzes":  {"buzzer"},
		"checks":  {"crc"},
		"ciphers": {"aes"},
		"clocks":  {"datetime"},
		"counts":  {"processinfo", "ethernettap", "alarm"},
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
	}, furnish: equip}, operated, {name: "connected", tasks: map[string][]string{
		"prints": {"console", "lowleveldebug"},
		"stays":  {"alarm"},
		"types":  {"console"},
		"sums":   nil,
	}, furnish: connect}, {name: "asked", tasks: map[string][]string{
		"ends": {"environment", "processinfo", "alarm"},
		"sums": nil,
	}, furnish: ask}, {name: "robbed", tasks: map[string][]string{
		"draws":  {"rng"},
		"frames": {"ethernettap"},
		"loses":  {"adc", "nonvolatile", "alarm"},
		"sums":   nil,
	}, furnish: rob}, {name: "ignored", tasks: map[string][]string{
		"sums":  nil,
		"waits": {"adc"},
	}, furnish: ignore}}
}

// equip gives a machine each device that the kernel has a driver for.
func equip(t *testing.T, g *machine.Guest) {
	adc := converter(t)
	g.Arguments = []string{labour.Argument, ""}
	g.Devices = []vmm.Device{disk(t), vmm.Entropy{}, vmm.Network{Connection: network.Config{User: true}}, vmm.Ports{
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

// disk is one with a storage.
func disk(t *testing.T) vmm.Device {
	path := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(path, formatted(), 0o644))
	return vmm.Disk{Path: path}
}

// converter is an ADC whose first channel always has the same voltage.
func converter(t *testing.T) *peripheral.ADC {
	adc, err := peripheral.NewADC(fmt.Appendf(nil, "0: %d\n", labour.Sample))
	require.NoError(t, err)
	return adc
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

// host loads a task, saves and restores it while it sleeps, waits until it has ended, and unloads it, again and again, as well as that goes.
func host(ctx context.Context, path string, object []byte) {
	for ctx.Err() == nil {
		c, err := control.Connect(ctx, path)
		if err != nil {
			return // the machine is gone
		}
		if _, err := c.Load(object); err == nil {
			for visitor(c) == "Running" {
			}
			if state, err := c.Save("visitor"); err == nil {
				c.Restore("visitor", state)
			}
			for visitor(c) != "" {
			}
		}
		c.Unload("visitor")
		c.Close()
	}
}

// visitor is the state of the task that was loaded, or "" if it has ended.
func visitor(c *control.Client) string {
	tasks, _ := c.Tasks()
	for _, task := range tasks {
		if task.Name == "visitor" && task.State != "Terminated" {
			return task.State
		}
	}
	return ""
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

// ask gives a machine a host that asks it to end, and a task that does not listen.
func ask(t *testing.T, g *machine.Guest) {
	g.Modules = append(g.Modules, machine.Object(t, "test/labour/lingers.tbf"))
	g.Devices = []vmm.Device{vmm.Ports{{Name: abi.PortEnd, Input: asker(t.Context().Done())}}}
}

// An asker asks again and again, as a capsule that fails forgets it.
type asker <-chan struct{}

// Read asks.
func (a asker) Read(p []byte) (int, error) {
	select {
	case <-time.After(50 * time.Millisecond):
		p[0] = abi.EndAsk
		return 1, nil
	case <-a:
		return 0, io.EOF
	}
}

// ignore gives a machine an ADC that says what it can do, and answers no more.
func ignore(t *testing.T, g *machine.Guest) {
	adc := converter(t)
	g.Devices = []vmm.Device{vmm.Ports{{Name: abi.PortADC, Input: adc, Output: silent{adc}}}}
}

// silent passes on empty lines alone, which ask what an ADC can do.
type silent struct{ io.Writer }

// Write takes what the machine asks.
func (s silent) Write(p []byte) (int, error) {
	if p[0] == '\n' {
		s.Writer.Write(p[:1])
	}
	return len(p), nil
}
