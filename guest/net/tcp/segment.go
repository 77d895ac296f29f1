package tcp

import "kapsel/guest/net/checksum"

// Flags are the control bits of a segment (RFC 9293, 3.1). Those of ECN are neither read nor set.
type Flags uint8

// The control bits.
const (
	FIN Flags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
)

// Sizes of segments, in bytes.
const (
	HeaderSize    = 20                           // of a header without options
	MaxHeaderSize = HeaderSize + maximumSizeSize // of the largest header that Put writes
	DefaultMSS    = 536                          // of a peer that names none (RFC 9293, 3.7.1)

	maximumSizeSize = 4 // of the option that names the MSS
)

// The kinds of options that Parse knows (RFC 9293, 3.2).
const (
	optionEnd         = 0
	optionNone        = 1
	optionMaximumSize = 2
)

// Segment is one TCP segment.
type Segment struct {
	Source, Destination uint16 // ports
	Sequence            uint32 // of the first byte of Data, or of SYN
	Acknowledgment      uint32 // what is expected next, with ACK
	Flags               Flags
	Window              uint16 // bytes that the sender takes from Acknowledgment on
	MSS                 uint16 // what the option names, 0: no option. Put writes it with SYN only
	Data                []byte
}

// Parse reads a segment, whose data stays where it is in b. pseudo is the sum of the pseudo header, with the length of b. It
// reports false if the segment is malformed or its checksum is wrong. Options other than the MSS are passed over.
func Parse(b []byte, pseudo uint32, s *Segment) bool {
	if len(b) < HeaderSize {
		return false
	}
	header := int(b[12]>>4) * 4
	if header < HeaderSize || header > len(b) || checksum.Finish(checksum.Add(pseudo, b)) != 0 {
		return false
	}
	s.Source, s.Destination = get16(b[0:]), get16(b[2:])
	s.Sequence, s.Acknowledgment = get32(b[4:]), get32(b[8:])
	s.Flags = Flags(b[13]) & (FIN | SYN | RST | PSH | ACK | URG)
	s.Window = get16(b[14:])
	s.Data = b[header:]
	return s.parseOptions(b[HeaderSize:header])
}

// parseOptions reports false where the length of an option is impossible (RFC 9293, MUST-7).
func (s *Segment) parseOptions(b []byte) bool {
	s.MSS = 0
	for len(b) > 0 && b[0] != optionEnd {
		if b[0] == optionNone {
			b = b[1:]
			continue
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			return false
		}
		if b[0] == optionMaximumSize && s.Flags&SYN != 0 {
			if b[1] != maximumSizeSize {
				return false
			}
			s.MSS = get16(b[2:])
		}
		b = b[b[1]:]
	}
	return true
}

// Size is what Put needs, in bytes.
func (s *Segment) Size() int { return s.headerSize() + len(s.Data) }

func (s *Segment) headerSize() int {
	if s.Flags&SYN != 0 && s.MSS != 0 {
		return MaxHeaderSize
	}
	return HeaderSize
}

// Put writes header and data to b and returns Size, or 0 if b has no room. pseudo is the sum of the pseudo header, with Size as the
// length. Data may lie where Put brings it, behind the header, and is then not moved.
func (s *Segment) Put(b []byte, pseudo uint32) int {
	header, size := s.headerSize(), s.Size()
	if size > len(b) {
		return 0
	}
	b = b[:size]
	copy(b[header:], s.Data)
	put16(b[0:], s.Source)
	put16(b[2:], s.Destination)
	put32(b[4:], s.Sequence)
	put32(b[8:], s.Acknowledgment)
	b[12], b[13] = byte(header/4)<<4, byte(s.Flags)
	put16(b[14:], s.Window)
	put32(b[16:], 0) // checksum and urgent pointer
	if header == MaxHeaderSize {
		b[20], b[21] = optionMaximumSize, maximumSizeSize
		put16(b[22:], s.MSS)
	}
	put16(b[16:], checksum.Finish(checksum.Add(pseudo, b)))
	return size
}

// Refuse makes the answer to a segment that belongs to no connection (RFC 9293, 3.10.7.1). It reports false if there is to be
// none, since it is a reset itself.
func Refuse(s, answer *Segment) bool {
	if s.Flags&RST != 0 {
		return false
	}
	*answer = Segment{Source: s.Destination, Destination: s.Source, Flags: RST}
	if s.Flags&ACK != 0 {
		answer.Sequence = s.Acknowledgment
		return true
	}
	answer.Flags |= ACK
	answer.Acknowledgment = s.Sequence + s.length()
	return true
}

// length is how many sequence numbers the segment takes.
func (s *Segment) length() uint32 {
	n := uint32(len(s.Data))
	if s.Flags&SYN != 0 {
		n++
	}
	if s.Flags&FIN != 0 {
		n++
	}
	return n
}

// before and notAfter compare sequence numbers modulo 2^32 (RFC 9293, 3.4): they are right for numbers less than 2^31 apart.
func before(a, b uint32) bool   { return int32(a-b) < 0 }
func notAfter(a, b uint32) bool { return int32(a-b) <= 0 }

func get16(b []byte) uint16 { return uint16(b[0])<<8 | uint16(b[1]) }
func get32(b []byte) uint32 { return uint32(get16(b))<<16 | uint32(get16(b[2:])) }

func put16(b []byte, v uint16) { b[0], b[1] = byte(v>>8), byte(v) }
func put32(b []byte, v uint32) { put16(b, uint16(v>>16)); put16(b[2:], uint16(v)) }
