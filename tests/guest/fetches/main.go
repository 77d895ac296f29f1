//go:build kapsel_task

// Command fetches gets the page of the task serves, in another machine, twenty times, and checks each byte.
package main

import (
	"kapsel/guest/net"
	"kapsel/guest/net/node"
	"kapsel/guest/net/tcp"
	"kapsel/guest/task"
)

//kapsel:stack 16384
//kapsel:heap 131072

const (
	request = "GET / HTTP/1.0\r\n\r\n"
	head    = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nContent-Type: application/octet-stream\r\nConnection: close\r\n\r\n"
	size    = 100_000
)

var (
	machine *node.Node
	buffer  [2048]byte
)

func main() {
	var err error
	machine, err = node.Open(node.Config{Address: net.Address{10, 0, 0, 3}, Bits: 24, Conns: net.MakeConns(4, 1024, 4096)})
	check(err)
	for range 20 {
		fetch()
	}
	task.Print("fetches: 20 pages\n")
	task.Exit(0)
}

// fetch gets the page by a connection of its own. One that is refused, as the other machine is not up, is made anew.
func fetch() {
	c := dial()
	if n, err := c.Write([]byte(request)); n != len(request) {
		check(err)
	}
	for at := 0; ; {
		n, err := c.Read(buffer[:])
		for _, b := range buffer[:n] {
			if b != content(at) {
				task.Print("fetches: byte " + task.Decimal(uint64(at)) + " is wrong\n")
				task.Exit(1)
			}
			at++
		}
		switch {
		case n > 0:
		case err == tcp.EOF && at == len(head)+size:
			c.Close()
			return
		case err != nil:
			check(err)
		default:
			check(machine.Wait(net.Time(task.Never)))
		}
	}
}

// content is a byte of the answer.
func content(at int) byte {
	if at < len(head) {
		return head[at]
	}
	at -= len(head)
	return byte(at * at >> 8)
}

// dial connects.
func dial() *net.Conn {
	for {
		c, err := machine.Dial(net.Endpoint{Address: net.Address{10, 0, 0, 2}, Port: 80}, node.Now())
		check(err)
		for c.State() == tcp.SynSent || c.State() == tcp.SynReceived {
			check(machine.Wait(net.Time(task.Never)))
		}
		if c.State() == tcp.Established || c.State() == tcp.CloseWait {
			return c
		}
		c.Close()
		check(machine.Wait(node.Now() + 100*net.Millisecond))
	}
}

func check(err error) {
	if err != nil {
		task.Print("fetches: " + err.Error() + "\n")
		task.Exit(1)
	}
}
