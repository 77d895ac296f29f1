package device

// SerialState is all that a UART remembers of a guest. What the guest has sent is outside of the machine, and no part of it.
type SerialState struct {
	IER     uint8  `json:"ier"`
	LCR     uint8  `json:"lcr"`
	MCR     uint8  `json:"mcr"`
	SCR     uint8  `json:"scr"`
	Divisor uint16 `json:"divisor"`

	FIFOs   bool   `json:"fifos"`   // they are on
	Trigger int    `json:"trigger"` // received bytes that raise the interrupt: 1, 4, 8 or 14
	FIFO    []byte `json:"fifo"`    // received, at most 16
	Waiting []byte `json:"waiting"` // on the line, not in the FIFO yet: at most 4,096, and 16 more that came back from there

	Overrun          bool `json:"overrun"`
	TransmitterEmpty bool `json:"transmitterEmpty"` // its interrupt is pending
	Held             bool `json:"held"`             // the same, as soon as there is room for what the guest sends
	Polled           bool `json:"polled"`           // the guest's last access found the transmitter not empty
	Line             bool `json:"line"`             // the interrupt line's level
}

// IOAPICState is all that an I/O APIC remembers.
type IOAPICState struct {
	Select      uint8        `json:"select"`
	ID          uint32       `json:"id"`          // as the register has it
	Lines       uint32       `json:"lines"`       // levels of the inputs, by bit
	Redirection [Pins]uint64 `json:"redirection"` // entries, with remote IRR
}

// CMOSState is all that a real-time clock remembers of a guest.
type CMOSState struct {
	Index     uint8  `json:"index"`
	RegisterB uint8  `json:"registerB"`
	Ahead     int64  `json:"ahead"`          // seconds of the guest's clock before the host's
	RAM       []byte `json:"ram"`            // 128 bytes, by index
	Held      []byte `json:"held,omitempty"` // 51 registers as the guest left them, while the clock stands still
}
