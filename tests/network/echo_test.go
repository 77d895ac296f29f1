package network

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"

	"kapsel/tests/machine"
	"kapsel/vmm"
	"kapsel/vmm/ethernet"
	"kapsel/vmm/ethernet/network"
)

// echoPort is where the task echoes sends back what comes.
var echoPort = tcpip.FullAddress{NIC: nic, Addr: machineAt, Port: 7}

// echoing boots a machine with the task echoes and a station at its wire, which loses, doubles and reorders so many percent each of
// all frames, and runs f beside it.
func echoing(t *testing.T, percent int, f func(t *testing.T, s *station)) {
	t.Helper()
	s := newStation(t, percent)
	up := &awaiting{text: "echoes: is up\n", seen: make(chan struct{})}
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		<-up.seen
		t.Run("echoes", func(t *testing.T) { f(t, s) })
	}()
	o := machine.Boot(t, machine.Guest{
		Image: image, Modules: [][]byte{machine.Object(t, "test/echoes.tbf")}, Devices: []vmm.Device{vmm.Network{Connection: s}},
		Timeout: 8 * time.Minute, Console: up, Stop: stop,
	})
	up.end()
	<-stop
	assert.Equal(t, vmm.Cancelled, o.Exit.Reason, "echoes ended")
	t.Log(s.faults.String())
}

// fewer is n, or a part of it in the nested machine, where an exit takes a fifth of a millisecond.
func fewer(n, part int) int {
	if os.Getenv("KAPSEL_RIG") != "" {
		return n / part
	}
	return n
}

// datagram is the one with a number: what is in it, and how long it is, follows from that.
func datagram(number uint32) []byte {
	random := rand.New(rand.NewPCG(uint64(number), 7))
	b := make([]byte, 4+random.IntN(1472-4+1))
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	binary.BigEndian.PutUint32(b, number)
	return b
}

// window is how many datagrams are on their way at most.
const window = 8

// exchange sends n datagrams and reads what comes back, which must be what was sent. If nothing does for long it goes on. It returns
// how often each came back.
func exchange(t *testing.T, s *station, n int, long time.Duration) []int {
	c, err := gonet.DialUDP(s.Stack, nil, &echoPort, ipv4.ProtocolNumber)
	require.NoError(t, err)
	defer c.Close()
	back := make([]int, n)
	buffer := make([]byte, 2000)
	for next, latest := 0, -1; latest < n-1; {
		if next < n && next-latest <= window {
			_, err := c.Write(datagram(uint32(next)))
			require.NoError(t, err)
			next++
			continue
		}
		require.NoError(t, c.SetReadDeadline(time.Now().Add(long)))
		length, err := c.Read(buffer)
		var late interface{ Timeout() bool }
		if errors.As(err, &late) && late.Timeout() {
			require.NoError(t, s.ctx.Err(), "the machine ended")
			latest = next - 1 // all that is on its way is lost
			continue
		}
		require.NoError(t, err)
		require.GreaterOrEqual(t, length, 4)
		number := int(binary.BigEndian.Uint32(buffer))
		require.Less(t, number, n, "a datagram that was never sent")
		require.True(t, bytes.Equal(datagram(uint32(number)), buffer[:length]), "datagram %d is corrupted", number)
		back[number]++
		latest = max(latest, number)
	}
	return back
}

// TestUDPEcho: 100,000 datagrams of all lengths go to a task and come back, none corrupted, lost or doubled.
func TestUDPEcho(t *testing.T) {
	n := fewer(100_000, 50)
	echoing(t, 0, func(t *testing.T, s *station) {
		for number, times := range exchange(t, s, n, 10*time.Second) {
			require.Equal(t, 1, times, "datagram %d", number)
		}
	})
}

