package user

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseRule(t *testing.T) {
	for _, test := range []struct{ text, want, failure string }{
		{text: "example.com:443"},
		{text: "EXAMPLE.com.:443", want: "example.com:443"},
		{text: "*.example.com:80-90"},
		{text: "localhost:*"},
		{text: "a_b.c-d.e1:1"},
		{text: "10.1.2.3:5432"},
		{text: "10.1.2.3/32:1", want: "10.1.2.3:1"},
		{text: "10.1.0.0/16:*"},
		{text: "*:65535"},
		{text: "*:*"},
		{text: "0.0.0.0/0:80", want: "*:80"},
		{text: "*:80-80", want: "*:80"},
		{text: "*:1-65535", want: "*:*"},

		{text: "", failure: `want HOST:PORTS as example.com:443, 10.1.0.0/16:* or *:80, found ""`},
		{text: "example.com", failure: `want HOST:PORTS as example.com:443`},
		{text: ":80", failure: `want a host's name as example.com, found ""`},
		{text: "example.com:", failure: `want a port from 1 to 65535, found ""`},
		{text: "example.com:0", failure: `want a port from 1 to 65535, found "0"`},
		{text: "example.com:65536", failure: `found "65536"`},
		{text: "example.com:080", failure: `found "080"`},
		{text: "example.com:+80", failure: `found "+80"`},
		{text: "example.com:https", failure: `found "https"`},
		{text: "example.com:-1", failure: `found ""`},
		{text: "example.com:90-80", failure: `want ports from the lower to the higher, found "90-80"`},
		{text: "example.com:1-2-3", failure: `found "2-3"`},
		{text: "[::1]:80", failure: "a guest has no IPv6"},
		{text: "fe80::1:80", failure: "a guest has no IPv6"},
		{text: "tcp:example.com:80", failure: "want an IPv4 address or a name"},
		{text: "10.1.2.3/8:80", failure: `want a network as 10.0.0.0/8, or one address as 10.1.2.3, found "10.1.2.3/8"`},
		{text: "10.0.0.0/33:80", failure: "want a network of IPv4 as 10.1.0.0/16"},
		{text: "example.com/8:80", failure: "want a network of IPv4"},
		{text: "10.1.2:80", failure: `want an IPv4 address as 10.1.2.3, found "10.1.2"`},
		{text: "10.1.2.256:80", failure: "want an IPv4 address"},
		{text: "010.1.2.3:80", failure: "want an IPv4 address"},
		{text: "https://example.com:443", failure: "want an IPv4 address or a name"},
		{text: "exa mple.com:80", failure: "want a host's name"},
		{text: "-x.com:80", failure: "want a host's name"},
		{text: "x..com:80", failure: "want a host's name"},
		{text: "*.:80", failure: "want a host's name"},
		{text: "example.com..:80", failure: "want a host's name"},
		{text: "10.1.2.:80", failure: "want an IPv4 address"},
		{text: "a.*.com:80", failure: "want a host's name"},
		{text: "**:80", failure: "want a host's name"},
	} {
		t.Run(test.text, func(t *testing.T) {
			r, err := ParseRule(test.text)
			if test.failure != "" {
				assert.ErrorContains(t, err, test.failure)
				return
			}
			require.NoError(t, err)
			if test.want == "" {
				test.want = test.text
			}
			assert.Equal(t, test.want, r.String())
		})
	}
}

// FuzzParseRule: what is taken is written as it is read, and never has the host itself but by an address.
func FuzzParseRule(f *testing.F) {
	for _, seed := range []string{"example.com:443", "*.example.com:80-90", "10.1.0.0/16:*", "*:*", "127.0.0.1:1", "[::1]:80", "10.1.2.3/8:80"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRule(text)
		if err != nil {
			return
		}
		again, err := ParseRule(r.String())
		if err != nil || again != r {
			t.Errorf("%q is %+v, and written %q, which is %+v, %v", text, r, r, again, err)
		}
		e := newEgress([]Rule{r}, func() ([]netip.Addr, error) { return nil, nil })
		for _, host := range []string{"127.0.0.1", "127.255.0.1", "169.254.169.254"} {
			a := netip.MustParseAddr(host)
			if e.allows(netip.AddrPortFrom(a, r.First)) && r.Hosts != netip.PrefixFrom(a, 32) {
				t.Errorf("%q allows %s", text, host)
			}
		}
	})
}

