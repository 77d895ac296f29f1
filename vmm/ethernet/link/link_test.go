package link

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	guestnet "kapsel/guest/net"
	"kapsel/vmm/ethernet"
	"kapsel/vmm/ethernet/link/linktest"
)

// patience ends a test that hangs: far more than any takes.
const patience = time.Minute

// open opens the interface of a container's namespace.
func open(t *testing.T, n *linktest.Namespace, c Config) (l *Link, err error) {
	t.Helper()
	if c.Name == "" {
		c.Name = linktest.Guest
	}
	c.Log = t.Logf
	n.Do(func() { l, err = Open(c) })
	return l, err
}

// opened is open that has to work.
func opened(t *testing.T, n *linktest.Namespace, c Config) *Link {
	t.Helper()
	l, err := open(t, n, c)
	require.NoError(t, err)
	return l
}

// A guest is the TCP/IP that tasks have, on a Port of a Link.
type guest struct {
	*guestnet.Stack
	port  *ethernet.Port
	ready chan struct{}
}

func newGuest(t *testing.T, l *Link) *guest {
	g := &guest{new(guestnet.Stack), ethernet.NewPort(l.MAC(), l, nil, t.Logf), make(chan struct{}, 1)}
	t.Cleanup(func() { assert.NoError(t, g.port.Close()) })
	random := func() uint32 {
		var b [4]byte
		rand.Read(b[:])
		return binary.LittleEndian.Uint32(b[:])
	}
	require.NoError(t, g.Init(guestnet.Config{
		Hardware: guestnet.HardwareAddress(l.MAC()), MTU: int(g.port.MTU()), Random: random,
		Sockets: guestnet.MakeSockets(2, 8192), Conns: guestnet.MakeConns(4, 16384, 16384),
	}))
	g.port.Start(func() {
		select {
		case g.ready <- struct{}{}:
		default:
		}
	})
	return g
}

