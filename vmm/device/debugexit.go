package device

import "encoding/binary"

// DebugExit is the port through which a guest ends its machine: a 32-bit write, as to QEMU's
// isa-debug-exit. Accesses of other widths do nothing and read all ones.
type DebugExit struct {
	// Done reports that the guest has written.
	Done bool
	// Status is the first value it wrote.
	Status uint32
}

// ReadPort reads all ones.
func (d *DebugExit) ReadPort(_ uint16, _ int, data []byte) { ones(data) }

// WritePort takes the first 32-bit value.
func (d *DebugExit) WritePort(_ uint16, size int, data []byte) {
	if size != 4 || len(data) < 4 || d.Done {
		return
	}
	d.Done, d.Status = true, binary.LittleEndian.Uint32(data)
}
