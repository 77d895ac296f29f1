// Package hostile is what a peer on the other side of virtio may do wrong: one corpus for our drivers, which a device attacks by
// it, and for our devices, which a driver attacks. A script is a list of steps, and as bytes what a fuzzer makes of one.
//
// A step says what the peer does to what both sides share. What that means differs by the side: a driver writes a register, a
// device has it read that value from then on; a driver notifies, a device interrupts. So each script makes sense, and
// trouble, in both directions.
package hostile

import (
	"encoding/binary"
	"iter"
)

// Act is what a step does.
type Act uint8

// The acts.
const (
	Write    Act = iota // Value into an area of a queue's memory, at Offset, by Width
	Point               // the address of Buffers, plus Value, into an area at Offset
	Register            // Value into the register at Offset, or out of it from now on
	Notify              // of the queue, or an interrupt with the status Value
	Serve               // lets the side that is attacked run until it waits
	Use                 // makes Value more elements of the peer's own ring visible, whatever is in them
	Reset               // of the device, or a device that says it needs one
	acts
)

// Area is a part of a queue's memory.
type Area uint8

// The areas. Buffers is what the descriptors point to: for a driver all memory that it may lend.
const (
	Descriptors Area = iota
	Available
	Used
	Buffers
	areas
)

// Step is one act of the peer's.
type Step struct {
	Act    Act
	Queue  uint8
	Area   Area
	Width  uint8 // of Write, in bytes: 1, 2, 4 or 8; else 0
	Offset uint16
	Value  uint64
}

// The queue that a script starts with, set up as it should be by whoever runs it.
const (
	QueueSize  = 8
	MaxQueues  = 4
	BufferSize = 512
)

// stepSize is the size of a step as bytes: act, queue, area and width; offset; value.
const stepSize = 16

// Encode is the script as bytes.
func Encode(script []Step) []byte {
	data := make([]byte, 0, len(script)*stepSize)
	for _, s := range script {
		data = append(data, byte(s.Act), s.Queue, byte(s.Area), s.Width)
		data = binary.LittleEndian.AppendUint16(data, s.Offset)
		data = append(data, 0, 0)
		data = binary.LittleEndian.AppendUint64(data, s.Value)
	}
	return data
}

// Decode reads the steps of any bytes: what is out of range is brought into it.
func Decode(data []byte) iter.Seq[Step] {
	return func(yield func(Step) bool) {
		for ; len(data) >= stepSize; data = data[stepSize:] {
			s := Step{
				Act:    Act(data[0]) % acts,
				Queue:  data[1] % MaxQueues,
				Area:   Area(data[2]) % areas,
				Offset: binary.LittleEndian.Uint16(data[4:]),
				Value:  binary.LittleEndian.Uint64(data[8:]),
			}
			if s.Act == Write {
				s.Width = width(data[3])
			}
			if !yield(s) {
				return
			}
		}
	}
}

// width makes 1, 2, 4 or 8 of any number, and leaves those as they are.
func width(b byte) uint8 {
	switch b {
	case 1, 2, 4, 8:
		return b
	}
	return 1 << (b % 4)
}