func TestParseForward(t *testing.T) {
	for _, test := range []struct{ text, want, failure string }{
		{text: "tcp:8080:80", want: "tcp:127.0.0.1:8080:80"},
		{text: "udp:5353:53", want: "udp:127.0.0.1:5353:53"},
		{text: "tcp:0.0.0.0:8080:80"},
		{text: "tcp:[::1]:8080:80"},
		{text: "tcp:[::]:8080:80"},
		{text: "udp:[fe80::1%eth0]:5353:53"},
		{text: "tcp:10.88.0.5:8080:80"},
		{text: "tcp:[::ffff:127.0.0.1]:8080:80", failure: "want an address of this host"},
		{text: "", failure: `want tcp or udp in front, as in tcp:8080:80, found ""`},
		{text: "8080:80", failure: "want tcp or udp in front"},
		{text: "TCP:8080:80", failure: "want tcp or udp in front"},
		{text: "tcp:8080", failure: "want a port of the host and one of the guest, as in tcp:8080:80"},
		{text: "udp", failure: "want a port of the host and one of the guest, as in udp:8080:80"},
		{text: "tcp:8080:", failure: `want a port from 1 to 65535, found ""`},
		{text: "tcp::80", failure: `want a port from 1 to 65535, found ""`},
		{text: "tcp:0:80", failure: `found "0"`},
		{text: "tcp:8080:0", failure: `found "0"`},
		{text: "tcp:65536:80", failure: `found "65536"`},
		{text: "tcp:::8080:80", failure: "want an address of this host"},
		{text: "tcp:::1:8080:80", failure: "want an address of this host"},
		{text: "tcp:[127.0.0.1]:8080:80", failure: "want an address of this host"},
		{text: "tcp:[::1:8080:80", failure: "want an address of this host"},
		{text: "tcp:localhost:8080:80", failure: `want an address of this host as 127.0.0.1, 0.0.0.0 or [::1], found "localhost"`},
	} {
		t.Run(test.text, func(t *testing.T) {
			f, err := ParseForward(test.text)
			if test.failure != "" {
				assert.ErrorContains(t, err, test.failure)
				return
			}
			require.NoError(t, err)
			if test.want == "" {
				test.want = test.text
			}
			assert.Equal(t, test.want, f.String())
			again, err := ParseForward(f.String())
			require.NoError(t, err)
			assert.Equal(t, f, again)
		})
	}
}

// FuzzParseForward: what is taken has ports and an address to listen at, and is written as it is read.
func FuzzParseForward(f *testing.F) {
	for _, seed := range []string{"tcp:8080:80", "udp:0.0.0.0:5353:53", "tcp:[::]:8080:80", "udp:[fe80::1%eth0]:5353:53", "tcp:[::ffff:1.2.3.4]:1:1", "tcp:::1:1:1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		forward, err := ParseForward(text)
		if err != nil {
			return
		}
		again, err := ParseForward(forward.String())
		if err != nil || again != forward {
			t.Errorf("%q is %v, and that %v, %v", text, forward, again, err)
		}
		if a := forward.Host.Addr(); forward.Host.Port() == 0 || forward.Guest == 0 || !a.IsValid() || a.Is4In6() || a.Is4() != (forward.family() == forward.Protocol+"4") {
			t.Errorf("%q is %v", text, forward)
		}
	})
}

