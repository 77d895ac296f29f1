// Package wire is what frames of tests/network look like, for tasks and tests.
package wire

// Layout of a frame, behind its header.
const (
	typeAt     = 12
	kindAt     = 14 // a byte
	sequenceAt = 16 // u32
	sumAt      = 20 // u32: of all bytes behind it
	Least      = 24 // bytes of a frame
)

// Kinds of frames. What is of none, or damaged, is sent back as it is.
const (
	Echo  = 'e' // is sent back
	Pause = 'p' // likewise, but then nothing is read until as many frames came as the sequence number says
	End   = 'q'
)

// Seal makes a frame one of a kind, with a sequence number and a sum of what is behind them. It has Least bytes or more.
func Seal(frame []byte, kind byte, sequence uint32) {
	frame[typeAt], frame[typeAt+1] = 0x88, 0xb5 // for experiments (IEEE 802, table 9-4)
	frame[kindAt] = kind
	put(frame[sequenceAt:], sequence)
	put(frame[sumAt:], sum(frame))
}

// Open returns a sealed frame's kind and sequence number, or 0 if it is none or damaged.
func Open(frame []byte) (kind byte, sequence uint32) {
	if len(frame) < Least || frame[typeAt] != 0x88 || frame[typeAt+1] != 0xb5 || get(frame[sumAt:]) != sum(frame) {
		return 0, 0
	}
	return frame[kindAt], get(frame[sequenceAt:])
}

// Turn exchanges the addresses of a frame, so that it goes back.
func Turn(frame []byte) {
	for i := range 6 {
		frame[i], frame[6+i] = frame[6+i], frame[i]
	}
}

// sum is FNV-1a over kind, sequence number, what is behind the sum, and the length.
func sum(frame []byte) uint32 {
	const basis, prime = 2166136261, 16777619
	h := uint32(basis) ^ uint32(len(frame))
	for _, b := range frame[kindAt:sumAt] {
		h = (h ^ uint32(b)) * prime
	}
	for _, b := range frame[Least:] {
		h = (h ^ uint32(b)) * prime
	}
	return h
}

func put(b []byte, v uint32) {
	_ = b[3]
	b[0], b[1], b[2], b[3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24)
}

func get(b []byte) uint32 {
	_ = b[3]
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}
