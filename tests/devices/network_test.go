package devices

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/tests/machine"
	"kapsel/vmm"
	"kapsel/vmm/ethernet/network"
)

// echo sends frames of many lengths to the task frames, with waits for no more than it keeps, and checks what it sends back.
func echo(conn *net.UnixConn) error {
	var guest *net.UnixAddr
	for request := make([]byte, 2000); !bytes.HasPrefix(request, []byte("\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x07\x08\x06")); {
		var err error
		if _, guest, err = conn.ReadFromUnix(request); err != nil { // the socket's announcement, then: who is the gateway?
			return err
		}
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
	_, err := conn.WriteToUnix(append(append(header, "end"...), make([]byte, 50)...), guest)
	return err
}

// TestNetwork: frames of many lengths come and go as they are.
func TestNetwork(t *testing.T) {
	conn, device := machine.Peer(t)
	echoed := make(chan error, 1)
	go func() { echoed <- echo(conn) }()
	o := boot(t, "frames", "", []vmm.Device{device})
	conn.Close() // ends echo, if the machine ended early
	require.NoError(t, <-echoed, o.Console)
	assertEnded(t, o, 0)
	assert.Contains(t, o.Console, "frames: 59 sent back\n")
}

// TestUserNetwork: the gateway of user mode answers.
func TestUserNetwork(t *testing.T) {
	o := machine.Boot(t, machine.Guest{
		Image:   image,
		Modules: [][]byte{machine.Object(t, "test/frames.tbf")},
		Cmdline: "raw",
		Devices: []vmm.Device{vmm.Network{Connection: network.Config{User: true, MAC: machine.MAC}}},
		Until:   "frames: the gateway is at 0x",
	})
	assert.Equal(t, vmm.Cancelled, o.Exit.Reason)
}
