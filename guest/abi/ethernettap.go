package abi

// Numbers of the Ethernet tap, DriverEthernetTap: Tock's (capsules/extra/src/ethernet_tap.rs), but for two commands above them
// that are Kapsel's own.
const (
	TapReceiveCounts = 1     // command -> three u32: frames, their bytes, frames that were dropped
	TapSendCounts    = 2     // -> two u32: frames, their bytes
	TapSend          = 3     // bytes, identifier
	TapAddress       = 0x100 // -> u64: the device's address, its first byte the lowest
	TapLink          = 0x101 // -> two u32: the MTU; 1 if the link is up, else 0

	TapReceived = 0 // subscribe: 0, 0, 0
	TapSent     = 1 // status; flags and bytes; identifier
	TapFrame    = 0 // read-only allow: the frame that is sent
	TapFrames   = 0 // read-write allow: a stream of the frames that come
	TapSentInfo = 1 // when the frame was sent, in ticks: a u64, its highest byte first
)

// Layout of what is in front of each frame in the stream, little-endian.
const (
	TapFlags       = 0 // u16
	TapLength      = 2 // u16: bytes of the frame
	TapTime        = 4 // u64: when it came, in ticks
	TapHeaderSize  = 12
	TapFlagTime    = 1 << 0  // of TapFlags: there is a time
	TapSentTime    = 1 << 16 // of TapSent's flags and bytes: likewise
	TapSentLengths = 0xffff  // the bits of its bytes
)

// Layout of a buffer that a driver streams chunks into: Tock's streaming process slice, version 0
// (kernel/src/utilities/streaming_process_slice.rs). The flags are big-endian, the offset is little-endian.
const (
	StreamVersion    = 0 // u16: 0
	StreamFlags      = 2 // u16
	StreamOffset     = 4 // u32: bytes written behind the header
	StreamHeaderSize = 8
	StreamExceeded   = 1 << 0 // the driver's: a chunk found no room
	StreamHalt       = 1 << 1 // the task's: nothing is to be written behind such a chunk
)
