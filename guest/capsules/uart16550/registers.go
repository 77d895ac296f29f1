package uart16550

import "kapsel/guest/mmio"

// Registers is the kind of device (mmio.Device): eight registers of 8 bits.
type Registers struct{}

// The registers.
const (
	receiverBuffer     mmio.ReadOnly[Registers, byte]        = 0
	transmitterHolding mmio.WriteOnly[Registers, byte]       = 0
	interruptEnable    mmio.ReadWrite[Registers, interrupts] = 1
	interruptIdentity  mmio.ReadOnly[Registers, identity]    = 2
	fifoControl        mmio.WriteOnly[Registers, fifo]       = 2
	lineControl        mmio.ReadWrite[Registers, line]       = 3
	modemControl       mmio.ReadWrite[Registers, modem]      = 4
	lineStatus         mmio.ReadOnly[Registers, status]      = 5
)

// While divisorLatch is set, the divisor of the baud rate is in the place of the first two.
const (
	divisorLow  mmio.ReadWrite[Registers, divisor] = 0
	divisorHigh mmio.ReadWrite[Registers, divisor] = 1
)

// divisor is half of what the clock, 1.8432 MHz, is divided by to get 16 times the baud rate.
type divisor uint8

const divisor115200 divisor = 1

// interrupts are the causes for which the device interrupts.
type interrupts uint8

const (
	receivedData     interrupts = 0x01
	transmitterReady interrupts = 0x02
)

// identity says why the device interrupts, and whether it has FIFOs.
type identity uint8

const (
	noInterrupt identity                       = 0x01
	fifos       mmio.Field[identity, fifosAre] = 0xc0
)

// fifosAre is what the device says of its FIFOs.
type fifosAre uint8

const fifosWork fifosAre = 3

// fifo controls the FIFOs. Without more bits the device interrupts at the first byte.
type fifo uint8

const (
	fifoEnable           fifo = 0x01
	fifoClearReceiver    fifo = 0x02
	fifoClearTransmitter fifo = 0x04
)

// line is the format of a character: without more bits one stop bit, no parity.
type line uint8

const (
	wordLength   mmio.Field[line, word] = 0x03
	divisorLatch line                   = 0x80
)

// word is the number of data bits.
type word uint8

const word8 word = 3

// modem are lines to the other end. OUT2 lets interrupts through on a PC.
type modem uint8

const (
	dataTerminalReady modem = 0x01
	requestToSend     modem = 0x02
	out2              modem = 0x08
)

// status is what there is to do.
type status uint8

const (
	dataReady        status = 0x01
	transmitterEmpty status = 0x20 // it takes bytes
)
