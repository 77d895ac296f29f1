package main

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/guest/abi"
	"kapsel/guest/abi/virtio"
	"kapsel/sandbox/wire"
	"kapsel/vmm"
	"kapsel/vmm/gpio"
	"kapsel/vmm/snapshot"
	device "kapsel/vmm/virtio"
)

// Devices as a snapshot has them.
var (
	takenService = snapshot.Device{Name: "ports " + abi.PortService, State: device.State{ID: virtio.IDConsole, Ports: &device.PortsState{}}}
	takenPorts   = snapshot.Device{Name: "ports a " + abi.PortService + " b", State: device.State{ID: virtio.IDConsole, Ports: &device.PortsState{}}}
	takenConsole = snapshot.Device{Name: "console", State: device.State{ID: virtio.IDConsole, Console: &device.ConsoleState{}}}
	takenDisk    = snapshot.Device{Name: `disk "a"`, State: device.State{ID: virtio.IDBlock}}
	takenNetwork = snapshot.Device{Name: "network user", State: device.State{ID: virtio.IDNet}}
	takenGPIO    = snapshot.Device{Name: "gpio", State: device.State{ID: virtio.IDGPIO}}
	takenEntropy = snapshot.Device{Name: "entropy", State: device.State{ID: virtio.IDEntropy}}
)

