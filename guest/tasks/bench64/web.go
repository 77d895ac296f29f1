//go:build kapsel_task

package main

import (
	"kapsel/guest/net"
	"kapsel/guest/net/http"
	"kapsel/guest/net/node"
	"kapsel/guest/task"
	"kapsel/guest/tasks/measure"
)

//kapsel:heap 262144

// buffer is how many bytes a connection's buffers have: so many that an answer seldom lies across the end of one, which takes a few
// instructions more. Then the median is what most requests take.
const buffer = 32 << 10

// body is what the web server answers.
var body [1000]byte

// web measures a web server, of which somebody asks for a page again and again by one connection, each time a millisecond behind the
// answer before: from the interrupt of the frame with the request to the end of the upcall that says that the one with the
// answer was sent.
func web() {
	server := http.NewServer(1, 64)
	site, err := node.Open(node.Config{Address: net.Address{10, 0, 0, 2}, Bits: 24, Conns: net.MakeConns(1, buffer, buffer)})
	if err != nil {
		skip("HTTPRequest", err.Error())
		return
	}
	listener, _ := site.Listen(80)
	answer := func(_ *http.Request, a *http.Answer) { a.Type, a.Body = "text/plain", body[:] }
	inVain := spinning()
	path{name: "HTTPRequest", n: 50, base: none, needs: capsule, median: true, op: func() bool {
		_, before, _ := server.Counts()
		begin, rounds := measure.Stamp(), uint64(0)
		for after := before; after == before; _, after, _ = server.Counts() {
			rounds += spin(patience)
			site.Wait(0) // takes what has come
			if c := listener.Accept(); c != nil {
				server.Begin(c, node.Now())
			}
			server.Serve(answer, node.Now())
			site.Flush()
			for site.Sending() {
				rounds += spin(patience)
			}
		}
		return record(measure.Stamp() - begin - rounds*inVain)
	}}.run()
}

// patience is how many Yields in vain there are at most, before all is looked at again: an upcall may have run in another Yield.
const patience = 1_000_000

// spin yields without waiting until an upcall has run, or so many times, and returns how often none had. Waiting would count time, of
// which a host takes another each time.
//
//go:noinline
func spin(most uint64) (inVain uint64) {
	for inVain < most && !task.YieldNoWait() {
		inVain++
	}
	return inVain
}

// spinning measures how long a round of spin takes in which there is no upcall.
func spinning() uint64 {
	const few, many = 1, 101
	shortest := ^uint64(0)
	for range 10 {
		begin := measure.Stamp()
		spin(few)
		middle := measure.Stamp()
		spin(many)
		end := measure.Stamp()
		shortest = min(shortest, (end-middle-(middle-begin))/(many-few))
	}
	return shortest
}
