package network

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/tests/machine"
	"kapsel/vmm"
	"kapsel/vmm/ethernet"
	"kapsel/vmm/ethernet/network"
	"kapsel/vmm/ethernet/user"
)

// forwarded is the user mode of kapsel run --net user,forward=tcp:PORT:80, with a port of 127.0.0.1 that is free, which it tells.
type forwarded struct{ at chan string }

// String implements vmm.Connection.
func (f forwarded) String() string { return "of user mode" }

var leads = regexp.MustCompile(`^network: (\S+) of the host leads to`)

// Open implements vmm.Connection.
func (f forwarded) Open(log func(string, ...any)) (*ethernet.Port, error) {
	free := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)
	c := network.Config{User: true, Forwards: []user.Forward{{Protocol: "tcp", Host: free, Guest: 80}}}
	return c.Open(func(format string, args ...any) {
		log(format, args...)
		if m := leads.FindStringSubmatch(fmt.Sprintf(format, args...)); m != nil {
			f.at <- m[1]
		}
	})
}

// A site is the web server of a machine, as its host sees it.
type site struct{ at string }

// visit boots a machine with httpd, and the devices, and runs f beside it, which it ends.
func visit(t *testing.T, g machine.Guest, f func(t *testing.T, s site)) machine.Outcome {
	t.Helper()
	wire := forwarded{make(chan string, 1)}
	up := &awaiting{text: "httpd: http://10.0.2.15/\n", seen: make(chan struct{})}
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		<-up.seen
		t.Run("visit", func(t *testing.T) { f(t, site{<-wire.at}) })
	}()
	g.Image, g.Modules = image, [][]byte{machine.Object(t, "httpd.tbf")}
	g.Devices = append(g.Devices, vmm.Network{Connection: wire})
	g.Timeout, g.Console, g.Stop = 8*time.Minute, up, stop
	o := machine.Boot(t, g)
	up.end()
	<-stop
	assert.Equal(t, vmm.Cancelled, o.Exit.Reason, "httpd ended")
	assert.NotContains(t, o.Console, "fault")
	return o
}

// pages is how often the page is fetched, in ways that take many exits.
func pages() int {
	if machine.InRig() {
		return 200
	}
	return 1000
}

// page is what httpd serves, whole.
var page = regexp.MustCompile(`^<!DOCTYPE html>
<title>Kapsel</title>
<h1>A task of Kapsel</h1>
<ul>
<li>Address: 10\.0\.2\.15</li>
<li>Uptime: (\d+) ms</li>
<li>Requests: (\d+)</li>
<li>Connections: ([1-8])</li>
</ul>
$`)

// count checks a page and returns which request of the machine's it answers.
func count(body string) (int, error) {
	m := page.FindStringSubmatch(body)
	if m == nil {
		return 0, fmt.Errorf("the page is %q", body)
	}
	return strconv.Atoi(m[2])
}

// fetch gets the page, checks all of it, and returns which request of the machine's it answered.
func (s site) fetch(c *http.Client) (int, error) {
	body, err := pageOf(c, "http://"+s.at+"/")
	if err != nil {
		return 0, err
	}
	return count(body)
}

// pageOf gets a page.
func pageOf(c *http.Client, url string) (string, error) {
	a, err := c.Get(url)
	if err != nil {
		return "", err
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err == nil && (a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != "text/html; charset=utf-8") {
		err = fmt.Errorf("%s, %s", a.Status, a.Header.Get("Content-Type"))
	}
	return string(body), err
}

// client is one with connections of its own, and with a new one for each page unless it keeps them.
func client(keeps bool) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: !keeps, MaxIdleConnsPerHost: 1}, Timeout: time.Minute}
}

// inARow fetches the page n times, and expects the machine to count.
func (s site) inARow(t *testing.T, c *http.Client, n int) {
	t.Helper()
	defer c.CloseIdleConnections()
	first, err := s.fetch(c)
	require.NoError(t, err)
	for i := 1; i < n; i++ {
		got, err := s.fetch(c)
		require.NoError(t, err, "page %d", i)
		require.Equal(t, first+i, got)
	}
}

