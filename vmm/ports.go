package vmm

import (
	"fmt"
	"io"
	"strings"

	"kapsel/guest/abi"
	"kapsel/vmm/virtio"
)

// Ports is a device with named ports: streams of bytes between guest and host, in both directions, to which the guest comes by
// their names. A machine has one such device, with at most abi.MaxPorts ports.
type Ports []Port

// Port is a named port. What is on its way is bounded in both directions: the guest waits for a slow Output, and Input is read
// at the guest's pace.
type Port struct {
	// Name is what the guest knows the port by: 1 to abi.MaxPortName letters, digits, dots, dashes and underscores.
	Name string
	// Input is what the guest receives. It is read from when the guest's driver is up, by a goroutine of its own, which after
	// the machine's end goes on until its Read returns. Its end closes the port: the guest is told behind the last byte, and what
	// it sends from then on is lost. Nil is a port on which nothing comes, and which stays open.
	Input io.Reader
	// Output takes what the guest sends, in order, on a goroutine of its own; after an error it gets nothing more. All
	// that the guest had sent is written before Run returns, within the limits of Config.Console. Nil discards it.
	Output io.Writer
	// End, if not nil, is the port's outer end itself, in the place of Input and Output. With Config.InStep its calls come on the
	// virtual processor's thread, and may call Machine.Pause; under QEMU, which is never in step, on goroutines of their own, one at a time.
	End virtio.End
}

// String returns "ports" and their names.
func (p Ports) String() string {
	text := "ports"
	for i := range p {
		text += " " + p[i].Name
	}
	return text
}

func (p Ports) open(m *Machine) (virtio.Device, error) {
	var ports []virtio.Port
	for _, port := range p {
		if port.End != nil {
			ports = append(ports, virtio.Port{Name: port.Name, End: port.End})
			continue
		}
		log := func(format string, args ...any) { m.config.Log("port "+port.Name+": "+format, args...) }
		s := newStream(port, log)
		m.streams = append(m.streams, s)
		ports = append(ports, virtio.Port{Name: port.Name, End: s})
	}
	d := virtio.NewPorts(ports)
	m.flushPorts = d.Flush
	return d, nil
}

// closeStreams ends what is between ports and the host.
func (m *Machine) closeStreams() {
	for _, s := range m.streams {
		s.close()
	}
}

// check says in words why these cannot be a machine's ports; nil if they can.
func (p Ports) check() error {
	if len(p) == 0 || len(p) > abi.MaxPorts {
		return fmt.Errorf("%d ports: want 1 to %d", len(p), abi.MaxPorts)
	}
	names := map[string]bool{}
	for i := range p {
		name := p[i].Name
		if err := CheckPortName(name); err != nil {
			return err
		}
		if names[name] {
			return fmt.Errorf("two ports with the name %s", name)
		}
		names[name] = true
		if p[i].End != nil && (p[i].Input != nil || p[i].Output != nil) {
			return fmt.Errorf("port %s has an end of its own, and an input or output beside it: want one of them", name)
		}
	}
	return nil
}

// CheckPortName says in words why this cannot be a port's name; nil if it can.
func CheckPortName(name string) error {
	const characters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_"
	if name == "" || len(name) > abi.MaxPortName || strings.Trim(name, characters) != "" {
		return fmt.Errorf("a port with the name %q: want 1 to %d letters, digits, dots, dashes and underscores", name, abi.MaxPortName)
	}
	return nil
}