// until runs the guest until done.
func (g *guest) until(t *testing.T, done func() bool) {
	t.Helper()
	start := time.Now()
	now := func() guestnet.Time { return guestnet.Time(time.Since(start).Microseconds()) + 1 }
	var frame [ethernet.MaxFrame]byte
	for !done() {
		require.Less(t, time.Since(start), patience)
		for n := g.port.Receive(&frame); n > 0; n = g.port.Receive(&frame) {
			g.Input(frame[:n], now())
		}
		for n := g.Output(frame[:], now()); n > 0; n = g.Output(frame[:], now()) {
			g.port.Send(frame[:n])
		}
		select {
		case <-g.ready:
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// bind has the guest get its address.
func (g *guest) bind(t *testing.T) guestnet.Lease {
	t.Helper()
	g.StartDHCP(1)
	var lease guestnet.Lease
	g.until(t, func() (ok bool) { lease, ok = g.Lease(); return ok })
	return lease
}

// TestGuestIsReached: a guest gets its address, router and resolver by DHCP, and is reached from the other end of a veth pair by TCP, with much in both directions, and by
// UDP. The other end computes no checksums, and sends long frames that are to be taken apart.
func TestGuestIsReached(t *testing.T) {
	container, host := linktest.Pair(t)
	l := opened(t, container, Config{Resolvers: []netip.Addr{netip.MustParseAddr("10.96.0.10")}})
	assert.Equal(t, linktest.GuestMAC, l.MAC().String())
	g := newGuest(t, l)
	lease := g.bind(t)
	assert.Equal(t, guestnet.Address{10, 88, 0, 5}, lease.Address)
	assert.Equal(t, 24, lease.Bits)
	assert.Equal(t, guestnet.Address{10, 88, 0, 1}, lease.Gateway)
	assert.Equal(t, guestnet.Address{10, 96, 0, 10}, lease.DNS)
	assert.Equal(t, guestnet.Forever, lease.End)

	const much = 1 << 20
	sent := make([]byte, much)
	rand.Read(sent)
	back := make(chan []byte, 1)
	listener, err := g.Listen(80)
	require.NoError(t, err)
	go host.Do(func() {
		c, err := net.DialTimeout("tcp", linktest.GuestAddress+":80", patience)
		if !assert.NoError(t, err) {
			back <- nil
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		go func() {
			c.Write(sent)
			c.(*net.TCPConn).CloseWrite()
		}()
		got, err := io.ReadAll(c)
		assert.NoError(t, err)
		back <- got
	})
	var conn *guestnet.Conn
	var got []byte
	piece := make([]byte, 4096)
	g.until(t, func() bool { // an echo
		if conn == nil {
			if conn = listener.Accept(); conn == nil {
				return false
			}
		}
		for {
			n, err := conn.Read(piece[:min(len(piece), conn.Writable())])
			for rest := piece[:n]; len(rest) > 0; {
				w, _ := conn.Write(rest)
				rest = rest[w:]
			}
			if err != nil {
				conn.Close()
			}
			if n == 0 {
				break
			}
		}
		select {
		case got = <-back:
			return true
		default:
			return false
		}
	})
	assert.True(t, bytes.Equal(sent, got), "%d of %d bytes came back, or others", len(got), len(sent))

	socket, err := g.Open(7)
	require.NoError(t, err)
	answered := make(chan string, 1)
	go host.Do(func() {
		c, err := net.Dial("udp", linktest.GuestAddress+":7")
		if assert.NoError(t, err) {
			defer c.Close()
			c.SetDeadline(time.Now().Add(patience))
			c.Write([]byte("hello"))
			line, _ := bufio.NewReader(c).ReadString('o')
			answered <- line
		}
	})
	g.until(t, func() bool {
		for size, from, ok, _ := socket.ReceiveFrom(piece); ok; size, from, ok, _ = socket.ReceiveFrom(piece) {
			socket.SendTo(piece[:size], from)
		}
		select {
		case line := <-answered:
			assert.Equal(t, "hello", line)
			return true
		default:
			return false
		}
	})
}

// wire is the host's end of the pair: a packet socket.
func wire(t *testing.T, host *linktest.Namespace) *os.File {
	var fd int
	var err error
	host.Do(func() {
		var i *net.Interface
		if i, err = net.InterfaceByName(linktest.Host); err != nil {
			return
		}
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err == nil {
			err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
				unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: i.Index, Protocol: networkOrder(unix.ETH_P_ALL)}))
		}
	})
	require.NoError(t, err)
	f := os.NewFile(uintptr(fd), "host's packet socket")
	require.NoError(t, f.SetDeadline(time.Now().Add(patience)))
	t.Cleanup(func() { f.Close() })
	return f
}

var hostMAC = ethernet.MAC{2, 0x58, 0, 0, 0, 1}

// frameFor is a frame to the guest, of a type.
func frameFor(to ethernet.MAC, kind uint16, payload []byte) []byte {
	f := append(append([]byte{}, to[:]...), hostMAC[:]...)
	f = append(binary.BigEndian.AppendUint16(f, kind), payload...)
	return append(f, make([]byte, max(0, 60-len(f)))...)
}

// question is an ARP request for the guest's address.
func question() []byte {
	p := append([]byte(arpStart), 0, 1)
	p = append(append(p, hostMAC[:]...), netip.MustParseAddr(linktest.HostAddress).AsSlice()...)
	p = append(append(p, make([]byte, 6)...), netip.MustParseAddr(linktest.GuestAddress).AsSlice()...)
	return frameFor(ethernet.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, typeARP, p)
}

// packet is one of IPv4 between the two.
func packet(from, to string, protocol byte, rest []byte) []byte {
	p := make([]byte, ipHeader, ipHeader+len(rest))
	p[0], p[ipTTL], p[ipProtocol] = 0x45, 64, protocol
	copy(p[ipFrom:], netip.MustParseAddr(from).AsSlice())
	copy(p[ipTo:], netip.MustParseAddr(to).AsSlice())
	p = append(p, rest...)
	setLengths(p, ipHeader)
	return p
}

// knock is a SYN to a port at which nobody listens.
func knock() []byte {
	s := make([]byte, tcpHeader)
	copy(s, "\x30\x39\x00\x63\x00\x00\x00\x01\x00\x00\x00\x00\x50\x02\x20\x00")
	return frameFor(guestMAC, typeIPv4, packet(linktest.HostAddress, linktest.GuestAddress, protocolTCP, s))
}

var guestMAC, _ = ethernet.ParseMAC(linktest.GuestMAC)

const typeTest = 0x88b5 // IEEE 802's EtherType for local experiments

// heard reads the host's end until a frame of the wanted type from the container, and returns what kinds of answers came before it.
func heard(t *testing.T, f *os.File, want func(frame []byte) bool) (kinds []string) {
	buffer := make([]byte, 1<<16)
	for {
		n, err := f.Read(buffer)
		require.NoError(t, err)
		frame := buffer[:n]
		if want(frame) {
			return kinds
		}
		switch binary.BigEndian.Uint16(frame[etherType:]) {
		case typeARP:
			if frame[ethernet.HeaderSize+7] == 2 {
				kinds = append(kinds, "ARP")
			}
		case typeIPv4:
			if frame[ethernet.HeaderSize+ipProtocol] == protocolTCP {
				kinds = append(kinds, "TCP")
			}
		}
	}
}

// TestHostIsSilent: what the host's stack answers at an interface, it does not answer when the interface is a guest's, and again afterwards. Addresses and routes stay all the time.
func TestHostIsSilent(t *testing.T) {
	container, host := linktest.Pair(t)
	container.IP(t, "neigh", "add", linktest.HostAddress, "lladdr", hostMAC.String(), "dev", linktest.Guest, "nud", "permanent")
	f := wire(t, host)
	isReset := func(frame []byte) bool {
		return binary.BigEndian.Uint16(frame[etherType:]) == typeIPv4 && frame[ethernet.HeaderSize+ipProtocol] == protocolTCP
	}
	ask := func() {
		_, err := f.Write(question())
		require.NoError(t, err)
		_, err = f.Write(knock())
		require.NoError(t, err)
	}
	addresses := func() string {
		return container.IP(t, "-4", "addr", "show", "dev", linktest.Guest) + container.IP(t, "route")
	}
	before := addresses()
	ask()
	assert.Equal(t, []string{"ARP"}, heard(t, f, isReset), "the host answers: without that this test would say nothing")

	l := opened(t, container, Config{})
	assert.Equal(t, before, addresses())
	buffer := make([]byte, ethernet.MaxFrame)
	for range 20 {
		ask()
		for _, want := range [][]byte{question(), knock()} {
			n, err := l.ReadFrame(buffer)
			require.NoError(t, err)
			assert.Equal(t, want, buffer[:n])
		}
	}
	_, err := l.socket.Write(append(make([]byte, virtioHeaderSize), frameFor(hostMAC, typeTest, nil)...))
	require.NoError(t, err)
	marked := func(frame []byte) bool { return binary.BigEndian.Uint16(frame[etherType:]) == typeTest }
	assert.Empty(t, heard(t, f, marked), "nobody but the guest answers")
	require.NoError(t, l.Close())

	assert.Equal(t, before, addresses())
	ask()
	assert.Equal(t, []string{"ARP"}, heard(t, f, isReset))
}

// TestKilledMachineLeavesNothing: the interface is the host's again when the process that had it is killed.
func TestKilledMachineLeavesNothing(t *testing.T) {
	container, _ := linktest.Pair(t)
	child := exec.Command(os.Args[0], "-test.run=^TestHolder$", "-test.v")
	child.Env = append(os.Environ(), "KAPSEL_LINK="+linktest.Guest)
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	container.Do(func() { err = child.Start() })
	require.NoError(t, err)
	defer child.Wait()
	defer child.Process.Kill()
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.Contains(lines.Text(), "holds it") {
	}
	require.NoError(t, lines.Err())
	_, err = open(t, container, Config{})
	require.ErrorContains(t, err, `interface "eth0" is another machine's`)
	require.NoError(t, child.Process.Kill())
	require.Eventually(t, func() bool {
		l, err := open(t, container, Config{})
		return err == nil && l.Close() == nil
	}, patience, 10*time.Millisecond)
}

// TestHolder is the process that TestKilledMachineLeavesNothing kills.
func TestHolder(t *testing.T) {
	name := os.Getenv("KAPSEL_LINK")
	if name == "" {
		return
	}
	_, err := Open(Config{Name: name})
	require.NoError(t, err)
	os.Stdout.WriteString("holds it\n")
	time.Sleep(patience)
}

// TestTagsStayOutside: what is of a VLAN on the wire is not the guest's, nor is what goes to others; priority alone is no VLAN.
func TestTagsStayOutside(t *testing.T) {
	container, host := linktest.Pair(t)
	f := wire(t, host)
	l := opened(t, container, Config{})
	defer l.Close()
	arp := question()
	tagged := func(tci uint16) []byte {
		tag := binary.BigEndian.AppendUint16([]byte{0x81, 0x00}, tci)
		return append(append(append([]byte{}, arp[:etherType]...), tag...), arp[etherType:]...)
	}
	other := frameFor(ethernet.MAC{2, 0, 0, 0, 0, 9}, typeARP, arp[ethernet.HeaderSize:])
	for _, frame := range [][]byte{tagged(5), tagged(0xe005), other, frameFor(guestMAC, 0x86dd, make([]byte, 40)), tagged(0xe000)} {
		_, err := f.Write(frame)
		require.NoError(t, err)
	}
	buffer := make([]byte, ethernet.MaxFrame)
	n, err := l.ReadFrame(buffer)
	require.NoError(t, err)
	assert.Equal(t, arp, buffer[:n], "the last, without its tag")
	assert.GreaterOrEqual(t, l.foreign.Load(), uint64(4))
}

// TestInterfaceGoesDownAndComesAgain: what is lost meanwhile is lost, and the next frame passes.
func TestInterfaceGoesDownAndComesAgain(t *testing.T) {
	container, host := linktest.Pair(t)
	f := wire(t, host)
	l := opened(t, container, Config{})
	defer l.Close()
	container.IP(t, "link", "set", linktest.Guest, "down")
	probe := append(append([]byte{}, question()[:6]...), append(append([]byte{}, guestMAC[:]...), question()[etherType:]...)...)
	copy(probe[ethernet.HeaderSize+arpFromMAC:], guestMAC[:])
	copy(probe[ethernet.HeaderSize+arpFrom:], netip.MustParseAddr(linktest.GuestAddress).AsSlice())
	assert.ErrorIs(t, l.WriteFrame(probe), unix.ENETDOWN)
	container.IP(t, "link", "set", linktest.Guest, "up")
	got := make(chan error, 1)
	go func() {
		_, err := l.ReadFrame(make([]byte, ethernet.MaxFrame))
		got <- err
	}()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for { // until the carrier is back
		f.Write(question())
		select {
		case err := <-got:
			require.NoError(t, err)
			return
		case <-again.C:
		}
	}
}

// TestReadsTheInterface: what the host says of an interface is what the guest is told.
func TestReadsTheInterface(t *testing.T) {
	container, _ := linktest.Pair(t)
	container.IP(t, "route", "add", "10.128.0.0/9", "via", "10.88.0.9")
	container.IP(t, "route", "add", "192.0.2.0/24", "dev", linktest.Guest)
	container.IP(t, "route", "add", "default", "via", "10.88.0.8", "metric", "100")
	container.IP(t, "route", "add", "blackhole", "198.51.100.0/24")
	container.IP(t, "addr", "add", "10.99.0.5/16", "dev", linktest.Guest)
	container.IP(t, "link", "set", linktest.Guest, "mtu", "1450")
	var f *hostInterface
	var err error
	container.Do(func() { f, err = readInterface(linktest.Guest) })
	require.NoError(t, err)
	assert.Equal(t, "10.88.0.5/24", f.address.String())
	assert.Equal(t, linktest.HostAddress, f.router.String())
	assert.Equal(t, 1450, f.mtu)
	var routes []string
	for _, r := range f.routes {
		routes = append(routes, r.To.String()+" "+r.Via.String())
	}
	assert.ElementsMatch(t, []string{"10.128.0.0/9 10.88.0.9", "192.0.2.0/24 invalid IP", "10.99.0.0/16 invalid IP"}, routes)
	l := opened(t, container, Config{})
	port := ethernet.NewPort(l.MAC(), l, nil, t.Logf)
	assert.EqualValues(t, 1450, port.MTU())
	require.NoError(t, port.Close())
}

// TestAddressAlone is an interface as Calico makes it: a network of one address, and a router outside of it.
func TestAddressAlone(t *testing.T) {
	container, _ := linktest.Pair(t)
	container.IP(t, "addr", "flush", "dev", linktest.Guest)
	container.IP(t, "addr", "add", "10.88.0.5/32", "dev", linktest.Guest)
	container.IP(t, "route", "add", "169.254.1.1", "dev", linktest.Guest, "scope", "link")
	container.IP(t, "route", "add", "default", "via", "169.254.1.1", "dev", linktest.Guest)
	lease := newGuest(t, opened(t, container, Config{})).bind(t)
	assert.Equal(t, guestnet.Address{10, 88, 0, 5}, lease.Address)
	assert.Equal(t, 32, lease.Bits)
	assert.Equal(t, guestnet.Address{169, 254, 1, 1}, lease.Gateway)
}

func TestFind(t *testing.T) {
	var unfit []error
	find := func(n *linktest.Namespace) (name string) {
		n.Do(func() {
			var err error
			name, unfit, err = Find()
			assert.NoError(t, err)
		})
		return name
	}
	assert.Empty(t, find(linktest.New(t)), "the loopback alone")
	container, host := linktest.Pair(t)
	assert.Equal(t, linktest.Host, find(host), "without a way to everywhere, the first")
	container.IP(t, "link", "add", "net0", "type", "veth", "peer", "name", "net1")
	container.IP(t, "link", "set", "net0", "up")
	container.IP(t, "addr", "add", "10.77.0.5/24", "dev", "net0")
	assert.Equal(t, linktest.Guest, find(container), "the one that leads everywhere")
	container.IP(t, "route", "del", "default")
	container.IP(t, "route", "add", "default", "via", "10.77.0.1")
	assert.Equal(t, "net0", find(container))

	other := linktest.New(t)
	other.IP(t, "tuntap", "add", "dev", "tun0", "mode", "tun")
	assert.Empty(t, find(other))
	assert.Empty(t, unfit, "nobody has given what is down")
	other.IP(t, "link", "set", "tun0", "up")
	assert.Empty(t, find(other))
	if assert.Len(t, unfit, 1, "not the loopback") {
		assert.EqualError(t, unfit[0], `interface "tun0" is none of Ethernet: want one with a MAC address, as a veth`)
	}
}

// TestOpenSaysWhatToDo is what keeps an interface from a guest.
func TestOpenSaysWhatToDo(t *testing.T) {
	container, _ := linktest.Pair(t)
	for _, test := range []struct {
		name, iface string
		before      []string
		want        string
	}{
		{"no interface", "eth7", nil, `no interface "eth7" in this network namespace: ip link lists those that are there`},
		{"the loopback", "lo", nil, `interface "lo" is none of Ethernet: want one with a MAC address, as a veth`},
		{"a short MTU", "eth0", []string{"link", "set", "eth0", "mtu", "500"}, `interface "eth0" has an MTU of 500: want 576 or more, as by ip link set eth0 mtu 1500`},
		{"no address", "net0", []string{"link", "add", "net0", "up", "type", "veth"}, `interface "net0" has no IPv4 address, which the guest would get: ip addr add ADDRESS/BITS dev net0`},
		{"down", "eth0", []string{"link", "set", "eth0", "down"}, `interface "eth0" is down: ip link set eth0 up`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.before != nil {
				container.IP(t, test.before...)
			}
			_, err := open(t, container, Config{Name: test.iface})
			assert.EqualError(t, err, test.want)
		})
	}
}

