package network

import (
	"flag"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/vmm/ethernet"
	"kapsel/vmm/ethernet/link/linktest"
	"kapsel/vmm/ethernet/user"
)

func TestParse(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"user", ""},
		{"user,forward=tcp:8080:80", "user,forward=tcp:127.0.0.1:8080:80"},
		{"user,forward=tcp:8080:80,forward=udp:8080:80,forward=tcp:0.0.0.0:8080:80", "user,forward=tcp:127.0.0.1:8080:80,forward=udp:127.0.0.1:8080:80,forward=tcp:0.0.0.0:8080:80"},
		{"user,allow=example.com:443,allow=*.example.org:80-90,allow=10.0.0.0/8:*", ""},
		{"user,mac=52:54:00:12:34:56,pcap=/tmp/a b.pcap,allow=*:*", "user,allow=*:*,mac=52:54:00:12:34:56,pcap=/tmp/a b.pcap"},
		{"tap=tap0", ""},
		{"tap=tap0,mac=52-54-00-12-34-56", "tap=tap0,mac=52:54:00:12:34:56"},
		{"unix=/run/net.sock,pcap=a=b", ""},
		{"unix=user", ""},
		{"link=eth0", ""},
		{"link=eth0,pcap=a,dns=10.96.0.10,dns=1.1.1.1", "link=eth0,dns=10.96.0.10,dns=1.1.1.1,pcap=a"},
	} {
		t.Run(test.text, func(t *testing.T) {
			c, err := Parse(test.text)
			require.NoError(t, err)
			if test.want == "" {
				test.want = test.text
			}
			assert.Equal(t, test.want, c.String())
			again, err := Parse(c.String())
			require.NoError(t, err)
			assert.Equal(t, c, again)
		})
	}
}

func TestParseGivesWhatWasSaid(t *testing.T) {
	c, err := Parse("user,forward=tcp:8080:80,allow=example.com:443,mac=52:54:00:12:34:56,pcap=f")
	require.NoError(t, err)
	f, err := user.ParseForward("tcp:8080:80")
	require.NoError(t, err)
	assert.Equal(t, Config{
		User: true, Forwards: []user.Forward{f}, Allow: []user.Rule{{Name: "example.com", First: 443, Last: 443}},
		MAC: ethernet.MAC{0x52, 0x54, 0, 0x12, 0x34, 0x56}, Capture: "f",
	}, c)
}

func TestParseRefuses(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"", `want user, tap=NAME, unix=PATH or link=NAME first, found ""`},
		{"bridge=br0", `want user, tap=NAME, unix=PATH or link=NAME first, found "bridge=br0"`},
		{"user=x", `want user, tap=NAME, unix=PATH or link=NAME first, found "user=x"`},
		{"tap", `want user, tap=NAME, unix=PATH or link=NAME first, found "tap"`},
		{"unix", `want user, tap=NAME, unix=PATH or link=NAME first, found "unix"`},
		{"unix:/tmp/s", `want user, tap=NAME, unix=PATH or link=NAME first, found "unix:/tmp/s"`},
		{"forward=tcp:1:1,user", `want user, tap=NAME, unix=PATH or link=NAME first`},
		{"tap=", `want the name of an interface, of 1 to 15 bytes, as tap=tap0 or link=eth0, found "tap="`},
		{"tap=0123456789abcdef", "want the name of an interface"},
		{"tap=a/b", "want the name of an interface"},
		{"tap=..", "want the name of an interface"},
		{"link", "found \"link\""},
		{"link=", `want the name of an interface, of 1 to 15 bytes, as tap=tap0 or link=eth0, found "link="`},
		{"link=e/0", "want the name of an interface"},
		{"link=eth0,mac=52:54:00:12:34:56", "mac= is of other networks than link=: the guest has the address of eth0"},
		{"link=eth0,forward=tcp:80:80", "forward= is of user mode alone"},
		{"link=eth0,dns=::1", "dns=::1: want the IPv4 address of a resolver, as dns=10.96.0.10"},
		{"link=eth0,dns=", "dns=: want the IPv4 address of a resolver"},
		{"user,dns=1.1.1.1", "dns= is of link= alone"},
		{"unix=", "unix= wants the path of a socket, as unix=/tmp/net.sock"},
		{"user,", `want forward=, allow=, dns=, mac= or pcap=, found ""`},
		{"user,tap=tap0", `want forward=, allow=, dns=, mac= or pcap=, found "tap=tap0"`},
		{"user,hostfwd=tcp::80-:80", `want forward=, allow=, dns=, mac= or pcap=, found "hostfwd=tcp::80-:80"`},
		{"user,forward", `forward=: want tcp or udp in front, as in tcp:8080:80, found ""`},
		{"user,forward=tcp:80", "forward=tcp:80: want a port of the host and one of the guest, as in tcp:8080:80"},
		{"user,forward=tcp:80:1,forward=tcp:80:2", "forward=tcp:80:2: 127.0.0.1:80 leads to port 1 already"},
		{"user,allow=example.com", "allow=example.com: want HOST:PORTS as example.com:443"},
		{"tap=tap0,forward=tcp:80:80", "forward= is of user mode alone: other networks are the host's to configure"},
		{"unix=s,allow=*:*", "allow= is of user mode alone"},
		{"user,mac=x", `mac=x: want six bytes as 52:54:00:12:34:56, found "x"`},
		{"user,mac=52:54:00:12:34:56,mac=52:54:00:12:34:57", "the device has the address 52:54:00:12:34:56 already"},
		{"user,pcap=", "pcap=: want the name of a file"},
		{"user,pcap=a,pcap=b", `pcap=b: the capture goes to "a" already`},
	} {
		t.Run(test.text, func(t *testing.T) {
			c, err := Parse(test.text)
			require.ErrorContains(t, err, test.want)
			assert.Equal(t, Config{}, c)
			assert.NotContains(t, err.Error(), "\n", "one line")
		})
	}
}

