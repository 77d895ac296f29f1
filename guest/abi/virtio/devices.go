package virtio

// Kinds of devices (5).
const (
	IDNet     = 1
	IDBlock   = 2
	IDConsole = 3
	IDEntropy = 4
	IDGPIO    = 41
)

// Features of a network device (5.1.3).
const (
	NetFeatureMTU    = 1 << 3
	NetFeatureMAC    = 1 << 5
	NetFeatureStatus = 1 << 16
)

// Queues of a network device (5.1.2).
const (
	NetReceiveQueue  = 0
	NetTransmitQueue = 1
)

// Offsets in a network device's configuration (5.1.4).
const (
	NetConfigMAC    = 0  // 6 bytes
	NetConfigStatus = 6  // 16 bits: NetStatusLinkUp
	NetConfigMTU    = 10 // 16 bits
	NetConfigBytes  = 12
)

// NetStatusLinkUp is a bit of the configuration's status.
const NetStatusLinkUp = 1

// NetHeaderSize is how many bytes stand in front of each frame, in both directions (5.1.6). Without offloads all are 0, but
// the number of buffers, the last two, which the device sets to 1 in what it received.
const (
	NetHeaderSize    = 12
	NetHeaderBuffers = 10
)

// Features of a block device (5.2.3).
const (
	BlockFeatureSegMax      = 1 << 2
	BlockFeatureReadOnly    = 1 << 5
	BlockFeatureBlockSize   = 1 << 6
	BlockFeatureFlush       = 1 << 9
	BlockFeatureDiscard     = 1 << 13
	BlockFeatureWriteZeroes = 1 << 14
)

// Offsets in a block device's configuration (5.2.4).
const (
	BlockConfigCapacity              = 0  // 64 bits: sectors
	BlockConfigSegMax                = 12 // 32 bits
	BlockConfigBlockSize             = 20 // 32 bits: bytes
	BlockConfigMaxDiscardSectors     = 36 // 32 bits
	BlockConfigMaxDiscardSeg         = 40 // 32 bits
	BlockConfigDiscardAlignment      = 44 // 32 bits: sectors
	BlockConfigMaxWriteZeroesSectors = 48 // 32 bits
	BlockConfigMaxWriteZeroesSeg     = 52 // 32 bits
	BlockConfigWriteZeroesMayUnmap   = 56 // 8 bits
	BlockConfigBytes                 = 60
)

// SectorSize is the unit of a block device's addresses, in bytes.
const SectorSize = 512

// A block request is a header, data, and a byte of status (5.2.6). The header: type, 32 bits; 32 bits reserved; sector, 64
// bits.
const (
	BlockHeaderSize   = 16
	BlockHeaderType   = 0
	BlockHeaderSector = 8
)

// Types of block requests.
const (
	BlockIn          = 0 // read
	BlockOut         = 1 // write
	BlockFlush       = 4
	BlockGetID       = 8
	BlockDiscard     = 11
	BlockWriteZeroes = 13
)

// BlockIDSize is the size of the answer to BlockGetID: text, with a NUL behind it if there is room.
const BlockIDSize = 20

// BlockSegmentSize is the size of one segment of BlockDiscard and BlockWriteZeroes: sector, 64 bits; sectors, 32 bits; flags,
// 32 bits.
const (
	BlockSegmentSize  = 16
	BlockSegmentCount = 8
	BlockSegmentFlags = 12
)

// BlockSegmentUnmap is a flag of a segment of BlockWriteZeroes: the device may give its memory back.
const BlockSegmentUnmap = 1

// Status of a block request.
const (
	BlockOK          = 0
	BlockIOError     = 1
	BlockUnsupported = 2
)

// Features of a console (5.3.3).
const (
	ConsoleFeatureSize           = 1 << 0
	ConsoleFeatureMultiport      = 1 << 1
	ConsoleFeatureEmergencyWrite = 1 << 2
)

