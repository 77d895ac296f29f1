package main

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"kapsel/tests/linux/stream"
	"kapsel/tools/initramfs"
)

const (
	netSeed = 0x6e37
	netTime = 4 * time.Minute // of one transfer
)

// checkNet gives a network device (interface, or eth0) an address, as 10.0.2.15/24, and sends bytes (default 100,000,000) to
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
	name, ok := a["interface"]
	if !ok {
		name = "eth0"
	}
	if err := initramfs.SetAddress(name, prefix); err != nil {
		return err
	}
	if err := initramfs.BringUp(name); err != nil {
		return err
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
