package link

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"kapsel/vmm/ethernet"
	"kapsel/vmm/ethernet/dhcp"
)

// A hostInterface is what the host says of one.
type hostInterface struct {
	name    string
	index   int
	mtu     int
	mac     ethernet.MAC
	address netip.Prefix // its first of IPv4
	router  netip.Addr   // of the best way to everywhere by it; zero: none
	routes  []dhcp.Route // the others, but for the one to the address's own network
}

// leastMTU is the shortest that IPv4 knows of (RFC 791, 3.1).
const leastMTU = 576

// readInterface asks for an interface, in the network namespace of the calling thread.
func readInterface(name string) (*hostInterface, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("no interface %q in this network namespace: ip link lists those that are there", name)
	}
	f := &hostInterface{name: name, index: i.Index, mtu: i.MTU}
	switch {
	case i.Flags&net.FlagLoopback != 0 || len(i.HardwareAddr) != len(f.mac):
		return nil, fmt.Errorf("interface %q is none of Ethernet: want one with a MAC address, as a veth", name)
	case i.Flags&net.FlagUp == 0:
		return nil, fmt.Errorf("interface %q is down: ip link set %[1]s up", name)
	case i.MTU < leastMTU:
		return nil, fmt.Errorf("interface %q has an MTU of %d: want %d or more, as by ip link set %[1]s mtu 1500", name, i.MTU, leastMTU)
	}
	f.mac = ethernet.MAC(i.HardwareAddr)
	if f.address, err = firstAddress(i); err != nil {
		return nil, fmt.Errorf("interface %q: %w", name, err)
	}
	if !f.address.IsValid() {
		return nil, fmt.Errorf("interface %q has no IPv4 address, which the guest would get: ip addr add ADDRESS/BITS dev %[1]s", name)
	}
	all, err := readRoutes()
	if err != nil {
		return nil, fmt.Errorf("interface %q: routes: %w", name, err)
	}
	f.setRoutes(all)
	return f, nil
}

// firstAddress is the first IPv4 address of an interface, in the order in which they were added; the zero value if it has none.
func firstAddress(i *net.Interface) (netip.Prefix, error) {
	addresses, err := i.Addrs()
	if err != nil {
		return netip.Prefix{}, err
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok {
			if v4 := n.IP.To4(); v4 != nil {
				bits, _ := n.Mask.Size()
				return netip.PrefixFrom(netip.AddrFrom4([4]byte(v4)), bits), nil
			}
		}
	}
	return netip.Prefix{}, nil
}

// A hostRoute is a route of the host.
type hostRoute struct {
	dhcp.Route
	index  int
	metric uint32
}

// readRoutes returns the IPv4 routes of the main table that lead out by one interface (rtnetlink(7), RTM_GETROUTE), in the kernel's order.
func readRoutes() ([]hostRoute, error) {
	answer, err := syscall.NetlinkRIB(unix.RTM_GETROUTE, unix.AF_INET)
	if err != nil {
		return nil, err
	}
	messages, err := syscall.ParseNetlinkMessage(answer)
	if err != nil {
		return nil, err
	}
	var routes []hostRoute
	for i := range messages {
		if r, ok := parseRoute(&messages[i]); ok {
			routes = append(routes, r)
		}
	}
	return routes, nil
}

// parseRoute reads a route of the main table, from one network to another by one interface.
func parseRoute(m *syscall.NetlinkMessage) (r hostRoute, ok bool) {
	const toBits, table, kind = 1, 4, 7 // in struct rtmsg
	if m.Header.Type != unix.RTM_NEWROUTE || len(m.Data) < unix.SizeofRtMsg || m.Data[table] != unix.RT_TABLE_MAIN || m.Data[kind] != unix.RTN_UNICAST {
		return r, false
	}
	attributes, err := syscall.ParseNetlinkRouteAttr(m)
	if err != nil {
		return r, false
	}
	to := netip.IPv4Unspecified()
	for _, a := range attributes {
		if len(a.Value) != 4 {
			continue
		}
		switch a.Attr.Type {
		case unix.RTA_DST:
			to = address(a.Value)
		case unix.RTA_GATEWAY:
			r.Via = address(a.Value)
		case unix.RTA_OIF:
			r.index = int(binary.NativeEndian.Uint32(a.Value))
		case unix.RTA_PRIORITY:
			r.metric = binary.NativeEndian.Uint32(a.Value)
		}
	}
	r.To = netip.PrefixFrom(to, int(m.Data[toBits]))
	return r, r.index != 0 && r.To.IsValid()
}

// setRoutes takes what of all routes leads out by the interface.
func (f *hostInterface) setRoutes(all []hostRoute) {
	var best uint32
	for _, r := range all {
		switch {
		case r.index != f.index || !r.Via.IsValid() && r.To == f.address.Masked():
		case r.To.Bits() != 0:
			f.routes = append(f.routes, r.Route)
		case r.Via.IsValid() && (!f.router.IsValid() || r.metric < best):
			f.router, best = r.Via, r.metric
		}
	}
}

// Find returns the name of the interface that a container's guest should have, in the network namespace of the calling thread: of those that Open takes the one by
// which everywhere is reached, else the first; "" if there is none. unfit says of those that are up, but for the loopback, what Open wants of them. Others nobody has given: Linux
// puts interfaces for tunnels into each namespace.
func Find() (name string, unfit []error, err error) {
	all, err := net.Interfaces()
	if err != nil {
		return "", nil, err
	}
	for _, i := range all {
		f, err := readInterface(i.Name)
		switch {
		case err != nil && i.Flags&net.FlagUp != 0 && i.Flags&net.FlagLoopback == 0:
			unfit = append(unfit, err)
		case err != nil:
		case f.router.IsValid():
			return f.name, unfit, nil
		case name == "":
			name = f.name
		}
	}
	return name, unfit, nil
}

// resolvConf is where the host says who resolves names (resolv.conf(5)).
const resolvConf = "/etc/resolv.conf"

// ParseResolvers reads the resolvers of a resolv.conf that a guest can ask: of IPv4, and not at the loopback, which is another one there.
func ParseResolvers(text []byte) []netip.Addr {
	var all []netip.Addr
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil && a.Is4() && !a.IsLoopback() && !a.IsUnspecified() {
			all = append(all, a)
		}
	}
	return all
}
