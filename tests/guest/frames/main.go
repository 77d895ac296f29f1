//go:build kapsel_task

// Command frames asks the network for its gateway's hardware address, and then sends back what comes, until a frame begins
// with "end" behind its header.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
)

// Numbers of the raw network driver (guest/abi/rawnet.go).
const (
	sent     = 0 // subscribe
	received = 1
	buffer   = 0 // allow
)

var (
	out, in [1514]byte
	address [6]byte
)

func main() {
	r := task.Command(abi.DriverRawNet, abi.RawNetAddress, 0, 0)
	check("no network", r.Err())
	for i := range address {
		address[i] = byte(r.Words[0] >> (8 * i))
	}
	check("out", task.AllowReadOnly(abi.DriverRawNet, buffer, out[:]))
	check("in", task.Allow(abi.DriverRawNet, buffer, in[:]))
	receive()
	send(request())
	for count := uint64(0); ; {
		n := wait()
		switch {
		case n >= 28 && in[12] == 8 && in[13] == 6 && in[21] == 2: // ARP, a reply
			text := "frames: the gateway is at"
			for _, b := range in[22:28] {
				text += " " + task.Hex(uint64(b))
			}
			task.Print(text + "\n")
		case n >= 17 && string(in[14:17]) == "end":
			task.Print("frames: " + task.Decimal(count) + " sent back\n")
			task.Exit(0)
		case in[12] == 0x88 && in[13] == 0xb5: // for experiments (IEEE 802, table 9-4)
			copy(out[:], in[:n])
			copy(out[:6], in[6:12])
			copy(out[6:12], address[:])
			send(n)
			count++
		}
		receive()
	}
}

// request makes an ARP request for 10.0.2.2 (RFC 826), padded to what Ethernet carries at the least, and returns its length.
func request() int {
	copy(out[:], "\xff\xff\xff\xff\xff\xff")
	copy(out[6:], address[:])
	copy(out[12:], "\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01")
	copy(out[22:], address[:])
	copy(out[28:], "\x0a\x00\x02\x0f\x00\x00\x00\x00\x00\x00\x0a\x00\x02\x02")
	return 60
}

func send(n int) {
	check("send", task.Command(abi.DriverRawNet, abi.RawNetSend, uint32(n), 0).Err())
	task.WaitFor(abi.DriverRawNet, sent)
}

func receive() {
	check("receive", task.Command(abi.DriverRawNet, abi.RawNetReceive, 0, 0).Err())
}

// wait waits for a frame, and returns how many bytes it has.
func wait() int {
	status, n, _ := task.WaitFor(abi.DriverRawNet, received)
	if status != 0 {
		stop("receive", abi.ErrorCode(status))
	}
	return int(n)
}

func check(what string, err error) {
	if err != nil {
		stop(what, err)
	}
}

func stop(what string, err error) {
	task.Print("frames: " + what + ": " + err.Error() + "\n")
	task.Exit(1)
}
