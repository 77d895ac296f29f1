// Package link gives a guest an interface of the host that is there already, as the one that CNI made in a container's network namespace: a backend of
// package ethernet on a packet socket (packet(7)). The guest has the interface's MAC address, and by DHCP from the monitor its IPv4 address, gateway and
// routes. The host's own stack gets nothing of what comes by the interface while it is the guest's (silence.go), and keeps its addresses.
//
// IPv4 and ARP of the guest's own addresses pass, and nothing else (filter.go).
package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kapsel/vmm/ethernet"
	"kapsel/vmm/ethernet/dhcp"
)

// Config says what a Link is to be.
type Config struct {
	// Name is the interface's, in the network namespace of the thread that calls Open.
	Name string
	// Resolvers are what the guest is told, by IPv4; those of /etc/resolv.conf if there are none.
	Resolvers []netip.Addr
	// Log takes a line about the first frame that is refused to the guest. Nil discards it.
	Log func(format string, args ...any)
}

// A Link is an interface that is a guest's. It is an ethernet.Backend.
type Link struct {
	iface   *hostInterface
	lease   dhcp.Lease
	socket  *os.File        // of packets
	raw     syscall.RawConn // the same, to be read with control messages
	silence *os.File        // keeps the host's stack from the interface while it is open
	log     func(format string, args ...any)

	in       []byte        // what a read brings: a virtioHeader and a frame
	segments segmenter     // what is left of it
	replies  chan []byte   // frames of the DHCP server that wait for ReadFrame
	out      []byte        // a virtioHeader, which says nothing, and the frame that is written
	refused  atomic.Uint64 // frames of the guest
	foreign  atomic.Uint64 // frames of the wire that were not for the guest, or could not be understood
}

// maxReplies is how many replies wait for a guest that reads none; it asks again for those that are lost.
const maxReplies = 4

// longestRead is room for the longest frame that the host puts together of segments: an IPv4 packet of 64 KiB.
const longestRead = virtioHeaderSize + ethernet.HeaderSize + 1<<16

// receiveBuffer is how many bytes of frames wait in the host: a few dozen that are put together.
const receiveBuffer = 4 << 20

// serverAddress is by what the DHCP server is known, which is on no wire: the dummy address of RFC 7600, 4.8.
var serverAddress = netip.AddrFrom4([4]byte{192, 0, 0, 8})

// serverMAC is where its frames come from.
var serverMAC = ethernet.MAC{0x52, 0x55, 192, 0, 0, 8}

// Open takes an interface for a guest, in the network namespace of the calling thread, with CAP_NET_RAW and CAP_NET_ADMIN there. No other machine can take it at the
// same time. Errors say what to do.
func Open(c Config) (*Link, error) {
	f, err := readInterface(c.Name)
	if err != nil {
		return nil, err
	}
	if c.Log == nil {
		c.Log = func(string, ...any) {}
	}
	if c.Resolvers == nil {
		text, _ := os.ReadFile(resolvConf) // without one there are no resolvers
		c.Resolvers = ParseResolvers(text)
	}
	l := &Link{
		iface: f, log: c.Log, in: make([]byte, longestRead), replies: make(chan []byte, maxReplies),
		out: make([]byte, virtioHeaderSize+ethernet.MaxFrame),
		lease: dhcp.Lease{
			MAC: f.mac, Server: serverAddress, Address: f.address, Router: f.router, Routes: f.routes, Resolvers: c.Resolvers,
		},
	}
	if l.silence, err = silence(f.name); err != nil {
		return nil, err
	}
	if l.socket, err = openSocket(f); err != nil {
		return nil, errors.Join(err, l.silence.Close())
	}
	if l.raw, err = l.socket.SyscallConn(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// openSocket opens a packet socket for what comes by an interface, with the host's word on checksums, segments and VLANs of each frame.
func openSocket(f *hostInterface) (*os.File, error) {
	// Without a protocol it gets no frame, until it is bound.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EPERM) {
		return nil, fmt.Errorf("interface %q: no packet socket can be opened: want CAP_NET_RAW in this network namespace, as root has it", f.name)
	}
	if err != nil {
		return nil, fmt.Errorf("interface %q: packet socket: %w", f.name, err)
	}
	for _, option := range []int{unix.PACKET_VNET_HDR, unix.PACKET_AUXDATA, unix.PACKET_IGNORE_OUTGOING} {
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.SOL_PACKET, option, 1)
		}
	}
	if err == nil && unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer) // as far as the host lets anybody
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: f.index, Protocol: networkOrder(unix.ETH_P_ALL)})
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("interface %q: packet socket: %w", f.name, err)
	}
	return os.NewFile(uintptr(fd), "packet socket of "+f.name), nil
}

