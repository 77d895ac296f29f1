package machine

import (
	"net"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"kapsel/vmm"
	"kapsel/vmm/ethernet"
	"kapsel/vmm/ethernet/network"
)

// MAC is the address of the guest's network device.
var MAC = ethernet.MAC{2, 0, 0, 0, 0, 7}

// Peer is what a network device is connected to: a datagram socket of ours, with a frame in each datagram.
func Peer(t testing.TB) (conn *net.UnixConn, device vmm.Device) {
	path := filepath.Join(t.TempDir(), "peer")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn, vmm.Network{Connection: network.Config{Unix: path, MAC: MAC}}
}
