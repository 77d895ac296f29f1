//go:build kapsel_task

// Command frames sends frames by the Ethernet tap.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

var frame [100]byte

func main() {
	for i := range 6 {
		frame[i] = 0xff
		frame[6+i] = 2
	}
	frame[12], frame[13] = 0x88, 0xb5 // for experiments (IEEE 802, 9.2.3)
	labour.Do(40, func(i int) error {
		if err := task.AllowReadOnly(abi.DriverEthernetTap, abi.TapFrame, frame[:]); err != nil {
			return err
		}
		if err := task.Command(abi.DriverEthernetTap, abi.TapSend, uint32(len(frame)), uint32(i)).Err(); err != nil {
			return err
		}
		status, n, id := task.WaitFor(abi.DriverEthernetTap, abi.TapSent)
		switch {
		case status != 0:
			return abi.ErrorCode(status)
		case int(n&abi.TapSentLengths) != len(frame) || id != uint32(i):
			return labour.ErrWrong
		}
		return nil
	})
}
