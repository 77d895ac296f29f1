package net

// Ethernet II (RFC 894): destination, source, type.
const (
	ethernetSize = 14
	typeIPv4     = 0x0800
	typeARP      = 0x0806
)

// An ethernetHeader is the header of a frame.
type ethernetHeader struct {
	destination, source HardwareAddress
	kind                uint16
}

// parseEthernet reads a frame's header and returns what is behind it.
func parseEthernet(frame []byte, h *ethernetHeader) ([]byte, Cause) {
	if len(frame) < ethernetSize {
		return nil, FrameShort
	}
	h.destination, h.source, h.kind = getHardware(frame), getHardware(frame[6:]), get16(frame[12:])
	return frame[ethernetSize:], taken
}

// putEthernet writes a header.
func putEthernet(b []byte, h ethernetHeader) {
	copy(b, h.destination[:])
	copy(b[6:], h.source[:])
	put16(b[12:], h.kind)
}

// Input takes a frame, without a check sequence. It keeps nothing of it.
func (s *Stack) Input(frame []byte, now Time) {
	s.now = now
	s.count(s.input(frame, now))
}

func (s *Stack) input(frame []byte, now Time) Cause {
	var h ethernetHeader
	p, c := parseEthernet(frame, &h)
	switch {
	case c != taken:
		return c
	case len(p) > s.mtu:
		return FrameLong
	case h.source.group() || h.source == s.hardware:
		return FrameSource
	case h.destination != s.hardware && h.destination != BroadcastHardware:
		return FrameNotForUs
	}
	switch h.kind {
	case typeARP:
		return s.inputARP(p, now)
	case typeIPv4:
		return s.inputIPv4(p, h.destination.group(), now)
	}
	return FrameType
}