// TestArrange: a machine has the devices of its snapshot in their order, whatever the order of the flags.
func TestArrange(t *testing.T) {
	board := vmm.GPIO{Board: gpio.NewBoard(4, 4, 8)}
	a, b := vmm.Disk{Path: "a"}, vmm.Disk{Path: "b", ReadOnly: true}
	for _, test := range []struct {
		name  string
		taken []snapshot.Device
		given []vmm.Device
		want  []vmm.Device
	}{
		{"none", nil, nil, nil},
		{"made anew", []snapshot.Device{takenEntropy, takenConsole}, nil, []vmm.Device{vmm.Entropy{}, vmm.Console{}}},
		{"given, though it could be made anew", []snapshot.Device{takenEntropy}, []vmm.Device{vmm.Entropy{}}, []vmm.Device{vmm.Entropy{}}},
		{"given in another order", []snapshot.Device{takenDisk, takenEntropy, takenNetwork, takenDisk, takenGPIO}, []vmm.Device{board, a, b, vmm.Network{}},
			[]vmm.Device{a, vmm.Entropy{}, vmm.Network{}, b, board}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := arrange(test.taken, test.given)
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
}

// TestArrangeRefuses: what is missing or too much is named, with the flag.
func TestArrangeRefuses(t *testing.T) {
	for _, test := range []struct {
		name  string
		taken []snapshot.Device
		given []vmm.Device
		want  string
	}{
		{"no disk", []snapshot.Device{takenEntropy, takenDisk}, nil, `the snapshot was taken with device 1, disk "a": give it by --disk, as then`},
		{"one disk of two", []snapshot.Device{takenDisk, takenDisk}, []vmm.Device{vmm.Disk{Path: "x"}}, `device 1, disk "a": give it by --disk`},
		{"no network", []snapshot.Device{takenNetwork}, nil, "device 0, network user: give it by --net, as then"},
		{"no board", []snapshot.Device{takenGPIO}, nil, "device 0, gpio: give it by --gpio, as then"},
		{"a disk too many", []snapshot.Device{takenEntropy}, []vmm.Device{vmm.Disk{Path: "x"}}, `disk "x": the snapshot was taken without this disk`},
		{"random numbers too many", nil, []vmm.Device{vmm.Entropy{}}, "entropy: the snapshot was taken without this entropy device"},
		{"a port too many", []snapshot.Device{takenService}, []vmm.Device{vmm.Ports{{Name: "x"}}}, "port x: the snapshot was taken without it"},
		{"ports, where there were none", nil, []vmm.Device{vmm.Ports{{Name: "x"}}}, "the snapshot was taken without this ports"},
		{"a device of another world", []snapshot.Device{{Name: "\x1b]quantum\n", State: device.State{ID: 99}}}, nil, "device 0, ?]quantum?, which this kapsel does not know"},
		{"a hostile name", []snapshot.Device{{Name: "disk\nkapsel: all is well", State: device.State{ID: virtio.IDBlock}}}, nil, "device 0, disk?kapsel: all is well: give"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := arrange(test.taken, test.given)
			assert.ErrorContains(t, err, test.want)
		})
	}
}

// TestArrangePorts: ports that were given are connected; at the others nobody is.
func TestArrangePorts(t *testing.T) {
	given := vmm.Ports{{Name: "b", Output: &writer{}}}
	got, err := arrange([]snapshot.Device{takenPorts}, []vmm.Device{given})
	require.NoError(t, err)
	ports := got[0].(vmm.Ports)
	require.Len(t, ports, 3)
	assert.Equal(t, vmm.Port{Name: "a"}, ports[0])
	assert.Equal(t, abi.PortService, ports[1].Name)
	assert.NotNil(t, ports[1].End)
	assert.Equal(t, given[0], ports[2])
	assert.Len(t, given, 1, "what was given stays")

	for _, name := range []string{"", "ports", "p"} { // as a damaged snapshot may have it
		_, err := arrange([]snapshot.Device{{Name: name, State: takenPorts.State}}, nil)
		assert.NoError(t, err)
	}
}

type writer struct{}

func (*writer) Write(p []byte) (int, error) { return len(p), nil }

// TestArrangeSandbox: only a sandbox's snapshot can be called.
func TestArrangeSandbox(t *testing.T) {
	got, err := arrangeSandbox([]snapshot.Device{takenService, takenEntropy}, nil)
	require.NoError(t, err)
	assert.Equal(t, []vmm.Device{vmm.Entropy{}}, got)
	for _, taken := range [][]snapshot.Device{nil, {takenEntropy}, {takenConsole}, {takenPorts}, {takenEntropy, takenService}} {
		_, err := arrangeSandbox(taken, nil)
		assert.ErrorContains(t, err, "a machine without services: want one that kapsel snapshot has made")
	}
}

// TestUnserved: whatever a task calls is not there, and what is no call is left alone.
func TestUnserved(t *testing.T) {
	end := newUnserved()
	woken := 0
	end.Attach(func() { woken++ })
	for number := range uint32(40) {
		frame := wire.Append(nil, wire.Frame{Kind: abi.ServiceCall, Number: number, Most: 100, Name: []byte("time"), Payload: []byte("now")})
		for len(frame) > 0 {
			n := end.Offer(frame)
			require.Positive(t, n)
			frame = frame[n:]
		}
		answer := make([]byte, 100)
		require.Equal(t, abi.ServiceHeader, end.Fetch(answer))
		assert.EqualValues(t, abi.ServiceAnswer, answer[1])
		assert.EqualValues(t, abi.NODEVICE, answer[2])
		assert.Equal(t, number, binary.LittleEndian.Uint32(answer[4:]))
	}
	assert.Positive(t, woken)
	hello := wire.Append(nil, wire.Frame{Kind: abi.ServiceHello})
	assert.Equal(t, len(hello), end.Offer(hello))
	assert.Zero(t, end.Fetch(make([]byte, 100)))
}

func TestWithin(t *testing.T) {
	told := errors.New("told")
	ctx, leave := context.WithCancelCause(t.Context())
	got, err := within(ctx, func() (int, error) { return 3, nil })
	assert.Equal(t, 3, got)
	assert.NoError(t, err)
	never := make(chan int)
	go leave(told)
	_, err = within(ctx, func() (int, error) { return <-never, nil })
	assert.Equal(t, told, err)
	close(never)
}

// TestAskFromASnapshot: a machine of a snapshot that has no port to ask by goes on all the same, with the other ports, and nobody asks.
func TestAskFromASnapshot(t *testing.T) {
	takenEnd := snapshot.Device{Name: "ports a " + abi.PortEnd, State: device.State{ID: virtio.IDConsole, Ports: &device.PortsState{}}}
	for _, test := range []struct {
		name  string
		taken []snapshot.Device
		args  []string
		want  []vmm.Device
	}{
		{"no ports", nil, []string{"--rng"}, []vmm.Device{vmm.Entropy{}}},
		{"other ports", []snapshot.Device{takenService}, []string{"--port", "a,in=f"}, []vmm.Device{vmm.Ports{{Name: "a"}}}},
		{"the port", []snapshot.Device{takenEnd}, nil, []vmm.Device{vmm.Ports{{Name: abi.PortEnd}}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			o, err := parseRun(append([]string{"--from", "d", "--ask"}, test.args...))
			require.NoError(t, err)
			o.taken = &snapshot.Snapshot{}
			o.taken.State.Devices = test.taken
			c := vmm.Config{Devices: o.devices}
			o.withoutAsk(&c)
			assert.Equal(t, test.want, c.Devices)
			assert.Len(t, o.ports, min(len(test.taken), 1), "ports that are connected")
		})
	}
}
