//go:build kapsel_task

// Command echoes sends back what comes to port 7 of 10.0.0.2, by UDP and by TCP (RFC 862).
package main

import (
	"kapsel/guest/net"
	"kapsel/guest/net/node"
	"kapsel/guest/task"
)

//kapsel:stack 16384
//kapsel:heap 524288

const (
	port   = 7
	conns  = 4
	buffer = 16384
)

// An echo is a connection, with what was read and is still to be written.
type echo struct {
	conn *net.Conn
	held [4096]byte
	n    int
}

var (
	machine  *node.Node
	echoes   [conns]echo
	datagram [net.MaxMTU]byte
)

func main() {
	var err error
	machine, err = node.Open(node.Config{
		Address: net.Address{10, 0, 0, 2}, Bits: 24,
		Sockets: net.MakeSockets(1, 2*buffer), Conns: net.MakeConns(2*conns, buffer, buffer),
	})
	check(err)
	socket, err := machine.Open(port)
	check(err)
	listener, err := machine.Listen(port)
	check(err)
	task.Print("echoes: is up\n")
	for {
		check(machine.Wait(net.Time(task.Never)))
		for n, from, ok, _ := socket.ReceiveFrom(datagram[:]); ok; n, from, ok, _ = socket.ReceiveFrom(datagram[:]) {
			socket.SendTo(datagram[:n], from) // if there is no room it is lost
		}
		for i := range echoes {
			e := &echoes[i]
			if e.conn == nil {
				e.conn = listener.Accept()
			}
			if e.conn != nil {
				e.run()
			}
		}
	}
}

// run sends back what has come.
func (e *echo) run() {
	for {
		sent, err := e.conn.Write(e.held[:e.n])
		e.n = copy(e.held[:], e.held[sent:e.n])
		if e.n > 0 && err == nil {
			return
		}
		n, err := e.conn.Read(e.held[:])
		if n == 0 {
			if err != nil {
				e.conn.Close()
				e.conn = nil
			}
			return
		}
		e.n = n
	}
}

func check(err error) {
	if err != nil {
		task.Print("echoes: " + err.Error() + "\n")
		task.Exit(1)
	}
}
