//go:build kapsel_task

// Command mirror sends back what comes by the network, until it is told to end, and says how many frames that were.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/tests/guest/mirror/wire"
)

// room is how many of the largest frames each stream holds.
const room = 32

//kapsel:heap 131072

// Frames that were read, and that are known to have been dropped.
var read, lost uint32

func main() {
	net, err := task.OpenEthernet(room)
	check("open", err)
	task.Print("mirror: is up\n")
	count := uint64(0)
	for {
		frame, ok := net.Next()
		if !ok {
			check("wait", net.Wait(task.Never))
			continue
		}
		read++
		switch kind, sequence := wire.Open(frame); kind {
		case wire.Pause:
			wire.Turn(frame)
			send(net, frame)
			pause(net, sequence)
		case wire.End:
			finish(net, count)
		default:
			count++
			wire.Turn(frame)
			send(net, frame)
		}
	}
}

// send waits for the frame before, and sends one.
func send(net *task.Ethernet, frame []byte) {
	err := net.Send(frame)
	if err == abi.BUSY {
		check("the frame before", net.Flush())
		err = net.Send(frame)
	}
	check("send", err)
}

// pause reads nothing until so many frames came, beside those that were read, and says how many of them were dropped.
func pause(net *task.Ethernet, frames uint32) {
	for {
		received, dropped := net.Counts()
		if received-read+dropped-lost >= frames {
			task.Print("mirror: dropped " + task.Decimal(uint64(dropped-lost)) + " of " + task.Decimal(uint64(frames)) + "\n")
			lost = dropped
			return
		}
		task.Sleep(1)
	}
}

// finish says what was done.
func finish(net *task.Ethernet, count uint64) {
	check("the last frame", net.Flush())
	received, dropped := net.Counts()
	task.Print("mirror: " + task.Decimal(count) + " sent back, " + task.Decimal(uint64(received)) + " came, " +
		task.Decimal(uint64(dropped)) + " were dropped\n")
	task.Exit(0)
}

func check(what string, err error) {
	if err != nil {
		task.Print("mirror: " + what + ": " + err.Error() + "\n")
		task.Exit(1)
	}
}
