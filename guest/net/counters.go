package net

// A Cause is why something was dropped.
type Cause uint8

// Causes. Those up to ResetLimit are of frames that came: each counts once, as taken or by one of them. The others are of what
// was on its way out.
const (
	taken         Cause       = iota // not dropped
	FrameShort                       // shorter than an Ethernet header
	FrameLong                        // longer than the MTU allows
	FrameSource                      // from a group address, or from ours
	FrameNotForUs                    // to another, or a multicast group
	FrameType                        // neither ARP nor IPv4
	ARPMalformed                     // too short, not for IPv4 on Ethernet, neither request nor answer, or of an impossible sender
	ARPNotForUs                      // about others
	ARPUnasked                       // an answer that was not asked for
	IPv4Short                        // shorter than its header, or than it says
	IPv4Version                      // not 4
	IPv4Header                       // header length below 20, or beyond the frame
	IPv4Length                       // total length below the header's, or beyond the frame
	IPv4Checksum                     // wrong checksum of the header
	IPv4Source                       // a source that no host has: martian, broadcast or ours
	IPv4NotForUs                     // to another address, or a multicast group
	IPv4Fragment                     // a fragment: nothing is put together
	IPv4Protocol                     // neither ICMP, UDP nor TCP
	ICMPMalformed                    // too short, or with a quotation that is
	ICMPChecksum                     // wrong checksum
	ICMPType                         // a message that is not acted on
	ICMPGroup                        // an echo request to many
	ICMPLimit                        // an echo request above EchoRate
	UDPMalformed                     // too short, or a length that does not fit
	UDPChecksum                      // wrong checksum
	UDPNoSocket                      // nobody has the port
	UDPFull                          // the socket has no room
	DHCPMalformed                    // no message of a server, or an option that is cut off
	DHCPNotForUs                     // of another transaction, host, server or state
	TCPMalformed                     // wrong checksum, or malformed
	TCPGroup                         // a segment to many
	TCPNoConn                        // a segment of no connection, answered with a reset
	TCPFull                          // a SYN when all connections are in use
	AnswerFull                       // no buffer for the answer
	ResetLimit                       // a segment of no connection above ResetRate
	OutNoRoute                       // no address or no route any more
	OutUnresolved                    // the next hop did not answer ARP
	OutDisplaced                     // the oldest frame that waited for an address made room for a newer one
	Causes        = int(iota)        // how many there are
)

// lastIn is the last of those of frames that came.
const lastIn = ResetLimit

// causeNames are the names of causes.
var causeNames = [Causes]string{
	"taken", "frame short", "frame long", "frame source", "frame not for us", "frame type",
	"arp malformed", "arp not for us", "arp unasked",
	"ipv4 short", "ipv4 version", "ipv4 header", "ipv4 length", "ipv4 checksum", "ipv4 source", "ipv4 not for us", "ipv4 fragment", "ipv4 protocol",
	"icmp malformed", "icmp checksum", "icmp type", "icmp group", "icmp limit",
	"udp malformed", "udp checksum", "udp no socket", "udp full",
	"dhcp malformed", "dhcp not for us",
	"tcp malformed", "tcp group", "tcp no connection", "tcp full",
	"answer full", "reset limit",
	"out no route", "out unresolved", "out displaced",
}

func (c Cause) String() string { return causeNames[c] }

// Counters count frames since Init.
type Counters struct {
	In        uint64         // frames that came
	Taken     uint64         // frames that were acted on
	Out       uint64         // frames that were sent
	Conflicts uint64         // frames of others who claimed our address
	Dropped   [Causes]uint64 // what was dropped, by Cause
}

// Counters returns the stack's counters.
func (s *Stack) Counters() *Counters { return &s.counters }

// count counts a frame that came.
func (s *Stack) count(c Cause) {
	s.counters.In++
	if c == taken {
		s.counters.Taken++
		return
	}
	s.counters.Dropped[c]++
}

// drop counts something on its way out.
func (s *Stack) drop(c Cause) { s.counters.Dropped[c]++ }
