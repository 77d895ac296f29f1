//go:build kapsel_task

// Command sender sends frames to the task mirror of another machine, several at once, holds what comes back against what it sent, and
// ends both.
package main

import (
	"kapsel/guest/task"
	"kapsel/tests/guest/mirror/wire"
)

const (
	frames   = 2000
	ahead    = 8       // frames on their way at once
	patience = 100_000 // microseconds until a frame that has no answer is sent again
)

//kapsel:heap 131072

var frame = make([]byte, task.MaxFrame)

func main() {
	net, err := task.OpenEthernet(2 * ahead)
	check("open", err)
	mtu, up := net.Link()
	if mtu != task.MaxFrame-14 || !up {
		stop("the link is down, or its MTU is " + task.Decimal(uint64(mtu)))
	}
	address := net.Address()
	copy(frame[0:6], "\xff\xff\xff\xff\xff\xff")
	copy(frame[6:12], address[:])
	again := sendAll(net)
	check("the last frame", net.Flush())
	wire.Seal(frame[:60], wire.End, 0)
	check("end", net.Send(frame[:60]))
	check("end", net.Flush())
	task.Print("sender: " + task.Decimal(frames) + " came back, " + task.Decimal(again) + " were sent again\n")
	task.Exit(0)
}

// sendAll sends all frames, and returns how often it began again behind the last that had an answer.
func sendAll(net *task.Ethernet) (again uint64) {
	deadline := task.Now() + patience
	for next, answered := uint32(0), uint32(0); answered < frames; {
		got, ok := net.Next()
		switch {
		case ok:
			if kind, sequence := wire.Open(got); kind == wire.Echo && sequence == answered {
				same(got, sequence)
				answered++
				deadline = task.Now() + patience
			}
		case task.Now() >= deadline:
			next = answered
			deadline = task.Now() + patience
			again++
		case next < min(frames, answered+ahead) && !net.Sending():
			check("send", net.Send(fill(next)))
			next++
		default:
			check("wait", net.Wait(deadline))
		}
	}
	return again
}

// fill makes the frame of a sequence number.
func fill(sequence uint32) []byte {
	f := frame[:wire.Least+sequence*7%(task.MaxFrame-wire.Least+1)]
	for i := wire.Least; i < len(f); i++ {
		f[i] = byte(sequence) + byte(i)
	}
	wire.Seal(f, wire.Echo, sequence)
	return f
}

// same holds a frame that came back against what was sent.
func same(got []byte, sequence uint32) {
	want := fill(sequence)
	if string(got[:6]) != string(want[6:12]) || string(got[12:]) != string(want[12:]) {
		stop("another frame came back than " + task.Decimal(uint64(sequence)))
	}
}

func check(what string, err error) {
	if err != nil {
		stop(what + ": " + err.Error())
	}
}

func stop(why string) {
	task.Print("sender: " + why + "\n")
	task.Exit(1)
}
