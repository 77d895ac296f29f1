//go:build kapsel_task

// Command panel uses the drivers that the kernel has on ports: ADC, DAC, buzzer and text screen. It prints what it finds.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
)

// say prints a line: what was done, a value, and how it ended.
func say(what string, value uint64, err error) {
	text := "panel: " + what + ": "
	if err != nil {
		text += err.Error()
	} else {
		text += task.Decimal(value)
	}
	task.Print(text + "\n")
}

func adc() {
	n, err := task.ADCChannels()
	say("channels", uint64(n), err)
	bits, err := task.ADCResolution(0)
	say("resolution", uint64(bits), err)
	millivolts, err := task.ADCReference(n - 1)
	say("reference", uint64(millivolts), err)
	for _, channel := range []uint32{0, 0, 1, 0, 0, n} {
		v, err := task.ADCSample(channel)
		say("sample", uint64(v), err)
	}
	say("continuous sampling", 0, task.Command(abi.DriverADC, 2, 0, 100).Err())
}

func dac() {
	for _, v := range []uint32{0, 4095, 4096, 1234} {
		err := task.SetDAC(v)
		for err == abi.BUSY {
			err = task.SetDAC(v)
		}
		say("set", uint64(v), err)
	}
}

func buzzer() {
	say("buzz", 0, task.Buzz(440, 20))
	say("buzz", 0, task.Buzz(880, 10))
	say("silence", 0, task.Buzz(0, 10))
	err := task.Command(abi.DriverBuzzer, 2, 1000, 60000).Err()
	say("buzz at once", 0, err)
	say("stop", 0, task.Command(abi.DriverBuzzer, 3, 0, 0).Err())
	if err == nil {
		task.WaitFor(abi.DriverBuzzer, 0)
	}
	say("stop again", 0, task.Command(abi.DriverBuzzer, 3, 0, 0).Err())
}

func screen() {
	columns, rows, err := task.ScreenSize()
	say("columns", uint64(columns), err)
	say("rows", uint64(rows), err)
	say("clear", 0, task.ScreenClear())
	say("write", 0, task.ScreenWrite([]byte("Hello, screen!\nsecond \x1b[2J row\n")))
	say("move", 0, task.ScreenMove(4, 3))
	say("move away", 0, task.ScreenMove(80, 0))
	say("off", 0, task.ScreenDisplay(false))
	say("write", 0, task.ScreenWrite([]byte("lost")))
	say("on", 0, task.ScreenDisplay(true))
	say("hide", 0, task.ScreenCursor(false))
	say("blink", 0, task.ScreenBlink(true))
	say("write", 0, task.ScreenWrite([]byte("fourth row")))
}

func main() {
	adc()
	dac()
	buzzer()
	screen()
	task.Exit(0)
}
