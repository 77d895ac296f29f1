//go:build kapsel_task

// Command joins prints, shows text, has the buzzer sound and sends frames where other tasks do, too: so that some wait for their turn.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
	"kapsel/tests/guest/labour"
)

// write is the console's command, read-only allow and subscribe number for that.
const write = 1

var (
	line  = []byte("joins: a line of text that is to be sent between those of the other task\n")
	frame = [60]byte{0: 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 12: 0x88, 0xb5} // for experiments (IEEE 802, 9.2.3)
)

func main() {
	labour.Do(20, func(int) error {
		for _, join := range [...]func() error{print, send, func() error { return task.Buzz(440, 1) }, func() error { return task.ScreenWrite(line) }} {
			if err := join(); err != nil {
				return err
			}
		}
		return nil
	})
}

// print prints the line.
func print() error {
	if err := task.AllowReadOnly(abi.DriverConsole, write, line); err != nil {
		return err
	}
	if err := task.Command(abi.DriverConsole, write, uint32(len(line)), 0).Err(); err != nil {
		return err
	}
	if n, _, _ := task.WaitFor(abi.DriverConsole, write); int(n) != len(line) {
		return abi.FAIL
	}
	return nil
}

// send sends the frame.
func send() error {
	if err := task.AllowReadOnly(abi.DriverEthernetTap, abi.TapFrame, frame[:]); err != nil {
		return err
	}
	if err := task.Command(abi.DriverEthernetTap, abi.TapSend, uint32(len(frame)), 0).Err(); err != nil {
		return err
	}
	if status, _, _ := task.WaitFor(abi.DriverEthernetTap, abi.TapSent); status != 0 {
		return abi.ErrorCode(status)
	}
	return nil
}
