package ethernet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// longestPath is the longest path of a socket in bytes (unix(7)).
const longestPath = 107

// OpenUnix connects to a peer by unix datagram sockets: a datagram is a frame, with nothing around it, as
// gvproxy's -listen-vfkit has it. Who finds a socket of a living process at path is its peer; who
// finds none, or one that a dead process left, binds path and has as its peer whoever sent the last
// frame. So two machines that are given the same path are connected, whichever comes first.
//
// The one that connects has a socket with a name that the kernel gives (an abstract address), which takes datagrams from
// its peer alone. It announces mac with a frame at once, so that its peer knows where to send, and connects anew when the
// peer was replaced. The one that binds lets nobody but its own user send.
func OpenUnix(path string, mac MAC) (Backend, error) {
	if len(path) == 0 || len(path) > longestPath {
		return nil, fmt.Errorf("%q: want a path of 1 to %d bytes for a socket, found %d", path, longestPath, len(path))
	}
	for range 2 { // who loses a race for the path finds a peer at it then
		b, err := connectUnix(path, mac)
		if err == nil {
			return b, nil
		}
		if err := bindable(path, err); err != nil {
			return nil, err
		}
		b, err = bindUnix(path)
		if err == nil {
			return b, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			return nil, fmt.Errorf("no peer at %q, and no socket can be made there: %w", path, err)
		}
	}
	return nil, fmt.Errorf("%q: others bind the socket and leave it at the same time: try again", path)
}

// bindable says why path cannot be bound when nobody could be reached by it, or makes it so.
func bindable(path string, failure error) error {
	switch {
	case errors.Is(failure, fs.ErrNotExist):
		return nil
	case errors.Is(failure, unix.EPROTOTYPE):
		return fmt.Errorf("%q is a socket of another type: want one for datagrams, as gvproxy -listen-vfkit unixgram://PATH makes", path)
	case !errors.Is(failure, unix.ECONNREFUSED):
		return fmt.Errorf("no connection to the peer at %q: %w", path, failure)
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("%q is no socket: want one, or a name that is free", path)
	}
	return os.Remove(path) // a dead process left it
}

// A boundSocket waits for a peer and answers whoever sent last.
type boundSocket struct {
	conn *net.UnixConn
	path string
	peer atomic.Pointer[net.UnixAddr]
}

// bindUnix makes the socket of path.
func bindUnix(path string) (Backend, error) {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	b := &boundSocket{conn: conn, path: path}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// errNoPeer is why the first frames of a machine that waits are lost.
var errNoPeer = errors.New("no peer has come yet")

// ReadFrame implements Backend.
func (b *boundSocket) ReadFrame(buffer []byte) (int, error) {
	n, from, err := b.conn.ReadFromUnix(buffer)
	if err == nil && from != nil && from.Name != "" {
		b.peer.Store(from)
	}
	return n, err
}

// WriteFrame implements Backend.
func (b *boundSocket) WriteFrame(frame []byte) error {
	peer := b.peer.Load()
	if peer == nil {
		return errNoPeer
	}
	_, err := b.conn.WriteToUnix(frame, peer)
	return err
}

// Close implements Backend.
func (b *boundSocket) Close() error { return errors.Join(os.Remove(b.path), b.conn.Close()) }

// A connectedSocket has a peer that it found at a path.
type connectedSocket struct {
	frameFile
	path string
}

// connectUnix makes a socket that is connected to the one at path.
func connectUnix(path string, mac MAC) (Backend, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	err = unix.Bind(fd, &unix.SockaddrUnix{}) // the kernel chooses an abstract address: unix(7), autobind
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	c := &connectedSocket{frameFile{os.NewFile(uintptr(fd), strconv.Quote(path))}, path}
	if err := c.WriteFrame(announcement(mac)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// ReadFrame implements Backend.
func (c *connectedSocket) ReadFrame(buffer []byte) (int, error) {
	for {
		n, err := c.frameFile.ReadFrame(buffer)
		if !errors.Is(err, unix.ECONNRESET) { // the peer went, another may come
			return n, err
		}
	}
}

// WriteFrame implements Backend. A peer that is gone may have a successor at its path.
func (c *connectedSocket) WriteFrame(frame []byte) error {
	err := c.frameFile.WriteFrame(frame)
	if err == nil || errors.Is(err, os.ErrClosed) {
		return err
	}
	if err := c.connect(); err != nil {
		return err
	}
	return c.frameFile.WriteFrame(frame)
}

// connect connects the socket to whoever has the path now.
func (c *connectedSocket) connect() error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failure error
	err = raw.Control(func(fd uintptr) { failure = unix.Connect(int(fd), &unix.SockaddrUnix{Name: c.path}) })
	return errors.Join(err, failure)
}

// Numbers of a RARP request (RFC 903, RFC 826).
const (
	rarpSize       = 28
	etherTypeRARP  = 0x8035
	hardwareEther  = 1
	protocolIPv4   = 0x0800
	rarpRequest    = 3
	shortestOnWire = 60 // without check sequence
)

// announcement is a broadcast frame that means nothing but that mac is here: a RARP request, as
// QEMU sends after a migration.
func announcement(mac MAC) []byte {
	frame := make([]byte, shortestOnWire)
	for i := range mac {
		frame[i] = 0xff
	}
	copy(frame[6:], mac[:])
	binary.BigEndian.PutUint16(frame[12:], etherTypeRARP)
	arp := frame[HeaderSize : HeaderSize+rarpSize]
	binary.BigEndian.PutUint16(arp[0:], hardwareEther)
	binary.BigEndian.PutUint16(arp[2:], protocolIPv4)
	arp[4], arp[5] = byte(len(mac)), 4
	binary.BigEndian.PutUint16(arp[6:], rarpRequest)
	copy(arp[8:], mac[:])
	copy(arp[18:], mac[:])
	return frame
}