// FuzzParse: what is taken is written as it is read, and is of one kind.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"user,forward=tcp:8080:80,allow=example.com:443,pcap=f,mac=52:54:00:12:34:56", "tap=tap0,mac=52:54:00:12:34:56",
		"unix=/tmp/s,pcap=x", "link=eth0,dns=1.1.1.1", "user,forward=tcp:0.0.0.0:80:80,forward=tcp:[::]:80:80,forward=udp:[fe80::1%eth0]:5:5", "user,forward=udp:[::1]:53:53,allow=10.0.0.0/8:1-2", "user,,", "tap=",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse(text)
		if err != nil {
			return
		}
		if kinds := strings.Count(string([]byte{digit(c.User), digit(c.TAP != ""), digit(c.Unix != ""), digit(c.Link != "")}), "1"); kinds != 1 {
			t.Errorf("%q is %+v", text, c)
		}
		again, err := Parse(c.String())
		if err != nil || again.String() != c.String() {
			t.Errorf("%q is %+v, and %q is %+v, %v", text, c, c.String(), again, err)
		}
	})
}

func digit(b bool) byte {
	if b {
		return '1'
	}
	return '0'
}

func TestFlag(t *testing.T) {
	var n Flag
	f := flag.NewFlagSet("run", flag.ContinueOnError)
	f.SetOutput(&strings.Builder{})
	f.Var(&n, "net", "")
	require.NoError(t, f.Parse(nil))
	assert.Nil(t, n.Config, "no device without the flag")
	assert.Error(t, f.Parse([]string{"--net", "nothing"}))
	assert.Nil(t, n.Config)
	require.NoError(t, f.Parse([]string{"--net", "user,allow=*:80"}))
	assert.Equal(t, "user,allow=*:80", n.String())
	assert.ErrorContains(t, n.Set("user"), "a machine has one network device")
}

// TestOpen opens each kind, lets a frame pass, and closes it.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	pcap := filepath.Join(dir, "net.pcap")
	for _, text := range []string{"user,forward=tcp:PORT:80,pcap=" + pcap, "unix=" + filepath.Join(dir, "s") + ",mac=52:54:00:12:34:56,pcap=" + pcap} {
		c, err := Parse(strings.Replace(text, "PORT", freePort(t), 1))
		require.NoError(t, err)
		p, err := c.Open(t.Logf)
		require.NoError(t, err)
		assert.True(t, c.MAC == ethernet.MAC{} || c.MAC == p.MAC())
		again, err := ethernet.ParseMAC(p.MAC().String())
		require.NoError(t, err)
		assert.Equal(t, p.MAC(), again)
		p.Start(func() {})
		require.NoError(t, p.Send(make([]byte, 60)))
		assert.Eventually(t, func() bool { return p.Stats().Sent+p.Stats().SentDropped == 1 }, 30*time.Second, time.Millisecond)
		require.NoError(t, p.Close())
		info, err := os.Stat(pcap)
		require.NoError(t, err)
		assert.EqualValues(t, 24+16+60, info.Size())
	}
}

// TestOpenLink: the device has the interface's address.
func TestOpenLink(t *testing.T) {
	container, _ := linktest.Pair(t)
	c, err := Parse("link=" + linktest.Guest)
	require.NoError(t, err)
	var p *ethernet.Port
	container.Do(func() { p, err = c.Open(t.Logf) })
	require.NoError(t, err)
	assert.Equal(t, linktest.GuestMAC, p.MAC().String())
	require.NoError(t, p.Close())
}

func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port
}

// TestOpenFails: the message says what is wrong, and nothing stays open.
func TestOpenFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	dir := t.TempDir()
	for _, test := range []struct{ text, want string }{
		{"tap=kapselnone", `no TAP interface "kapselnone" here: make it by ip tuntap add`},
		{"link=kapselnone", `no interface "kapselnone" in this network namespace`},
		{"unix=" + filepath.Join(dir, "no", "s"), "no socket can be made there"},
		{"user,forward=tcp:" + port + ":80", "forward tcp:127.0.0.1:" + port + ":80: listen tcp4 127.0.0.1:" + port + ": bind: address already in use: end the other program, or forward another port"},
		{"user,forward=udp:192.0.2.1:53:53", "forward udp:192.0.2.1:53:53: listen udp4 192.0.2.1:53: bind: cannot assign requested address: want an address of this host"},
		{"user,pcap=" + dir, "capture: open " + dir},
		{"unix=" + filepath.Join(dir, "s") + ",pcap=/dev/null", `capture: "/dev/null": want a regular file`},
	} {
		c, err := Parse(test.text)
		require.NoError(t, err)
		_, err = c.Open(t.Logf)
		assert.ErrorContains(t, err, test.want)
	}
	assert.NoFileExists(t, filepath.Join(dir, "s"))
	_, err = Config{}.Open(t.Logf)
	assert.ErrorContains(t, err, "no network: want user")
}