// TestWebServer: a thousand pages in a row, by new connections and by one that is kept, from several clients at once, and by curl.
func TestWebServer(t *testing.T) {
	visit(t, machine.Guest{Devices: []vmm.Device{vmm.Entropy{}}}, func(t *testing.T, s site) {
		n := pages()
		t.Run("new connections", func(t *testing.T) { s.inARow(t, client(false), n) })
		t.Run("one connection", func(t *testing.T) { s.inARow(t, client(true), 1000) })
		t.Run("several at once", func(t *testing.T) {
			const clients = 12 // more than the server has sessions
			failed := make(chan error, clients)
			for i := range clients {
				go func() {
					c := client(i%2 == 0)
					defer c.CloseIdleConnections()
					for range n / clients {
						if _, err := s.fetch(c); err != nil {
							failed <- err
							return
						}
					}
					failed <- nil
				}()
			}
			for range clients {
				require.NoError(t, <-failed)
			}
		})
		t.Run("curl", func(t *testing.T) { s.curl(t, n) })
	})
}

// curl has curl get a thousand pages by one connection, and some by one connection each.
func (s site) curl(t *testing.T, n int) {
	for _, way := range []struct {
		pages int
		args  []string
	}{{1000, nil}, {n, []string{"-H", "Connection: close"}}} {
		args := append(way.args, "--silent", "--show-error", "--fail", "--max-time", "300", fmt.Sprintf("http://%s/?[1-%d]", s.at, way.pages))
		command := append(curl(t), args...)
		out, err := exec.CommandContext(t.Context(), command[0], command[1:]...).Output()
		require.NoError(t, err)
		bodies := strings.SplitAfter(string(out), "</ul>\n")
		require.Len(t, bodies, way.pages+1)
		for _, body := range bodies[:way.pages] {
			_, err := count(body)
			require.NoError(t, err)
		}
	}
}

// curl is how to run curl: by its own loader and libraries where scripts/test has put them beside it, as for a machine that has none.
func curl(t *testing.T) []string {
	t.Helper()
	if dir := os.Getenv("KAPSEL_BUILD"); dir != "" {
		dir = filepath.Join(dir, "curl")
		if loaders, _ := filepath.Glob(filepath.Join(dir, "ld-linux*")); len(loaders) == 1 {
			return []string{loaders[0], "--library-path", dir, filepath.Join(dir, "curl")}
		}
	}
	path, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("there is no curl here: scripts/test installs it")
	}
	return []string{path}
}

// raw sends bytes by a connection and returns all that comes back until its end.
func (s site) raw(t *testing.T, sent string) string {
	t.Helper()
	c := s.dial(t)
	defer c.Close()
	_, err := io.WriteString(c, sent)
	require.NoError(t, err)
	b, err := io.ReadAll(c)
	require.NoError(t, err, "%q", b)
	return string(b)
}

func (s site) dial(t *testing.T) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", s.at)
	require.NoError(t, err)
	require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
	return c.(*net.TCPConn)
}

