package network

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	linkethernet "gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"kapsel/tests/badwire"
	"kapsel/tests/machine"
	"kapsel/vmm/ethernet"
)

// Ends of the wire between a station and its machine.
var (
	stationAt = tcpip.AddrFrom4([4]byte{10, 0, 0, 1})
	machineAt = tcpip.AddrFrom4([4]byte{10, 0, 0, 2})
)

// A station is an independent TCP/IP, gVisor's, at the other end of a machine's wire. It is the machine's vmm.Connection.
type station struct {
	*stack.Stack
	link   *channel.Endpoint
	faults faults
	ctx    context.Context
	cancel context.CancelFunc
}

const nic tcpip.NICID = 1

func newStation(t *testing.T, percent int) *station {
	s := &station{link: channel.New(512, ethernet.MaxFrame, tcpip.LinkAddress("\x02\x00\x00\x00\x00\x01"))}
	s.ctx, s.cancel = context.WithCancel(t.Context())
	s.Stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{arp.NewProtocol, ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol},
	})
	require.Nil(t, s.CreateNIC(nic, linkethernet.New(s.link)))
	require.Nil(t, s.AddProtocolAddress(nic, tcpip.ProtocolAddress{
		Protocol: ipv4.ProtocolNumber, AddressWithPrefix: tcpip.AddressWithPrefix{Address: stationAt, PrefixLen: 24},
	}, stack.AddressProperties{}))
	s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nic}})
	if percent > 0 { // it gives up after three requests, and a bad wire may lose all
		require.Nil(t, s.AddStaticNeighbor(nic, ipv4.ProtocolNumber, machineAt, tcpip.LinkAddress(machine.MAC[:])))
	}
	t.Cleanup(func() {
		s.cancel()
		s.Stack.Close()
		s.Stack.Wait()
		s.link.Close()
	})
	for i := range s.faults.ways {
		s.faults.ways[i].Percent, s.faults.ways[i].Random = percent, rand.New(rand.NewPCG(3, uint64(i)))
	}
	return s
}

// String implements vmm.Connection.
func (s *station) String() string { return "to a station" }

// Open implements vmm.Connection.
func (s *station) Open(log func(string, ...any)) (*ethernet.Port, error) {
	return ethernet.NewPort(machine.MAC, s, nil, log), nil
}

// ReadFrame implements ethernet.Backend.
func (s *station) ReadFrame(b []byte) (int, error) {
	return s.faults.ways[0].Next(b, func() []byte {
		packet := s.link.ReadContext(s.ctx)
		if packet == nil {
			return nil
		}
		defer packet.DecRef()
		var frame []byte
		for _, piece := range packet.AsSlices() {
			frame = append(frame, piece...)
		}
		return frame
	})
}

// WriteFrame implements ethernet.Backend.
func (s *station) WriteFrame(frame []byte) error {
	for _, f := range s.faults.ways[1].Pass(frame) {
		packet := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(f)})
		s.link.InjectInbound(0, packet)
		packet.DecRef()
	}
	return nil
}

// Close implements ethernet.Backend.
func (s *station) Close() error {
	s.cancel()
	return nil
}

// faults are what a wire does to frames, in each way.
type faults struct{ ways [2]badwire.Way }

// String says what was done.
func (f *faults) String() string {
	text := ""
	for i := range f.ways {
		w := &f.ways[i]
		text += fmt.Sprintf("%s: %d frames, %d lost, %d doubled, %d overtaken; ", [...]string{"in", "out"}[i],
			w.Frames.Load(), w.Lost.Load(), w.Doubled.Load(), w.Overtaken.Load())
	}
	return text
}

// frames is how many frames went, both ways.
func (f *faults) frames() int64 { return f.ways[0].Frames.Load() + f.ways[1].Frames.Load() }
