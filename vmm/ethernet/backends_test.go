package ethernet

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

var macs = [2]MAC{{0x52, 0x54, 0, 0, 0, 1}, {0x52, 0x54, 0, 0, 0, 2}}

// openUnix opens one of the machines of a path.
func openUnix(t *testing.T, path string, mac MAC) *device {
	b, err := OpenUnix(path, mac)
	require.NoError(t, err)
	return newDevice(t, b, nil)
}

// TestUnixBackToBack: two machines that are given the same path, of which the second speaks first only
// to say that it is there.
func TestUnixBackToBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "net.sock")
	a := openUnix(t, path, macs[0])
	b := openUnix(t, path, macs[1])
	assert.Equal(t, announcement(macs[1]), a.next(t))
	for i := range 1000 { // far more than a socket holds
		want := frameOf(MaxFrame, i)
		require.NoError(t, a.Send(want))
		require.Equal(t, want, b.next(t))
		require.NoError(t, b.Send(want))
		require.Equal(t, want, a.next(t))
	}
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

// TestUnixPeerIsReplaced: either of two machines may end and come again.
func TestUnixPeerIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "net.sock")
	a := openUnix(t, path, macs[0])
	b := openUnix(t, path, macs[1])
	assert.Equal(t, announcement(macs[1]), a.next(t))

	require.NoError(t, b.Close())
	b = openUnix(t, path, macs[1])
	assert.Equal(t, announcement(macs[1]), a.next(t))
	require.NoError(t, a.Send(frameOf(60, 1)))
	assert.Equal(t, frameOf(60, 1), b.next(t))

	require.NoError(t, a.Close())
	assert.NoFileExists(t, path)
	a = openUnix(t, path, macs[0])
	require.NoError(t, b.Send(frameOf(60, 2)))
	assert.Equal(t, frameOf(60, 2), a.next(t))
	require.NoError(t, a.Send(frameOf(60, 3)))
	assert.Equal(t, frameOf(60, 3), b.next(t))
}

// TestUnixWithoutAPeer: frames are lost and counted; a peer that comes is served.
func TestUnixWithoutAPeer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "net.sock")
	a := openUnix(t, path, macs[0])
	require.NoError(t, a.Send(frameOf(60, 1)))
	assert.Eventually(t, func() bool { return a.Stats().SentDropped == 1 }, patience, time.Millisecond)
	b := openUnix(t, path, macs[1])
	a.next(t)
	require.NoError(t, a.Send(frameOf(60, 2)))
	assert.Equal(t, frameOf(60, 2), b.next(t))
}

// TestUnixLikeVfkit: the peer is a program that listens at the path and answers the address that the
// first datagram came from, as gvproxy does.
func TestUnixLikeVfkit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vfkit.sock")
	listener, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	defer listener.Close()
	require.NoError(t, listener.SetDeadline(time.Now().Add(patience)))
	d := openUnix(t, path, macs[0])
	buffer := make([]byte, MaxFrame+1)
	n, from, err := listener.ReadFromUnix(buffer)
	require.NoError(t, err)
	require.NotEmpty(t, from.Name, "gvproxy wants an address to answer")
	assert.Equal(t, announcement(macs[0]), buffer[:n])
	_, err = listener.WriteToUnix(frameOf(MaxFrame, 1), from)
	require.NoError(t, err)
	assert.Equal(t, frameOf(MaxFrame, 1), d.next(t))

	for i := range 500 { // more than wait at a socket: the port waits, not the device
		d.Send(frameOf(100, i))
	}
	read := 0
	for d.Stats().SentDropped+uint64(read) < 500 {
		_, _, err := listener.ReadFromUnix(buffer)
		require.NoError(t, err)
		read++
	}
	assert.GreaterOrEqual(t, read, QueueSize)
}

// TestUnixGoesOnBehindAnEmptyDatagram: at either end it is a frame that is too short, and the next one comes.
func TestUnixGoesOnBehindAnEmptyDatagram(t *testing.T) {
	path := filepath.Join(t.TempDir(), "net.sock")
	listener, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	connected := openUnix(t, path, macs[0])
	_, from, err := listener.ReadFromUnix(make([]byte, MaxFrame))
	require.NoError(t, err)
	send := func(b []byte) error {
		_, err := listener.WriteToUnix(b, from)
		return err
	}
	emptyDatagram(t, connected, send)

	bound := openUnix(t, path+"2", macs[0])
	peer, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path + "2", Net: "unixgram"})
	require.NoError(t, err)
	emptyDatagram(t, bound, func(b []byte) error {
		_, err := peer.Write(b)
		return err
	})
}

func emptyDatagram(t *testing.T, d *device, send func([]byte) error) {
	require.NoError(t, send(nil))
	require.NoError(t, send(frameOf(60, 1)))
	assert.Equal(t, frameOf(60, 1), d.next(t))
	assert.Equal(t, uint64(1), d.Stats().ReceivedBad)
}

// TestUnixTakesFramesOfItsPeerAlone: the socket that connects has a name that others can find.
func TestUnixTakesFramesOfItsPeerAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "net.sock")
	listener, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	defer listener.Close()
	openUnix(t, path, macs[0])
	_, from, err := listener.ReadFromUnix(make([]byte, MaxFrame))
	require.NoError(t, err)
	_, err = net.DialUnix("unixgram", nil, from)
	assert.ErrorIs(t, err, unix.EPERM)
}

func TestUnixRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	stream, err := net.Listen("unix", filepath.Join(dir, "stream"))
	require.NoError(t, err)
	defer stream.Close()
	stale := filepath.Join(dir, "stale")
	left, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: stale, Net: "unixgram"})
	require.NoError(t, err)
	left.Close()
	require.FileExists(t, stale)

	for _, test := range []struct{ name, path, want string }{
		{"empty path", "", "want a path of 1 to 107 bytes"},
		{"long path", strings.Repeat("x", 108), "want a path of 1 to 107 bytes for a socket, found 108"},
		{"a file", file, "is no socket: want one, or a name that is free"},
		{"a stream socket", filepath.Join(dir, "stream"), "is a socket of another type: want one for datagrams"},
		{"no folder", filepath.Join(dir, "no", "sock"), "no socket can be made there"},
		{"a socket that a dead process left", stale, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, err := OpenUnix(test.path, macs[0])
			if test.want == "" {
				require.NoError(t, err)
				require.NoError(t, b.Close())
				return
			}
			assert.ErrorContains(t, err, test.want)
		})
	}
	assert.FileExists(t, file)
}

// TestTAP: frames pass between a TAP interface of the host and a Port. The host's end is a packet socket.
func TestTAP(t *testing.T) {
	const name = "kapseltest0"
	if out, err := exec.Command("ip", "tuntap", "add", "dev", name, "mode", "tap").CombinedOutput(); err != nil {
		t.Skipf("no TAP interface can be made here, which needs root and /dev/net/tun: ip tuntap: %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("ip", "link", "del", name).Run() })
	require.NoError(t, exec.Command("ip", "link", "set", name, "up").Run())
	b, err := OpenTAP(name)
	require.NoError(t, err)
	_, err = OpenTAP(name)
	assert.ErrorContains(t, err, "in use by another program")
	d := newDevice(t, b, nil)

	iface, err := net.InterfaceByName(name)
	require.NoError(t, err)
	const experimental = 0x88b5 // IEEE 802's EtherType for local experiments
	network := packetSocket(t, iface.Index, experimental)
	frame := frameOf(MaxFrame, 1)
	copy(frame, "\xff\xff\xff\xff\xff\xff\x52\x54\x00\x00\x00\x01\x88\xb5")
	require.NoError(t, d.Send(frame))
	buffer := make([]byte, MaxFrame+1)
	n, err := network.Read(buffer)
	require.NoError(t, err)
	assert.Equal(t, frame, buffer[:n])

	// Linux drops what is sent until it has noticed that the interface has a carrier.
	again := time.NewTicker(50 * time.Millisecond)
	received := make(chan struct{})
	var sending sync.WaitGroup
	sending.Go(func() {
		defer again.Stop()
		for {
			network.Write(frame[:100])
			select {
			case <-again.C:
			case <-received:
				return
			}
		}
	})
	defer sending.Wait()
	defer close(received)
	for {
		got := d.next(t) // the host's own frames, as of IPv6, come as well
		if got[12] == 0x88 && got[13] == 0xb5 {
			assert.Equal(t, frame[:100], got)
			break
		}
	}

	require.NoError(t, exec.Command("ip", "link", "set", name, "down").Run())
	before := d.Stats().SentDropped
	require.NoError(t, d.Send(frame))
	assert.Eventually(t, func() bool { return d.Stats().SentDropped == before+1 }, patience, time.Millisecond, "an interface that is down takes nothing")
}

// packetSocket returns the host's end of an interface, for frames of a type (packet(7)).
func packetSocket(t *testing.T, index, etherType int) *os.File {
	big := uint16(etherType)<<8 | uint16(etherType)>>8
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, int(big))
	require.NoError(t, err)
	require.NoError(t, unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: index, Protocol: big}))
	f := os.NewFile(uintptr(fd), "packet socket")
	t.Cleanup(func() { f.Close() })
	require.NoError(t, f.SetDeadline(time.Now().Add(patience)))
	return f
}

func TestTAPErrorsSayWhatToDo(t *testing.T) {
	_, err := OpenTAP("kapselnone")
	assert.ErrorContains(t, err, `no TAP interface "kapselnone" here: make it by ip tuntap add dev kapselnone mode tap user`)
	_, err = OpenTAP("lo")
	assert.Error(t, err)
	for _, test := range []struct {
		err  error
		want string
	}{
		{unix.EPERM, `belongs to another user: make it by ip tuntap add`},
		{unix.EBUSY, "is in use by another program"},
		{unix.EINVAL, "is no TAP interface"},
		{unix.EIO, "input/output error"},
	} {
		assert.ErrorContains(t, tapError("tap0", test.err), test.want)
	}
	assert.ErrorContains(t, tunError(unix.ENOENT), "no /dev/net/tun here: load the module (modprobe tun)")
	assert.ErrorContains(t, tunError(unix.ENODEV), "no /dev/net/tun here")
	assert.ErrorContains(t, tunError(unix.EACCES), "want read and write access to it")
	assert.ErrorContains(t, tunError(unix.EMFILE), "/dev/net/tun: too many open files")
}
