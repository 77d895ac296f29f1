package network

import (
	"context"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"kapsel/tests/machine"
	"kapsel/vmm"
	"kapsel/vmm/ethernet"
	"kapsel/vmm/ethernet/link/linktest"
	"kapsel/vmm/ethernet/network"
)

// within is a connection that is opened in a network namespace, as that of a container's monitor is.
type within struct {
	vmm.Connection
	*linktest.Namespace
}

// Open implements vmm.Connection.
func (w within) Open(log func(string, ...any)) (p *ethernet.Port, err error) {
	w.Do(func() { p, err = w.Connection.Open(log) })
	return p, err
}

// clientIn is a client whose connections are made in a namespace, a new one for each page.
func clientIn(n *linktest.Namespace) *http.Client {
	dial := func(ctx context.Context, network, address string) (c net.Conn, err error) {
		n.Do(func() { c, err = new(net.Dialer).DialContext(ctx, network, address) })
		return c, err
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}, Timeout: time.Minute}
}

// TestReachedFromAnotherNamespace: a machine's web server is reached over a veth pair, as a container's is from its host: at the address that the interface was given,
// and in user mode by a forward that listens there.
func TestReachedFromAnotherNamespace(t *testing.T) {
	for _, test := range []struct{ name, words, says, at, address string }{
		{"link", "link=" + linktest.Guest + ",dns=10.96.0.10", "httpd: http://" + linktest.GuestAddress + "/\n", linktest.GuestAddress, linktest.GuestAddress},
		{"forward at all addresses", "user,forward=tcp:0.0.0.0:8080:80", "httpd: http://10.0.2.15/\n", linktest.GuestAddress + ":8080", "10.0.2.15"},
		{"forward at an address", "user,forward=tcp:" + linktest.GuestAddress + ":8080:80", "httpd: http://10.0.2.15/\n", linktest.GuestAddress + ":8080", "10.0.2.15"},
		{"forward of IPv6", "user,forward=tcp:[" + linktest.GuestIPv6 + "]:8080:80", "httpd: http://10.0.2.15/\n", "[" + linktest.GuestIPv6 + "]:8080", "10.0.2.15"},
	} {
		t.Run(test.name, func(t *testing.T) {
			container, host := linktest.Pair(t)
			c, err := network.Parse(test.words)
			require.NoError(t, err)
			up := &awaiting{text: test.says, seen: make(chan struct{})}
			stop := make(chan struct{})
			go func() {
				defer close(stop)
				<-up.seen
				for range 10 {
					body, err := pageOf(clientIn(host), "http://"+test.at+"/")
					if !assert.NoError(t, err) {
						return
					}
					assert.Contains(t, body, "<li>Address: "+test.address+"</li>")
				}
			}()
			o := machine.Boot(t, machine.Guest{
				Image: image, Modules: [][]byte{machine.Object(t, "httpd.tbf")}, Timeout: patience, Console: up, Stop: stop,
				Devices: []vmm.Device{vmm.Entropy{}, vmm.Network{Connection: within{c, container}}},
			})
			up.end()
			<-stop
			assert.Equal(t, vmm.Cancelled, o.Exit.Reason, o.Console)
		})
	}
}
