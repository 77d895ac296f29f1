//go:build kapsel_task

// Command lights uses LEDs, buttons and pins, as the script of tests/gpio moves them. It ends with the number of the first check that
// failed, or 0. Where there are none, each driver has to say so.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
)

// events are what the task was told of buttons.
var (
	events   [8][2]uint32
	count    int
	recorder = task.Upcall{F: func(button, level, _ uint32) {
		if count < len(events) {
			events[count] = [2]uint32{button, level}
		}
		count++
	}}
)

func main() {
	if _, err := task.LEDs(); err == abi.NODEVICE {
		_, noButtons := task.Buttons()
		_, noPins := task.Pins()
		check(1, noButtons == abi.NODEVICE && noPins == abi.NODEVICE)
		check(2, task.SetLED(0, true) == abi.NODEVICE)
		check(3, task.OnButton(&recorder) == abi.NODEVICE)
		check(4, task.MakeOutput(0) == abi.NODEVICE)
		task.Print("lights: there are no LEDs, buttons and pins\n")
		task.Exit(0)
	}
	lights()
	buttons()
	pins()
	task.Print("lights: all is right\n")
	task.Exit(0)
}

func lights() {
	n, err := task.LEDs()
	check(10, n == 4 && err == nil)
	check(11, task.SetLED(4, true) == abi.INVAL)
	check(12, task.ToggleLED(1<<32-1) == abi.INVAL)
}

// buttons: what is pressed and released at once is told as both; what the task does not listen to is not told.
func buttons() {
	n, err := task.Buttons()
	check(20, n == 4 && err == nil)
	check(21, task.ListenToButton(4, true) == abi.INVAL)
	check(22, task.OnButton(&recorder) == nil)
	check(23, task.ListenToButton(0, true) == nil)
	check(24, task.SetLED(0, true) == nil) // button 0 is pressed and released
	hear(2)
	check(25, events[0] == [2]uint32{0, 1} && events[1] == [2]uint32{0, 0})
	check(26, !isPressed(0))
	check(27, task.ToggleLED(0) == nil) // button 0 is pressed
	hear(3)
	check(28, events[2] == [2]uint32{0, 1} && isPressed(0))
	check(29, task.ListenToButton(0, false) == nil)
	check(30, task.ListenToButton(1, true) == nil)
	check(31, task.SetLED(1, true) == nil) // button 0 is released, and button 1 pressed
	hear(4)
	check(32, events[3] == [2]uint32{1, 1} && isPressed(1))
	for isPressed(0) { // which is read without being told
		task.Sleep(1)
	}
}

// pins: pin 0 is an output, pins 1 and 2 are inputs, one of which tells of rising edges alone.
func pins() {
	n, err := task.Pins()
	check(40, n == 8 && err == nil)
	check(41, task.MakeOutput(8) == abi.INVAL)
	check(42, task.MakeInput(1) == nil && task.ListenToPin(1, task.RisingEdge) == nil)
	check(43, task.MakeInput(2) == nil && task.ListenToPin(2, task.EitherEdge) == nil)
	check(44, task.SetPin(0, true) == nil && !isHigh(0))
	check(45, task.MakeOutput(0) == nil && isHigh(0)) // pin 1 goes up
	pin, high := task.WaitForPin()
	check(46, pin == 1 && high && isHigh(1))
	check(47, task.TogglePin(0) == nil && !isHigh(0)) // pin 1 goes down, which is not told, and pin 2 up
	pin, high = task.WaitForPin()
	check(48, pin == 2 && high && isHigh(2))
	for isHigh(1) {
		task.Sleep(1)
	}
	check(49, task.IgnorePin(2) == nil && !isHigh(2))
	check(50, task.DeactivatePin(1) == nil && task.DeactivatePin(0) == nil)
}

// hear yields until so many events of buttons have been told.
func hear(n int) {
	for count < n {
		task.Yield()
	}
	check(99, count == n)
}

func isPressed(button uint32) bool {
	pressed, err := task.Pressed(button)
	return pressed && err == nil
}

func isHigh(pin uint32) bool {
	high, err := task.PinLevel(pin)
	return high && err == nil
}

func check(number uint32, ok bool) {
	if !ok {
		task.Exit(number)
	}
}
