// Package node is a TCP/IP stack on the machine's network: what the main of a task opens, and waits with. It is the one place of
// guest/net that makes system calls.
//
//	n, err := node.Open(node.Config{Conns: net.MakeConns(8, 2048, 2048)})
//	listener, err := n.Listen(80)
//	for {
//		n.Wait(until)
//		... listener.Accept, conn.Read, conn.Write: none of them waits ...
//	}
package node

import (
	"kapsel/guest/abi"
	"kapsel/guest/net"
	"kapsel/guest/task"
)

// A Config says what a node is to be.
type Config struct {
	// Name is the host's name, of at most 63 bytes, for DHCP; it may be empty.
	Name string
	// Address is the node's own, with the bits of its netmask, and Gateway is where other networks are, if anywhere. Without
	// an Address the node gets all three by DHCP.
	Address net.Address
	Bits    int
	Gateway net.Address
	// Sockets are the pool of UDP sockets, and Conns that of TCP connections.
	Sockets []net.Socket
	Conns   []net.Conn
}

// An Error is why there is no node.
type Error string

func (e Error) Error() string { return string(e) }

// Errors of Open, apart from those of package net.
const (
	ErrNoNetwork Error = "the machine has no network (kapsel run --net user)"
	ErrNoEntropy Error = "neither machine nor processor has random numbers, without which strangers could forge connections (kapsel run --rng)"
)

// frames is how many of the largest frames may come between two calls of Wait. More are dropped.
const frames = 16

// Memory is how many bytes of the heap a node takes for frames on their way: those that come, twice, and two that go. What its stack and
// its pools take is in docs/network.md.
const Memory = 2*(frames*(abi.TapHeaderSize+task.MaxFrame)+abi.StreamHeaderSize) + 2*task.MaxFrame

// A Node is a stack with its network. There is one in a task.
type Node struct {
	net.Stack
	ethernet *task.Ethernet
	out      [task.MaxFrame]byte // the frame that is sent next
	random   [32]uint32          // numbers that nobody has got yet
	left     int                 // how many of them
}

// Now returns the time, for calls of the stack.
func Now() net.Time { return net.Time(task.Now()) }

// Open opens the machine's network. Without random numbers it is refused: whoever can foresee the numbers that connections begin with
// can speak in the name of others (RFC 9293, 3.4.1). The error is ErrNoNetwork, ErrNoEntropy, one of package net, or one of
// the kernel's.
func Open(c Config) (*Node, error) {
	if task.Command(abi.DriverEthernetTap, 0, 0, 0).Err() != nil {
		return nil, ErrNoNetwork
	}
	n := new(Node)
	if !n.refill() {
		return nil, ErrNoEntropy
	}
	var err error
	if n.ethernet, err = task.OpenEthernet(frames); err != nil {
		return nil, err
	}
	mtu, _ := n.ethernet.Link()
	if err = n.Init(net.Config{
		Hardware: n.ethernet.Address(), MTU: min(mtu, net.MaxMTU), Name: c.Name, Random: n.number, Sockets: c.Sockets, Conns: c.Conns,
	}); err != nil {
		return nil, err
	}
	if c.Address == (net.Address{}) {
		n.StartDHCP(Now())
		return n, nil
	}
	return n, n.SetAddress(c.Address, c.Bits, c.Gateway, Now())
}

// Wait sends what there is to send, and takes what has come; if nothing has, it waits for that, but not beyond a time. It may return
// earlier. An error says that it cannot wait: the machine has no network any more, or no alarm.
func (n *Node) Wait(until net.Time) error {
	n.Flush()
	if at, ok := n.Deadline(); ok {
		until = min(until, at)
	}
	err := n.ethernet.Wait(uint64(until))
	for range frames {
		frame, ok := n.ethernet.Next()
		if !ok {
			break
		}
		n.Input(frame, Now())
	}
	return err
}

// Sending reports whether a frame is being sent.
func (n *Node) Sending() bool { return n.ethernet.Sending() }

// Flush sends what there is to send, and takes nothing. While a frame goes out the next one waits for it.
func (n *Node) Flush() {
	for size := n.Output(n.out[:], Now()); size > 0; size = n.Output(n.out[:], Now()) {
		n.ethernet.Flush() // a frame that was lost is TCP's to send again
		n.ethernet.Send(n.out[:size])
	}
}

// number returns a random number.
func (n *Node) number() uint32 {
	if n.left == 0 && !n.refill() {
		panic("node: the machine has no random numbers any more")
	}
	n.left--
	return n.random[n.left]
}

// refill gets random numbers, and reports whether it could.
func (n *Node) refill() bool {
	var b [len(n.random) * 4]byte
	if task.Entropy(b[:]) != nil {
		return false
	}
	for i := range n.random {
		n.random[i] = uint32(b[4*i]) | uint32(b[4*i+1])<<8 | uint32(b[4*i+2])<<16 | uint32(b[4*i+3])<<24
	}
	n.left = len(n.random)
	return true
}