// TestOneMachineHasAnInterface: a second is refused, and the first goes on.
func TestOneMachineHasAnInterface(t *testing.T) {
	container, _ := linktest.Pair(t)
	l := opened(t, container, Config{})
	_, err := open(t, container, Config{})
	assert.ErrorContains(t, err, `interface "eth0" is another machine's`)
	assert.Equal(t, guestnet.Address{10, 88, 0, 5}, newGuest(t, l).bind(t).Address)
}

// unprivileged runs f on the namespace's thread without its capabilities in effect.
func unprivileged(t *testing.T, n *linktest.Namespace, f func()) {
	n.Do(func() {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var had [2]unix.CapUserData
		require.NoError(t, unix.Capget(&header, &had[0]))
		none := had
		none[0].Effective, none[1].Effective = 0, 0
		require.NoError(t, unix.Capset(&header, &none[0]))
		f()
		require.NoError(t, unix.Capset(&header, &had[0]))
	})
}

// TestWithoutPrivilege: a thread without capabilities is told which it lacks.
func TestWithoutPrivilege(t *testing.T) {
	container, _ := linktest.Pair(t)
	var err error
	unprivileged(t, container, func() { _, err = Open(Config{Name: linktest.Guest}) })
	assert.ErrorContains(t, err, "want one that no machine has, and CAP_NET_ADMIN in this network namespace")
}

