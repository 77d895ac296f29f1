package user

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Rule allows a guest to reach ports of hosts, by TCP and by UDP.
type Rule struct {
	// Hosts are addresses; zero if the rule has a name.
	Hosts netip.Prefix
	// Name is one of DNS in small letters, or *.NAME for all names below it.
	Name string
	// First and Last are the bounds of the ports.
	First, Last uint16
}

// everything is what a rule for any host has.
var everything = netip.PrefixFrom(netip.IPv4Unspecified(), 0)

// ParseRule reads a rule as HOST:PORTS. HOST is a name, *.NAME for all names below it, an IPv4 address, a network as
// 10.1.0.0/16, or * for any host; PORTS is a port, a range as 8000-8080, or * for all.
func ParseRule(text string) (Rule, error) {
	at := strings.LastIndexByte(text, ':')
	if at < 0 {
		return Rule{}, fmt.Errorf("want HOST:PORTS as example.com:443, 10.1.0.0/16:* or *:80, found %q", text)
	}
	var r Rule
	var err error
	if r.First, r.Last, err = parsePorts(text[at+1:]); err != nil {
		return Rule{}, err
	}
	hosts := text[:at]
	name := strings.TrimSuffix(hosts, ".")
	switch {
	case hosts == "*":
		r.Hosts = everything
	case strings.Contains(hosts, ":"):
		return Rule{}, fmt.Errorf("%q: want an IPv4 address or a name; a guest has no IPv6", hosts)
	case strings.Contains(hosts, "/"):
		r.Hosts, err = parseNetwork(hosts)
	case isAddress(name):
		var address netip.Addr
		if address, err = netip.ParseAddr(hosts); err != nil {
			return Rule{}, fmt.Errorf("want an IPv4 address as 10.1.2.3, found %q", hosts)
		}
		r.Hosts = netip.PrefixFrom(address, address.BitLen())
	default:
		r.Name = strings.ToLower(name)
		err = checkName(strings.TrimPrefix(r.Name, "*."))
	}
	if err != nil {
		return Rule{}, err
	}
	return r, nil
}

// parsePorts reads a port, a range, or * for all.
func parsePorts(text string) (first, last uint16, err error) {
	if text == "*" {
		return 1, 65535, nil
	}
	from, to, isRange := strings.Cut(text, "-")
	if !isRange {
		to = from
	}
	if first, err = parsePort(from); err == nil {
		last, err = parsePort(to)
	}
	if err == nil && first > last {
		err = fmt.Errorf("want ports from the lower to the higher, found %q", text)
	}
	return first, last, err
}

// parsePort reads a port's number in decimal.
func parsePort(text string) (uint16, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 || text[0] == '0' || text[0] == '+' {
		return 0, fmt.Errorf("want a port from 1 to 65535, found %q", text)
	}
	return uint16(port), nil
}

// parseNetwork reads a network of IPv4.
func parseNetwork(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil || !p.Addr().Is4():
		return p, fmt.Errorf("want a network of IPv4 as 10.1.0.0/16, found %q", text)
	case p != p.Masked():
		return p, fmt.Errorf("want a network as %s, or one address as %s, found %q", p.Masked(), p.Addr(), text)
	}
	return p, nil
}

// isAddress reports whether a host is meant as an address: a name's last label is no number.
func isAddress(host string) bool {
	last := host[strings.LastIndexByte(host, '.')+1:]
	return last != "" && strings.Trim(last, "0123456789") == ""
}

// checkName says why a name is none of DNS, in the letters that names of hosts have (RFC 1123, 2.1; and _).
func checkName(name string) error {
	wrong := fmt.Errorf("want a host's name as example.com, found %q", name)
	if len(name) == 0 || len(name) > 253 {
		return wrong
	}
	for label := range strings.SplitSeq(name, ".") {
		if len(label) == 0 || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return wrong
		}
		if label[0] == '-' || label[len(label)-1] == '-' {
			return wrong
		}
	}
	return nil
}

// String writes the rule as ParseRule reads it.
func (r Rule) String() string {
	hosts := r.Name
	switch {
	case hosts != "":
	case r.Hosts == everything:
		hosts = "*"
	case r.Hosts.IsSingleIP():
		hosts = r.Hosts.Addr().String()
	default:
		hosts = r.Hosts.String()
	}
	switch {
	case r.First == 1 && r.Last == 65535:
		return hosts + ":*"
	case r.First == r.Last:
		return fmt.Sprintf("%s:%d", hosts, r.First)
	}
	return fmt.Sprintf("%s:%d-%d", hosts, r.First, r.Last)
}

// hasName reports whether the rule is about a name, which is in small letters.
func (r Rule) hasName(name string) bool {
	if below, any := strings.CutPrefix(r.Name, "*"); any {
		return strings.HasSuffix(name, below) && len(name) > len(below)
	}
	return r.Hosts == everything || r.Name == name && name != ""
}

