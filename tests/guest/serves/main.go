//go:build kapsel_task

// Command serves is a web server at 10.0.0.2 with one page that is longer than a connection's buffer.
package main

import (
	"kapsel/guest/net"
	"kapsel/guest/net/http"
	"kapsel/guest/net/node"
	"kapsel/guest/task"
)

//kapsel:stack 16384
//kapsel:heap 131072

var (
	machine *node.Node
	server  = http.NewServer(2, 256)
	long    [100_000]byte
)

func main() {
	var err error
	machine, err = node.Open(node.Config{Address: net.Address{10, 0, 0, 2}, Bits: 24, Conns: net.MakeConns(4, 4096, 1024)})
	check(err)
	listener, err := machine.Listen(80)
	check(err)
	for i := range long {
		long[i] = byte(i * i >> 8)
	}
	task.Print("serves: is up\n")
	for {
		check(machine.Wait(server.Deadline(node.Now())))
		for !server.Full() {
			c := listener.Accept()
			if c == nil {
				break
			}
			server.Begin(c, node.Now())
		}
		server.Serve(answer, node.Now())
	}
}

func answer(r *http.Request, a *http.Answer) { a.Type, a.Body = "application/octet-stream", long[:] }

func check(err error) {
	if err != nil {
		task.Print("serves: " + err.Error() + "\n")
		task.Exit(1)
	}
}