// networkOrder is a number as a socket address has it.
func networkOrder(n uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n))
}

// MAC is the guest's address: the interface's.
func (l *Link) MAC() ethernet.MAC { return l.iface.mac }

// MTU is the interface's, of which frames of a Port use as much as they can have.
func (l *Link) MTU() int { return l.iface.mtu }

// ReadFrame implements ethernet.Backend.
func (l *Link) ReadFrame(buffer []byte) (int, error) {
	for {
		if n := l.segments.next(buffer); n > 0 {
			return n, nil
		}
		select {
		case reply := <-l.replies:
			return copy(buffer, reply), nil
		default:
		}
		if err := l.read(); err != nil {
			return 0, err
		}
	}
}

// read waits for what the wire or the DHCP server brings, and makes segments of what is for the guest.
func (l *Link) read() error {
	n, tagged, err := receive(l.raw, l.in)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded): // by which a reply is announced
		return l.socket.SetReadDeadline(time.Time{})
	case errors.Is(err, unix.ENETDOWN), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOBUFS):
		return nil // down, as it may be for a while; or one frame that the host has no words for
	case err != nil:
		return err
	}
	if n < virtioHeaderSize || tagged || !l.forGuest(l.in[virtioHeaderSize:n]) || !l.segments.take(l.in[:n]) {
		l.foreign.Add(1)
	}
	return nil
}

// receive reads a message of a packet socket, and says whether its frame has a VLAN's tag, which the host keeps apart from it. A message longer than the buffer
// is none.
func receive(socket syscall.RawConn, buffer []byte) (n int, tagged bool, err error) {
	var flags, controls int
	var control [64]byte
	var failed error
	err = socket.Read(func(fd uintptr) bool {
		n, controls, flags, _, failed = unix.Recvmsg(int(fd), buffer, control[:], 0)
		return !errors.Is(failed, unix.EAGAIN) && !errors.Is(failed, unix.EINTR)
	})
	if err = errors.Join(err, failed); err != nil {
		return 0, false, err
	}
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		return 0, false, nil
	}
	return n, hasTag(control[:controls]), nil
}

// hasTag looks for a VLAN's tag in the control messages of a frame (packet(7), PACKET_AUXDATA). Priority alone is no VLAN (IEEE 802.1Q, 6.9.1).
func hasTag(control []byte) bool {
	const status, tci, size, vlan = 0, 16, 20, 0x0fff // offsets of tp_status and tp_vlan_tci, size of struct tpacket_auxdata; the VLAN in the tag
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return true
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA && len(m.Data) >= size {
			return binary.NativeEndian.Uint32(m.Data[status:])&unix.TP_STATUS_VLAN_VALID != 0 && binary.NativeEndian.Uint16(m.Data[tci:])&vlan != 0
		}
	}
	return true // which the socket was opened to tell
}

// WriteFrame implements ethernet.Backend.
func (l *Link) WriteFrame(frame []byte) error {
	switch l.ofGuest(frame) {
	case passes:
		n := copy(l.out[virtioHeaderSize:], frame)
		_, err := l.socket.Write(l.out[:virtioHeaderSize+n])
		return err
	case asksServer:
		l.answer(frame)
	case refused:
		if l.refused.Add(1) == 1 {
			l.log("network: a frame of the guest's is refused, as others may be: want ARP or IPv4 from %v at %v, without a VLAN's tag", l.lease.Address.Addr(), l.iface.mac)
		}
	}
	return nil // it went out; nobody was there
}

// answer puts the DHCP server's reply to a frame where ReadFrame finds it, which may be waiting for the wire.
func (l *Link) answer(frame []byte) {
	reply := l.lease.Reply(datagram(frame))
	if reply == nil {
		return
	}
	select {
	case l.replies <- replyFrame(l.iface.mac, reply):
		l.socket.SetReadDeadline(time.Unix(1, 0))
	default:
	}
}

// Close implements ethernet.Backend. The interface is the host's again.
func (l *Link) Close() error {
	if refused, foreign := l.refused.Load(), l.foreign.Load(); refused+foreign > 0 {
		l.log("network: %d frames of the guest's were refused, %d of the wire were not for it", refused, foreign)
	}
	return errors.Join(l.socket.Close(), l.silence.Close())
}
