package usbc

import "kapsel/guest/mmio"

// Kinds of devices (mmio.Device).
type (
	// Controller is the registers of the controller, from UDCON on: 0x834 bytes.
	Controller struct{}
	// Registers are those of one endpoint, from its UECFGn on: 0x124 bytes, in which each is 0x30 behind the one before.
	Registers struct{}
	// Bank is a descriptor: BankSize bytes of memory.
	Bank struct{}
)

// Registers of the controller (17.7).
const (
	deviceControl          mmio.ReadWrite[Controller, deviceBits]      = 0x000 // UDCON
	deviceInterrupt        mmio.ReadOnly[Controller, interruptBits]    = 0x004 // UDINT
	deviceInterruptClear   mmio.WriteOnly[Controller, interruptBits]   = 0x008 // UDINTCLR
	deviceInterruptDisable mmio.WriteOnly[Controller, interruptBits]   = 0x014 // UDINTECLR
	deviceInterruptEnable  mmio.WriteOnly[Controller, interruptBits]   = 0x018 // UDINTESET
	endpointEnable         mmio.ReadWrite[Controller, endpointBits]    = 0x01c // UERST
	generalControl         mmio.ReadWrite[Controller, generalBits]     = 0x800 // USBCON
	descriptorTable        mmio.ReadWrite[Controller, physicalAddress] = 0x830 // UDESC
)

// Registers of an endpoint (17.7).
const (
	configuration mmio.ReadWrite[Registers, configurationBits] = 0x000 // UECFGn
	status        mmio.ReadOnly[Registers, statusBits]         = 0x030 // UESTAn
	statusClear   mmio.WriteOnly[Registers, statusBits]        = 0x060 // UESTAnCLR
	controlSet    mmio.WriteOnly[Registers, controlBits]       = 0x0f0 // UECONnSET
	controlClear  mmio.WriteOnly[Registers, controlBits]       = 0x120 // UECONnCLR
)

// Words of a descriptor (17.6.2). The fourth is reserved.
const (
	bankAddress    mmio.ReadWrite[Bank, physicalAddress] = 0x0
	bankPacketSize mmio.ReadWrite[Bank, packetSizeBits]  = 0x4
	bankStatus     mmio.ReadWrite[Bank, bankBits]        = 0x8
)

// BankSize is the size of a descriptor in bytes, and TableSize that of all.
const (
	BankSize  = 0x10
	TableSize = Endpoints * Banks * BankSize
)

// physicalAddress is where the controller finds memory. It has 32 bits.
type physicalAddress uint32

type deviceBits uint32

const detach deviceBits = 1 << 8

// interruptBits are the controller's causes to interrupt.
type interruptBits uint32

const (
	endOfReset        interruptBits                        = 1 << 3
	endpointInterrupt mmio.Field[interruptBits, endpoints] = 0xff << 12
)

// endpoints has a bit for each endpoint.
type endpoints uint8

type endpointBits uint32

const enabled mmio.Field[endpointBits, endpoints] = 0xff

type generalBits uint32

const (
	enable     generalBits = 1 << 15
	deviceMode generalBits = 1 << 25
)

type configurationBits uint32

const (
	epSize      mmio.Field[configurationBits, Size]      = 0x7 << 4
	epDirection mmio.Field[configurationBits, Direction] = 0x1 << 8
	epType      mmio.Field[configurationBits, Type]      = 0x3 << 11
)

// statusBits are what an endpoint has to tell. Each is cleared by itself.
type statusBits uint32

const (
	transmitted statusBits = 1 << 0 // TXINI: the bank is free
	received    statusBits = 1 << 1 // RXOUTI: the bank is full
)

// controlBits are an endpoint's causes to interrupt, and whose its bank is.
type controlBits uint32

const (
	onTransmitted controlBits = 1 << 0
	onReceived    controlBits = 1 << 1
	fifoControl   controlBits = 1 << 14 // cleared: the bank is the controller's
)

type packetSizeBits uint32

const (
	byteCount       mmio.Field[packetSizeBits, uint16] = 0x7fff
	multiPacketSize mmio.Field[packetSizeBits, uint16] = 0x7fff << 16
)

// bankBits say what went wrong in a bank.
type bankBits uint32

const bankErrors bankBits = 1<<16 | 1<<17 | 1<<18 // CRC, overflow, underflow