// TestSocketsAreOfNoUseWithoutPrivilege: who has the socket of nf_tables, and no capability any more, changes nothing by it.
func TestSocketsAreOfNoUseWithoutPrivilege(t *testing.T) {
	container, _ := linktest.Pair(t)
	l := opened(t, container, Config{})
	fd := int(l.silence.Fd())
	var err error
	more := func() {
		if _, err = unix.Write(fd, silencing("lo")); err == nil {
			err = acknowledged(fd)
		}
	}
	unprivileged(t, container, more)
	assert.ErrorIs(t, err, unix.EPERM)
	more()
	assert.NoError(t, err, "with capabilities it would")
	require.NoError(t, l.Close())
}

func TestSilenceErrorsSayWhatToDo(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{unix.EEXIST, `interface "eth0" is another machine's`},
		{unix.EOPNOTSUPP, "want nf_tables with the family netdev, of Linux 5.12 or later: load it (modprobe nf_tables), or take --net tap="},
		{unix.ENOMEM, `interface "eth0": nf_tables: cannot allocate memory`},
	} {
		assert.ErrorContains(t, silenceError("eth0", test.err), test.want)
	}
}

func TestParseResolvers(t *testing.T) {
	text := "# of a container\nsearch default.svc\nnameserver 10.96.0.10\nnameserver\t1.1.1.1 \nnameserver ::1\nnameserver 127.0.0.53\nnameserver\nnameserver x\n;nameserver 9.9.9.9\noptions ndots:5"
	assert.Equal(t, []netip.Addr{netip.MustParseAddr("10.96.0.10"), netip.MustParseAddr("1.1.1.1")}, ParseResolvers([]byte(text)))
	assert.Empty(t, ParseResolvers(nil))
}