// Queues of a console with one port (5.3.2).
const (
	ConsoleReceiveQueue  = 0
	ConsoleTransmitQueue = 1
)

// Offsets in a console's configuration (5.3.4).
const (
	ConsoleConfigColumns        = 0 // 16 bits
	ConsoleConfigRows           = 2 // 16 bits
	ConsoleConfigMaxPorts       = 4 // 32 bits
	ConsoleConfigEmergencyWrite = 8 // 32 bits, written: a character
	ConsoleConfigBytes          = 12
)

// Queues for control of a console with several ports (5.3.2), which ConsoleFeatureMultiport has. Those of port 0 are before them.
const (
	ConsoleControlReceiveQueue  = 2
	ConsoleControlTransmitQueue = 3
)

// ConsolePortQueues is the number of the receive queue of port n, of a console with several ports. The transmit queue is behind it.
func ConsolePortQueues(n int) int {
	if n == 0 {
		return ConsoleReceiveQueue
	}
	return 2*n + 2
}

// Offsets in a control message of a console (5.3.6.2).
const (
	ConsoleControlPort  = 0 // 32 bits
	ConsoleControlEvent = 4 // 16 bits: one of those below
	ConsoleControlValue = 6 // 16 bits
	ConsoleControlBytes = 8 // behind them is a port's name, in ConsolePortName
)

// Events of control messages.
const (
	ConsoleDeviceReady = 0 // driver: 1, it is ready; 0, it cannot
	ConsolePortAdd     = 1 // device: there is this port
	ConsolePortRemove  = 2 // device: it is gone
	ConsolePortReady   = 3 // driver, on ConsolePortAdd: 1, it uses the port; 0, it does not
	ConsoleConsolePort = 4 // device: the port is a console
	ConsoleResize      = 5 // device: the console's size
	ConsolePortOpen    = 6 // both: 1, the side uses the port; 0, it does not any more
	ConsolePortName    = 7 // device
)

// GPIOFeatureIRQ is a feature of a GPIO device: its lines interrupt (5.18.3).
const GPIOFeatureIRQ = 1 << 0

// Queues of a GPIO device (5.18.2); the second with GPIOFeatureIRQ.
const (
	GPIORequestQueue = 0
	GPIOEventQueue   = 1
)

// Offsets in a GPIO device's configuration (5.18.4).
const (
	GPIOConfigLines     = 0 // 16 bits
	GPIOConfigNamesSize = 4 // 32 bits: bytes of the names' block, 0 for no names
	GPIOConfigBytes     = 8
)

// A GPIO request is its type, 16 bits; a line, 16 bits; a value, 32 bits. The answer is a status and a value of 8 bits each, or
// for GPIOGetNames a status and the names, each with a NUL behind it (5.18.6).
const (
	GPIORequestSize  = 8
	GPIORequestLine  = 2
	GPIORequestValue = 4
	GPIOAnswerSize   = 2
)

// Types of GPIO requests (5.18.6).
const (
	GPIOGetNames     = 1
	GPIOGetDirection = 2
	GPIOSetDirection = 3
	GPIOGetValue     = 4
	GPIOSetValue     = 5
	GPIOSetIRQType   = 6
)

// Status of a GPIO request.
const (
	GPIOOK    = 0
	GPIOError = 1
)

// Directions of a line.
const (
	GPIONone   = 0
	GPIOOutput = 1
	GPIOInput  = 2
)

// What a line interrupts for: edges, which may be joined, or a level.
const (
	GPIONoIRQ       = 0
	GPIORisingEdge  = 1
	GPIOFallingEdge = 2
	GPIOHighLevel   = 4
	GPIOLowLevel    = 8
)

// In the event queue a driver lends 16 bits, a line, to be read, and 8 bits, a status, to be written when that line interrupts
// (5.18.7).
const (
	GPIOEventSize       = 2
	GPIOEventAnswerSize = 1
)

// Status of an event.
const (
	GPIOEventInvalid = 0 // the line does not interrupt
	GPIOEventValid   = 1
)
