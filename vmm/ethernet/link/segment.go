package link

import (
	"encoding/binary"

	"kapsel/vmm/ethernet"
)

// The header in front of each frame of the socket, as virtio-net has it, in the host's byte order (packet(7), PACKET_VNET_HDR; virtio 1.2, 5.1.6). Between two
// ends of a veth pair nobody computes checksums, and packets of TCP go by whole buffers: what a network card would do, or
// would have done, is left to who takes the frame.
const (
	virtioFlags       = 0 // 8 bits
	virtioKind        = 1 // 8 bits
	virtioSegmentSize = 4 // 16 bits: of the data in each segment
	virtioStart       = 6 // 16 bits: where what the checksum is of begins
	virtioOffset      = 8 // 16 bits: where it is to be, from there
	virtioHeaderSize  = 10
)

// Values of virtioFlags and virtioKind (virtio 1.2, 5.1.6; UDP 1.3).
const (
	flagNeedsChecksum = 1
	kindNone          = 0
	kindTCP           = 1
	kindUDP           = 5
	kindECN           = 0x80 // beside kindTCP: CWR is of the first segment alone
)

// leastSegment is the shortest data of segments that are taken apart, so that a long frame does not become very many.
const leastSegment = 64

// Offsets in a segment of TCP, its shortest header, and flags (RFC 9293, 3.1).
const (
	tcpSequence = 4
	tcpDataAt   = 12
	tcpFlags    = 13
	tcpChecksum = 16
	tcpHeader   = 20
	tcpFIN      = 0x01
	tcpPSH      = 0x08
	tcpCWR      = 0x80
)

// A segmenter takes what the socket brings apart into frames as they would be on a wire.
type segmenter struct {
	whole []byte // a frame that is not taken apart, once

	headers []byte // of all segments; nil: nothing is taken apart
	ip      int    // length of the header of IPv4, options and all
	data    []byte // what is left
	size    int    // of the data in each
	count   int    // of those that were made
}

// take begins with a message of the socket. It reports false if that can be no frame, or is one that this does not take apart.
func (s *segmenter) take(message []byte) bool {
	header, frame := message[:virtioHeaderSize], message[virtioHeaderSize:]
	switch kind := header[virtioKind]; kind {
	case kindNone:
		if header[virtioFlags]&flagNeedsChecksum != 0 && !complete(frame,
			int(binary.NativeEndian.Uint16(header[virtioStart:])), int(binary.NativeEndian.Uint16(header[virtioOffset:]))) {
			return false
		}
		s.whole = frame
		return true
	case kindTCP, kindTCP | kindECN:
		return s.apart(frame, protocolTCP, int(binary.NativeEndian.Uint16(header[virtioSegmentSize:])))
	case kindUDP:
		return s.apart(frame, protocolUDP, int(binary.NativeEndian.Uint16(header[virtioSegmentSize:])))
	}
	return false
}

// complete sets the checksum of a frame from a place on. There the sum of what the pseudo-header says stands already.
func complete(frame []byte, start, offset int) bool {
	if start < ethernet.HeaderSize || start+offset+2 > len(frame) {
		return false
	}
	binary.BigEndian.PutUint16(frame[start+offset:], checksum(0, frame[start:]))
	return true
}

// apart has next return the segments of a frame.
func (s *segmenter) apart(frame []byte, protocol byte, size int) bool {
	packet := frame[ethernet.HeaderSize:]
	ip := ipv4(packet)
	if ip == nil || ip[ipProtocol] != protocol || size < leastSegment || binary.BigEndian.Uint16(ip[ipFragment:])&(moreFragments|fragmentOffset) != 0 {
		return false
	}
	rest, header := packet[len(ip):], udpHeader
	if protocol == protocolTCP {
		if len(rest) < tcpHeader {
			return false
		}
		header = int(rest[tcpDataAt]>>4) * 4
	}
	if protocol == protocolTCP && header < tcpHeader || len(rest) <= header {
		return false
	}
	at := ethernet.HeaderSize + len(ip) + header
	*s = segmenter{headers: frame[:at], ip: len(ip), data: frame[at:], size: size}
	return true
}

// next makes the next frame in buffer and returns its length, or 0 if there is none. What is longer than the buffer is cut off.
func (s *segmenter) next(buffer []byte) int {
	if frame := s.whole; frame != nil {
		s.whole = nil
		copy(buffer, frame)
		return len(frame)
	}
	if len(s.data) == 0 {
		return 0
	}
	n := min(s.size, len(s.data))
	if len(buffer) < len(s.headers)+n {
		s.data = nil
		return 0
	}
	frame := buffer[:copy(buffer, s.headers)+n]
	copy(frame[len(s.headers):], s.data)
	s.data = s.data[n:]
	s.finish(frame[ethernet.HeaderSize:])
	s.count++
	return len(frame)
}

// finish sets what differs between the segments of a packet.
func (s *segmenter) finish(packet []byte) {
	binary.BigEndian.PutUint16(packet[ipID:], binary.BigEndian.Uint16(packet[ipID:])+uint16(s.count))
	if rest := packet[s.ip:]; packet[ipProtocol] == protocolTCP {
		binary.BigEndian.PutUint32(rest[tcpSequence:], binary.BigEndian.Uint32(rest[tcpSequence:])+uint32(s.count*s.size))
		if len(s.data) > 0 {
			rest[tcpFlags] &^= tcpFIN | tcpPSH
		}
		if s.count > 0 {
			rest[tcpFlags] &^= tcpCWR
		}
	}
	setLengths(packet, s.ip)
}

// setLengths sets the lengths and checksums of an IPv4 packet with a header of a length, and of the TCP or UDP in it (RFC 9293, 3.1; RFC 768).
func setLengths(packet []byte, header int) {
	binary.BigEndian.PutUint16(packet[ipLength:], uint16(len(packet)))
	binary.BigEndian.PutUint16(packet[ipChecksum:], 0)
	binary.BigEndian.PutUint16(packet[ipChecksum:], checksum(0, packet[:header]))
	rest, at := packet[header:], tcpChecksum
	if packet[ipProtocol] == protocolUDP {
		at = udpChecksum
		binary.BigEndian.PutUint16(rest[udpLength:], uint16(len(rest)))
	}
	binary.BigEndian.PutUint16(rest[at:], 0)
	pseudo := uint32(packet[ipProtocol]) + uint32(len(rest))
	for i := ipFrom; i < ipHeader; i += 2 {
		pseudo += uint32(binary.BigEndian.Uint16(packet[i:]))
	}
	binary.BigEndian.PutUint16(rest[at:], checksum(pseudo, rest))
}

// checksum is the Internet checksum of b (RFC 1071), beside a sum. It is never 0, which UDP has no checksum by; all ones mean the same.
func checksum(sum uint32, b []byte) uint16 {
	total := uint64(sum)
	for ; len(b) >= 2; b = b[2:] {
		total += uint64(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		total += uint64(b[0]) << 8
	}
	for total > 0xffff {
		total = total>>16 + total&0xffff
	}
	if total == 0xffff {
		return 0xffff
	}
	return ^uint16(total)
}
