package amd64

import "kapsel/guest/abi"

// Serial writes to COM1 by waiting for it: for the first words and the last ones, when no
// driver can be relied on. It implements kernel.Writer.
type Serial struct{}

// WriteString writes s. A line that takes no bytes is given up after a while.
//
//go:noinline
//go:nosplit
func (*Serial) WriteString(s string) { sendString(s) }

// WriteChars writes bytes, as WriteString does.
//
//go:nosplit
func (*Serial) WriteChars(chars uint64, n int) { sendChars(&chars, n) }

// serialBurst is how many bytes COM1 takes when it is empty.
var serialBurst = 1

// BurstSerial makes Serial send n bytes, one at the least, whenever COM1 is empty. Its driver knows how many
// there is room for.
func (m *Machine) BurstSerial(n int) { serialBurst = max(n, 1) }

// serial is Serial as an interface value that needs no allocation.
var serial = &Serial{}

// Exit ends the machine with a status of at most abi.ExitStatusMax.
func Exit(status uint32) {
	outl(abi.PortDebugExit, min(status, abi.ExitStatusMax))
	serial.WriteString("kapsel: this machine has no debug-exit device; halted\n")
	for {
		halt()
	}
}