// TestWebServerRefuses: malformed requests get an answer that says so, and an end; and whoever comes next a page.
func TestWebServerRefuses(t *testing.T) {
	visit(t, machine.Guest{}, func(t *testing.T, s site) {
		for _, tt := range []struct{ name, sent, want string }{
			{"no HTTP", "\x16\x03\x01\x00\n", "400 Bad Request"},
			{"LF alone", "GET / HTTP/1.1\nHost: a\n\n", "400 Bad Request"},
			{"two lengths", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400 Bad Request"},
			{"a coding", "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "501 Not Implemented"},
			{"POST", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "405 Method Not Allowed"},
			{"a long line", "GET /" + strings.Repeat("a", 1100) + " HTTP/1.1\r\n", "414 URI Too Long"},
			{"a long field", "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("a", 2100) + "\r\n", "431 Request Header Fields Too Large"},
			{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505 HTTP Version Not Supported"},
			{"another page", "GET /x HTTP/1.0\r\n\r\n", "404 Not Found"},
			{"a page", "GET / HTTP/1.0\r\n\r\n", "200 OK"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				assert.True(t, strings.HasPrefix(s.raw(t, tt.sent), "HTTP/1.1 "+tt.want+"\r\n"))
				_, err := s.fetch(client(false))
				assert.NoError(t, err)
			})
		}
		t.Run("requests at once", func(t *testing.T) {
			const n = 100
			answers := s.raw(t, strings.Repeat("GET / HTTP/1.1\r\nHost: a\r\n\r\n", n-1)+"GET / HTTP/1.0\r\n\r\n")
			assert.Equal(t, n, strings.Count(answers, "HTTP/1.1 200 OK\r\n"))
		})
		t.Run("byte by byte", func(t *testing.T) {
			c := s.dial(t)
			defer c.Close()
			for _, b := range []byte("GET / HTTP/1.0\r\n\r\n") {
				_, err := c.Write([]byte{b})
				require.NoError(t, err)
			}
			b, err := io.ReadAll(c)
			require.NoError(t, err)
			assert.True(t, strings.HasPrefix(string(b), "HTTP/1.1 200 OK\r\n"))
		})
	})
}

// TestWebServerIsNotHeldUp: who sends nothing, stays, or resets its connection keeps nobody else from a page, and is not waited for
// for ever.
func TestWebServerIsNotHeldUp(t *testing.T) {
	visit(t, machine.Guest{}, func(t *testing.T, s site) {
		t.Run("eight that send nothing, and a ninth", func(t *testing.T) {
			for range 8 {
				defer s.dial(t).Close()
			}
			_, err := s.fetch(client(false))
			assert.NoError(t, err)
		})
		t.Run("eight that stay, and a ninth", func(t *testing.T) {
			for range 8 {
				c := client(true)
				defer c.CloseIdleConnections()
				_, err := s.fetch(c)
				require.NoError(t, err)
			}
			_, err := s.fetch(client(false))
			assert.NoError(t, err)
		})
		t.Run("one that sends half a request, and one that sends nothing", func(t *testing.T) {
			silent, c := s.dial(t), s.dial(t)
			defer silent.Close()
			defer c.Close()
			_, err := io.WriteString(c, "GET / HT")
			require.NoError(t, err)
			s.inARow(t, client(false), 10) // meanwhile
			a, err := http.ReadResponse(bufio.NewReader(c), nil)
			require.NoError(t, err)
			assert.Equal(t, "408 Request Timeout", a.Status)
			b, err := io.ReadAll(silent)
			require.NoError(t, err)
			assert.Empty(t, b)
		})
		t.Run("resets", func(t *testing.T) {
			for i := range pages() / 10 {
				c := s.dial(t)
				_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"[:i%27])
				require.NoError(t, err)
				require.NoError(t, c.SetLinger(0)) // the end is a reset
				c.Close()
			}
			s.inARow(t, client(false), 10)
		})
	})
}

// TestWebServerNeedsEntropy: without random numbers httpd does not serve, and says what to do.
func TestWebServerNeedsEntropy(t *testing.T) {
	if machine.Accelerator(t) == "kvm" {
		t.Skip("the monitor gives a machine all instructions of the host's processor, RDRAND among them")
	}
	o := machine.Boot(t, machine.Guest{
		Image: image, Modules: [][]byte{machine.Object(t, "httpd.tbf")}, Options: []string{"-cpu", "max,la57=off,rdrand=off"},
		Devices: []vmm.Device{vmm.Network{Connection: network.Config{User: true}}},
	})
	assert.Contains(t, o.Console, "httpd: neither machine nor processor has random numbers")
	assert.Equal(t, vmm.GuestExit, o.Exit.Reason)
}

// TestWebServerNeedsNetwork: likewise without a network.
func TestWebServerNeedsNetwork(t *testing.T) {
	o := machine.Boot(t, machine.Guest{Image: image, Modules: [][]byte{machine.Object(t, "httpd.tbf")}})
	assert.Contains(t, o.Console, "httpd: the machine has no network (kapsel run --net user)\n")
	assert.Equal(t, vmm.GuestExit, o.Exit.Reason)
}