// TestUDPEchoOverABadWire: loss, reordering and duplication of 5 % each way corrupt none, and lose no more than they do.
func TestUDPEchoOverABadWire(t *testing.T) {
	n := fewer(20_000, 20)
	echoing(t, 5, func(t *testing.T, s *station) {
		came, doubled := 0, 0
		for _, times := range exchange(t, s, n, 3*time.Second) {
			if times > 0 {
				came++
			}
			if times > 1 {
				doubled++
			}
		}
		t.Logf("%d of %d came back, %d of them several times", came, n, doubled)
		assert.Greater(t, came, n*80/100)
		assert.NotZero(t, doubled)
	})
}

// stream sends size bytes by a connection of TCP, and reads them back meanwhile.
func stream(s *station, size int, seed uint64) error {
	ctx, cancel := context.WithTimeout(s.ctx, 5*time.Minute)
	defer cancel()
	c, err := gonet.DialContextTCP(ctx, s.Stack, echoPort, ipv4.ProtocolNumber)
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })() // the machine ended
	if err := c.SetDeadline(time.Now().Add(5 * time.Minute)); err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() {
		_, err := io.CopyN(c, content(seed), int64(size))
		sent <- errors.Join(err, c.CloseWrite())
	}()
	got, want, from := make([]byte, 16<<10), make([]byte, 16<<10), content(seed)
	for at := 0; ; {
		n, err := c.Read(got)
		if _, err := io.ReadFull(from, want[:n]); err != nil {
			return err
		}
		if !bytes.Equal(want[:n], got[:n]) {
			return fmt.Errorf("corrupted behind byte %d", at)
		}
		at += n
		switch {
		case err == io.EOF && at == size:
			return <-sent
		case err != nil || at > size:
			return fmt.Errorf("behind %d of %d bytes: %w", at, size, errors.Join(err, io.ErrUnexpectedEOF))
		}
	}
}

// content are bytes by chance, the same for a seed.
func content(seed uint64) io.Reader {
	return rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
}

// streams has several connections at once send so many bytes each, again and again until there were enough frames.
func streams(t *testing.T, s *station, size int, frames int64) {
	const conns = 4
	failed := make(chan error, conns)
	for i := range conns {
		go func() {
			for round := 0; ; round++ {
				if err := stream(s, size, uint64(i+conns*round)); err != nil || s.faults.frames() >= frames {
					failed <- err
					return
				}
			}
		}()
	}
	for range conns {
		assert.NoError(t, <-failed)
	}
	assert.GreaterOrEqual(t, s.faults.frames(), frames)
}

// TestTCPEcho: streams of several connections go to a task and come back in 100,000 frames, none corrupted.
func TestTCPEcho(t *testing.T) {
	echoing(t, 0, func(t *testing.T, s *station) { streams(t, s, fewer(4<<20, 50), int64(fewer(100_000, 50))) })
}

// TestTCPEchoOverABadWire: with loss, reordering and duplication of 5 % each way all bytes come back, in order.
func TestTCPEchoOverABadWire(t *testing.T) {
	echoing(t, 5, func(t *testing.T, s *station) { streams(t, s, fewer(256<<10, 8), int64(fewer(2_000, 10))) })
}

// TestTwoMachinesServeAndFetch: the task fetches of one gets pages of the task serves of the other, by a unix socket.
func TestTwoMachinesServeAndFetch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wire")
	boot := func(task string, last byte, stop <-chan struct{}) machine.Outcome {
		return machine.Boot(t, machine.Guest{Image: image, Modules: [][]byte{machine.Object(t, "test/"+task+".tbf")}, Timeout: 5 * time.Minute, Stop: stop,
			Devices: []vmm.Device{vmm.Network{Connection: network.Config{Unix: path, MAC: ethernet.MAC{2, 0, 0, 0, 0, last}}}}})
	}
	stop := make(chan struct{})
	serves := make(chan machine.Outcome, 1)
	go func() {
		defer close(serves)
		serves <- boot("serves", 1, stop)
	}()
	fetches := boot("fetches", 2, nil)
	close(stop)
	assert.Equal(t, vmm.Exit{Reason: vmm.GuestExit}, fetches.Exit)
	assert.Contains(t, fetches.Console, "fetches: 20 pages\n")
	assert.Equal(t, vmm.Cancelled, (<-serves).Exit.Reason)
}
