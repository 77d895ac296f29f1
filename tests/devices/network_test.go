package devices

import (
	"bytes"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// peer is what QEMU's network device is connected to: a datagram socket of ours, with a frame in each datagram.
func peer(t *testing.T) (conn *net.UnixConn, device []string) {
	dir := t.TempDir()
	ours, theirs := filepath.Join(dir, "ours"), filepath.Join(dir, "theirs")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: ours, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn, []string{
		"-netdev", "dgram,id=net,local.type=unix,local.path=" + theirs + ",remote.type=unix,remote.path=" + ours,
		"-device", "virtio-net-device,netdev=net,mac=02:00:00:00:00:07",
	}
}

// echo sends frames of many lengths to the task frames, with waits for no more than it keeps, and checks what it sends back.
func echo(conn *net.UnixConn) error {
	request := make([]byte, 2000)
	_, guest, err := conn.ReadFromUnix(request) // who is the gateway?
	if err != nil {
		return err
	}
	if !bytes.Equal(request[:14], []byte("\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x07\x08\x06")) {
		return fmt.Errorf("want an ARP request, got % x", request[:14])
	}
	header := []byte("\x02\x00\x00\x00\x00\x07\x02\x00\x00\x00\x00\x01\x88\xb5")
	for n := 64; n <= 1514; n += 25 {
		frame := append(bytes.Clone(header), bytes.Repeat([]byte{byte(n)}, n-len(header))...)
		if _, err := conn.WriteToUnix(frame, guest); err != nil {
			return err
		}
		back := make([]byte, 2000)
		got, _, err := conn.ReadFromUnix(back)
		if err != nil {
			return err
		}
		want := slices.Concat(frame[6:12], frame[:6], frame[12:])
		if !bytes.Equal(want, back[:got]) {
			return fmt.Errorf("a frame of %d bytes came back as one of %d: % x", n, got, back[:min(got, 20)])
		}
	}
	_, err = conn.WriteToUnix(append(append(header, "end"...), make([]byte, 50)...), guest)
	return err
}

// TestNetwork: frames of many lengths come and go as they are.
func TestNetwork(t *testing.T) {
	conn, device := peer(t)
	echoed := make(chan error, 1)
	go func() { echoed <- echo(conn) }()
	needQEMU(t)
	o := boot(t, "frames", "", nil, append(device, "-global", version2)...)
	conn.Close() // ends echo, if the machine ended early
	require.NoError(t, <-echoed, o.Console)
	assertEnded(t, o, 0)
	assert.Contains(t, o.Console, "frames: 59 sent back\n")
}