// Addresses of names, which the guest may use for as long as keepTime after it asked for them.
const (
	maxKept  = 1024 // for each rule
	keepTime = time.Hour
)

// egress decides what a guest may reach.
type egress struct {
	rules []Rule
	own   func() ([]netip.Addr, error)
	now   func() time.Time

	mu   sync.Mutex
	kept []map[netip.Addr]time.Time // for each rule with a name: addresses, and until when
}

func newEgress(rules []Rule, own func() ([]netip.Addr, error)) *egress {
	e := &egress{rules: rules, own: own, now: time.Now}
	for range rules {
		e.kept = append(e.kept, make(map[netip.Addr]time.Time))
	}
	return e
}

// allows reports whether the guest may reach a port of a host.
func (e *egress) allows(to netip.AddrPort) bool {
	return e.hasRule(to) && !e.isOfHost(to.Addr()) || e.isNamed(to)
}

// isNamed reports whether a rule has exactly this address.
func (e *egress) isNamed(to netip.AddrPort) bool {
	for _, r := range e.rules {
		if r.hasPort(to.Port()) && r.Hosts.IsSingleIP() && r.Hosts.Addr() == to.Addr() {
			return isHost(to.Addr())
		}
	}
	return false
}

// hasRule reports whether some rule has the port and the address, or a name that led to the address.
func (e *egress) hasRule(to netip.AddrPort) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, r := range e.rules {
		if r.hasPort(to.Port()) && (r.Hosts.Contains(to.Addr()) || e.now().Before(e.kept[i][to.Addr()])) {
			return true
		}
	}
	return false
}

func (r Rule) hasPort(port uint16) bool { return r.First <= port && port <= r.Last }

// allowsName reports whether the guest may ask for a name.
func (e *egress) allowsName(name string) bool {
	for _, r := range e.rules {
		if r.hasName(name) {
			return true
		}
	}
	return false
}

// keep takes the addresses that a name has now, and returns those that it may have for the guest.
// A name does not lead to the host itself, whoever serves it.
func (e *egress) keep(name string, addresses []netip.Addr) []netip.Addr {
	var usable []netip.Addr
	for _, a := range addresses {
		if a = a.Unmap(); a.Is4() && !e.isOfHost(a) {
			usable = append(usable, a)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, r := range e.rules {
		if r.Name == "" || !r.hasName(name) {
			continue
		}
		for _, a := range usable {
			makeRoom(e.kept[i], a)
			e.kept[i][a] = e.now().Add(keepTime)
		}
	}
	return usable
}

// makeRoom forgets the address that was asked for longest ago, if there is no room for another.
func makeRoom(kept map[netip.Addr]time.Time, next netip.Addr) {
	if _, has := kept[next]; has || len(kept) < maxKept {
		return
	}
	var oldest netip.Addr
	for a, until := range kept {
		if !oldest.IsValid() || until.Before(kept[oldest]) {
			oldest = a
		}
	}
	delete(kept, oldest)
}

// isHost reports whether an address can be another host's: one of a network (RFC 6890) that is not the guest's own.
func isHost(a netip.Addr) bool {
	first := a.As4()[0]
	return first != 0 && first < 224 && !Subnet.Contains(a)
}

// isOfHost reports whether an address is that of the host itself, or of none: loopback, link-local (where clouds tell
// machines their secrets), and the addresses of its interfaces. Only a rule for the address alone allows it.
func (e *egress) isOfHost(a netip.Addr) bool {
	if !isHost(a) || a.IsLoopback() || a.IsLinkLocalUnicast() {
		return true
	}
	own, err := e.own()
	if err != nil {
		return true // it cannot be told
	}
	for _, o := range own {
		if o == a {
			return true
		}
	}
	return false
}

// interfaceAddresses are the addresses of this host.
func interfaceAddresses() ([]netip.Addr, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var own []netip.Addr
	for _, address := range list {
		ip, ok := address.(*net.IPNet)
		if !ok {
			return nil, errors.New("an interface's address is none of IP")
		}
		if a, ok := netip.AddrFromSlice(ip.IP); ok {
			own = append(own, a.Unmap())
		}
	}
	return own, nil
}

// destination is whom the guest reaches by an address: the gateway stands for the host.
func destination(to netip.AddrPort) netip.AddrPort {
	if to.Addr() == Gateway {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), to.Port())
	}
	return to
}

// deny counts and tells what no rule allows.
func (n *Network) deny(protocol string, to netip.AddrPort) {
	n.stats.denied.Add(1)
	n.refuse.tell(fmt.Sprintf("%s to %s", protocol, to), fmt.Sprintf("no rule allows it, as allow=%s would", to))
}
