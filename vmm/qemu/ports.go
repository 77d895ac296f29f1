package qemu

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"kapsel/vmm"
)

// namedPort is a named port: QEMU's end is a socket, and we are the other end.
type namedPort struct {
	vmm.Port
	own    *endStream // of a port with an end of its own, else nil: it is Input and Output
	conn   quietConn
	theirs *os.File
	copied chan struct{} // closed when all that the guest sent is written
}

// addNamedPorts adds a console device with named ports, from 1 on.
func (m *Machine) addNamedPorts(d vmm.Ports) error {
	m.devices = append(m.devices, "-device", fmt.Sprintf("virtio-serial-device,id=ports,max_ports=%d", len(d)+1))
	for i, port := range d {
		conn, theirs, err := newSocket("port " + port.Name)
		if err != nil {
			return err
		}
		p := &namedPort{Port: port, conn: conn, theirs: theirs, copied: make(chan struct{})}
		if port.End != nil {
			p.own = newEndStream(port.End)
			p.Input, p.Output = p.own, p.own
		}
		m.namedPorts = append(m.namedPorts, p)
		m.devices = append(m.devices,
			"-chardev", fmt.Sprintf("socket,id=port%d,fd=%d", i+1, m.hand(theirs)),
			"-device", fmt.Sprintf("virtserialport,bus=ports.0,nr=%d,chardev=port%[1]d,name=%s", i+1, port.Name))
	}
	return nil
}

// startPorts carries what passes by the ports, from when QEMU is up.
func (m *Machine) startPorts() {
	for _, p := range m.namedPorts {
		p.theirs.Close() // so that QEMU's end is the only one
		go p.copyOut(m.config.Log)
		if p.Input != nil {
			go p.copyIn(m.config.Log)
		}
	}
}

// copyOut writes what the guest sends. What cannot be written is lost; the guest goes on.
func (p *namedPort) copyOut(log func(format string, args ...any)) {
	defer close(p.copied)
	output := p.Output
	if output == nil {
		output = io.Discard
	}
	if _, err := io.Copy(struct{ io.Writer }{output}, p.conn); err != nil {
		log("port %s: its output is lost: %v", p.Name, err)
		io.Copy(io.Discard, p.conn)
	}
}

// copyIn sends the guest what is for it, and ends the port behind that. What a guest that has ended does not take is dropped until all is
// written that it sent: who is to write that may wait for who reads here.
func (p *namedPort) copyIn(log func(format string, args ...any)) {
	if _, err := io.Copy(p.conn, struct{ io.Reader }{p.Input}); err != nil {
		log("port %s: its input is lost: %v", p.Name, err)
	}
	p.conn.CloseWrite()
	dropped := make([]byte, 4096)
	for err := error(nil); err == nil && !p.drained(); {
		_, err = p.Input.Read(dropped)
	}
}

// drained reports whether all that the guest sent is written.
func (p *namedPort) drained() bool {
	select {
	case <-p.copied:
		return true
	default:
		return false
	}
}

// drainPorts waits until all that the guest sent is written, which it reports, or ctx ends and it takes too long. QEMU has ended.
func (m *Machine) drainPorts(ctx context.Context) bool {
	for _, p := range m.namedPorts {
		if p.own != nil {
			p.own.finish()
		}
	}
	for _, p := range m.namedPorts {
		select {
		case <-p.copied:
			continue
		case <-ctx.Done():
		}
		select {
		case <-p.copied:
		case <-time.After(vmm.FlushTime):
			return false
		}
	}
	return true
}

// closeNamedPorts ends what carries what passes by the ports.
func (m *Machine) closeNamedPorts() {
	for _, p := range m.namedPorts {
		p.conn.Close()
		if p.own != nil {
			p.own.close()
		}
	}
	m.namedPorts = nil
}
