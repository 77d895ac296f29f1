package vmm

import (
	"kapsel/vmm/ethernet"
	"kapsel/vmm/virtio"
)

// Connection is what a network device is connected to. See network.Config.
type Connection interface {
	// Open makes the connection. Log takes a line about what fails later.
	Open(log func(format string, args ...any)) (*ethernet.Port, error)
	// String returns the connection in words.
	String() string
}

// Network is a network device.
type Network struct{ Connection Connection }

// String returns "network" and the connection.
func (n Network) String() string { return "network " + n.Connection.String() }

func (n Network) open(m *Machine) (virtio.Device, error) {
	port, err := n.Connection.Open(m.config.Log)
	if err != nil {
		return nil, err
	}
	return &connected{virtio.NewNet(port, port.MAC(), port.MTU()), port, m.config.Log}, nil
}

// connected is a network device that tells of its frames when it is closed.
type connected struct {
	*virtio.Net
	port *ethernet.Port
	log  func(format string, args ...any)
}

// Close implements virtio.Device.
func (c *connected) Close() error {
	err := c.Net.Close()
	c.log("network: %v", c.port.Stats())
	return err
}
