// Package linktest gives tests network namespaces of their own, with a wire between two, as CNI makes for a container and its host.
package linktest

import (
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What Pair makes.
const (
	Guest        = "eth0" // the container's interface
	GuestAddress = "10.88.0.5"
	GuestIPv6    = "fd58::5"
	GuestMAC     = "02:58:00:00:00:05"
	Host         = "host0" // the host's
	HostAddress  = "10.88.0.1"
	HostIPv6     = "fd58::1"
)

// A Namespace is a network namespace, and a thread in it.
type Namespace struct {
	run    chan func()
	thread int
}

// New makes a namespace that lives as long as the test. The test is skipped where none can be made, which needs root.
func New(t testing.TB) *Namespace {
	n := &Namespace{run: make(chan func())}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with the goroutine
		n.thread = unix.Gettid()
		made <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range n.run {
			f()
		}
	}()
	err := <-made
	t.Cleanup(func() { close(n.run) })
	if err != nil {
		t.Skipf("no network namespace can be made here, which needs root: %v", err)
	}
	n.IP(t, "link", "set", "lo", "up")
	return n
}

// Do runs f on the thread. Where f ends the test, as by FailNow, Do does.
func (n *Namespace) Do(f func()) {
	done, returned := make(chan struct{}), false
	n.run <- func() {
		defer close(done)
		f()
		returned = true
	}
	<-done
	if !returned {
		runtime.Goexit()
	}
}

// IP runs ip of iproute2 in the namespace and returns what it says. The test is skipped where there is none.
func (n *Namespace) IP(t testing.TB, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("no ip here: install iproute2")
	}
	var out []byte
	var err error
	n.Do(func() { out, err = exec.Command("ip", args...).CombinedOutput() })
	if err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Pair makes two namespaces with a veth pair between them: a container's, with a route to everywhere by the other, and its host's. The test is skipped where
// there is no veth.
func Pair(t testing.TB) (guest, host *Namespace) {
	t.Helper()
	guest, host = New(t), New(t)
	var out []byte
	var err error
	guest.Do(func() {
		out, err = exec.Command("ip", "link", "add", Guest, "address", GuestMAC, "type", "veth", "peer", "name", Host, "netns", fmt.Sprint(host.thread)).CombinedOutput()
	})
	if err != nil {
		t.Skipf("no veth pair can be made here: ip link add: %v: %s", err, out)
	}
	host.IP(t, "addr", "add", HostAddress+"/24", "dev", Host)
	host.IP(t, "link", "set", Host, "up")
	guest.IP(t, "addr", "add", GuestAddress+"/24", "dev", Guest)
	guest.IP(t, "link", "set", Guest, "up")
	host.IP(t, "addr", "add", HostIPv6+"/64", "dev", Host, "nodad")
	guest.IP(t, "addr", "add", GuestIPv6+"/64", "dev", Guest, "nodad")
	guest.IP(t, "route", "add", "default", "via", HostAddress)
	return guest, host
}
