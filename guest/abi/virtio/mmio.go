package virtio

// Registers of a device behind memory-mapped I/O, version 2, by offset (4.2.2). Each is read or written by one
// aligned access of 32 bits; the configuration, from RegConfig on, by accesses of the fields' own widths.
const (
	RegMagic             = 0x000 // R: Magic
	RegVersion           = 0x004 // R: Version
	RegDeviceID          = 0x008 // R: 0 is an empty place
	RegVendorID          = 0x00c // R
	RegDeviceFeatures    = 0x010 // R: the word that RegDeviceFeaturesSel selects
	RegDeviceFeaturesSel = 0x014 // W
	RegDriverFeatures    = 0x020 // W: the word that RegDriverFeaturesSel selects
	RegDriverFeaturesSel = 0x024 // W
	RegQueueSel          = 0x030 // W: which queue the next ones are about
	RegQueueSizeMax      = 0x034 // R: 0 is no such queue
	RegQueueSize         = 0x038 // W
	RegQueueReady        = 0x044 // RW
	RegQueueNotify       = 0x050 // W: a queue's number
	RegInterruptStatus   = 0x060 // R: InterruptUsed and InterruptConfig
	RegInterruptACK      = 0x064 // W: likewise
	RegStatus            = 0x070 // RW: 0 written resets
	RegQueueDescLow      = 0x080 // W: address of the descriptor table
	RegQueueDescHigh     = 0x084 // W
	RegQueueDriverLow    = 0x090 // W: address of the available ring
	RegQueueDriverHigh   = 0x094 // W
	RegQueueDeviceLow    = 0x0a0 // W: address of the used ring
	RegQueueDeviceHigh   = 0x0a4 // W
	RegSHMSel            = 0x0ac // W
	RegSHMLenLow         = 0x0b0 // R: all ones in this and the next: there is no such region
	RegSHMLenHigh        = 0x0b4 // R
	RegSHMBaseLow        = 0x0b8 // R: likewise
	RegSHMBaseHigh       = 0x0bc // R
	RegQueueReset        = 0x0c0 // RW, with FeatureRingReset alone
	RegConfigGeneration  = 0x0fc // R
	RegConfig            = 0x100
)

// What the first registers read (4.2.2).
const (
	Magic   = 0x7472_6976 // "virt"
	Version = 2
)

// RegistersSize is how many bytes the registers of a device take at the least, the configuration among them.
const RegistersSize = 0x200

// Bits of RegInterruptStatus and RegInterruptACK (4.2.2).
const (
	InterruptUsed   = 1 << 0 // a buffer was used
	InterruptConfig = 1 << 1 // the configuration changed
)

// Bits of RegStatus (2.1).
const (
	StatusAcknowledge = 1
	StatusDriver      = 2
	StatusDriverOK    = 4
	StatusFeaturesOK  = 8
	StatusNeedsReset  = 64
	StatusFailed      = 128
)
