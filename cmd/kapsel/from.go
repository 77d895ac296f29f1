package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"

	"kapsel/guest/abi"
	"kapsel/guest/abi/virtio"
	"kapsel/sandbox/wire"
	"kapsel/vmm"
	"kapsel/vmm/snapshot"
)

// clockFlag is a flag: how time goes on in a machine from a snapshot.
type clockFlag vmm.Time

// clocks are what a clockFlag can be.
var clocks = map[string]vmm.Time{"stand-still": vmm.StandStill, "go-on": vmm.GoOn}

// String returns stand-still or go-on.
func (c *clockFlag) String() string {
	for name, t := range clocks {
		if t == vmm.Time(*c) {
			return name
		}
	}
	return ""
}

// Set takes stand-still or go-on.
func (c *clockFlag) Set(text string) error {
	t, ok := clocks[text]
	if !ok {
		return errors.New("want stand-still or go-on")
	}
	*c = clockFlag(t)
	return nil
}

// forSnapshot refuses what a machine from a snapshot cannot have, and a clock without one.
func (o *runOptions) forSnapshot(f *flag.FlagSet, files []string) error {
	given := flagsGiven(f)
	switch {
	case !given["from"] && given["clock"] && f.Name() != "serve": // which resets machines in any case
		return errors.New("--clock is for a machine from a snapshot: give --from DIR")
	case !given["from"]:
		return nil
	case o.from == "":
		return errors.New(`--from "": want the directory of a snapshot, which kapsel snapshot makes`)
	case len(files) > 0:
		return fmt.Errorf("--from goes on with the image and the tasks of the snapshot: %q would be another", files[0])
	case len(o.args) > 0:
		return fmt.Errorf("--from goes on with the arguments of the snapshot: %q would be another", o.args[0])
	case o.accel == accelQEMU:
		return errors.New("--from needs KVM, and --accel qemu forbids it")
	}
	for _, name := range []string{"mem", "cmdline", "env", "linux", "initrd"} {
		if given[name] {
			return fmt.Errorf("--%s is for a machine that boots: --from goes on with what the snapshot has", name)
		}
	}
	return o.devices.notWritten()
}

// within returns what f does, or why ctx has ended meanwhile: then f goes on, and nobody looks at it.
func within[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := f()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

// kind is a kind of device, with the flag by which it is given where a machine has it only by that; "": it can always be had.
type kind struct{ name, flag string }

var (
	kindNone    = kind{}
	kindNetwork = kind{"network", "--net"}
	kindDisk    = kind{"disk", "--disk"}
	kindGPIO    = kind{"GPIO device", "--gpio"}
	kindEntropy = kind{"entropy device", ""}
	kindConsole = kind{"console device", ""}
	kindPorts   = kind{"ports", ""}
)

// kindTaken is the kind of a snapshot's device.
func kindTaken(d *snapshot.Device) kind {
	if d.State.ID == virtio.IDConsole && d.State.Ports != nil {
		return kindPorts
	}
	return map[uint32]kind{virtio.IDNet: kindNetwork, virtio.IDBlock: kindDisk, virtio.IDGPIO: kindGPIO, virtio.IDEntropy: kindEntropy,
		virtio.IDConsole: kindConsole}[d.State.ID]
}

// kindGiven is the kind of a device that flags name.
func kindGiven(d vmm.Device) kind {
	switch d.(type) {
	case vmm.Network:
		return kindNetwork
	case vmm.Disk:
		return kindDisk
	case vmm.GPIO:
		return kindGPIO
	case vmm.Entropy:
		return kindEntropy
	case vmm.Console:
		return kindConsole
	case vmm.Ports:
		return kindPorts
	}
	return kindNone
}

// arrange returns the devices of a machine that goes on from a snapshot: of its kinds, in its order. What comes from the host, as disks and networks do, is
// to be among those that were given, as it was when the snapshot was taken; the others are made anew. The error says what is missing, or too much.
func arrange(taken []snapshot.Device, given []vmm.Device) (all []vmm.Device, err error) {
	given = slices.Clone(given)
	for i := range taken {
		k := kindTaken(&taken[i])
		var device vmm.Device
		if at := slices.IndexFunc(given, func(d vmm.Device) bool { return kindGiven(d) == k }); k != kindNone && at >= 0 {
			device = given[at]
			given = slices.Delete(given, at, at+1)
		}
		switch {
		case k == kindNone:
			err = fmt.Errorf("the snapshot has device %d, %s, which this kapsel does not know", i, taken[i].Name)
		case k == kindPorts:
			device, err = arrangePorts(taken[i].Name, device)
		case k.flag != "" && device == nil:
			err = fmt.Errorf("the snapshot was taken with device %d, %s: give it by %s, as then", i, taken[i].Name, k.flag)
		case k == kindEntropy:
			device = vmm.Entropy{}
		case k == kindConsole:
			device = vmm.Console{}
		}
		if err != nil {
			return nil, errors.New(printable(err.Error())) // names come from a file
		}
		all = append(all, device)
	}
	if len(given) > 0 {
		return nil, fmt.Errorf("%s: the snapshot was taken without this %s", given[0], kindGiven(given[0]).name)
	}
	return all, nil
}

// withoutAsk leaves the port out by which the guest is asked to end, where the machine of the snapshot has none: it is not asked then.
func (o *runOptions) withoutAsk(c *vmm.Config) {
	has := func(d snapshot.Device) bool {
		return kindTaken(&d) == kindPorts && slices.Contains(strings.Fields(d.Name), abi.PortEnd)
	}
	if o.ask == nil || slices.ContainsFunc(o.taken.State.Devices, has) {
		return
	}
	o.ports = slices.DeleteFunc(o.ports, func(p namedPort) bool { return p.name == abi.PortEnd })
	c.Devices = c.Devices[:len(c.Devices)-1] // ports are the last
	if len(o.ports) > 0 {
		c.Devices = append(c.Devices, o.ports.device())
	}
}

// arrangePorts returns the ports that a snapshot tells of, connected as given, which may be nil, has them. What is not given is a port at which nobody is;
// at that of services the host says so.
func arrangePorts(name string, given vmm.Device) (vmm.Device, error) {
	connected, _ := given.(vmm.Ports)
	var ports vmm.Ports
	for _, name := range strings.Fields(strings.TrimPrefix(name, "ports")) {
		at := slices.IndexFunc(connected, func(p vmm.Port) bool { return p.Name == name })
		switch {
		case at >= 0:
			ports = append(ports, connected[at])
			connected = slices.Delete(slices.Clone(connected), at, at+1)
		case name == abi.PortService:
			ports = append(ports, vmm.Port{Name: name, End: newUnserved()})
		default:
			ports = append(ports, vmm.Port{Name: name})
		}
	}
	if len(connected) > 0 {
		return nil, fmt.Errorf("port %s: the snapshot was taken without it", connected[0].Name)
	}
	return ports, nil
}

// newUnserved returns the host's end of the port of services in a machine that nobody calls: whatever tasks call is not there.
func newUnserved() *wire.Link {
	var link *wire.Link
	link = wire.New(0, func() {
		f, _, ok := link.Receive(nil)
		if ok && f.Kind == abi.ServiceCall {
			link.Send(wire.Frame{Kind: abi.ServiceAnswer, Status: abi.NODEVICE, Number: f.Number}) // who reads nothing has enough of them
		}
	})
	return link
}