// TestEgress is what rules allow beyond what TestGuestIsDenied shows.
func TestEgress(t *testing.T) {
	own := func() ([]netip.Addr, error) { return []netip.Addr{netip.MustParseAddr("192.168.1.5")}, nil }
	for _, test := range []struct {
		name, rule, to string
		allows         bool
	}{
		{"the first port", "10.1.2.3:80-90", "10.1.2.3:80", true},
		{"the last port", "10.1.2.3:80-90", "10.1.2.3:90", true},
		{"a port below", "10.1.2.3:80-90", "10.1.2.3:79", false},
		{"a port above", "10.1.2.3:80-90", "10.1.2.3:91", false},
		{"port 0", "*:*", "10.1.2.3:0", false},
		{"the first of a network", "10.1.0.0/16:*", "10.1.0.0:80", true},
		{"the last of a network", "10.1.0.0/16:*", "10.1.255.255:80", true},
		{"behind a network", "10.1.0.0/16:*", "10.2.0.0:80", false},
		{"half the world, with loopback", "0.0.0.0/1:*", "127.0.0.1:80", false},
		{"loopback by its address", "127.0.0.1:80", "127.0.0.1:80", true},
		{"another port of loopback", "127.0.0.1:80", "127.0.0.1:81", false},
		{"another address of loopback", "127.0.0.1:80", "127.0.0.2:80", false},
		{"link-local by its network", "169.254.0.0/16:*", "169.254.169.254:80", false},
		{"link-local by its address", "169.254.169.254:80", "169.254.169.254:80", true},
		{"the host's interface by its network", "192.168.1.0/24:*", "192.168.1.5:22", false},
		{"the host's interface by its address", "192.168.1.5:22", "192.168.1.5:22", true},
		{"beside the host's interface", "192.168.1.0/24:*", "192.168.1.6:22", true},
		{"this network", "0.0.0.0:80", "0.0.0.0:80", false},
		{"a group", "224.0.0.251:5353", "224.0.0.251:5353", false},
		{"all", "255.255.255.255:67", "255.255.255.255:67", false},
		{"the guest", "10.0.2.15:80", "10.0.2.15:80", false},
		{"the guest's network, which hides the host's", "10.0.0.0/8:*", "10.0.2.16:80", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.allows, newEgress(rules(t, test.rule), own).allows(netip.MustParseAddrPort(test.to)))
		})
	}
}

// TestEgressWithoutTheHostsAddresses: what cannot be told from the host is not reached.
func TestEgressWithoutTheHostsAddresses(t *testing.T) {
	e := newEgress(rules(t, "*:*", "10.1.2.3:80"), func() ([]netip.Addr, error) { return nil, errors.New("no netlink") })
	assert.False(t, e.allows(netip.MustParseAddrPort("10.1.2.4:80")))
	assert.True(t, e.allows(netip.MustParseAddrPort("10.1.2.3:80")), "which is named")
}

// TestKeptAddresses: the addresses of a name are of its rules alone, bounded, and forgotten in time.
func TestKeptAddresses(t *testing.T) {
	e := newEgress(rules(t, "a.example.com:80", "*.example.com:443", "b.example.com:22"), func() ([]netip.Addr, error) { return nil, nil })
	now := time.Unix(1_800_000_000, 0)
	e.now = func() time.Time { return now }
	first := netip.MustParseAddr("198.51.100.1")
	allows := func(a netip.Addr, port uint16) bool { return e.allows(netip.AddrPortFrom(a, port)) }

	assert.Equal(t, []netip.Addr{first}, e.keep("a.example.com", []netip.Addr{first, netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}))
	assert.True(t, allows(first, 80))
	assert.True(t, allows(first, 443))
	assert.False(t, allows(first, 22), "a rule of another name")
	now = now.Add(keepTime - 1)
	assert.True(t, allows(first, 80))
	now = now.Add(1)
	assert.False(t, allows(first, 80))
	e.keep("a.example.com", []netip.Addr{first})
	assert.True(t, allows(first, 80), "asked for anew")

	for i := range 3 * maxKept {
		now = now.Add(time.Millisecond)
		e.keep("b.example.com", []netip.Addr{netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)})})
	}
	assert.Len(t, e.kept[2], maxKept)
	assert.Len(t, e.kept[1], maxKept)
	assert.Len(t, e.kept[0], 1)
	last := 3*maxKept - 1
	assert.True(t, allows(netip.AddrFrom4([4]byte{203, 0, byte(last >> 8), byte(last)}), 22))
	assert.False(t, allows(netip.AddrFrom4([4]byte{203, 0, 0, 0}), 22), "the oldest is forgotten")
	assert.True(t, allows(first, 80), "which is another rule's")
}

// TestHostsOwnAddresses: the real list has loopback and is of IPv4 where it is.
func TestHostsOwnAddresses(t *testing.T) {
	own, err := interfaceAddresses()
	require.NoError(t, err)
	assert.Contains(t, own, netip.MustParseAddr("127.0.0.1"))
}

// TestRefusalsAreToldOnceAndFew: a guest cannot fill the log.
func TestRefusalsAreToldOnceAndFew(t *testing.T) {
	var got lines
	r := refusals{log: got.log(t)}
	for range 3 {
		for i := range 10 * maxTold {
			r.tell(fmt.Sprintf("thing %d", i), "so")
		}
	}
	assert.Len(t, got.all, maxTold+1)
	assert.Equal(t, "network: thing 0 is refused: so", got.all[0])
	assert.Equal(t, "network: what else is refused is counted, and not said", got.all[maxTold])
}
