package vmm

import (
	"kapsel/guest/abi"
	"kapsel/vmm/device"
	"kapsel/vmm/virtio"
)

// Console is a console device beside the UART. Both write Config.Console, in the order in which the guest does, and Config.Input
// goes to the console device while its driver is up, else to the UART. With Config.ConsoleInStep it is written on the
// device's goroutine.
type Console struct{}

// String returns "console".
func (Console) String() string { return "console" }

func (Console) open(m *Machine) (virtio.Device, error) {
	m.terminal = virtio.NewConsole(m.serial)
	for i := range m.ports {
		if m.ports[i].base == abi.PortCOM1 {
			m.ports[i].device = behindConsole{m.serial, m.terminal}
		}
	}
	return m.terminal, nil
}

// behindConsole is the UART of a machine with a console device: what the guest sent by that one before goes out before.
type behindConsole struct {
	*device.Serial
	console *virtio.Console
}

// WritePort implements device.Ports.
func (b behindConsole) WritePort(port uint16, size int, data []byte) {
	b.console.Flush()
	b.Serial.WritePort(port, size, data)
}

// Resize tells the console device's driver, if there is one, that the terminal has so many columns and rows now; 0 and 0 are
// unknown. It may be called at any time.
func (m *Machine) Resize(columns, rows uint16) {
	if m.terminal == nil || !m.terminal.Resize(columns, rows) {
		return
	}
	for i, d := range m.config.Devices {
		if d == (Console{}) {
			m.places[i].transport.ConfigChanged()
		}
	}
}
