// Package device models the machine's devices: a 16550 UART, an I/O APIC, the debug exit
// port, a real-time clock, and what Linux powers off by. Each is a small state machine that needs no KVM.
// Everything a guest writes is defined to do something or nothing; nothing it does is an error.
package device

// Ports is a device behind I/O ports. The data of an access to port holds one or more
// accesses of size bytes, in order: string instructions arrive whole.
type Ports interface {
	// ReadPort fills data with what the guest reads.
	ReadPort(port uint16, size int, data []byte)
	// WritePort takes what the guest writes. The device does not keep data.
	WritePort(port uint16, size int, data []byte)
}

// MMIO is a device behind physical addresses. The offset counts from the device's base;
// an access has 1 to 8 bytes.
type MMIO interface {
	// ReadMMIO fills data with what the guest reads.
	ReadMMIO(offset uint64, data []byte)
	// WriteMMIO takes what the guest writes. The device does not keep data.
	WriteMMIO(offset uint64, data []byte)
}

// Nothing answers where there is no device: reads give all ones, writes do nothing.
var Nothing nothing

type nothing struct{}

func (nothing) ReadPort(_ uint16, _ int, data []byte) { ones(data) }
func (nothing) WritePort(uint16, int, []byte)         {}
func (nothing) ReadMMIO(_ uint64, data []byte)        { ones(data) }
func (nothing) WriteMMIO(uint64, []byte)              {}

func ones(data []byte) {
	for i := range data {
		data[i] = 0xff
	}
}
