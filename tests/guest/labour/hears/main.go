//go:build kapsel_task

// Command hears asks the network who has an address, and waits for the answer.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

//kapsel:heap 65536

// question is an ARP request (RFC 826) of 10.0.2.15 for 10.0.2.2, without the sender's hardware address, which it has at two places.
var question = [42]byte{0: 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 12: 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 28: 10, 0, 2, 15, 38: 10, 0, 2, 2}

func main() {
	var network *task.Ethernet
	labour.Do(10, func(int) (err error) {
		if network == nil {
			if network, err = task.OpenEthernet(4); err != nil {
				return err
			}
		}
		address := network.Address()
		copy(question[6:], address[:])
		copy(question[22:], address[:])
		if err := network.Send(question[:]); err != nil {
			return err
		}
		if err := network.Flush(); err != nil {
			return err
		}
		for until := task.Now() + labour.HostPatience; task.Now() < until; {
			if err := network.Wait(until); err != nil {
				return err
			}
			for frame, ok := network.Next(); ok; frame, ok = network.Next() {
				if answers(frame) {
					return nil
				}
			}
		}
		task.Exit(labour.Gone) // nobody answers any more
		return abi.FAIL
	})
}

// answers reports whether a frame is the answer.
func answers(frame []byte) bool {
	return len(frame) >= 42 && frame[12] == 8 && frame[13] == 6 && frame[21] == 2 && string(frame[28:32]) == "\x0a\x00\x02\x02"
}
