package main

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"kapsel/tests/linux/stream"
	"kapsel/tools/initramfs"
)

const (
	netInterface = "eth0"
	netSeed      = 0x6e37
	netTime      = 4 * time.Minute // of one transfer
)

// checkNet gives the first network device an address, as 10.0.2.15/24, and sends bytes (default 100,000,000) to
// peer, an address and port of a stream.Serve on the same network, and receives as many.
func checkNet(a arguments) error {
	address, err := a.need("address")
	if err != nil {
		return err
	}
	prefix, err := netip.ParsePrefix(address)
	if err != nil {
		return err
	}
	peer, err := a.need("peer")
	if err != nil {
		return err
	}
	size, err := a.number("bytes", 100_000_000)
	if err != nil {
		return err
	}
	if err := bringUp(prefix); err != nil {
		return fmt.Errorf("%s: %w", netInterface, err)
	}
	for _, kind := range []byte{stream.Upload, stream.Download} {
		if err := transfer(peer, kind, size); err != nil {
			return fmt.Errorf("%s: %w", direction(kind), err)
		}
		fmt.Printf("net: %d bytes %s\n", size, direction(kind))
	}
	return nil
}

func direction(kind byte) string {
	if kind == stream.Upload {
		return "sent"
	}
	return "received"
}

// transfer is one connection.
func transfer(peer string, kind byte, size uint64) error {
	c, err := net.DialTimeout("tcp4", peer, netTime)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(netTime)); err != nil {
		return err
	}
	return stream.Connect(c, kind, size, netSeed)
}

// bringUp gives the interface its address and mask and switches it on (netdevice(7)).
func bringUp(prefix netip.Prefix) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	mask := net.CIDRMask(prefix.Bits(), 32)
	for _, set := range []struct {
		request uint
		address []byte
	}{
		{unix.SIOCSIFADDR, prefix.Addr().AsSlice()}, {unix.SIOCSIFNETMASK, mask},
	} {
		r, err := unix.NewIfreq(netInterface)
		if err != nil {
			return err
		}
		if err := r.SetInet4Addr(set.address); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(s, set.request, r); err != nil {
			return err
		}
	}
	return initramfs.BringUp(netInterface)
}
