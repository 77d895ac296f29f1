//go:build kapsel_task

package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/guest/tasks/measure"
)

// Kinds of frames, behind two addresses (IEEE 802, local experimental EtherTypes).
const (
	frameSize = 1514
	etherType = 12 // offset
	forNobody = 0xb5
	forAnswer = 0xb6 // one like it comes back
)

// What is read and sent.
var (
	content [abi.RawBlockPiece]byte
	random  [64]byte
	frame   [frameSize]byte
	answer  [frameSize]byte
)

// devices measures a machine with devices, each from a Command to the upcall that tells its end.
func devices() {
	console("VirtioConsole")

	calibrate()
	const block, net, rng = abi.DriverRawBlock, abi.DriverRawNet, abi.DriverRNG
	task.Allow(block, 0, content[:])
	task.Allow(rng, 0, random[:])
	task.AllowReadOnly(net, 0, frame[:])
	task.Allow(net, 0, answer[:])
	for _, u := range [...][2]uint64{{block, 0}, {rng, 0}, {net, 0}, {net, 1}} {
		task.Raw(abi.Subscribe, u[0], u[1], measure.UpcallAddress(), 0)
	}
	for i := range etherType {
		frame[i] = 2
	}
	frame[etherType] = 0x88

	read := asked(measure.Command(block, abi.RawBlockRead, 0, 0))
	path{name: "BlockRead4096", n: 50, base: none, needs: capsule, median: true, op: func() bool {
		read.ask()
		return record(read.ticks)
	}}.run()
	get := asked(measure.Command(rng, 1, uint64(len(random)), 0))
	path{name: "Random64", n: 50, base: none, needs: capsule, median: true, op: func() bool {
		get.ask()
		return record(get.ticks)
	}}.run()
	send := asked(measure.Command(net, abi.RawNetSend, frameSize, 0))
	path{name: "PacketOut", n: 50, base: none, needs: capsule, median: true, op: func() bool {
		frame[etherType+1] = forNobody
		send.ask()
		return record(send.ticks)
	}}.run()
	// The answer is to come when this task waits for it, and nothing else happens.
	receive := asked(measure.Command(net, abi.RawNetReceive, 0, 0))
	path{name: "PacketIn", n: 50, base: none, needs: capsule, median: true, op: func() bool {
		frame[etherType+1] = forAnswer
		send.ask()
		receive.ask()
		return receive.yields > 1 && record(receive.ticks)
	}}.run()
}

// A request is a Command whose upcall comes when the host has done its part. The task asks for it by Yield-NoWait again and
// again: waiting would count time, of which a host takes another each time.
type request struct {
	call   measure.Call
	yields uint64
	ticks  uint64 // from the Command to the end of the upcall, less those of each Yield-NoWait in vain
}

// inVain is how long a round of Until takes in which there is no upcall.
var inVain uint64

func asked(c measure.Call) *request {
	c.Yield = [3]uint64{abi.YieldNoWait, uint64(address(&flag[0]))}
	return &request{call: c}
}

// ask makes the request.
func (r *request) ask() {
	r.yields = measure.Until(&r.call, ^uint64(0))
	r.ticks = r.call.Ticks() - (r.yields-1)*inVain
}

// calibrate measures inVain, where a Command has no upcall.
func calibrate() {
	const few, many = 1, 101
	null := asked(measure.Command(abi.DriverBenchmark, 0, 0, 0))
	inVain = ^uint64(0)
	for range 10 {
		measure.Until(&null.call, many)
		long := null.call.Ticks()
		measure.Until(&null.call, few)
		inVain = min(inVain, (long-null.call.Ticks())/(many-few))
	}
}
