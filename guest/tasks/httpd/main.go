//go:build kapsel_task

// Command httpd is a web server, of one page about itself, at port 80. It shows how a task lives by events: one loop, which
// waits for the network and then does what can be done, and nothing in it waits.
//
//	kapsel run --net user,forward=tcp:8080:80 --rng build/kapsel.elf build/httpd.tbf
//	curl localhost:8080
package main

import (
	"kapsel/guest/kernel/format"
	"kapsel/guest/net"
	"kapsel/guest/net/http"
	"kapsel/guest/net/node"
	"kapsel/guest/task"
)

//kapsel:stack 16384
//kapsel:heap 262144

// What the server has room for. What that takes is in docs/network.md.
const (
	sessions = 8    // connections that are served at once
	conns    = 24   // of TCP, with those that begin and end
	buffer   = 2048 // bytes on their way, in each direction of one
	page     = 1024 // bytes of an answer
)

var (
	machine *node.Node
	server  = http.NewServer(sessions, page)
	start   net.Time
	address net.Address // that was told
	line    http.Text   // in which it was
)

func main() {
	var err error
	machine, err = node.Open(node.Config{Name: "httpd", Conns: net.MakeConns(conns, buffer, buffer)})
	check(err)
	listener, err := machine.Listen(80)
	check(err)
	start = node.Now()
	line.Init(make([]byte, 64)) // the last that is allocated: a task's heap only grows
	for {
		check(machine.Wait(server.Deadline(node.Now())))
		tellAddress()
		server.Serve(answer, node.Now())
		for !server.Full() {
			c := listener.Accept()
			if c == nil {
				break
			}
			server.Begin(c, node.Now())
			server.Serve(answer, node.Now()) // there may be place again
		}
	}
}

// answer makes the page.
func answer(r *http.Request, a *http.Answer) {
	if string(r.Path) != "/" {
		a.Status, a.Type = http.NotFound, "text/plain"
		a.Text.WriteString("There is one page here: /\n")
		return
	}
	_, answered, open := server.Counts()
	a.Text.WriteString("<!DOCTYPE html>\n<title>Kapsel</title>\n<h1>A task of Kapsel</h1>\n<ul>\n<li>Address: ")
	write(&a.Text, address)
	format.Print(&a.Text, "</li>\n<li>Uptime: %d ms</li>\n<li>Requests: %d</li>\n<li>Connections: %d</li>\n</ul>\n",
		uint64((node.Now()-start)/net.Millisecond), answered+1, uint64(open))
}

// tellAddress says on the console which address the machine has, when it gets another.
func tellAddress() {
	now, _, _ := machine.Address()
	if now == address {
		return
	}
	address = now
	line.Reset()
	line.WriteString("httpd: http://")
	write(&line, address)
	line.WriteString("/\n")
	task.Write(line.Bytes())
}

// write writes an address with its four points.
func write(t *http.Text, a net.Address) {
	format.Print(t, "%d.%d.%d.%d", uint64(a[0]), uint64(a[1]), uint64(a[2]), uint64(a[3]))
}

func check(err error) {
	if err != nil {
		task.Print("httpd: " + err.Error() + "\n")
		task.Exit(1)
	}
}
